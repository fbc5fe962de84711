//! What a life begins with: the settings, and what is known of the job.

use std::sync::Arc;
use std::time::Duration;

use crate::job::pace::{Pace, Schedule, Seed};
use crate::job::route::RouteName;
use crate::job::{Digest, Fault};

/// The settings of a life, as the configuration has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `generation.gate_s`: a POST is sent at most this long after the right to post was asked for.
    pub gate: Duration,
    /// `generation.quiet_s`: after this time an unanswered POST of another life can't arrive any more.
    pub quiet: Duration,
    /// `generation.timeout_s`, or the job's own.
    pub timeout: Duration,
    /// Half of `amqp.consumer_timeout_s`: the longest time that a life may take.
    pub hold: Duration,
    /// `download.patience_s`: how long, over all lives, the images of a paid task are tried for.
    pub patience: Duration,
    /// `generation.receipts`
    pub receipts: bool,
    /// `generation.on_unknown_submit = "trust_lookup"`: a look-up that finds nothing after the
    /// quiet period means that nothing was accepted.
    pub trust_lookup: bool,
    /// `generation.max_attempts`: how many generations a job may have, one after the other, as long as their tasks
    /// fail. With receipts, the number in the first intent counts instead.
    pub max_attempts: u32,
    pub pace: Pace,
}

/// What is known of a job when its message is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Delivered {
    pub digest: Digest,
    /// `None` if this worker doesn't know the job's route; then the job has faults.
    pub route: Option<RouteName>,
    /// Empty if the job can be run.
    pub faults: Vec<Fault>,
    /// How long the message was in the queue.
    pub queued_ms: Option<u64>,
    /// When to poll, by how long such tasks take; `None` if the user has fixed the schedule, which [`Rules::pace`] has
    /// then.
    pub learned: Option<Arc<Schedule>>,
    pub seed: Seed,
}

impl Rules {
    /// For tests: every time is a second.
    #[cfg(test)]
    pub(super) fn of_a_second() -> Self {
        let second = Duration::from_secs(1);
        Self {
            gate: second,
            quiet: second,
            timeout: second,
            hold: second,
            patience: second,
            receipts: true,
            trust_lookup: false,
            max_attempts: 1,
            pace: Pace { first: second, min: second, max: second },
        }
    }
}
