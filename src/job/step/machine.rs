//! The state machine: the states of a life, and the action in each of them.

use std::time::Duration;

use bytes::Bytes;

use super::again::BadEnd;
use super::generation::Generation;
use super::intent_seen::IntentSeen;
use super::look::{LookOn, Recalling};
use super::{
    Action, BeginPrecondition, EventSource, FreezePrecondition, Rebuilt, RequeueReason, RestorePrecondition,
    Rules, Unanswerable, outcome,
};
use crate::job::answers::ResultImage;
use crate::job::record::{Nonce, Snapshot, Stage};
use crate::job::{Charged, Digest, FailedTasks, Fault, Outcome, SentUnder, TaskId, Timings};

/// One job, from its delivery to its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) digest: Digest,
    /// Empty if the job can be run.
    pub(super) faults: Vec<Fault>,
    pub(super) round: u32,
    pub(super) polls: u32,
    pub(super) timings: Timings,
    /// The event of an unknown outcome that this life will correct.
    pub(super) corrects: Option<Bytes>,
    /// The failed tasks of the generations before the current one.
    pub(super) failed: FailedTasks,
    /// The external id of the open, the accepted or the next attempt.
    pub(super) under: Option<SentUnder>,
    /// The user has cancelled the job.
    pub(super) cancelled: bool,
    pub(super) sight: Option<IntentSeen>,
    /// When this life asked for the right to post that it was given.
    pub(super) asked: Option<Duration>,
    /// The job's task id, if a receipt has it.
    pub(super) noted: Option<TaskId>,
    pub(super) at: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Unread,
    Recalling(Recalling),
    /// This life reads the event, which the record doesn't contain.
    Reading,
    Restoring {
        over: RestorePrecondition,
        rebuilt: Rebuilt,
    },
    Ready {
        attempt: u32,
        basis: BeginPrecondition,
    },
    /// The record allows the POST; the receipts were not asked yet.
    Asking {
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
    },
    /// The POST is allowed, and nothing was sent.
    Gated {
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
    },
    Accepting {
        attempt: u32,
        task: TaskId,
    },
    Refusing {
        attempt: u32,
        requeue: bool,
    },
    Reopening {
        attempt: u32,
        nonce: Option<Nonce>,
        requeue: bool,
    },
    LookingOn(LookOn),
    /// This life shuts the gate after the open attempt; if the user cancels, the gate of the attempt itself.
    Shutting {
        look: LookOn,
        cancels: bool,
    },
    /// This life shuts the gate after a task without images, before the job ends with that task.
    Closing(BadEnd),
    NotingFailure {
        attempt: u32,
        task: TaskId,
        charged: Charged,
    },
    Following {
        attempt: u32,
        failed: FailedTasks,
    },
    Parking {
        outcome: Box<Outcome>,
        expect: FreezePrecondition,
    },
    Generating(Generation),
    Entering {
        generation: Generation,
        images: Vec<ResultImage>,
        units: Option<String>,
    },
    Storing {
        generation: Generation,
        images: Vec<ResultImage>,
        units: Option<String>,
    },
    Sealing {
        outcome: Box<Outcome>,
    },
    Freezing {
        words: EventSource,
        expect: FreezePrecondition,
        then: AfterPublish,
    },
    Publishing {
        event: Bytes,
        then: AfterPublish,
    },
    Remembering {
        sealed: Option<Bytes>,
    },
    DeadLettering(Unanswerable),
    Told,
    Requeueing(RequeueReason),
}

/// What follows the published event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AfterPublish {
    /// The record is done already.
    Ack,
    /// The record becomes done now, since a receipt has the outcome.
    Close,
    /// The event said "unknown". The receipts are read once more, in case the task has become known meanwhile. So if
    /// one life notes the task while another gives the job up, at least one of them sees the other.
    LookBack,
    /// The event said "unknown", since another life sealed that first or no life knew more. This is the real outcome.
    Correct(Box<Outcome>),
    /// The event said "unknown". Now the task is known or a person has had the job submitted again. The record
    /// becomes this, and the outcome will correct the event.
    Reopen(Rebuilt),
}

