//! The account's slots: how many generations run at a time, counted over all workers.
//!
//! A task holds as many as it makes images, from the script that allows its POST to the first one that
//! tells of its end: before the images are stored. One that was given up while it may still run holds
//! them until it can't any more, and so does one that nobody comes back to: what is counted has an end of
//! its own, by Redis's clock.

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
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// `generation.max_running`, above 0.
    pub cap: u32,
    /// How long nothing new is allowed after Redis has lost the count: whoever holds a running task has
    /// said so by then.
    pub recount: Duration,
}

impl Account {
    /// The last argument of the scripts: see `slots.lua`.
    pub(super) fn of_job(&self, slots: Slots) -> String {
        format!("{} {} {} {}", self.cap, slots.count, slots.keep.as_millis(), self.recount.as_millis())
    }
}
