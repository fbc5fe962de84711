//! What jobs cost, in the provider's units: how an end counts, in which day, and whether the day's cap allows another
//! job. Pure.

mod price;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use self::price::{Money, UnitPrice};
use super::Charged;

const MICRO: u64 = 1_000_000;
const DAY_MS: i64 = 86_400_000;

/// An amount of the provider's units, exact to a millionth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Units(u64);

impl Units {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub fn whole(units: u64) -> Self {
        Self(units.saturating_mul(MICRO))
    }

    #[must_use]
    pub fn from_micro(micro: u64) -> Self {
        Self(micro)
    }

    #[must_use]
    pub fn micro(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Not below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    #[must_use]
    pub fn times(self, number: u64) -> Self {
        Self(self.0.saturating_mul(number))
    }

    /// For metrics and money, which need no exact number.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number for display")]
    pub fn approximate(self) -> f64 {
        self.0 as f64 / MICRO as f64
    }

    /// What an average job costs after one that cost `latest`: the latest counts for a fifth, as in
    /// `spend_count.lua`.
    #[must_use]
    pub fn learn(before: Option<Self>, latest: Self) -> Self {
        before.map_or(latest, |before| Self((before.0.saturating_mul(4)).saturating_add(latest.0) / 5))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / MICRO, self.0 % MICRO);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:06}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

impl FromStr for Units {
    type Err = String;

    /// A decimal number as the provider writes it, such as `8` or `0.5`; below a millionth it is cut.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no amount of units");
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) {
            return Err(wrong());
        }
        let part: String = part.chars().chain("000000".chars()).take(6).collect();
        let (whole, part) =
            (whole.parse::<u64>().map_err(|_| wrong())?, part.parse::<u64>().map_err(|_| wrong())?);
        whole.checked_mul(MICRO).and_then(|micro| micro.checked_add(part)).map(Self).ok_or_else(wrong)
    }
}

/// A day of the spend, by the number of days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpendDay(i64);

impl SpendDay {
    #[must_use]
    pub fn before(self, days: i64) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// As keys in Redis have it.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for SpendDay {
    /// The date, in UTC, on which it begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins =
            Timestamp::from_millisecond(self.0.saturating_mul(DAY_MS)).unwrap_or(Timestamp::UNIX_EPOCH);
        let date: Date = begins.to_zoned(TimeZone::UTC).date();
        write!(f, "{date}")
    }
}

/// `[spend]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SpendRules {
    /// The units that all workers together may spend in a day.
    pub cap: Option<Units>,
    /// What a job is taken to cost while it runs, and where the provider doesn't say what it deducted; `None`: what the
    /// jobs before it have cost on average.
    pub per_job: Option<Units>,
    /// When a day begins, after midnight UTC.
    pub day_starts: Duration,
    /// The key of a job's metadata by whose value the spend is counted as well; empty: none.
    pub label: String,
    /// A job that has been at one stage for longer doesn't run any more, whatever the index of unfinished jobs says.
    pub runs_max: Duration,
}

impl SpendRules {
    /// The day of a moment, in Unix milliseconds.
    #[must_use]
    pub fn day(&self, unix_ms: i64) -> SpendDay {
        SpendDay((unix_ms - self.offset_ms()).div_euclid(DAY_MS))
    }

    /// When the day begins, in Unix milliseconds.
    #[must_use]
    pub fn begins_ms(&self, day: SpendDay) -> i64 {
        day.0.saturating_mul(DAY_MS) + self.offset_ms()
    }

    fn offset_ms(&self) -> i64 {
        i64::try_from(self.day_starts.as_millis()).unwrap_or_default()
    }

    /// Why no further job may begin; `None` if one may. `begin.lua` decides the same.
    #[must_use]
    pub fn refusal(&self, today: &SpendToday) -> Option<SpendRefusal> {
        let cap = self.cap?;
        let SpendToday { spent, running, per_job, complete } = *today;
        if !complete {
            return Some(SpendRefusal::NotCounted);
        }
        let fits = match per_job {
            Some(per_job) => spent.plus(per_job.times(running)).plus(per_job) <= cap,
            // The first end tells.
            None if spent < cap && running > 0 => return Some(SpendRefusal::NoPrice { running }),
            None => true,
        };
        let is_reached = spent >= cap || !fits;
        is_reached.then_some(SpendRefusal::Reached { cap, spent, running, per_job })
    }
}

/// What is known of the present day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SpendToday {
    /// What today's ends have cost, and what they are estimated to have cost where the provider doesn't say.
    pub spent: Units,
    /// The jobs that were submitted and whose end isn't counted yet.
    pub running: u64,
    /// What one of them is taken to cost; `None` before the first end that says it.
    pub per_job: Option<Units>,
    /// False while the ends before a loss of Redis are being counted again.
    pub complete: bool,
}

impl SpendToday {
    /// What the running jobs are taken to cost.
    #[must_use]
    pub fn expected(&self) -> Units {
        self.per_job.unwrap_or_default().times(self.running)
    }
}

/// Why no further job may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendRefusal {
    /// The ends before a loss of Redis are being counted.
    NotCounted,
    /// It is not known yet what a job costs.
    NoPrice {
        running: u64,
    },
    Reached {
        cap: Units,
        spent: Units,
        running: u64,
        per_job: Option<Units>,
    },
}

impl SpendRefusal {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotCounted => "jobs wait until that is done; the log says what keeps it from being done",
            Self::NoPrice { .. } => {
                "one job at a time goes on until the provider says what one costs; set spend.units_per_job"
            }
            Self::Reached { .. } => {
                "jobs wait until the day ends (spend.day_starts); raise spend.max_units_per_day to go on today"
            }
        }
    }
}

