//! The jobs that this worker holds, and what each is at: for metrics, and for the worker's heartbeat in the fleet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::job::JobId;
use crate::job::stage::JobStage;
use crate::metrics::Metrics;

/// The jobs in the hands of this process. Clones share it.
#[derive(Debug, Clone)]
pub struct HeldJobs {
    jobs: Arc<Mutex<HashMap<JobId, Arc<Entry>>>>,
    metrics: Metrics,
    start: Instant,
}

#[derive(Debug)]
struct Entry {
    /// The place of the stage in [`JobStage::ALL`].
    stage: AtomicU8,
    /// From the creation of [`HeldJobs`], in ms.
    since_ms: AtomicU64,
}

/// A job that counts as held until this is dropped.
#[derive(Debug)]
pub struct HeldJobEntry {
    all: HeldJobs,
    job: JobId,
    entry: Arc<Entry>,
}

/// A job that this worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldJob {
    pub job: JobId,
    pub stage: JobStage,
    /// For how long it has been at that stage.
    pub age: Duration,
}

impl HeldJobs {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { jobs: Arc::default(), metrics, start: Instant::now() }
    }

    /// Counts a job as held from now on, as waiting.
    #[must_use]
    pub fn enter(&self, job: &JobId) -> HeldJobEntry {
        let entry = Arc::new(Entry {
            stage: AtomicU8::new(place(JobStage::Waiting)),
            since_ms: AtomicU64::new(self.now_ms()),
        });
        self.lock().insert(job.clone(), Arc::clone(&entry));
        self.metrics.moved(None, Some(JobStage::Waiting));
        HeldJobEntry { all: self.clone(), job: job.clone(), entry }
    }

    /// All held jobs, in no order.
    #[must_use]
    pub fn jobs(&self) -> Vec<HeldJob> {
        let now_ms = self.now_ms();
        let held = |(job, entry): (&JobId, &Arc<Entry>)| HeldJob {
            job: job.clone(),
            stage: entry.stage(),
            age: Duration::from_millis(now_ms.saturating_sub(entry.since_ms.load(Ordering::Relaxed))),
        };
        self.lock().iter().map(held).collect()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Entry>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldJobEntry {
    /// The job is at this stage now.
    pub fn at(&self, stage: JobStage) {
        let before = self.entry.stage();
        if before != stage {
            self.entry.stage.store(place(stage), Ordering::Relaxed);
            self.entry.since_ms.store(self.all.now_ms(), Ordering::Relaxed);
            self.all.metrics.moved(Some(before), Some(stage));
        }
    }
}

impl Drop for HeldJobEntry {
    fn drop(&mut self) {
        self.all.metrics.moved(Some(self.entry.stage()), None);
        self.all.lock().remove(&self.job);
    }
}

impl Entry {
    fn stage(&self) -> JobStage {
        let index = usize::from(self.stage.load(Ordering::Relaxed));
        JobStage::ALL.get(index).copied().unwrap_or(JobStage::Waiting)
    }
}

fn place(stage: JobStage) -> u8 {
    u8::try_from(stage.index()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_at_one_stage_at_a_time_and_its_age_is_that_of_the_stage() {
        let metrics = Metrics::new();
        let held = |stage: &str, number: i64| {
            metrics.encode().contains(&format!("comet_jobs_held{{stage=\"{stage}\"}} {number}\n"))
        };
        let all = HeldJobs::new(metrics.clone());
        let job: JobId = "a".parse().unwrap();
        let entry = all.enter(&job);
        assert!(held("waiting", 1));
        advance(Duration::from_secs(3)).await;
        entry.at(JobStage::Generating);
        advance(Duration::from_secs(2)).await;
        entry.at(JobStage::Generating);
        let age = Duration::from_secs(2);
        assert_eq!(all.jobs(), [HeldJob { job, stage: JobStage::Generating, age }], "again is no change");
        assert!(held("waiting", 0) && held("generating", 1));
        drop(entry);
        assert!(all.jobs().is_empty() && held("generating", 0));
    }
}
