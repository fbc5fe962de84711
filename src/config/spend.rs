//! What may be spent, and how it is counted.

use std::time::Duration;

use super::reader::Reader;
use super::work::Generation;
use crate::job::spend::{SpendRules, UnitPrice, Units};

const UNITS_MAX: u64 = 1_000_000_000;

/// `[spend]`: a day's cap, and how ends are counted.
#[derive(Debug, Clone)]
pub struct Spend {
    pub rules: SpendRules,
    /// What one unit costs; `None` if it isn't configured.
    pub unit_price: Option<UnitPrice>,
}

impl Spend {
    pub(super) fn read(from: &mut Reader, generation: &Generation) -> Self {
        let mut units = |key: &str| {
            let units = from.number(key, 0..=UNITS_MAX);
            (units > 0).then(|| Units::whole(units))
        };
        let (cap, per_job) = (units("spend.max_units_per_day"), units("spend.units_per_job"));
        let day_starts = from.parsed("spend.day_starts", time_of_day);
        let label = from.parsed("spend.label", |text| {
            let plain = text.chars().count() <= 64 && !text.chars().any(char::is_control);
            plain.then(|| text.to_owned()).ok_or_else(|| "must be at most 64 printable characters".to_owned())
        });
        let unit_price = from.parsed("spend.unit_price", |text| {
            if text.is_empty() { Ok(None) } else { text.parse::<UnitPrice>().map(Some) }
        });
        // As long as a job can hold slots of the account.
        let runs_max = generation.timeout + generation.quiet + generation.gate;
        Self { rules: SpendRules { cap, per_job, day_starts, label, runs_max }, unit_price }
    }
}

fn time_of_day(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a time of day in UTC, such as \"21:00\"".to_owned();
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, below: u64| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| is_plain && *number < below).ok_or_else(wrong)
    };
    let (hours, minutes) = (number(hours, 24)?, number(minutes, 60)?);
    Ok(Duration::from_secs(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_a_time_of_day() {
        assert_eq!(time_of_day("21:30"), Ok(Duration::from_secs(21 * 3600 + 30 * 60)));
        for text in ["", "24:00", "9:00", "21:60", "21", "21:00:00", "+1:00"] {
            assert!(time_of_day(text).is_err(), "{text}");
        }
    }
}
