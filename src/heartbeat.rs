//! Checks that the loops of this process still turn. `/livez` and systemd's watchdog find a loop that stands still,
//! where a check for the process alone would find nothing wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The heartbeats of all loops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    start: Instant,
    beats: Arc<Mutex<Vec<Weak<LastBeat>>>>,
}

/// Held by a loop, which touches it on every turn. Dropped with the loop, it is no longer watched: the loop's owner
/// has to notice that it ended.
#[derive(Debug)]
pub struct Heartbeat {
    start: Instant,
    beat: Arc<LastBeat>,
}

#[derive(Debug)]
struct LastBeat {
    name: &'static str,
    max_silence: Duration,
    /// Milliseconds from the start of the clock.
    last_ms: AtomicU64,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeats {
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), beats: Arc::default() }
    }

    /// Watches a loop from now on. The loop must touch its heartbeat at least every `max_silence`, its longest wait
    /// and longest turn included.
    #[must_use]
    pub fn register(&self, name: &'static str, max_silence: Duration) -> Heartbeat {
        let beat = LastBeat { name, max_silence, last_ms: AtomicU64::new(millis(self.start.elapsed())) };
        let beat = Arc::new(beat);
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.retain(|beat| beat.strong_count() > 0);
        beats.push(Arc::downgrade(&beat));
        Heartbeat { start: self.start, beat }
    }

    /// The loops that stand still, one sentence each; empty if all is well.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        // The lock is taken first: a heartbeat that is touched meanwhile is then younger than `now`, not older.
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = millis(self.start.elapsed());
        let silent = beats.iter().filter_map(Weak::upgrade).filter_map(|beat| beat.silent(now_ms));
        silent.collect()
    }
}

impl Heartbeat {
    /// Costs one look at the clock and one atomic store.
    pub fn touch(&self) {
        self.beat.last_ms.store(millis(self.start.elapsed()), Ordering::Relaxed);
    }
}

impl LastBeat {
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
        let heartbeats = Heartbeats::new();
        let quick = heartbeats.register("consumer", 5 * SECOND);
        let _slow = heartbeats.register("poller", 60 * SECOND);
        advance(5 * SECOND).await;
        assert_eq!(heartbeats.silent(), Vec::<String>::new());
        advance(SECOND).await;
        assert_eq!(heartbeats.silent(), ["consumer has stood still for 6 s (at most 5s)"]);
        quick.touch();
        assert_eq!(heartbeats.clone().silent(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_ended_is_no_longer_watched() {
        let heartbeats = Heartbeats::new();
        drop(heartbeats.register("consumer", SECOND));
        advance(10 * SECOND).await;
        assert_eq!(heartbeats.silent(), Vec::<String>::new());
        let _again = heartbeats.register("consumer", SECOND);
        assert_eq!(heartbeats.silent(), Vec::<String>::new());
    }
}
