//! The account's slots: how many generations run at a time, counted over all workers.
//!
//! A task holds as many as it makes images, from the script that allows its POST to the first one that
//! tells of its end: before the images are stored. One that was given up while it may still run holds them until it can't any more,
//! and so does one that nobody comes back to: what is counted has an end of its own, by Redis's clock.

use std::fmt;
use std::time::Duration;

/// What one job's task takes of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slots {
    /// As many as it makes images; 0 for who won't submit it.
    pub count: u32,
    /// From the right to post on: how long its task can run at most.
    pub keep: Duration,
}

impl Slots {
    /// Of who takes none.
    pub const NONE: Self = Self { count: 0, keep: Duration::ZERO };
}

/// What the account allows.
pub struct Account {
    /// `generation.max_running`, above 0.
    cap: u32,
    /// How long nothing new is allowed after Redis has lost the count: whoever holds a running task has
    /// said so by then.
    recount: Duration,
    told: Box<dyn Fn(u64) + Send + Sync>,
}

impl Account {
    /// `told` is called with the number of slots that were taken after each move of a job.
    #[must_use]
    pub fn new(cap: u32, recount: Duration, told: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { cap, recount, told: Box::new(told) }
    }

    /// The last argument of the scripts: see `slots.lua`.
    pub(super) fn of_job(&self, slots: Slots) -> String {
        format!("{} {} {} {}", self.cap, slots.count, slots.keep.as_millis(), self.recount.as_millis())
    }

    pub(super) fn note_taken(&self, taken: u64) {
        (self.told)(taken);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("cap", &self.cap)
            .field("recount", &self.recount)
            .finish_non_exhaustive()
    }
}
