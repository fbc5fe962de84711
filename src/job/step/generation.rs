//! What a life remembers of a running task.

use std::time::Duration;

use super::Act;
use crate::job::TaskId;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    pub(super) attempt: u32,
    pub(super) task: TaskId,
    /// When it was accepted; before this life began, perhaps.
    pub(super) accepted: Since,
    pub(super) next_poll: Duration,
    /// A receipt has the task id.
    pub(super) noted: bool,
    /// Queries in a row without an answer about the task.
    pub(super) failures: u32,
    pub(super) empty_results: u32,
    pub(super) gone_results: u32,
    /// When the provider first called it a success.
    pub(super) succeeded: Option<Duration>,
    pub(super) failed_downloads: u32,
    /// How many lives may have entered the storing of its images before this one; `None` for the life
    /// that submitted it, and once this one has entered too.
    pub(super) entries: Option<u32>,
}

/// A moment that may lie before the clock's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Since {
    pub(super) noted: Duration,
    pub(super) age_then: Duration,
}

impl Since {
    pub(super) fn age(self, now: Duration) -> Duration {
        now.saturating_sub(self.noted) + self.age_then
    }
}

impl Generation {
    pub(super) fn new(attempt: u32, task: TaskId, accepted: Since, next_poll: Duration) -> Self {
        Self {
            attempt,
            task,
            accepted,
            next_poll,
            noted: false,
            failures: 0,
            empty_results: 0,
            gone_results: 0,
            succeeded: None,
            failed_downloads: 0,
            entries: None,
        }
    }

    /// A task that is to be waited for is in a receipt before the wait; an instant one is spared it,
    /// unless others may have given it up.
    pub(super) fn next(&self, now: Duration, receipts: bool, perhaps_given_up: bool) -> Act {
        if receipts && !self.noted && (perhaps_given_up || now < self.next_poll) {
            return Act::NoteTask { attempt: self.attempt, task: self.task.clone() };
        }
        Act::Poll { task: self.task.clone(), at: self.next_poll }
    }
}
