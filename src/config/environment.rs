//! Reads `COMET_WORKER__<SECTION>__<KEY>`. Values are text, read as the type of the default.

use std::env;

use config::{Value, ValueKind};

use super::faults::Faults;
use super::layers::{Layer, but_is, type_name};

const PREFIX: &str = "COMET_WORKER__";

/// The variables of this process that belong to the configuration, as `Config::load` takes them. A value that isn't
/// Unicode gets replacement characters, so that it isn't overlooked.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables = env::vars_os().map(|(name, value)| (text(name), text(value)));
    variables.filter(|(name, _)| path_of(name).is_some()).collect()
}

pub(super) fn read(
    env: impl IntoIterator<Item = (String, String)>,
    schema: &Layer,
    faults: &mut Faults,
) -> Layer {
    let mut variables: Vec<_> =
        env.into_iter().filter_map(|(name, text)| Some((path_of(&name)?, name, text))).collect();
    variables.sort();
    let mut layer = Layer::default();
    for (path, variable, text) in variables {
        let place = format!("environment variable {variable}");
        let accepted = accept(&path, &text, schema, &layer);
        match accepted {
            Ok((section, key, value)) => layer.put(section, key, value, &place),
            Err((key, message)) => faults.add(&place, &key, message),
        }
    }
    layer
}

/// Returns section, key and value; or the key at fault (if any) and what to do.
fn accept<'a>(
    path: &'a str,
    text: &str,
    schema: &Layer,
    layer: &Layer,
) -> Result<(&'a str, &'a str, ValueKind), (String, String)> {
    let Some((section, key)) = path.split_once("__") else {
        return Err((String::new(), format!("the name must be {PREFIX}<SECTION>__<KEY>")));
    };
    if schema.section(section).is_none() {
        return Err((String::new(), schema.unknown_section(section)));
    }
    let Some(default) = schema.value(section, key) else {
        return Err((String::new(), schema.unknown_key(section, key, variable_name)));
    };
    let name = format!("{section}.{key}");
    if let Some(earlier) = layer.value(section, key).and_then(Value::origin) {
        let message = format!("{name} is also set by the {earlier}; unset one of them");
        return Err((name, message));
    }
    let Some(value) = from_text(&default.kind, text) else {
        let is = but_is(&name, &ValueKind::String(text.to_owned()));
        let message = format!("{name} must be {}{is}", type_name(&default.kind));
        return Err((name, message));
    };
    Ok((section, key, value))
}

fn from_text(default: &ValueKind, text: &str) -> Option<ValueKind> {
    let word = text.trim().to_ascii_lowercase();
    if matches!(default, ValueKind::I64(_)) {
        word.replace('_', "").parse().ok().map(ValueKind::I64)
    } else if matches!(default, ValueKind::Boolean(_)) {
        match word.as_str() {
            "true" | "1" | "yes" | "on" => Some(ValueKind::Boolean(true)),
            "false" | "0" | "no" | "off" => Some(ValueKind::Boolean(false)),
            _ => None,
        }
    } else {
        Some(ValueKind::String(text.to_owned()))
    }
}

/// Returns what follows the prefix, in lower case; `None` for a variable that isn't ours.
fn path_of(variable: &str) -> Option<String> {
    let (start, path) = variable.split_at_checked(PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then(|| path.to_ascii_lowercase())
}

fn variable_name(section: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}
