//! The line before the POSTs: so many at a time, and none while the provider asks for a pause.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::job::pace::{Seed, backoff};
use crate::provider::Answer;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// `api.max_submits_at_once` places.
#[derive(Debug, Clone)]
pub struct Submits {
    places: Arc<Semaphore>,
    pause: Arc<Mutex<Pause>>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    /// Answers of "later" in a row, counted once for each pause.
    refusals: u32,
}

/// The right to have one POST under way.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Submits {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let pause = Pause { until: Instant::now(), refusals: 0 };
        Self { places: Arc::new(Semaphore::new(at_once.max(1))), pause: Arc::new(Mutex::new(pause)) }
    }

    /// Waits for a free place and for the end of the pause.
    pub async fn place(&self) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            let until = self.lock().until;
            if until <= Instant::now() {
                return Place { _permit: permit };
            }
            sleep_until(until).await;
        }
    }

    /// Learns from an answer: "later" begins or lengthens a pause, an acceptance ends the count.
    pub fn note(&self, answer: &Answer) {
        let mut pause = self.lock();
        match answer {
            Answer::Accepted(_) => pause.refusals = 0,
            // About one job's model: the others go on.
            Answer::Later(later) if later.this_job_only => {}
            Answer::Later(later) => {
                let now = Instant::now();
                if pause.until <= now {
                    pause.refusals = pause.refusals.saturating_add(1);
                    let seed = Seed::from_text("submits");
                    pause.until = now + backoff(pause.refusals, FIRST_PAUSE, LONGEST_PAUSE, seed);
                }
                let asked = now + later.after.unwrap_or_default().min(Duration::from_secs(600));
                pause.until = pause.until.max(asked);
            }
            Answer::Account(_) | Answer::Refused(_) | Answer::Unknown { .. } => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TaskId;
    use crate::provider::Later;

    fn later(after: Option<Duration>) -> Answer {
        Answer::Later(Later { message: String::new(), provider_code: None, after, this_job_only: false })
    }

    async fn waited(submits: &Submits) -> Duration {
        let asked = Instant::now();
        drop(submits.place().await);
        asked.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_the_provider_says_later_and_end_with_an_acceptance() {
        let submits = Submits::new(4);
        assert_eq!(waited(&submits).await, Duration::ZERO);
        submits.note(&later(None));
        submits.note(&later(None));
        let first = waited(&submits).await;
        assert!(first > Duration::ZERO && first <= FIRST_PAUSE, "one burst is one refusal: {first:?}");
        submits.note(&later(None));
        assert!(waited(&submits).await > FIRST_PAUSE);
        submits.note(&Answer::Accepted(TaskId::new("1").unwrap()));
        submits.note(&later(None));
        assert!(waited(&submits).await <= FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_by_itself_makes_nobody_else_wait() {
        let submits = Submits::new(4);
        let Answer::Later(later) = later(Some(Duration::from_secs(90))) else { panic!("not later") };
        submits.note(&Answer::Later(Later { this_job_only: true, ..later }));
        assert_eq!(waited(&submits).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured() {
        let submits = Submits::new(4);
        submits.note(&later(Some(Duration::from_secs(90))));
        assert!(waited(&submits).await >= Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_places_and_no_more() {
        let submits = Submits::new(1);
        let place = submits.place().await;
        assert!(tokio::time::timeout(Duration::from_secs(5), submits.place()).await.is_err());
        drop(place);
        assert_eq!(waited(&submits).await, Duration::ZERO);
    }
}
