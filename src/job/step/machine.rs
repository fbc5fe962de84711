//! The state machine: where a life can be, and what it does there.

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

/// One job, from its delivery to its ack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) digest: Digest,
    /// Empty for a job that can be run.
    pub(super) faults: Vec<Fault>,
    pub(super) round: u32,
    pub(super) polls: u32,
    pub(super) timings: Timings,
    /// The event of an unknown outcome that this life is going to correct.
    pub(super) corrects: Option<Bytes>,
    /// Those of the generations before the one that this life is about.
    pub(super) failed: FailedTasks,
    /// What the open or the accepted attempt went out under, or is going to.
    pub(super) under: Option<SentUnder>,
    /// The user wants it no more.
    pub(super) cancelled: bool,
    pub(super) sight: Option<IntentSeen>,
    /// When this life asked for the right to post that it got.
    pub(super) asked: Option<Duration>,
    /// What a receipt has as the job's task.
    pub(super) noted: Option<TaskId>,
    pub(super) at: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Unread,
    Recalling(Recalling),
    /// The event that the record has not.
    Reading,
    Restoring {
        over: RestorePrecondition,
        rebuilt: Rebuilt,
    },
    Ready {
        attempt: u32,
        basis: BeginPrecondition,
    },
    /// The record says that we may; the receipts have not been asked.
    Asking {
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
    },
    /// We may post, and nothing was sent.
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
    /// The gate behind the open attempt; that of the attempt itself where the user cancels it.
    Shutting {
        look: LookOn,
        cancels: bool,
    },
    /// The gate behind a task that came to no good, before the job ends with it.
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

/// What follows the event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AfterPublish {
    /// The record is done.
    Ack,
    /// The record becomes done, since a receipt has the outcome.
    Close,
    /// It said "unknown": whether the task has come to light meanwhile is looked at once more, so that
    /// of two hands, one noting the task and one giving the job up, at least one sees the other.
    LookBack,
    /// It said "unknown", since another hand was first to seal or nobody knew better, and this is the
    /// truth.
    Correct(Box<Outcome>),
    /// It said "unknown", and the task is known now, or a person has had the job submitted again: so far
    /// is that, and what it comes to corrects the event.
    Reopen(Rebuilt),
}

impl Machine {
    /// A delivery has come in; nothing is known but the message.
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

    /// RabbitMQ has never delivered this message before: the right to post is asked for at once. Whoever has
    /// posted before this is found by that ask, or at the gate.
    #[must_use]
    pub fn delivered_first(mut self) -> Self {
        if self.faults.is_empty() && self.sight.is_none() {
            self.at = State::Ready { attempt: 1, basis: BeginPrecondition::Unread };
        }
        self
    }

    /// What the open or the accepted attempt went out under; `None` where there is none, or nothing readable says it.
    #[must_use]
    pub fn sent_under(&self) -> Option<&SentUnder> {
        self.under.as_ref()
    }

    /// This life is going to ask for the right to post, and posts under this id if it gets it.
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

    /// Whether others may have given the job up before they could know of this life's task: so long ago
    /// was the gate asked for.
    #[must_use]
    pub fn may_have_been_given_up(&self, now: Duration) -> bool {
        let quiet_is_over = |asked| now.saturating_sub(asked) >= self.rules.quiet;
        self.rules.receipts && self.asked.is_some_and(quiet_is_over)
    }

    /// Whether the job was given up, and told so, while this life came to know its task.
    #[must_use]
    pub fn owes_a_correction(&self) -> bool {
        let State::Publishing { then: AfterPublish::Reopen(rebuilt), .. } = &self.at else { return false };
        matches!(rebuilt.stage, Stage::Generating { .. })
    }

    /// What was known of one attempt is of no use to what follows.
    pub(super) fn forget(&mut self) {
        (self.sight, self.asked, self.noted) = (None, None, None);
    }

    /// Whether a receipt has the job's task.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// A receipt has this as the job's task.
    pub fn note(&mut self, task: TaskId) {
        if let State::Generating(generation) = &mut self.at
            && generation.task == task
        {
            generation.noted = true;
        }
        // With the task where everybody finds it, nobody gives the job up any more.
        (self.sight, self.noted) = (None, Some(task));
    }

    /// Decides. `now` counts from an arbitrary zero and includes the time that the machine slept.
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

    /// The task is known. Who cancels a job doesn't wait for it, and it goes on all the same.
    pub(super) fn generate(&mut self, generation: Generation) {
        if self.cancelled {
            let cancelled = outcome::cancelled(Charged::Yes, Some(generation.task));
            return self.end(cancelled, FreezePrecondition::Unfinished);
        }
        self.at = State::Generating(generation);
    }

    /// Somebody has something new for those who wait, and this is what the ledger knows now.
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

    /// A report that answers no act: a fault of the shell. Beginning anew with the record is right
    /// at every point.
    pub(super) fn unexpected(&mut self) {
        debug_assert!(false, "a report that answers no act: {:?}", self.at);
        self.at = State::Unread;
    }
}
