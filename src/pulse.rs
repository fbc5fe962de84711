//! Whether the loops of this process still turn: a loop that stands still is found by `/livez`
//! and by systemd's watchdog, where a look at the process alone would say that all is well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The pulses of all loops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulses {
    start: Instant,
    beats: Arc<Mutex<Vec<Weak<Beat>>>>,
}

/// Held by a loop, which touches it on every turn. Dropped with the loop, it is no longer watched:
/// that a loop ended is its owner's to notice.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    beat: Arc<Beat>,
}

#[derive(Debug)]
struct Beat {
    name: &'static str,
    max_silence: Duration,
    /// Milliseconds from the start of the clock.
    last_ms: AtomicU64,
}

impl Default for Pulses {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulses {
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), beats: Arc::default() }
    }

    /// Watches a loop from now on. It must touch its pulse at least every `max_silence`, its
    /// longest wait and longest turn included.
    #[must_use]
    pub fn register(&self, name: &'static str, max_silence: Duration) -> Pulse {
        let beat = Beat { name, max_silence, last_ms: AtomicU64::new(millis(self.start.elapsed())) };
        let beat = Arc::new(beat);
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.retain(|beat| beat.strong_count() > 0);
        beats.push(Arc::downgrade(&beat));
        Pulse { start: self.start, beat }
    }

    /// The loops that stand still, a sentence each. Empty = all is well.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        // The lock first: a beat that is touched meanwhile is then younger than `now`, not older.
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = millis(self.start.elapsed());
        let silent = beats.iter().filter_map(Weak::upgrade).filter_map(|beat| beat.silent(now_ms));
        silent.collect()
    }
}

impl Pulse {
    /// One look at the clock and one atomic store.
    pub fn touch(&self) {
        self.beat.last_ms.store(millis(self.start.elapsed()), Ordering::Relaxed);
    }
}

impl Beat {
    fn silent(&self, now_ms: u64) -> Option<String> {
        let silence = Duration::from_millis(now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed)));
        let (name, most) = (self.name, self.max_silence);
        (silence > most)
            .then(|| format!("{name} has stood still for {} s (at most {most:?})", silence.as_secs()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_named() {
        let pulses = Pulses::new();
        let quick = pulses.register("consumer", 5 * SECOND);
        let _slow = pulses.register("poller", 60 * SECOND);
        advance(5 * SECOND).await;
        assert_eq!(pulses.silent(), Vec::<String>::new());
        advance(SECOND).await;
        assert_eq!(pulses.silent(), ["consumer has stood still for 6 s (at most 5s)"]);
        quick.touch();
        assert_eq!(pulses.clone().silent(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_ended_is_no_longer_watched() {
        let pulses = Pulses::new();
        drop(pulses.register("consumer", SECOND));
        advance(10 * SECOND).await;
        assert_eq!(pulses.silent(), Vec::<String>::new());
        let _again = pulses.register("consumer", SECOND);
        assert_eq!(pulses.silent(), Vec::<String>::new());
    }
}
