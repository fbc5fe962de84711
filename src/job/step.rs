//! Every decision in the life of a job: what to do next, and which end follows from what has happened.
//!
//! [`Machine`] is a state machine without a clock and without I/O. Its state is what the life knows of its job, and
//! the [`Action`] to perform next. The shell (`worker/life.rs`) performs the action and passes its result to
//! [`Machine::apply`], which returns the action after it. There is no other way in. A job that is retried, redelivered
//! or resumed begins with [`Action::Read`]; a job whose message was never delivered before begins with [`Action::AskToPost`] and continues with
//! what that finds. All of them use the same actions; only the record and the receipts differ.
//!
//! The actions form six groups. Each has a file here, with what is decided, and a file of the same name under
//! `worker/life`, with what is done: `record` (what is known of the job), `submit` (from the right to post to the
//! noted task), `open` (a submit whose outcome is open), `generate` (the running task), `store` (its images), and
//! `end` (from the outcome to the acknowledgement).
//!
//! The machine guarantees three things. It returns [`Action::Post`] only after [`Action::AskToPost`] and, with receipts,
//! after [`Action::AskGate`] for the same attempt in the same life. After an answer that leaves open whether a POST was
//! accepted, it returns a second [`Action::Post`] only if a trusted look-up or a person says that nothing was
//! accepted. It returns [`Action::Ack`] only after a published event or dead letter.

mod end;
mod generate;
mod machine;
mod open;
mod outcome;
mod patience;
mod record;
mod rules;
mod store;
mod submit;
mod timing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::end::AfterPublish;
pub use self::generate::{BadEnd, Generation};
pub use self::machine::Machine;
pub use self::open::{IntentSeen, OpenSubmit};
pub use self::patience::{Blame, Others, Unstored, together};
pub use self::record::Recall;
pub use self::rules::{Delivered, Rules};
pub use self::store::Storing;

use super::pace::Schedule;
use super::{Charged, Digest, FailedTasks, Made, Outcome, SentUnder, TaskId};
use crate::job::answers::{Lookup, SubmitOutcome, TaskStatus};
use crate::job::receipt::history::History;
use crate::job::receipt::{Gate, Shut};
use crate::job::record::{Nonce, Snapshot, Stage};
use crate::job::route::RouteName;
use crate::job::spend::SpendToday;

/// What to do next, with what the machine has to know when it is done. The text of each action ends with the input
/// that reports its result. The machine takes [`Input::Unreadable`] and [`Input::Called`] after any action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the record. `before`: what this life knows of an open submit. [`Input::Record`].
    Read { before: Option<Box<OpenSubmit>> },
    /// Read the job's receipts. [`Input::Receipts`].
    ReadReceipts { why: Recall },
    /// Read the event of a job whose event was published. [`Input::LastEvent`].
    ReadPublishedEvent,
    /// Write what the receipts say into the record. [`Input::Record`], as the record is after that.
    Restore { over: RestorePrecondition, rebuilt: Box<Rebuilt> },
    /// Wait for a permit to submit, then ask the ledger for the right to post `attempt`, and repeat this while the
    /// account is full. If the user `cancels` the job, ask at once, since the right is only taken to be given up.
    /// [`Input::Begun`], or [`Input::Record`] if a hint arrives before that.
    AskToPost { attempt: u32, round: u32, basis: BeginPrecondition, cancels: bool },
    /// Ask at the gate of the receipts. `asked`: when the ledger was asked. [`Input::Gate`].
    AskGate { attempt: u32, nonce: Nonce, asked: Duration },
    /// Send the paid POST now. [`Input::Answered`]; [`Input::NotPosted`] if it is later than `until` or the life may
    /// not post any more.
    Post { attempt: u32, nonce: Nonce, asked: Duration, until: Duration },
    /// Write the task id into the ledger, and retry until that succeeds. [`Input::Accepted`].
    RecordTask { attempt: u32, task: TaskId },
    /// Write the task id into a receipt. [`Input::Done`].
    NoteTask { attempt: u32, task: TaskId, then: Box<Action> },
    /// Republish the message of a job that was given up, or (`if_unknown`) that may have been: then only if its
    /// sealed outcome is unknown. The receipt has its task. [`Input::Done`].
    Redeliver { if_unknown: bool, then: Box<Action> },
    /// Write into a receipt that attempt `attempt` was certainly not accepted. [`Input::Done`].
    NoteRefusal { attempt: u32, requeue: bool },
    /// Move the record past the attempt. [`Input::Moved`].
    CloseAttempt { attempt: u32, nonce: Option<Nonce>, requeue: bool },
    /// Check whether any life has asked at the gate. [`Input::Intended`].
    SeeIntent { open: Box<OpenSubmit> },
    /// Query the provider for a task under our own id. [`Input::LookedUp`].
    LookUp { open: Box<OpenSubmit> },
    /// Wait until `until` or until a hint arrives, since another life may have posted. [`Input::LookAgain`];
    /// [`Input::Called`] for a callback that arrives earlier, which can't move `until` before `pull_from`.
    LookOn { until: Duration, pull_from: Duration, open: Box<OpenSubmit> },
    /// Shut the gate of attempt `attempt`, since the job is given up or its user `cancels` it. [`Input::Shut`].
    Shut { attempt: u32, cancels: bool, why: GivenUp },
    /// Leave a copy of the message for a person. [`Input::Done`].
    Park { outcome: Box<Outcome>, expect: FreezePrecondition },
    /// Wait until the time of the next poll, then query the task. [`Input::Polled`]; [`Input::Record`] for the record
    /// that was read after a hint, and [`Input::Called`] for a callback that arrives earlier.
    Poll(Box<Generation>),
    /// Find out whether the provider answers about other tasks, since it has no answer about this one.
    /// [`Input::AnswersAboutOthers`].
    QueryOther { generation: Box<Generation>, message: String, after: Option<Duration>, asked: Duration },
    /// Write into a receipt that the attempt's task has failed and that another generation may follow.
    /// [`Input::Done`].
    NoteFailure { attempt: u32, task: TaskId, charged: Charged },
    /// Move the record past the attempt whose task is the last one in `failed`. [`Input::Moved`].
    NextGeneration { attempt: u32, failed: FailedTasks },
    /// Count this life among the lives that have begun to store the images. [`Input::Record`].
    CountEntry(Box<Storing>),
    /// Download, check and store the images. [`Input::Stored`], or [`Input::Record`] for the record that was read
    /// after a hint.
    Store(Box<Storing>),
    /// Seal the outcome in a receipt. [`Input::Sealed`].
    Seal { outcome: Box<Outcome>, corrects: Option<Bytes> },
    /// Freeze the outcome in the record. [`Input::Frozen`].
    Freeze { source: EventSource, expect: FreezePrecondition, then: AfterPublish },
    /// Publish the event. [`Input::Done`].
    Publish { event: Bytes, then: AfterPublish },
    /// Write into the record that the event is confirmed. If a receipt has the event (`sealed`), this is also
    /// the record's end. [`Input::Done`].
    MarkPublished { sealed: Option<Bytes> },
    /// Publish the dead letter, since there is no event for this message. [`Input::Done`].
    DeadLetter { why: Unanswerable },
    /// Acknowledge the delivery. The life is over.
    Ack,
    /// Requeue the delivery. The life is over.
    Requeue { why: RequeueReason },
}