impl fmt::Display for SpendRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCounted => f.write_str("what was spent today is being counted again from the receipts"),
            Self::NoPrice { running } => {
                write!(f, "what a job costs is not known yet, and {running} is running already")
            }
            Self::Reached { cap, spent, running, per_job } => {
                write!(f, "{spent} units are spent today")?;
                if let Some(per_job) = per_job {
                    if *running > 0 {
                        write!(f, ", {running} running jobs cost about {}", per_job.times(*running))?;
                    }
                    write!(f, ", another job costs about {per_job}")?;
                }
                write!(f, ", and spend.max_units_per_day is {cap}")
            }
        }
    }
}

/// What one end counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendNote {
    /// The time of the event, in Unix milliseconds: it decides the day.
    pub at_ms: i64,
    /// What the provider has deducted, where it says so.
    pub units: Option<Units>,
    pub charged: Charged,
    /// How many tasks of the job failed before the one that counts. What they have cost is not in `units`.
    pub failed: u32,
    /// The value of the job's metadata under [`SpendRules::label`].
    pub label: Option<String>,
}

impl SpendNote {
    /// Whether it cost anything, or perhaps did.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.charged != Charged::No || self.units.is_some_and(|units| units > Units::ZERO)
    }

    /// What it is taken to have cost. What was perhaps charged counts as charged: a cap is there for that.
    #[must_use]
    pub fn cost(&self, per_job: Units) -> Units {
        let last = match (self.units, self.charged) {
            (Some(units), _) => units,
            (None, Charged::Yes | Charged::Unknown) => per_job,
            (None, Charged::No) => Units::ZERO,
        };
        last.plus(per_job.times(u64::from(self.failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Units {
        text.parse().unwrap()
    }

    #[test]
    fn units_are_decimal_numbers_and_no_other_text() {
        for (text, micro, shown) in [
            ("8", 8_000_000, "8"),
            ("0.5", 500_000, "0.5"),
            (" 16.25 ", 16_250_000, "16.25"),
            ("3.", 3_000_000, "3"),
            ("0.0000019", 1, "0.000001"),
        ] {
            assert_eq!(units(text).micro(), micro, "{text}");
            assert_eq!(units(text).to_string(), shown);
        }
        for text in ["", ".", ".5", "-1", "1e3", "NaN", "8 units", "99999999999999999999"] {
            assert!(text.parse::<Units>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_begins_when_the_configuration_says_and_is_called_by_that_date() {
        let utc = SpendRules::default();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(utc.day(at("2026-11-28T23:59:59Z")).to_string(), "2026-11-28");
        assert_eq!(utc.day(at("2026-11-29T00:00:00Z")).to_string(), "2026-11-29");
        let istanbul = SpendRules { day_starts: Duration::from_secs(21 * 3600), ..SpendRules::default() };
        let day = istanbul.day(at("2026-11-28T20:59:59Z"));
        assert_eq!(day.to_string(), "2026-11-27");
        assert_eq!(istanbul.day(at("2026-11-28T21:00:00Z")).to_string(), "2026-11-28");
        assert_eq!(istanbul.begins_ms(day), at("2026-11-27T21:00:00Z"));
    }

    #[test]
    fn a_job_may_begin_as_long_as_it_and_those_that_run_stay_within_the_cap() {
        let rules = SpendRules { cap: Some(units("100")), ..SpendRules::default() };
        let today = |spent: &str, running, per_job: &str| SpendToday {
            spent: units(spent),
            running,
            per_job: (per_job != "?").then(|| units(per_job)),
            complete: true,
        };
        for (spent, running, per_job, allowed) in [
            ("0", 0, "0", true),
            ("92", 0, "8", true),
            ("92.5", 0, "8", false),
            ("84", 1, "8", true),
            ("84", 2, "8", false),
            // Nothing is known of what a job costs: the first one tells.
            ("0", 0, "?", true),
            ("0", 1, "?", false),
            ("100", 0, "?", false),
        ] {
            let today = today(spent, running, per_job);
            assert_eq!(rules.refusal(&today).is_none(), allowed, "{today:?}");
        }
        let words = rules.refusal(&today("84", 2, "8")).unwrap().to_string();
        assert_eq!(
            words,
            "84 units are spent today, 2 running jobs cost about 16, another job costs about 8, and \
             spend.max_units_per_day is 100"
        );
        let lost = SpendToday { complete: false, ..SpendToday::default() };
        assert_eq!(rules.refusal(&lost), Some(SpendRefusal::NotCounted));
        assert_eq!(SpendRules::default().refusal(&lost), None, "no cap");
    }

    #[test]
    fn what_was_perhaps_charged_counts_as_charged_and_so_do_tasks_that_failed_before() {
        let note = |units: Option<&str>, charged, failed| SpendNote {
            at_ms: 0,
            units: units.map(|text| text.parse().unwrap()),
            charged,
            failed,
            label: None,
        };
        for (note, cost) in [
            (note(Some("3"), Charged::Yes, 0), "3"),
            (note(Some("3"), Charged::Yes, 2), "19"),
            (note(None, Charged::Yes, 0), "8"),
            (note(None, Charged::Unknown, 1), "16"),
            (note(None, Charged::No, 0), "0"),
        ] {
            assert_eq!(note.cost(units("8")).to_string(), cost, "{note:?}");
        }
    }

    #[test]
    fn the_average_follows_what_jobs_cost_lately() {
        let first = Units::learn(None, units("8"));
        assert_eq!(first, units("8"));
        assert_eq!(Units::learn(Some(first), units("16")), units("9.6"));
    }
}
