//! A panic of a job's life concerns only that job, and is a fault of this program. Panics are counted per job, so
//! that a job over which the worker always panics doesn't return for ever.
//!
//! The counts are forgotten when the process ends, because another version may not have the fault.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::job::JobId;
use crate::job::request::{DeadLetter, DeadReason};
use crate::telemetry;

/// After this many panics the process doesn't run the job again.
pub const PANICS_MAX: u32 = 5;
/// The number of jobs whose panics are remembered. Beyond that, the job that panicked longest ago is forgotten, and
/// gets the full number of tries again.
const JOBS_MAX: usize = 1000;

/// The panics of this process, by job.
#[derive(Debug, Default, Clone)]
pub struct Panics {
    jobs: Arc<Mutex<HashMap<JobId, Panicked>>>,
}

#[derive(Debug)]
struct Panicked {
    times: u32,
    message: String,
    last: Instant,
}

impl Panics {
    /// Counts a panic, and returns how many this job has had.
    pub fn note(&self, job: &JobId, message: String) -> u32 {
        let mut jobs = self.lock();
        if jobs.len() >= JOBS_MAX && !jobs.contains_key(job) {
            let silent = jobs.iter().min_by_key(|(_, panicked)| panicked.last);
            if let Some(silent) = silent.map(|(job, _)| job.clone()) {
                jobs.remove(&silent);
            }
        }
        let times = jobs.get(job).map_or(0, |panicked| panicked.times).saturating_add(1);
        jobs.insert(job.clone(), Panicked { times, message, last: Instant::now() });
        times
    }

    /// A life of the job has ended well.
    pub fn forget(&self, job: &JobId) {
        self.lock().remove(job);
    }

    /// The dead letter that the job becomes in place of another life.
    #[must_use]
    pub fn quarantined(&self, job: &JobId) -> Option<DeadLetter> {
        let jobs = self.lock();
        let Panicked { times, message, .. } =
            jobs.get(job).filter(|panicked| panicked.times >= PANICS_MAX)?;
        let detail = format!(
            "the worker panicked {times} times over this job, at last with: {message}; send it again to another version"
        );
        Some(DeadLetter { reason: DeadReason::Quarantined, detail })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Panicked>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `life` to its end or to its panic. A panic's message is the error. What the life held is dropped by then.
pub fn caught<T>(life: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    let caught = AssertUnwindSafe(life).catch_unwind();
    caught.map(|ended| ended.map_err(|panic| telemetry::panic_words(panic.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> JobId {
        format!("job-{number}").parse().unwrap()
    }

    #[test]
    fn the_fifth_panic_quarantines_the_job_and_a_good_end_forgets_them() {
        let panics = Panics::default();
        for times in 1..=4 {
            assert_eq!(panics.note(&id(1), "oh".to_owned()), times);
            assert_eq!(panics.quarantined(&id(1)), None);
        }
        assert_eq!(panics.note(&id(1), "no".to_owned()), 5);
        let dead = panics.quarantined(&id(1)).unwrap();
        assert_eq!(dead.reason, DeadReason::Quarantined);
        assert!(dead.detail.contains("panicked 5 times") && dead.detail.contains("with: no;"), "{dead}");
        assert_eq!(panics.quarantined(&id(2)), None);
        panics.forget(&id(1));
        assert_eq!(panics.quarantined(&id(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_jobs_are_remembered_and_the_longest_silent_one_goes() {
        let panics = Panics::default();
        for number in 0..JOBS_MAX {
            panics.note(&id(number), String::new());
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
        }
        panics.note(&id(0), String::new());
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        panics.note(&id(JOBS_MAX), String::new());
        assert_eq!(panics.lock().len(), JOBS_MAX);
        assert_eq!(panics.note(&id(0), String::new()), 3, "it panicked just now");
        assert!(!panics.lock().contains_key(&id(1)));
    }

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let number = 7;
        let panicked = caught(async { assert_eq!(number, 8, "as it must be") }).await;
        assert!(panicked.is_err_and(|words| words.contains("as it must be")));
    }
}