impl Machine {
    /// Starts a life with a delivery; only the message is known.
    #[must_use]
    pub fn new(rules: Rules, digest: Digest, faults: Vec<Fault>, queued_ms: Option<u64>) -> Self {
        let timings = Timings { queued: queued_ms, ..Timings::default() };
        Self {
            rules,
            digest,
            faults,
            round: 1,
            polls: 0,
            timings,
            corrects: None,
            failed: FailedTasks::NONE,
            under: None,
            cancelled: false,
            sight: None,
            asked: None,
            noted: None,
            at: State::Unread,
        }
    }

    /// RabbitMQ delivers this message for the first time, so the life asks for the right to post at once. If another
    /// life has posted before, the ledger or the gate says so.
    #[must_use]
    pub fn delivered_first(mut self) -> Self {
        if self.faults.is_empty() && self.sight.is_none() {
            self.at = State::Ready { attempt: 1, basis: BeginPrecondition::Unread };
        }
        self
    }

    /// The external id of the open or the accepted attempt; `None` if there is no such attempt, or no readable record
    /// or receipt has the id.
    #[must_use]
    pub fn sent_under(&self) -> Option<&SentUnder> {
        self.under.as_ref()
    }

    /// Sets the external id for the POST that this life is about to ask for.
    pub fn goes_out_under(&mut self, under: SentUnder) {
        self.under = Some(under);
    }

    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    #[must_use]
    pub fn polls(&self) -> u32 {
        self.polls
    }

    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Whether the message and the body for the provider can still be needed.
    #[must_use]
    pub fn may_post(&self) -> bool {
        match self.at {
            State::Unread
            | State::Recalling(_)
            | State::Reading
            | State::Restoring { .. }
            | State::Ready { .. }
            | State::Asking { .. }
            | State::Gated { .. }
            | State::Refusing { .. }
            | State::Reopening { .. }
            | State::LookingOn(_)
            | State::Shutting { .. }
            | State::Closing(_)
            | State::NotingFailure { .. }
            | State::Following { .. }
            | State::Parking { .. }
            | State::Publishing { then: AfterPublish::Reopen(_) | AfterPublish::LookBack, .. }
            | State::DeadLettering(_) => true,
            State::Accepting { .. }
            | State::Generating(_)
            | State::Entering { .. }
            | State::Storing { .. }
            | State::Sealing { .. }
            | State::Freezing { .. }
            | State::Publishing { .. }
            | State::Remembering { .. }
            | State::Told
            | State::Requeueing(_) => false,
        }
    }

    /// Whether the gate was asked so long ago that other lives may have given the job up before they could know of
    /// this life's task.
    #[must_use]
    pub fn may_have_been_given_up(&self, now: Duration) -> bool {
        let quiet_is_over = |asked| now.saturating_sub(asked) >= self.rules.quiet;
        self.rules.receipts && self.asked.is_some_and(quiet_is_over)
    }

    /// Whether the job was given up, and the event was published, while this life learned its task.
    #[must_use]
    pub fn owes_a_correction(&self) -> bool {
        let State::Publishing { then: AfterPublish::Reopen(rebuilt), .. } = &self.at else { return false };
        matches!(rebuilt.stage, Stage::Generating { .. })
    }

    /// Forgets what is known of one attempt before the next step.
    pub(super) fn forget(&mut self) {
        (self.sight, self.asked, self.noted) = (None, None, None);
    }

    /// Whether a receipt has the job's task.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// Records that a receipt has this task id.
    pub fn note(&mut self, task: TaskId) {
        if let State::Generating(generation) = &mut self.at
            && generation.task == task
        {
            generation.noted = true;
        }
        // Every life finds the task in the receipt, so none gives the job up any more.
        (self.sight, self.noted) = (None, Some(task));
    }

