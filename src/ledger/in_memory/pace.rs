//! The pace of the submits: what `pace.lua` and `slow.lua` do in Redis.

use std::time::Duration;

const LEAST: u64 = 100;
const GROWS: u64 = 500;
const SLOWED_ONCE: Duration = Duration::from_secs(1);
const FORGOTTEN: Duration = Duration::from_secs(120);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Exists only after the provider has asked for a slower pace. Rates are submits in 1000 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pace {
    rate: u64,
    since: Duration,
    /// The end of the pause.
    until: Duration,
    /// The time of the next submit.
    next: Duration,
}

impl Pace {
    /// The pace after the provider has asked for a slower one. `own` is the rate that is halved if there is no pace
    /// yet. Several such answers at the same time slow it once.
    pub(super) fn slowed(pace: Option<&Self>, pause: Duration, own: u64, now: Duration) -> Self {
        let until = now + pause.min(PAUSE_MAX);
        let Some(pace) = pace else {
            return Self { rate: (own / 2).max(LEAST), since: now, until, next: Duration::ZERO };
        };
        let (rate, since) = if now.saturating_sub(pace.since) < SLOWED_ONCE {
            (pace.rate, pace.since)
        } else {
            (pace.rate(now) / 2, now)
        };
        Self { rate: rate.max(LEAST), since, until: pace.until.max(until), next: pace.next }
    }

    /// Whether the provider has not asked again for so long that there is no pace any more.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now >= self.until + FORGOTTEN
    }

    /// How long the next submit has to wait, if it has to.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let wait = self.until.max(self.next).saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// A submit goes out now.
    pub(super) fn pass(&mut self, now: Duration) {
        self.next = now + Duration::from_millis(1_000_000 / self.rate(now));
    }

    /// The increase is additive: half a submit a second for each second without such an answer of the provider.
    fn rate(&self, now: Duration) -> u64 {
        let quiet = now.saturating_sub(self.since.max(self.until));
        self.rate + GROWS * quiet.as_secs() + GROWS * u64::from(quiet.subsec_millis()) / 1000
    }
}
