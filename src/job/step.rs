//! Every decision there is in the life of a job: what to do next, and what an outcome makes of it.
//!
//! [`Machine`] is a state machine without clock and I/O. [`Machine::next`] says what to do; the shell in
//! `worker/life.rs` does it and reports what came of it through one of the other methods. A retried
//! job, a redelivered and a resumed one all begin with [`Action::Read`]; one whose message was never delivered
//! before begins with [`Action::Begin`], and with what that finds. They take the same way; what differs is what
//! the record and the receipts say.
//!
//! What can't be found here: a way to [`Action::Post`] that doesn't lead through [`Action::Begin`] and,
//! with receipts, through [`Action::Ask`] of the same attempt by the same life; a second [`Action::Post`]
//! after an answer that leaves open whether the first was accepted, but on the word of a look-up
//! that is trusted, or of a person; an [`Action::Ack`] that doesn't follow a published event or dead letter.

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
    /// `generation.gate_s`: a POST leaves within this after the right to it was asked for.
    pub gate: Duration,
    /// `generation.quiet_s`: after this an unanswered POST of another hand can't arrive any more.
    pub quiet: Duration,
    /// `generation.timeout_s`, or the job's own.
    pub timeout: Duration,
    /// Half of `amqp.consumer_timeout_s`: no life is longer.
    pub hold: Duration,
    /// `download.patience_s`: so long images that were paid for are tried for, over all lives.
    pub patience: Duration,
    /// `generation.receipts`
    pub receipts: bool,
    /// `generation.on_unknown_submit = "trust_lookup"`: a look-up that finds nothing after the
    /// quiet period means that nothing was accepted.
    pub trust_lookup: bool,
    /// `generation.max_attempts`: so many generations for a job, one after the other, as long as their
    /// tasks fail. With receipts, what those say holds.
    pub max_attempts: u32,
    pub pace: Pace,
    /// Where enough is known of how long tasks like this one take; else `pace` is the schedule.
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
    /// Read the event of a job that was told. Report to [`Machine::read_again`].
    ReadAgain,
    /// Write what the receipts say into the record. Report to [`Machine::restored`].
    Restore { over: RestorePrecondition, rebuilt: Rebuilt },
    /// Wait for a place among the submits, then ask the ledger for the right to post `attempt`, again and
    /// again while the account is full; at once where that is only to be given up, since the user `cancels`.
    /// Report to [`Machine::begun`].
    Begin { attempt: u32, round: u32, basis: BeginPrecondition, cancels: bool },
    /// Ask at the gate of the receipts. Report to [`Machine::gated`].
    Ask { attempt: u32, nonce: Nonce },
    /// Send the paid POST, now. Report to [`Machine::answered`].
    Post,
    /// Write down the task id, until it lands. Report to [`Machine::accepted`].
    Accept { attempt: u32, task: TaskId },
    /// Write the task id down in a receipt. Report to [`Machine::noted`].
    NoteTask { attempt: u32, task: TaskId },
    /// Write down in a receipt that attempt `attempt` was surely not accepted. Report to
    /// [`Machine::refused`].
    Refuse { attempt: u32 },
    /// Move the record past the attempt. Report to [`Machine::reopened`].
    Reopen { attempt: u32, nonce: Option<Nonce> },
    /// See whether anybody has asked at the gate. Report to [`Machine::saw_intent`].
    SeeIntent { attempt: u32 },
    /// Ask the provider for a task under our own id. Report to [`Machine::looked_up`].
    LookUp,
    /// Another hand may have posted: wait until then, or for a hint, and report to
    /// [`Machine::looked_on`]; a callback that comes before, to [`Machine::pulled`].
    LookOn { until: Duration },
    /// Write down in a receipt that the attempt's task has failed, and another generation may follow.
    /// Report to [`Machine::failure_noted`].
    NoteFailure { attempt: u32, task: TaskId, charged: Charged },
    /// Move the record past the attempt whose task is the last that `failed`. Report to
    /// [`Machine::followed`].
    Follow { attempt: u32, failed: FailedTasks },
    /// Shut the gate of attempt `attempt`: the job is given up, or its user `cancels`. Report to
    /// [`Machine::shut`].
    Shut { attempt: u32, cancels: bool },
    /// Leave a copy of the message for a person. Report to [`Machine::parked`].
    Park,
    /// Wait until `at`, then query the task. Report to [`Machine::viewed`]; a hint that comes before, to
    /// [`Machine::hinted`], a callback to [`Machine::pulled`].
    Poll { task: TaskId, at: Duration },
    /// Count this life among those that have entered the storing of the images. Report to
    /// [`Machine::entered`].
    Enter,
    /// Download, check and store the images. Report to [`Machine::stored`].
    Store { task: TaskId, images: Vec<ResultImage> },
    /// Seal the outcome in a receipt. Report to [`Machine::sealed`].
    Seal { outcome: Box<Outcome>, corrects: Option<Bytes> },
    /// Freeze the outcome in the record. Report to [`Machine::frozen`].
    Freeze { words: EventSource, expect: FreezePrecondition },
    /// Publish the event. Report to [`Machine::published`].
    Publish { event: Bytes },
    /// The event is confirmed, so the record need only be remembered; where the event is `sealed`, in a
    /// receipt, the record ends with this. Report to [`Machine::remembered`].
    Remember { sealed: Option<Bytes> },
    /// Publish the dead letter: this message can't be answered. Report to [`Machine::published`].
    DeadLetter { why: Unanswerable },
    /// Acknowledge the delivery. The life is over.
    Ack,
    /// Give the delivery back to RabbitMQ. The life is over.
    Requeue { why: RequeueReason },
}