/// The result of an action, or what came while it was waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// It is done, and there is nothing to say about it.
    Done,
    /// The record as the ledger has it now.
    Record(Snapshot),
    /// This worker can't read the record; its meaning is not guessed.
    Unreadable,
    Receipts(Box<History>),
    /// The event in the receipts of a job whose record says that its event was published.
    LastEvent(Option<Bytes>),
    /// The ledger's answer to the ask at `asked`, with `nonce`, for the right to post under this external id.
    Begun {
        moved: MoveResult,
        nonce: Nonce,
        under: SentUnder,
        asked: Duration,
    },
    Gate(Gate),
    /// The right to post is given up unused.
    NotPosted,
    /// The provider's answer to the POST.
    Answered {
        answer: SubmitOutcome,
        took: Duration,
    },
    /// The ledger has the task id. `stage` is the job's stage now; `noted` is true if a receipt also has the task id.
    /// `learned` is the schedule of the polls from now on.
    Accepted {
        stage: Stage,
        noted: bool,
        learned: Option<Arc<Schedule>>,
    },
    /// The record is past the attempt, or another life has moved it.
    Moved(MoveResult),
    /// Whether any life has asked at the gate.
    Intended(bool),
    /// The answer to the look-up that was sent at `asked`.
    LookedUp {
        found: Lookup,
        asked: Duration,
    },
    /// It is time to look at the record again.
    LookAgain,
    /// The provider has called back: the next query is made now, or as soon as it may be made.
    Called,
    Shut(Shut),
    /// The answer to the query of the task that was sent at `asked`.
    Polled {
        status: TaskStatus,
        asked: Duration,
    },
    AnswersAboutOthers(bool),
    Stored {
        stored: Stored,
        took: Duration,
    },
    /// The bytes of the outcome in its receipt, which are this life's or another's.
    Sealed(Bytes),
    Frozen(FreezeResult),
}

/// An input that doesn't fit the action: a bug in the shell. The machine reads the record again, which is right in
/// every state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    action: String,
    input: String,
}

impl Misfit {
    fn new(action: &Action, input: &Input) -> Self {
        let name = |value: &dyn fmt::Debug| {
            let text = format!("{value:?}");
            text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
        };
        Self { action: name(action), input: name(input) }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no result of {}", self.input, self.action)
    }
}

impl std::error::Error for Misfit {}

/// Why a delivery is requeued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequeueReason {
    /// The account or the provider refuses every job at the moment.
    Paused,
    /// This worker can't read the record.
    Unreadable,
    /// The job was submitted at a route that this worker doesn't know.
    UnknownRoute,
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
    pub const ALL: [Self; 7] = [
        Self::Paused,
        Self::Unreadable,
        Self::UnknownRoute,
        Self::Stopping,
        Self::NeedsMessage,
        Self::HeldLong,
        Self::Disconnected,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Unreadable => "unreadable",
            Self::UnknownRoute => "unknown_route",
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

/// What is given up by shutting a gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GivenUp {
    /// The submit whose outcome is open, or that its user cancels.
    Submit(Box<OpenSubmit>),
    /// The generation after a task that ended without images.
    NextGeneration(BadEnd),
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
    pub digest: Option<Digest>,
    /// `None` if no receipt names it.
    pub route: Option<RouteName>,
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

/// The ledger's answer to [`Action::AskToPost`] and [`Action::CloseAttempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveResult {
    Yes {
        /// The user has cancelled the job.
        cancelled: bool,
    },
    /// To [`Action::AskToPost`]: the account has no free slot for the job at the moment; nothing has changed.
    Full,
    /// To [`Action::AskToPost`]: the provider has asked all workers to slow down; nothing has changed. Ask again after
    /// `wait`.
    Paced { wait: Duration },
    /// To [`Action::AskToPost`]: what may be spent today is spent; nothing has changed.
    Spent(SpendToday),
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
    All(Made),
    /// The images are not stored this time, because of the image whose fault decides.
    Not(Unstored),
}
