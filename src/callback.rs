//! Callbacks: the provider calls back when a task has changed, and the task's next poll is then made at once.
//!
//! A callback is unsigned. It comes once, twice or never, before the reply to its POST or long after the end, and may
//! name the task by an unknown id (docs/provider.md, "Callbacks"). So it is only believed when it says that there is
//! nothing to see yet. Otherwise a callback only shows that its sender knows the URL that was made for this job, and
//! its only effect is that a poll is made earlier than planned.
//!
//! The URL ends with a token that names the job and proves that a worker of this fleet made it. Any worker can check
//! it without asking Redis, even if it has never seen the job. The body is read for one reason: a callback that says
//! that the task is still running causes no poll, since the provider calls at each change of a task's status, and
//! polls should be few.

pub mod listener;
mod relay;
#[cfg(test)]
mod tests;

pub use self::relay::Relay;
