//! Callbacks: the provider calls back when a task has changed, and its next poll comes at once.
//!
//! A callback is unsigned, comes once, twice or never, before the reply to its POST or long after the
//! end, and may name the task by an id that we have never seen (docs/provider.md, "Callbacks"). So
//! nothing in it is believed but that there is nothing to see yet: what a hit says is that somebody knows
//! the URL that was made for this job, and all that it does is to pull a poll forward that would have
//! come anyway.
//!
//! The URL ends with a token that names the job and proves that a worker of this fleet made it. Any
//! worker can check it without a look-up, also one that has never seen the job. The body is looked at for
//! one thing: one that says that the task is still running pulls nothing, since the provider calls at each
//! change of a task's status, and polls are to be few.

pub mod listener;
mod relay;
#[cfg(test)]
mod tests;

pub use self::relay::Relay;
