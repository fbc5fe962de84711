//! The state machine: where a life can be, and what it does there.

use std::time::Duration;

use bytes::Bytes;

use super::again::BadEnd;
use super::generation::Generation;
use super::look::{LookOn, Recalling};
use super::sight::Sight;
use super::{Act, Basis, Expect, HandBack, Over, Rebuilt, Rules, Unanswerable, Words, outcome};
use crate::job::{Charged, Digest, FailedTasks, Fault, Outcome, SentUnder, TaskId, Timings};
use crate::ledger::record::{Known, Nonce, Stage};
use crate::provider::ResultImage;

/// One job, from its delivery to its ack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
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
    pub(super) sight: Option<Sight>,
    /// When this life asked for the right to post that it got.
    pub(super) asked: Option<Duration>,
    /// What a receipt has as the job's task.
    pub(super) noted: Option<TaskId>,
    pub(super) at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum At {
    Unread,
    Recalling(Recalling),
    /// The event that the record has not.
    Reading,
    Restoring {
        over: Over,
        rebuilt: Rebuilt,
    },
    Ready {
        attempt: u32,
        basis: Basis,
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
        hand_back: bool,
    },
    Reopening {
        attempt: u32,
        nonce: Option<Nonce>,
        hand_back: bool,
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
        expect: Expect,
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
        words: Words,
        expect: Expect,
        then: Then,
    },
    Telling {
        event: Bytes,
        then: Then,
    },
    Remembering {
        sealed: Option<Bytes>,
    },
    Burying(Unanswerable),
    Told,
    HandingBack(HandBack),
}

/// What follows the event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Then {
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

impl Life {
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
            at: At::Unread,
        }
    }

    /// RabbitMQ has never delivered this message before: the right to post is asked for at once. Whoever has
    /// posted before this is found by that ask, or at the gate.
    #[must_use]
    pub fn delivered_first(mut self) -> Self {
        if self.faults.is_empty() && self.sight.is_none() {
            self.at = At::Ready { attempt: 1, basis: Basis::Unread };
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
            At::Unread
            | At::Recalling(_)
            | At::Reading
            | At::Restoring { .. }
            | At::Ready { .. }
            | At::Asking { .. }
            | At::Gated { .. }
            | At::Refusing { .. }
            | At::Reopening { .. }
            | At::LookingOn(_)
            | At::Shutting { .. }
            | At::Closing(_)
            | At::NotingFailure { .. }
            | At::Following { .. }
            | At::Parking { .. }
            | At::Telling { then: Then::Reopen(_) | Then::LookBack, .. }
            | At::Burying(_) => true,
            At::Accepting { .. }
            | At::Generating(_)
            | At::Entering { .. }
            | At::Storing { .. }
            | At::Sealing { .. }
            | At::Freezing { .. }
            | At::Telling { .. }
            | At::Remembering { .. }
            | At::Told
            | At::HandingBack(_) => false,
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
        let At::Telling { then: Then::Reopen(rebuilt), .. } = &self.at else { return false };
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
        if let At::Generating(generation) = &mut self.at
            && generation.task == task
        {
            generation.noted = true;
        }
        // With the task where everybody finds it, nobody gives the job up any more.
        (self.sight, self.noted) = (None, Some(task));
    }

    /// Decides. `now` counts from an arbitrary zero and includes the time that the machine slept.
    #[must_use]
    pub fn next(&self, now: Duration) -> Act {
        match &self.at {
            At::Unread => Act::Read,
            At::Recalling(_) => Act::Recall,
            At::Reading => Act::ReadAgain,
            At::Restoring { over, rebuilt } => Act::Restore { over: *over, rebuilt: rebuilt.clone() },
            At::Ready { attempt, basis } => {
                let (attempt, round, basis) = (*attempt, self.round, basis.clone());
                Act::Begin { attempt, round, basis, cancels: self.cancelled }
            }
            At::Asking { attempt, nonce, .. } => Act::Ask { attempt: *attempt, nonce: nonce.clone() },
            At::Gated { attempt, nonce, asked } => {
                let late = now.saturating_sub(*asked) > self.rules.gate;
                match (late, self.rules.receipts) {
                    (false, _) => Act::Post,
                    (true, true) => Act::Refuse { attempt: *attempt },
                    (true, false) => Act::Reopen { attempt: *attempt, nonce: Some(nonce.clone()) },
                }
            }
            At::Accepting { attempt, task } => Act::Accept { attempt: *attempt, task: task.clone() },
            At::Refusing { attempt, .. } => Act::Refuse { attempt: *attempt },
            At::Reopening { attempt, nonce, .. } => Act::Reopen { attempt: *attempt, nonce: nonce.clone() },
            At::LookingOn(look) => look.next(now),
            At::Shutting { look, cancels: true } => Act::Shut { attempt: look.attempt, cancels: true },
            At::Shutting { look, cancels: false } => Act::Shut { attempt: look.attempt + 1, cancels: false },
            At::Closing(end) => Act::Shut { attempt: end.attempt + 1, cancels: false },
            At::NotingFailure { attempt, task, charged } => {
                Act::NoteFailure { attempt: *attempt, task: task.clone(), charged: *charged }
            }
            At::Following { attempt, failed } => Act::Follow { attempt: *attempt, failed: failed.clone() },
            At::Parking { .. } => Act::Park,
            At::Generating(generation) => {
                generation.next(now, self.rules.receipts, self.may_have_been_given_up(now))
            }
            At::Entering { .. } => Act::Enter,
            At::Storing { generation, images, .. } => {
                Act::Store { task: generation.task.clone(), images: images.clone() }
            }
            At::Sealing { outcome } => {
                Act::Seal { outcome: outcome.clone(), corrects: self.corrects.clone() }
            }
            At::Freezing { words, expect, .. } => {
                Act::Freeze { words: words.clone(), expect: expect.clone() }
            }
            At::Telling { event, .. } => Act::Tell { event: event.clone() },
            At::Remembering { sealed } => Act::Remember { sealed: sealed.clone() },
            At::Burying(why) => Act::Bury { why: *why },
            At::Told => Act::Ack,
            At::HandingBack(why) => Act::HandBack { why: *why },
        }
    }

    /// The task is known. Who cancels a job doesn't wait for it, and it goes on all the same.
    pub(super) fn generate(&mut self, generation: Generation) {
        if self.cancelled {
            let cancelled = outcome::cancelled(Charged::Yes, Some(generation.task));
            return self.end(cancelled, Expect::Unfinished);
        }
        self.at = At::Generating(generation);
    }

    /// Somebody has something new for those who wait, and this is what the ledger knows now.
    pub fn hinted(&mut self, known: &Known) {
        self.cancelled |= known.cancelled;
        if self.cancelled
            && let At::Generating(generation)
            | At::Entering { generation, .. }
            | At::Storing { generation, .. } = self.at.clone()
        {
            self.generate(generation);
        }
    }

    /// A report that answers no act: a fault of the shell. Beginning anew with the record is right
    /// at every point.
    pub(super) fn unexpected(&mut self) {
        debug_assert!(false, "a report that answers no act: {:?}", self.at);
        self.at = At::Unread;
    }
}
