//! Every decision in the life of a job: what to do next, and which end follows from what has happened.
//!
//! [`Machine`] is a state machine without a clock and without I/O. [`Machine::next`] returns the next action; the
//! shell in `worker/life.rs` performs it and reports its result through one of the other methods. A job that is
//! retried, redelivered or resumed begins with [`Action::Read`]; a job whose message was never delivered before
//! begins with [`Action::Begin`] and continues with what that finds. All of them use the same states; only the record
//! and the receipts differ.
//!
//! The machine guarantees three things. It returns [`Action::Post`] only after [`Action::Begin`] and, with receipts,
//! after [`Action::Ask`] for the same attempt in the same life. After an answer that leaves open whether a POST was
//! accepted, it returns a second [`Action::Post`] only if a trusted look-up or a person says that nothing was
//! accepted. It returns [`Action::Ack`] only after a published event or dead letter.

mod again;
mod finish;
mod generation;
mod intent_seen;
mod look;
mod machine;
mod outcome;
mod reading;
mod submit;
mod unstored;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::intent_seen::IntentSeen;
pub use self::machine::Machine;
pub use self::unstored::{Blame, Others, Unstored, together};

use super::pace::{Pace, Schedule, Seed};
use super::{Charged, FailedTasks, Outcome, SentUnder, StoredImage, TaskId};
use crate::job::answers::ResultImage;
use crate::job::record::{Nonce, Snapshot, Stage};

/// The bounds that a life keeps to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// The learned schedule, if enough is known of how long such tasks take; otherwise `pace` is the schedule.
    pub learned: Option<Arc<Schedule>>,
    pub seed: Seed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the record. Report to [`Machine::read`].
    Read,
    /// Read the job's receipts. Report to [`Machine::recalled`].
    Recall,
    /// Read the event of a job whose event was published. Report to [`Machine::read_again`].
    ReadAgain,
    /// Write what the receipts say into the record. Report to [`Machine::restored`].
    Restore { over: RestorePrecondition, rebuilt: Rebuilt },
    /// Wait for a permit to submit, then ask the ledger for the right to post `attempt`, and repeat this while the
    /// account is full. If the user `cancels` the job, ask at once, since the right is only taken to be given up.
    /// Report to [`Machine::begun`].
    Begin { attempt: u32, round: u32, basis: BeginPrecondition, cancels: bool },
    /// Ask at the gate of the receipts. Report to [`Machine::gated`].
    Ask { attempt: u32, nonce: Nonce },
    /// Send the paid POST, now. Report to [`Machine::answered`].
    Post,
    /// Write the task id into the ledger, and retry until that succeeds. Report to [`Machine::accepted`].
    Accept { attempt: u32, task: TaskId },
    /// Write the task id into a receipt. Report to [`Machine::noted`].
    NoteTask { attempt: u32, task: TaskId },
    /// Write into a receipt that attempt `attempt` was certainly not accepted. Report to [`Machine::refused`].
    Refuse { attempt: u32 },
    /// Move the record past the attempt. Report to [`Machine::reopened`].
    Reopen { attempt: u32, nonce: Option<Nonce> },
    /// Check whether any life has asked at the gate. Report to [`Machine::saw_intent`].
    SeeIntent { attempt: u32 },
    /// Query the provider for a task under our own id. Report to [`Machine::looked_up`].
    LookUp,
    /// Wait until `until` or until a hint arrives, since another life may have posted, and report to
    /// [`Machine::looked_on`]. Report a callback that arrives earlier to [`Machine::pulled`].
    LookOn { until: Duration },
    /// Write into a receipt that the attempt's task has failed and that another generation may follow. Report to
    /// [`Machine::failure_noted`].
    NoteFailure { attempt: u32, task: TaskId, charged: Charged },
    /// Move the record past the attempt whose task is the last one in `failed`. Report to [`Machine::followed`].
    Follow { attempt: u32, failed: FailedTasks },
    /// Shut the gate of attempt `attempt`, since the job is given up or its user `cancels` it. Report to
    /// [`Machine::shut`].
    Shut { attempt: u32, cancels: bool },
    /// Leave a copy of the message for a person. Report to [`Machine::parked`].
    Park,
    /// Wait until `at`, then query the task. Report to [`Machine::viewed`]. Report a hint that arrives earlier to
    /// [`Machine::hinted`], and a callback to [`Machine::pulled`].
    Poll { task: TaskId, at: Duration },
    /// Count this life among the lives that have begun to store the images. Report to [`Machine::entered`].
    Enter,
    /// Download, check and store the images. Report to [`Machine::stored`].
    Store { task: TaskId, images: Vec<ResultImage> },
    /// Seal the outcome in a receipt. Report to [`Machine::sealed`].
    Seal { outcome: Box<Outcome>, corrects: Option<Bytes> },
    /// Freeze the outcome in the record. Report to [`Machine::frozen`].
    Freeze { words: EventSource, expect: FreezePrecondition },
    /// Publish the event. Report to [`Machine::published`].
    Publish { event: Bytes },
    /// Write into the record that the event is confirmed. If a receipt has the event (`sealed`), the record also ends
    /// with this. Report to [`Machine::remembered`].
    Remember { sealed: Option<Bytes> },
    /// Publish the dead letter, since there is no event for this message. Report to [`Machine::published`].
    DeadLetter { why: Unanswerable },
    /// Acknowledge the delivery. The life is over.
    Ack,
    /// Requeue the delivery. The life is over.
    Requeue { why: RequeueReason },
}

