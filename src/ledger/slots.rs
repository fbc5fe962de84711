//! The account's slots: how many generations run at the same time, counted over all workers.
//!
//! A task takes one slot for each of its images, from the script that allows its POST to the first script that
//! reports its end, which is before the images are stored. A task that was given up while it may still run keeps its
//! slots until it can't run any more, and so does a task that no worker returns to: each counted slot ends at a set
//! time, by the ledger's clock.

use std::time::Duration;

/// The slots that one job's task takes of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slots {
    /// One for each image; 0 for a caller that won't submit the job.
    pub count: u32,
    /// How long its task can run at most, from the right to post on.
    pub keep: Duration,
}

impl Slots {
    /// For a caller that takes no slots.
    pub const NONE: Self = Self { count: 0, keep: Duration::ZERO };
}

/// The limits of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account {
    /// `generation.max_running`, above 0.
    pub cap: u32,
    /// How long no new submit is allowed after the ledger has lost the count. Within this time, every worker with a
    /// running task reports it.
    pub recount: Duration,
}

impl Account {
    /// The last argument of the scripts: see `slots.lua`.
    pub(super) fn of_job(&self, slots: Slots) -> String {
        format!("{} {} {} {}", self.cap, slots.count, slots.keep.as_millis(), self.recount.as_millis())
    }
}
