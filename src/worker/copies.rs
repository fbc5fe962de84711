//! Copies of a job that has a life in this process: a few wait for its end, the rest go to the tail
//! of the queue.
//!
//! A copy that waits holds one of `worker.max_in_flight` places, for as long as a generation takes.
//! A producer that sends one job 300 times would fill the worker, and everybody behind would starve.
//! So only so many copies wait, of all jobs together. Every other one is published afresh and acked:
//! its place goes to whoever stands behind it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::breaker::Mode;
use super::in_flight::Alone;
use super::life::Interrupts;
use super::{Shared, publish};
use crate::job::JobId;
use crate::job::step::RequeueReason;
use crate::queue::consume::Message;
use crate::queue::message;

/// A life that finds a known end and tells it again takes milliseconds: its copies need not move.
const BEFORE_MOVING: Duration = Duration::from_millis(50);
/// Between two copies that move: 200 a second, so whoever stands behind 300 copies begins within two
/// seconds. One at a time, so it is one of the publishing channels, and a broker that is slow to
/// confirm sets the pace itself.
const BETWEEN: Duration = Duration::from_millis(5);
/// A copy that comes again has been around the whole queue, and what stood behind it has begun. With
/// each such lap the pause doubles, twice: a queue of nothing but copies turns at 100 and then at 50
/// a second, where a broker confirms thousands; whoever comes then waits six seconds behind 300.
const DOUBLINGS_MAX: u64 = 2;
/// A copy with its images inline is megabytes, written anew by each of the broker's nodes.
const BYTES_PER_S: u32 = 32 * 1024 * 1024;

/// Where copies wait, and their turns to move.
#[derive(Debug, Clone)]
pub struct Copies {
    places: Arc<Semaphore>,
    /// When the next one may move; locked while one does.
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

    /// A place to wait in. Never, when the process has none to give.
    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    /// The turn to move, for as long as the answer is kept.
    async fn turn(&self, copy: &Message) -> OwnedMutexGuard<Instant> {
        sleep(BEFORE_MOVING).await;
        let mut next = Arc::clone(&self.turn).lock_owned().await;
        sleep_until(*next).await;
        *next = Instant::now() + pause(message::handed_on(&copy.properties), copy.body.len());
        next
    }
}

/// Begins the only life of the job here, once there is none; `None`: the message went to the tail of
/// the queue, and may be acked.
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
    // In a block of its own: who moves must not stand in the line any more, and be given a life.
    let turn = {
        let mut entering = pin!(shared.lives.enter(job));
        tokio::select! {
            biased;
            why = interrupts.any() => return Err(why),
            alone = &mut entering => return Ok(Some(alone)),
            // While one job is let through at a time, a copy that waits would be that one.
            _place = shared.copies.place(), if shared.breaker.mode() != Mode::OneJob => {
                return interrupts.or(entering).await.map(Some);
            }
            turn = shared.copies.turn(original) => turn,
        }
    };
    tracing::debug!("another copy of a job that has a life here goes to the tail of the queue");
    publish::republish(shared, original, interrupts).await?;
    drop(turn);
    Ok(None)
}

/// A tenth, at least one; but life and copies leave a place for others.
fn places(max_in_flight: u16) -> u16 {
    (max_in_flight / 10).max(1).min(max_in_flight.saturating_sub(2))
}

/// From one move to the next.
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