/// Why a delivery is requeued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequeueReason {
    /// The account or the provider refuses every job at the moment.
    Paused,
    /// This worker can't read the record.
    Unreadable,
    /// The worker stops.
    Stopping,
    /// The message is needed again, but it was dropped when the task id became known.
    NeedsMessage,
    /// Half of the broker's consumer timeout is over.
    HeldLong,
    /// The connection that brought the delivery is gone, so the broker has requeued it already.
    Disconnected,
}

impl RequeueReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Unreadable => "unreadable",
            Self::Stopping => "stopping",
            Self::NeedsMessage => "needs_message",
            Self::HeldLong => "held_long",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What the life knows when it asks for the right to post.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BeginPrecondition {
    /// The record was not read. RabbitMQ delivers the message for the first time, so there is most likely no record;
    /// if there is one, the ledger refuses the right.
    Unread,
    /// The record was read.
    Read,
    /// The attempt is open under this nonce, which never reached the gate of the receipts. The new ask replaces it.
    NeverAsked(Nonce),
}

/// Why there is no event for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unanswerable {
    /// Another job has its id.
    Conflict,
    /// The job has ended and its event was published, but the receipt with the event is gone.
    Forgotten,
}

/// The state that the record must have for an outcome to be frozen. A record that Redis has lost doesn't prevent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FreezePrecondition {
    /// Nothing has been posted for this job.
    Unposted,
    /// No other life has moved the record since.
    Submitting { nonce: Nonce },
    /// Any state but done: the outcome of a task is a fact, and so is what a receipt has sealed.
    Unfinished,
    /// Any state but done, or done by this event, which said that the outcome is unknown.
    Correcting { first: Bytes },
}

/// The state that the record must have for the receipts to be written over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestorePrecondition {
    /// There is no record.
    Nothing,
    /// The record says that this attempt is open.
    Open(u32),
    /// The record ended with the unknown outcome that is about to be corrected, or there is no record.
    Ended,
}

/// The source of the event that goes into the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// The event is made from this outcome, since no receipt has it.
    New(Box<Outcome>),
    /// The bytes of the event in a receipt.
    Sealed(Bytes),
}

/// A record that is rebuilt from the receipts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rebuilt {
    /// `None` if no receipt names it.
    pub digest: Option<super::Digest>,
    pub round: u32,
    /// The age of a running generation is unknown, so it counts from the rebuilding.
    pub stage: Stage,
    /// The failed tasks of the generations before the one of this stage.
    pub failed: FailedTasks,
    /// The external id of the attempt in this stage; `None` if no receipt has it.
    pub under: Option<SentUnder>,
    /// The event of an unknown outcome, if a person has had the job submitted again.
    pub corrects: Option<Bytes>,
}

/// The ledger's answer to [`Action::Begin`] and [`Action::Reopen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveResult {
    Yes {
        /// The user has cancelled the job.
        cancelled: bool,
    },
    /// To [`Action::Begin`]: the account has no free slot for the job at the moment; nothing has changed.
    Full,
    /// To [`Action::Begin`]: the provider has asked all workers to slow down; nothing has changed. Ask again after
    /// `wait`.
    Paced { wait: Duration },
    /// The record is not in the expected state.
    No(Snapshot),
}

/// The ledger's answer to [`Action::Freeze`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeResult {
    /// The bytes to publish: ours, or those of the life that froze the outcome first.
    Event(Bytes),
    /// The record is not in the expected state.
    Changed(Snapshot),
}

/// The result of [`Action::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    All(Vec<StoredImage>),
    /// The images are not stored this time, because of the image whose fault decides.
    Not(Unstored),
}
