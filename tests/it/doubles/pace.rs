//! The pace of all workers' submits in memory: the model of `pace.lua` and `slow.lua`.

use std::time::Duration;

const LEAST: u64 = 100;
const GROWS: u64 = 500;
const SLOWED_ONCE: Duration = Duration::from_secs(1);
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Rates are submits in 1000 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pace {
    rate: u64,
    since: Duration,
    until: Duration,
    next: Duration,
}

impl Pace {
    pub fn rate(&self, now: Duration) -> u64 {
        let quiet = now.saturating_sub(self.since.max(self.until));
        self.rate + GROWS * u64::try_from(quiet.as_millis()).unwrap() / 1000
    }

    /// `None` if the provider has not asked for a slow-down for long enough.
    pub fn of(pace: Option<&Self>, now: Duration) -> Option<&Self> {
        pace.filter(|pace| now < pace.until + FORGOTTEN)
    }

    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let wait = self.until.max(self.next).saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    pub fn pass(&mut self, now: Duration) {
        self.next = now + Duration::from_secs(1000) / u32::try_from(self.rate(now)).unwrap();
    }

    pub fn slowed(pace: Option<&Self>, pause: Duration, own: u64, now: Duration) -> Self {
        let fresh = Self { rate: (own / 2).max(LEAST), since: now, until: now + pause, next: Duration::ZERO };
        let Some(pace) = Self::of(pace, now) else { return fresh };
        let until = pace.until.max(now + pause);
        let (rate, since) = if now.saturating_sub(pace.since) < SLOWED_ONCE {
            (pace.rate, pace.since)
        } else {
            (pace.rate(now) / 2, now)
        };
        Self { rate: rate.max(LEAST), since, until, next: pace.next }
    }
}
