//! Two clocks: one that only goes forward and counts the machine's sleep, and the wall clock, for display.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Counts from its creation. A jump of the wall clock doesn't change it. It includes the time that the machine was
/// suspended, which `Instant` alone leaves out.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    slept: fn() -> Duration,
    slept_at_start: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self::with_sleep(slept)
    }
}

impl Clock {
    /// Uses another source for how long the machine has been suspended since its start.
    #[must_use]
    pub fn with_sleep(slept: fn() -> Duration) -> Self {
        Self { start: Instant::now(), slept, slept_at_start: slept() }
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        let slept = (self.slept)().saturating_sub(self.slept_at_start);
        // The two clocks are read one after the other, so a smaller difference is not sleep.
        let noise = Duration::from_millis(50);
        self.start.elapsed() + if slept > noise { slept } else { Duration::ZERO }
    }

    /// Sleeps until [`Clock::now`] is `until`.
    pub async fn sleep_until(&self, until: Duration) {
        tokio::time::sleep(until.saturating_sub(self.now())).await;
    }
}

/// How long the machine has been suspended since its start.
fn slept() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}

/// The wall clock in Unix milliseconds. It is for display only; no decision depends on it.
#[must_use]
pub fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_goes_with_tokios_time() {
        let clock = Clock::default();
        let before = clock.now();
        clock.sleep_until(before + Duration::from_secs(3600)).await;
        let passed = clock.now() - before;
        assert!(passed >= Duration::from_secs(3600) && passed < Duration::from_secs(3601), "{passed:?}");
    }
}
