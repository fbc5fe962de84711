//! What is known of the job: the record is read, and the receipts where the record doesn't say enough.

use std::time::Duration;

use bytes::Bytes;

use super::machine::Machine;
use super::patience::Tried;
use super::timing::Since;
use super::{
    Action, AfterPublish, BadEnd, BeginPrecondition, EventSource, FreezePrecondition, Generation, GivenUp,
    OpenSubmit, Rebuilt, RequeueReason, RestorePrecondition, Unanswerable, outcome,
};
use crate::job::Charged;
use crate::job::event::says_unknown;
use crate::job::receipt::Decision;
use crate::job::receipt::history::History;
use crate::job::record::{Snapshot, Stage};

/// Why the receipts are read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recall {
    /// There is no record, so nothing else is known of the job. A worker that can't read the receipts either requeues
    /// the delivery, and nothing is lost.
    Everything,
    /// Another life has taken the gate of this attempt.
    Attempt(Box<OpenSubmit>),
    /// The quiet period is over and the provider knows of no task.
    InDoubt(Box<OpenSubmit>),
    /// The task of this attempt ended without images: may another generation follow?
    BadEnd(BadEnd),
    /// The job ended as unknown, by this event; the task may have become known since.
    Ended { event: Bytes, published: bool },
    /// The record says that another job with this id has this attempt open.
    Whose { attempt: u32 },
}