    /// Returns the next action. `now` counts from an arbitrary zero and includes the time for which the machine was
    /// suspended.
    #[must_use]
    pub fn next(&self, now: Duration) -> Action {
        match &self.at {
            State::Unread => Action::Read,
            State::Recalling(_) => Action::Recall,
            State::Reading => Action::ReadAgain,
            State::Restoring { over, rebuilt } => Action::Restore { over: *over, rebuilt: rebuilt.clone() },
            State::Ready { attempt, basis } => {
                let (attempt, round, basis) = (*attempt, self.round, basis.clone());
                Action::Begin { attempt, round, basis, cancels: self.cancelled }
            }
            State::Asking { attempt, nonce, .. } => Action::Ask { attempt: *attempt, nonce: nonce.clone() },
            State::Gated { attempt, nonce, asked } => {
                let late = now.saturating_sub(*asked) > self.rules.gate;
                match (late, self.rules.receipts) {
                    (false, _) => Action::Post,
                    (true, true) => Action::Refuse { attempt: *attempt },
                    (true, false) => Action::Reopen { attempt: *attempt, nonce: Some(nonce.clone()) },
                }
            }
            State::Accepting { attempt, task } => Action::Accept { attempt: *attempt, task: task.clone() },
            State::Refusing { attempt, .. } => Action::Refuse { attempt: *attempt },
            State::Reopening { attempt, nonce, .. } => {
                Action::Reopen { attempt: *attempt, nonce: nonce.clone() }
            }
            State::LookingOn(look) => look.next(now),
            State::Shutting { look, cancels: true } => Action::Shut { attempt: look.attempt, cancels: true },
            State::Shutting { look, cancels: false } => {
                Action::Shut { attempt: look.attempt + 1, cancels: false }
            }
            State::Closing(end) => Action::Shut { attempt: end.attempt + 1, cancels: false },
            State::NotingFailure { attempt, task, charged } => {
                Action::NoteFailure { attempt: *attempt, task: task.clone(), charged: *charged }
            }
            State::Following { attempt, failed } => {
                Action::Follow { attempt: *attempt, failed: failed.clone() }
            }
            State::Parking { .. } => Action::Park,
            State::Generating(generation) => {
                generation.next(now, self.rules.receipts, self.may_have_been_given_up(now))
            }
            State::Entering { .. } => Action::Enter,
            State::Storing { generation, images, .. } => {
                Action::Store { task: generation.task.clone(), images: images.clone() }
            }
            State::Sealing { outcome } => {
                Action::Seal { outcome: outcome.clone(), corrects: self.corrects.clone() }
            }
            State::Freezing { words, expect, .. } => {
                Action::Freeze { words: words.clone(), expect: expect.clone() }
            }
            State::Publishing { event, .. } => Action::Publish { event: event.clone() },
            State::Remembering { sealed } => Action::Remember { sealed: sealed.clone() },
            State::DeadLettering(why) => Action::DeadLetter { why: *why },
            State::Told => Action::Ack,
            State::Requeueing(why) => Action::Requeue { why: *why },
        }
    }

    /// Records the task. If the job is cancelled, the life ends without waiting for the task, which continues at the
    /// provider.
    pub(super) fn generate(&mut self, generation: Generation) {
        if self.cancelled {
            let cancelled = outcome::cancelled(Charged::Yes, Some(generation.task));
            return self.end(cancelled, FreezePrecondition::Unfinished);
        }
        self.at = State::Generating(generation);
    }

    /// Reports what the ledger knows now, after a hint.
    pub fn hinted(&mut self, known: &Snapshot) {
        self.cancelled |= known.cancelled;
        if self.cancelled
            && let State::Generating(generation)
            | State::Entering { generation, .. }
            | State::Storing { generation, .. } = self.at.clone()
        {
            self.generate(generation);
        }
    }

    /// Handles a report that doesn't belong to the action, which is a bug in the shell. Reading the record again is
    /// correct in every state.
    pub(super) fn unexpected(&mut self) {
        debug_assert!(false, "a report that answers no act: {:?}", self.at);
        self.at = State::Unread;
    }
}
