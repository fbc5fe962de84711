//! The line before the account's slots: of all jobs that wait in this worker only the head asks for
//! them, so that waiting costs the same whether ten jobs do or ten thousand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The head asks this often, unless a hint says that it is its turn. Shorter than the reservation that
/// each ask renews (`HEAD_KEEPS_MS` in `slots.lua`).
pub const ASKS_EVERY: Duration = Duration::from_secs(1);

/// First come, first served. Without `generation.max_running` there is no line.
#[derive(Debug, Clone)]
pub struct SlotLine {
    head: Option<Arc<Semaphore>>,
}

/// While this lives, nobody else in this worker asks for slots.
#[derive(Debug)]
pub struct Head {
    _permit: Option<OwnedSemaphorePermit>,
}

impl SlotLine {
    /// `max_running`: `generation.max_running`, 0 for no cap.
    #[must_use]
    pub fn new(max_running: u32) -> Self {
        Self { head: (max_running > 0).then(|| Arc::new(Semaphore::new(1))) }
    }

    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.head.is_some()
    }

    /// Waits for the head of the line. One that `has_slots` already takes none from anybody, and its slots
    /// may be what the head waits for: it passes by.
    pub async fn head(&self, has_slots: bool) -> Head {
        match &self.head {
            Some(head) if !has_slots => Head { _permit: Arc::clone(head).acquire_owned().await.ok() },
            Some(_) | None => Head { _permit: None },
        }
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
        drop(line.head(true).now_or_never().expect("who has slots waits for nobody"));
        drop(first);
        drop(second.now_or_never().expect("the next one is at the head"));
    }

    #[tokio::test]
    async fn without_a_cap_there_is_no_line() {
        let line = SlotLine::new(0);
        let _first = line.head(false).await;
        assert!(line.head(false).now_or_never().is_some());
    }
}
