//! When to look again: the schedule of the polls of one task.
//!
//! The time to the next poll grows with the age of the task, and no poll is made before ends are likely
//! ([`Schedule`]). When they are is learned from the ends that recent lives have seen in their polls ([`Watch`],
//! [`Durations`]). If `poll.min_ms` and `poll.max_ms` are equal, nothing is learned ([`Pace`]).

mod durations;
mod schedule;
#[cfg(test)]
mod simulation;
mod watch;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

pub use self::durations::{Durations, Ended, REMEMBERED};
pub use self::schedule::Schedule;
pub use self::watch::Watch;
use super::JobId;

/// `poll.first_ms`, `poll.min_ms`, `poll.max_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// The time from the accepted POST to the first poll, while nothing is known of how long tasks take.
    pub first: Duration,
    /// The shortest time between two polls.
    pub min: Duration,
    /// The longest time between two polls.
    pub max: Duration,
}

impl Pace {
    /// How long to wait before the next poll of a fixed schedule, after `polls` of them.
    #[must_use]
    pub fn wait(&self, polls: u32) -> Duration {
        if polls == 0 { self.first } else { self.min }
    }

    /// Whether the user has fixed the schedule, so that there is nothing to learn.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.min == self.max
    }

    /// The wait after one of `last`: half as long again, within the bounds.
    #[must_use]
    pub fn grow(&self, last: Duration) -> Duration {
        last.mul_f64(1.5).clamp(self.min, self.max)
    }

    /// How long to wait after `failures` queries in a row without an answer about the task.
    #[must_use]
    pub fn wait_after_failure(&self, failures: u32, seed: Seed) -> Duration {
        backoff(failures, self.min.max(Duration::from_secs(1)), self.max.max(Duration::from_secs(1)), seed)
    }
}

/// Returns a wait that doubles from `first` to `max` with each failure in a row. Up to a fifth of it is jitter.
#[must_use]
pub fn backoff(failures: u32, first: Duration, max: Duration, seed: Seed) -> Duration {
    let doubled =
        first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
    doubled.min(max).mul_f64(1.0 - 0.2 * seed.fraction(failures))
}

/// The waits between the tries of something that fails: see [`backoff`].
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    seed: Seed,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, max: Duration, seed: Seed) -> Self {
        Self { first, max, seed, failures: 0 }
    }

    /// It has failed once more; returns how long to wait before the next try.
    #[must_use]
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        backoff(self.failures, self.first, self.max, self.seed)
    }

    /// How often it has failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It has worked, so the next wait is the first one again.
    pub fn worked(&mut self) {
        self.failures = 0;
    }
}

/// The source of the jitter: the same job has the same jitter on every worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    #[must_use]
    pub fn of(job: &JobId) -> Self {
        Self::from_text(job.as_str())
    }

    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, all that an f64 has")]
    fn fraction(self, number: u32) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.0, number).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bounds_give_a_fixed_schedule() {
        let fixed = Pace { first: Duration::ZERO, min: Duration::from_secs(2), max: Duration::from_secs(2) };
        let waits: Vec<_> = (0..50).map(|polls| fixed.wait(polls)).collect();
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits[1..].iter().all(|wait| *wait == Duration::from_secs(2)));
    }

    #[test]
    fn the_waits_begin_anew_when_it_has_worked() {
        let mut waits = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), Seed::from_text("x"));
        let (first, second) = (waits.failed(), waits.failed());
        assert!(second > first && waits.failures() == 2);
        waits.worked();
        assert_eq!((waits.failures(), waits.failed()), (0, first));
    }

    #[test]
    fn a_backoff_grows_to_its_bound_and_never_overflows() {
        let seed = Seed::from_text("x");
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(backoff(1, first, max, seed) <= first);
        for failures in [6, 7, 31, 32, 33, 1000, u32::MAX] {
            let wait = backoff(failures, first, max, seed);
            assert!(wait <= max && wait >= first, "{failures}: {wait:?}");
        }
    }
}
