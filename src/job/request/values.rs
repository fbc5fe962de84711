//! What a value of a field may be, without the route or the job around it. The error is what there is instead.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::faults::found;

/// The choice.
pub(super) fn one_of(value: &Value, choices: &[impl AsRef<str>]) -> Result<String, String> {
    let chosen = value.as_str().filter(|text| choices.iter().any(|choice| choice.as_ref() == *text));
    chosen.map(str::to_owned).ok_or_else(|| found(value))
}

pub(super) fn text(value: &Value, chars_max: usize) -> Result<(), String> {
    match value.as_str().map(|text| text.chars().count()) {
        Some(length) if length <= chars_max => Ok(()),
        Some(length) => Err(length.to_string()),
        None => Err(found(value)),
    }
}

/// A name that is fit for a body and a label; the provider has new models more often than we have versions.
pub(super) fn any_model(value: &Value) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let named = value.as_str().filter(|text| (1..=64).contains(&text.len()) && text.bytes().all(plain));
    named.map(str::to_owned).ok_or_else(|| found(value))
}

pub(super) fn objects(value: &Value, number: &RangeInclusive<usize>) -> Result<(), String> {
    let list = value.as_array().ok_or_else(|| found(value))?;
    match list.iter().find(|entry| !entry.is_object()) {
        Some(other) => Err(format!("{} in it", found(other))),
        None if number.contains(&list.len()) => Ok(()),
        None => Err(list.len().to_string()),
    }
}

pub(super) fn fraction(value: &Value, hundredths: &RangeInclusive<u32>) -> Result<(), String> {
    let number = value.as_f64().map(|number| number * 100.0);
    let fits =
        |number: &f64| (f64::from(*hundredths.start())..=f64::from(*hundredths.end())).contains(number);
    number.filter(fits).map(drop).ok_or_else(|| found(value))
}

/// How many images a series has at most.
pub(super) fn series(value: &Value, range: &RangeInclusive<u32>) -> Result<u32, String> {
    if value == "auto" { Ok(*range.end()) } else { number(value, range) }
}

pub(super) fn number(value: &Value, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| found(value))
}