impl Machine {
    /// `before`: what this life knows of a submit that was open when it began to read.
    pub(super) fn read(&mut self, known: Snapshot, before: Option<Box<OpenSubmit>>, now: Duration) -> Action {
        self.cancelled |= known.cancelled;
        let Some(record) = known.record else {
            if self.rules.receipts {
                return Action::ReadReceipts { why: Recall::Everything };
            }
            return self.begin_afresh(1, 1);
        };
        if record.digest != self.digest {
            return match record.stage {
                Stage::Done { replaceable: true, .. } => self.begin_afresh(1, record.round + 1),
                // Another life of a later job may have written this without reading the receipts.
                Stage::Submitting { attempt, .. } if self.rules.receipts => {
                    Action::ReadReceipts { why: Recall::Whose { attempt } }
                }
                Stage::Done { replaceable: false, .. }
                | Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. }
                | Stage::Published { .. } => Action::DeadLetter { why: Unanswerable::Conflict },
            };
        }
        let record = *record;
        let has_ended = matches!(record.stage, Stage::Done { .. } | Stage::Published { .. });
        if self.route.is_none() && !has_ended {
            // A worker that knows the route is at it, and the task is polled there alone.
            return Action::Requeue { why: RequeueReason::UnknownRoute };
        }
        self.round = record.round;
        (self.corrects, self.failed, self.under) = (record.corrects, record.failed, record.under);
        match record.stage {
            Stage::New { attempt } => self.begin_afresh(attempt, record.round),
            Stage::Submitting { attempt, nonce } => self.find_open(attempt, nonce, before, now),
            Stage::Generating { attempt, task, age } => {
                // A life that takes over a task queries it at once.
                let accepted = Since { noted: now, age_then: age };
                let noted = self.noted.as_ref() == Some(&task);
                let generation = Generation::new(attempt, task, accepted, now);
                let tried = record.tried.map(Tried::new);
                let (entries, succeeded) = (Some(record.entries), tried.is_some());
                self.generate(Generation { noted, entries, succeeded, tried, ..generation }, now)
            }
            // The input is the same, and what was wrong in the rest of the message is corrected.
            Stage::Done { replaceable: true, .. } if self.faults.is_empty() => {
                self.begin_afresh(1, record.round + 1)
            }
            Stage::Done { event, .. } if self.rules.receipts && says_unknown(&event) => {
                Action::ReadReceipts { why: Recall::Ended { event, published: false } }
            }
            Stage::Done { event, .. } => Action::Publish { event, then: AfterPublish::Ack },
            Stage::Published { .. } => Action::ReadPublishedEvent,
        }
    }

    /// Nothing was paid for this attempt.
    fn begin_afresh(&mut self, attempt: u32, round: u32) -> Action {
        self.round = round;
        self.under = None;
        if self.faults.is_empty() {
            return self.ask_to_post(attempt, BeginPrecondition::Read);
        }
        // Nothing will be paid either, so this outcome needs no receipt.
        let source = EventSource::New(Box::new(outcome::invalid(self.faults.clone())));
        Action::Freeze { source, expect: FreezePrecondition::Unposted, then: AfterPublish::Ack }
    }

    pub(super) fn recalled(&mut self, why: Recall, history: &History, now: Duration) -> Action {
        match why {
            Recall::Everything => match history.rebuilt() {
                // It was posted by a worker that knows the route, and may have to go on there.
                Some(rebuilt) if self.route.is_none() && self.may_be(&rebuilt) => {
                    Action::Requeue { why: RequeueReason::UnknownRoute }
                }
                Some(rebuilt) => restore(RestorePrecondition::Nothing, rebuilt),
                None => self.begin_afresh(1, 1),
            },
            Recall::Attempt(open) => self.recalled_open(*open, history, now),
            Recall::InDoubt(open) => self.recalled_in_doubt(*open, history),
            Recall::BadEnd(end) => self.recalled_after(end, history),
            Recall::Ended { event, published } => self.recalled_ended(event, published, history),
            Recall::Whose { attempt } => match history.rebuilt() {
                Some(rebuilt) if rebuilt.digest.as_ref() == Some(&self.digest) => {
                    restore(RestorePrecondition::Open(attempt), rebuilt)
                }
                Some(_) | None => Action::DeadLetter { why: Unanswerable::Conflict },
            },
        }
    }

    /// Whether these receipts may be this job's, and not another's with its id.
    fn may_be(&self, rebuilt: &Rebuilt) -> bool {
        rebuilt.digest.as_ref().is_none_or(|digest| *digest == self.digest)
    }

    /// The gate of this attempt is taken. Its result may already be in the receipts.
    fn recalled_open(&mut self, open: OpenSubmit, history: &History, now: Duration) -> Action {
        self.take_sent_under(&open, history);
        // The life that shut this gate may have died, and no life can pass it, so this life gives the job up too.
        if history.is_cancelled_at(open.attempt) {
            return self.end(outcome::cancelled(Charged::No, None), open.expect());
        }
        if history.is_given_up_at(open.attempt) {
            return self.give_up(open);
        }
        match history.rebuilt() {
            Some(rebuilt) if history.knows_more_than(open.attempt) => {
                restore(RestorePrecondition::Open(open.attempt), rebuilt)
            }
            Some(_) | None => {
                let seen = open.seen.or(Some(now));
                OpenSubmit { seen, ..open }.next()
            }
        }
    }

    /// The quiet period is over, and the provider knows of no task.
    fn recalled_in_doubt(&mut self, open: OpenSubmit, history: &History) -> Action {
        self.take_sent_under(&open, history);
        match history.rebuilt() {
            Some(rebuilt) if history.knows_more_than(open.attempt) => {
                restore(RestorePrecondition::Open(open.attempt), rebuilt)
            }
            Some(_) | None if history.is_shut_behind(open.attempt) => self.give_up(open),
            Some(_) | None if self.trusts_a_miss(&open) => {
                Action::NoteRefusal { attempt: open.attempt, requeue: false }
            }
            Some(_) | None => {
                let attempt = open.attempt + 1;
                Action::Shut { attempt, cancels: false, why: GivenUp::Submit(Box::new(open)) }
            }
        }
    }

    /// The intent has the id of the POST, no matter which life sent it.
    fn take_sent_under(&mut self, open: &OpenSubmit, history: &History) {
        self.under = history.sent_under(open.attempt).or(self.under.take());
    }

    /// The record says that the outcome is unknown. That event is published first, and then the correction: by a task
    /// that has become known since, or by a person's decision.
    fn recalled_ended(&mut self, event: Bytes, published: bool, history: &History) -> Action {
        if let Some(correction) = &history.resolved {
            return Action::Freeze {
                source: EventSource::Sealed(correction.clone()),
                expect: FreezePrecondition::Correcting { first: event },
                then: AfterPublish::Ack,
            };
        }
        let then = match (history.task(), history.decision()) {
            (Some((attempt, task)), _) => {
                self.note(task.clone());
                self.under = history.sent_under(attempt);
                AfterPublish::Reopen(Box::new(self.late(attempt, task, event.clone())))
            }
            (None, Some(Decision::GiveUp)) => AfterPublish::Correct(Box::new(outcome::abandoned())),
            (None, Some(Decision::SubmitAgain) | None) => match history.rebuilt() {
                Some(rebuilt) if rebuilt.corrects.is_some() => AfterPublish::Reopen(Box::new(rebuilt)),
                Some(_) | None => AfterPublish::Ack,
            },
        };
        if self.route.is_none() && matches!(then, AfterPublish::Reopen(_)) {
            return Action::Requeue { why: RequeueReason::UnknownRoute };
        }
        if published { self.published(event, then) } else { Action::Publish { event, then } }
    }

    /// The event in the receipts, for a job whose record says that its event was published.
    pub(super) fn read_again(event: Option<Bytes>) -> Action {
        match event {
            Some(event) => Action::Publish { event, then: AfterPublish::Ack },
            None => Action::DeadLetter { why: Unanswerable::Forgotten },
        }
    }
}

fn restore(over: RestorePrecondition, rebuilt: Rebuilt) -> Action {
    Action::Restore { over, rebuilt: Box::new(rebuilt) }
}
