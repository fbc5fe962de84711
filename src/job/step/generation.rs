//! What a life remembers of a running task.

use std::time::Duration;

use super::Act;
use crate::job::TaskId;
use crate::job::pace::Pace;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    pub(super) attempt: u32,
    pub(super) task: TaskId,
    /// When it was accepted; before this life began, perhaps.
    pub(super) accepted: Since,
    pub(super) next_poll: Duration,
    /// A callback pulls it no further forward than this.
    pub(super) pull_from: Duration,
    pub(super) pulls: Pulls,
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
            pull_from: accepted.noted,
            pulls: Pulls::new(),
            noted: false,
            failures: 0,
            empty_results: 0,
            gone_results: 0,
            succeeded: None,
            failed_downloads: 0,
            entries: None,
        }
    }

    /// A task that is to be waited for is in a receipt before the wait; an instant one is spared it.
    pub(super) fn next(&self, now: Duration, receipts: bool) -> Act {
        if receipts && !self.noted && now < self.next_poll {
            return Act::NoteTask { attempt: self.attempt, task: self.task.clone() };
        }
        Act::Poll { task: self.task.clone(), at: self.next_poll }
    }
}

/// How often callbacks may still pull a look forward. They are unsigned and come in any number, so they
/// change when looks are made, and hardly how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pulls {
    left: u32,
}

impl Pulls {
    /// Three for the changes of a task's status, and some for copies of them.
    const TIMES_MAX: u32 = 8;
    /// From one look to the next where `poll.min_ms` is longer: who relies on callbacks polls seldom.
    const APART_MAX: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { left: Self::TIMES_MAX }
    }

    /// From when on a look may be pulled that follows one at `asked`.
    pub(super) fn after_look(asked: Duration, pace: &Pace) -> Duration {
        asked + pace.min.min(Self::APART_MAX)
    }

    /// A callback came: when to look instead of at `next`.
    pub(super) fn pull(&mut self, next: Duration, from: Duration, now: Duration) -> Duration {
        let pulled = from.max(now);
        if self.left == 0 || pulled >= next {
            return next;
        }
        self.left -= 1;
        pulled
    }
}
