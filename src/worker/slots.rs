//! The line before the account's slots, and before a bounded pace of submits. Of all jobs that wait in this worker
//! only the head asks Redis, so waiting costs the same for ten jobs and for ten thousand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The head asks this often, unless a hint says that it is its turn. This is shorter than the reservation that each
/// ask renews (`HEAD_KEEPS_MS` in `slots.lua`).
pub const ASKS_EVERY: Duration = Duration::from_secs(1);

/// The bound of a pace ends at most this long after the last slow-down (`FORGOTTEN_MS` in `pace.lua`).
const PACED_FOR: Duration = Duration::from_secs(120);

/// First come, first served. Without `generation.max_running` and without a bounded pace there is no line.
#[derive(Debug, Clone)]
pub struct SlotLine {
    capped: bool,
    paced_until: Arc<Mutex<Option<Instant>>>,
    head: Arc<Semaphore>,
}

/// While this exists, no other life in this worker asks for slots.
#[derive(Debug)]
pub struct LineHead {
    _permit: Option<OwnedSemaphorePermit>,
}

impl SlotLine {
    /// `max_running`: `generation.max_running`, 0 for no cap.
    #[must_use]
    pub fn new(max_running: u32) -> Self {
        Self { capped: max_running > 0, paced_until: Arc::default(), head: Arc::new(Semaphore::new(1)) }
    }

    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.capped
    }

    /// The ledger told the head to ask again later, since the pace or the day's spend is bounded: so there is a line for
    /// some time.
    pub fn note_line(&self) {
        *self.paced_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PACED_FOR);
    }

    fn is_paced(&self) -> bool {
        let until = *self.paced_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the job is the head of the line. A job that already `has_slots` skips the line: it takes no slots
    /// from others, and the head may be waiting for its slots.
    pub async fn head(&self, has_slots: bool) -> LineHead {
        if has_slots || !(self.capped || self.is_paced()) {
            return LineHead { _permit: None };
        }
        LineHead { _permit: Arc::clone(&self.head).acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_is_at_the_head_and_who_has_slots_passes_by() {
        let line = SlotLine::new(8);
        let first = line.head(false).await;
        let mut second = std::pin::pin!(line.head(false));
        assert!(second.as_mut().now_or_never().is_none(), "two heads of one line");
        drop(line.head(true).now_or_never().expect("a job that has slots waits for no other"));
        drop(first);
        drop(second.now_or_never().expect("the next one is at the head"));
    }

    #[tokio::test]
    async fn without_a_cap_there_is_no_line_until_there_is_a_pace() {
        let line = SlotLine::new(0);
        let _first = line.head(false).await;
        assert!(line.head(false).now_or_never().is_some());
        line.note_line();
        let _head = line.head(false).await;
        assert!(line.head(false).now_or_never().is_none());
    }
}
