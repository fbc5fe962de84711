//! One life per job per process: a second delivery of the same job waits for the end of the first life, if
//! [`copies`](super::copies) lets it wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::job::JobId;
use crate::job::step::IntentSeen;

/// The number of open attempts whose first sight is remembered between two lives.
const SIGHTS_MAX: usize = 10_000;

type Slot = Arc<tokio::sync::Mutex<()>>;

/// The jobs that have a life in this process, or wait for one.
#[derive(Debug, Default, Clone)]
pub struct JobsInFlight {
    slots: Arc<Mutex<HashMap<JobId, Slot>>>,
    suspects: Slot,
    sights: Arc<Mutex<HashMap<JobId, IntentSeen>>>,
}

/// A place in the line of one job. The last place that is dropped removes the line.
#[derive(Debug)]
struct Claim {
    lives: JobsInFlight,
    job: JobId,
    slot: Slot,
}

/// While this exists, no other life of the job begins in this process.
#[derive(Debug)]
pub struct Alone {
    // Dropped in this order: the lock first, then the place.
    _guard: OwnedMutexGuard<()>,
    _claim: Claim,
}

impl JobsInFlight {
    /// Waits for the end of the life that the job already has in this process, if it has one.
    pub async fn enter(&self, job: &JobId) -> Alone {
        let slot = Arc::clone(self.lock().entry(job.clone()).or_default());
        let claim = Claim { lives: self.clone(), job: job.clone(), slot };
        let guard = Arc::clone(&claim.slot).lock_owned().await;
        Alone { _guard: guard, _claim: claim }
    }

    /// Waits until no other job that is suspected of killing the process runs in the suspicious part.
    pub async fn suspects(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.suspects).lock_owned().await
    }

    /// Keeps what an interrupted life knew of its job's open attempt.
    pub fn keep(&self, job: &JobId, sight: Option<IntentSeen>) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        match sight {
            // If a sight is forgotten, the job waits for a whole quiet period, which is slow but correct.
            Some(sight) if sights.len() < SIGHTS_MAX => drop(sights.insert(job.clone(), sight)),
            Some(_) | None => drop(sights.remove(job)),
        }
    }

    /// Takes what an earlier life of the job has left.
    #[must_use]
    pub fn kept(&self, job: &JobId) -> Option<IntentSeen> {
        self.sights.lock().unwrap_or_else(PoisonError::into_inner).remove(job)
    }

    /// The number of jobs that have a life, or wait for one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.lives.lock();
        // The map and this claim hold one reference each, so no other life is in the line.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_second_life_waits_for_the_first_and_nothing_is_left_behind() {
        let lives = JobsInFlight::default();
        let job: JobId = "a".parse().unwrap();
        let other: JobId = "b".parse().unwrap();
        let first = lives.enter(&job).await;
        let _other = lives.enter(&other).await;
        let given_up = timeout(Duration::from_secs(1), lives.enter(&job)).await;
        assert!(given_up.is_err(), "two lives of one job");
        drop(given_up);
        let waiting = tokio::spawn({
            let (lives, job) = (lives.clone(), job.clone());
            async move { lives.enter(&job).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        drop(waiting.await.unwrap());
        assert_eq!(lives.count(), 1, "only the other job is left");
    }
}
