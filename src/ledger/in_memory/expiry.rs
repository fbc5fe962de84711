//! When a job is forgotten, so that the table doesn't grow with each job that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::job::JobId;

/// The jobs that will be forgotten, by job and by time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Expiry {
    /// `None`: no job is ever forgotten.
    remember: Option<Duration>,
    of: BTreeMap<JobId, Duration>,
    order: BTreeSet<(Duration, JobId)>,
}

impl Expiry {
    pub(super) fn after(remember: Duration) -> Self {
        Self { remember: Some(remember), ..Self::default() }
    }

    /// The job will be forgotten; the time to remember it begins now, or again now.
    pub(super) fn start(&mut self, job: &JobId, now: Duration) {
        let Some(remember) = self.remember else { return };
        self.stop(job);
        let at = now.saturating_add(remember);
        self.of.insert(job.clone(), at);
        self.order.insert((at, job.clone()));
    }

    /// The job is not forgotten.
    pub(super) fn stop(&mut self, job: &JobId) {
        if let Some(at) = self.of.remove(job) {
            self.order.remove(&(at, job.clone()));
        }
    }

    /// Whether the job will be forgotten.
    pub(super) fn has(&self, job: &JobId) -> bool {
        self.of.contains_key(job)
    }

    /// A job that is to be forgotten by now, once.
    pub(super) fn next_due(&mut self, now: Duration) -> Option<JobId> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, job) = self.order.pop_first()?;
        self.of.remove(&job);
        Some(job)
    }
}
