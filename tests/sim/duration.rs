//! How long things take: durations as people write them, and the distributions that a task's duration is drawn from.
//!
//! The default, `lognormal:15s,0.4`, matches measured generations: 8 to 40 s, most of them near 15 s.

use std::{fmt, str::FromStr, time::Duration};

use fastrand::Rng;

const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a task's duration is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Distribution {
    /// `fixed:2s`: always the same.
    Fixed(Duration),
    /// `uniform:1s-3s`: evenly between the two.
    Uniform(Duration, Duration),
    /// `lognormal:15s,0.4`: half of them under the median, a long tail above it.
    Lognormal { median: Duration, sigma: f64 },
}

impl Distribution {
    pub(crate) fn draw(&self, dice: &mut Rng) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform(from, to) => from + to.saturating_sub(from).mul_f64(dice.f64()),
            Self::Lognormal { median, sigma } => {
                // The tail ends at twenty times the median, so that no task outlives its test by chance.
                median.mul_f64((sigma * normal(dice)).exp().min(20.0))
            }
        }
    }
}

/// One draw from the standard normal distribution (Box and Muller).
fn normal(dice: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * dice.f64()).cos()
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unclear =
            || format!("«{text}» is no distribution; write fixed:2s, uniform:1s-3s or lognormal:15s,0.4");
        let (kind, rest) = text.split_once(':').ok_or_else(unclear)?;
        match kind {
            "fixed" => Ok(Self::Fixed(parse_duration(rest)?)),
            "uniform" => {
                let (from, to) = rest.split_once('-').ok_or_else(unclear)?;
                let (from, to) = (parse_duration(from)?, parse_duration(to)?);
                if from > to {
                    return Err(format!("«{text}» ends before it begins; swap the two"));
                }
                Ok(Self::Uniform(from, to))
            }
            "lognormal" => {
                let (median, sigma) = rest.split_once(',').ok_or_else(unclear)?;
                let sigma = sigma.trim().parse().ok();
                let sigma = sigma.filter(|sigma| (0.0..=3.0).contains(sigma));
                Ok(Self::Lognormal {
                    median: parse_duration(median)?,
                    sigma: sigma.ok_or_else(|| {
                        format!(
                            "the spread in «{text}» must be a number from 0 to 3, as in lognormal:15s,0.4"
                        )
                    })?,
                })
            }
            _ => Err(unclear()),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(duration) => write!(f, "fixed:{duration:?}"),
            Self::Uniform(from, to) => write!(f, "uniform:{from:?}-{to:?}"),
            Self::Lognormal { median, sigma } => write!(f, "lognormal:{median:?},{sigma}"),
        }
    }
}

/// Reads `300ms`, `2s`, `1.5s`, `10m`, `2h`, `30d` and `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unclear = || format!("«{text}» is no length of time; write it like 300ms, 2s, 10m or 30d");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(unclear)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| unclear())?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(unclear()),
    };
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| unclear())?;
    if duration > LONGEST {
        return Err(format!("«{text}» is longer than a year"));
    }
    Ok(duration)
}

/// Whole milliseconds, the unit of the model's clock.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(distribution: &str, seed: u64) -> Vec<u64> {
        let distribution: Distribution = distribution.parse().unwrap();
        let mut dice = crate::chance::stream(seed, "durations");
        (0..1000).map(|_| millis(distribution.draw(&mut dice))).collect()
    }

    #[test]
    fn lengths_of_time_are_read_as_written() {
        for (text, ms) in [("300ms", 300), ("2s", 2_000), ("1.5s", 1_500), ("10m", 600_000), ("0", 0)] {
            assert_eq!(parse_duration(text).map(millis), Ok(ms), "{text}");
        }
        for text in ["", "2", "s", "-1s", "2 weeks", "1e99s", "400d", "NaNs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn distributions_are_read_and_written_back() {
        for text in ["fixed:2s", "uniform:1s-3s", "lognormal:15s,0.4"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for text in ["2s", "fixed:", "uniform:3s-1s", "lognormal:15s", "lognormal:15s,9", "normal:1s,1"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_durations() {
        for text in ["fixed:2s", "uniform:1s-3s", "lognormal:15s,0.4"] {
            assert_eq!(draws(text, 1), draws(text, 1), "{text}");
        }
        assert_ne!(draws("uniform:1s-3s", 1), draws("uniform:1s-3s", 2));
    }

    #[test]
    fn draws_lie_where_the_distribution_says() {
        assert!(draws("fixed:2s", 3).iter().all(|&ms| ms == 2_000));
        assert!(draws("uniform:1s-3s", 3).iter().all(|ms| (1_000..=3_000).contains(ms)));
        let mut lognormal = draws("lognormal:15s,0.4", 3);
        lognormal.sort_unstable();
        assert!((14_000..16_000).contains(&lognormal[500]), "{}", lognormal[500]);
        assert!(lognormal[999] <= 300_000);
    }
}
