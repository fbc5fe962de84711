//! Copies of a job that has a life in this process. A few copies wait for its end; the others go to the tail of the
//! queue.
//!
//! A waiting copy holds one of the `worker.max_in_flight` places for as long as a generation takes. A producer that
//! sends one job 300 times would fill the worker, and the jobs behind would starve. So only a few copies wait, of all
//! jobs together. Every other copy is republished and acknowledged, and its place goes to the next message.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::breaker::Mode;
use super::in_flight::Alone;
use super::life::Interrupts;
use crate::job::JobId;
use crate::job::step::RequeueReason;
use crate::queue::consume::Message;
use crate::queue::message;

/// A life that finds a known end and publishes it again takes milliseconds, so its copies need not move.
const BEFORE_MOVING: Duration = Duration::from_millis(50);
/// The pause between two copies that move: 200 a second, so a job behind 300 copies begins within two seconds. Copies
/// move one at a time, so they use one of the publishing channels, and a broker that is slow to confirm sets the
/// pace.
const BETWEEN: Duration = Duration::from_millis(5);
/// A copy that returns has been around the whole queue, and the jobs behind it have begun. With each such lap the
/// pause doubles, at most twice. A queue of nothing but copies then turns at 100 and later at 50 a second, where a
/// broker confirms thousands, and a new job behind 300 copies waits six seconds.
const DOUBLINGS_MAX: u64 = 2;
/// A copy with inline images has megabytes, and each of the broker's nodes writes them again.
const BYTES_PER_S: u32 = 32 * 1024 * 1024;

/// The places in which copies wait, and the turn to move.
#[derive(Debug, Clone)]
pub struct Copies {
    places: Arc<Semaphore>,
    /// When the next copy may move; locked while one moves.
    turn: Arc<Mutex<Instant>>,
}

impl Copies {
    /// `max_in_flight`: `worker.max_in_flight`.
    #[must_use]
    pub fn new(max_in_flight: u16) -> Self {
        Self {
            places: Arc::new(Semaphore::new(usize::from(places(max_in_flight)))),
            turn: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits for a place to wait in. It never returns if the process has none to give.
    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for the turn to move. The turn lasts until the returned guard is dropped.
    async fn turn(&self, copy: &Message) -> OwnedMutexGuard<Instant> {
        sleep(BEFORE_MOVING).await;
        let mut next = Arc::clone(&self.turn).lock_owned().await;
        sleep_until(*next).await;
        *next = Instant::now() + pause(message::handed_on(&copy.properties), copy.body.len());
        next
    }
}

/// Begins the only life of the job in this process once there is no other. Returns `None` if the message went to the
/// tail of the queue, and may be acknowledged.
///
/// # Errors
///
/// The interrupt; the message stays where it is.
pub async fn enter(
    shared: &Shared,
    job: &JobId,
    original: &Message,
    interrupts: &Interrupts,
) -> Result<Option<Alone>, RequeueReason> {
    // This block drops `entering` before the move: a copy that moves must not get a life any more.
    let turn = {
        let mut entering = pin!(shared.lives.enter(job));
        tokio::select! {
            biased;
            why = interrupts.any() => return Err(why),
            alone = &mut entering => return Ok(Some(alone)),
            // While one job at a time is let through, a waiting copy would be that job.
            _place = shared.copies.place(), if shared.breaker.mode() != Mode::OneJob => {
                return interrupts.or(entering).await.map(Some);
            }
            turn = shared.copies.turn(original) => turn,
        }
    };
    tracing::debug!("another copy of a job that has a life here goes to the tail of the queue");
    shared.publishing.republish(original, interrupts).await?;
    drop(turn);
    Ok(None)
}

/// A tenth, and at least one; but a life and its copies leave a place for other jobs.
fn places(max_in_flight: u16) -> u16 {
    (max_in_flight / 10).max(1).min(max_in_flight.saturating_sub(2))
}

/// The pause from one move to the next.
fn pause(laps: u64, bytes: usize) -> Duration {
    let mut pause = BETWEEN;
    for _ in 0..laps.min(DOUBLINGS_MAX) {
        pause *= 2;
    }
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    pause.max(Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(BYTES_PER_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_may_wait_and_never_all() {
        let waiting = [1, 2, 3, 19, 20, 256, 65_535].map(places);
        assert_eq!(waiting, [0, 0, 1, 1, 2, 25, 6553]);
    }

    #[test]
    fn pauses_grow_with_the_laps_and_with_the_size() {
        let of_laps = [0, 1, 2, 3, u64::MAX].map(|laps| pause(laps, 1000).as_millis());
        assert_eq!(of_laps, [5, 10, 20, 20, 20]);
        assert_eq!(pause(0, 8 * 1024 * 1024), Duration::from_millis(250));
    }
}
