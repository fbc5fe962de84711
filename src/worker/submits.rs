//! The line before the POSTs: it limits how many run at a time, and stops them while the provider asks for a pause.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::job::answers::SubmitOutcome;
use crate::job::pace::{Seed, backoff};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The rate is measured over this time.
const MEASURED_FOR: Duration = Duration::from_secs(10);
/// The rate of a worker that has only begun: two a second.
const RATE_LEAST: u64 = 2000;

/// `api.max_submits_at_once` permits.
#[derive(Debug, Clone)]
pub struct Submits {
    places: Arc<Semaphore>,
    pause: Arc<Mutex<Pause>>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    /// "Later" answers in a row, counted once per pause.
    refusals: u32,
    rate: Rate,
}

/// What all workers are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowDown {
    pub pause: Duration,
    /// POSTs of this worker in 1000 seconds, measured lately.
    pub rate: u64,
}

/// How many POSTs were answered, and since when.
#[derive(Debug)]
struct Rate {
    since: Instant,
    answers: u64,
    /// The rate of the time before, in 1000 seconds.
    before: u64,
}

/// The right to have one POST under way.
#[derive(Debug)]
pub struct SubmitPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Submits {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let now = Instant::now();
        let rate = Rate { since: now, answers: 0, before: 0 };
        let pause = Pause { until: now, refusals: 0, rate };
        Self { places: Arc::new(Semaphore::new(at_once.max(1))), pause: Arc::new(Mutex::new(pause)) }
    }

    /// Waits for a permit and for the end of the pause.
    pub async fn place(&self) -> SubmitPermit {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            let until = self.lock().until;
            if until <= Instant::now() {
                return SubmitPermit { _permit: permit };
            }
            sleep_until(until).await;
        }
    }

    /// Learns from an answer. "Later" begins or lengthens a pause, of which all workers should know; an acceptance
    /// resets the count.
    #[must_use = "the other workers are to slow down, too"]
    pub fn note(&self, answer: &SubmitOutcome) -> Option<SlowDown> {
        let mut pause = self.lock();
        let rate = pause.rate.count(Instant::now());
        match answer {
            SubmitOutcome::Accepted(_) => {
                pause.refusals = 0;
                None
            }
            // This answer is about one job's model, so other jobs go on.
            SubmitOutcome::Later(later) if later.this_job_only => None,
            SubmitOutcome::Later(later) => {
                let now = Instant::now();
                let until = pause.until;
                if until <= now {
                    pause.refusals = pause.refusals.saturating_add(1);
                    let seed = Seed::from_text("submits");
                    pause.until = now + backoff(pause.refusals, FIRST_PAUSE, LONGEST_PAUSE, seed);
                }
                let after = later.after.unwrap_or_default().min(Duration::from_secs(600));
                pause.until = pause.until.max(now + after);
                // One burst of such answers causes one slow-down.
                (pause.until > until).then_some(SlowDown { pause: pause.until - now, rate })
            }
            SubmitOutcome::Account(_) | SubmitOutcome::Refused(_) | SubmitOutcome::Unknown { .. } => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    /// Counts one more answer, and returns the number in 1000 seconds.
    fn count(&mut self, now: Instant) -> u64 {
        let measured = |answers: u64, since: Instant| {
            let ms = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
            answers.saturating_mul(1_000_000) / ms.max(1000)
        };
        self.answers += 1;
        let current = measured(self.answers, self.since);
        let rate = current.max(self.before);
        if now - self.since >= MEASURED_FOR {
            *self = Self { since: now, answers: 0, before: current };
        }
        rate.max(RATE_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TaskId;
    use crate::job::answers::Later;

    fn later(after: Option<Duration>) -> SubmitOutcome {
        SubmitOutcome::Later(Later {
            message: String::new(),
            provider_code: None,
            after,
            this_job_only: false,
        })
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
        let told = submits.note(&later(None)).expect("a pause has begun");
        assert!(told.pause > Duration::ZERO && told.pause <= FIRST_PAUSE, "{told:?}");
        assert_eq!(told.rate, RATE_LEAST);
        assert_eq!(submits.note(&later(None)), None, "one burst slows all workers once");
        let first = waited(&submits).await;
        assert!(first > Duration::ZERO && first <= FIRST_PAUSE, "one burst is one refusal: {first:?}");
        let _ = submits.note(&later(None));
        assert!(waited(&submits).await > FIRST_PAUSE);
        assert_eq!(submits.note(&SubmitOutcome::Accepted(TaskId::new("1").unwrap())), None);
        let _ = submits.note(&later(None));
        assert!(waited(&submits).await <= FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_by_itself_makes_no_other_wait() {
        let submits = Submits::new(4);
        let SubmitOutcome::Later(later) = later(Some(Duration::from_secs(90))) else { panic!("not later") };
        assert!(submits.note(&SubmitOutcome::Later(Later { this_job_only: true, ..later })).is_none());
        assert_eq!(waited(&submits).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured() {
        let submits = Submits::new(4);
        let told = submits.note(&later(Some(Duration::from_secs(90))));
        assert_eq!(told.unwrap().pause, Duration::from_secs(90));
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