/// Why a delivery is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequeueReason {
    /// The account or the provider refuses every job just now.
    Paused,
    /// The record can't be read by this worker.
    Unreadable,
    /// The worker stops.
    Stopping,
    /// The message is needed once more, and was dropped when its task was known.
    NeedsMessage,
    /// Half of the broker's consumer timeout is over.
    HeldLong,
    /// The connection that brought the delivery is gone; the broker has given it back itself.
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

/// What the ask for the right to post rests on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BeginPrecondition {
    /// Nothing has been looked at: RabbitMQ delivers the message for the first time, so there is no record
    /// most likely, and if there is one, this ask is none.
    Unread,
    /// The record was read.
    Read,
    /// This ask has the attempt open, and never reached the gate of the receipts: it takes its place.
    NeverAsked(Nonce),
}

/// Why there is no event for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unanswerable {
    /// Another job has its id.
    Conflict,
    /// The job has ended and was told, and the receipt that had its event is gone.
    Forgotten,
}

/// What the record must be for an outcome to be frozen. A record that is missing, since Redis lost
/// it, hinders nobody who knows better.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FreezePrecondition {
    /// Nothing has been posted for this job.
    Unposted,
    /// Nobody has moved it since.
    Submitting { nonce: Nonce },
    /// Any but done: the outcome of a task is knowledge, and so is what a receipt has sealed.
    Unfinished,
    /// Any but done, or done by this event, which said that the outcome is unknown.
    Correcting { first: Bytes },
}

/// What the record must be for the receipts to be written over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestorePrecondition {
    /// There is none.
    Nothing,
    /// It has this attempt as open.
    Open(u32),
    /// It ended with the unknown outcome that is going to be corrected, or there is none.
    Ended,
}

/// An outcome on its way into the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// To be put into words: no receipt has them.
    New(Box<Outcome>),
    /// As a receipt has them.
    Sealed(Bytes),
}

/// A record as the receipts tell it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rebuilt {
    /// `None` where no receipt names it.
    pub digest: Option<super::Digest>,
    pub round: u32,
    /// A generation's age is unknown, and counts from its rebuilding.
    pub stage: Stage,
    /// Those of the generations before the one that the stage is about.
    pub failed: FailedTasks,
    /// What the attempt that the stage is about went out under; `None` where no receipt says it.
    pub under: Option<SentUnder>,
    /// The event of an unknown outcome, where a person has had the job submitted again.
    pub corrects: Option<Bytes>,
}

/// The ledger's answer to [`Action::Begin`] and [`Action::Reopen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveResult {
    Yes {
        /// Its user wants it no more.
        cancelled: bool,
    },
    /// To [`Action::Begin`]: the account has no room for it just now, and nothing has changed.
    Full,
    /// To [`Action::Begin`]: the provider has asked all of us to go slower, and nothing has changed. It is worth
    /// asking again after this.
    Paced { wait: Duration },
    /// The record is not what it was taken for.
    No(Snapshot),
}

/// The ledger's answer to [`Action::Freeze`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeResult {
    /// These are the bytes to publish: ours, or those of whoever was first.
    Event(Bytes),
    /// The record is not what it was taken for.
    Changed(Snapshot),
}

/// What came of [`Action::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    All(Vec<StoredImage>),
    /// Not this time, for the image whose fault decides.
    Not(Unstored),
}
