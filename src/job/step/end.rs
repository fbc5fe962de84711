//! From the outcome to the acknowledgement.

use std::time::Duration;

use bytes::Bytes;

use super::machine::Machine;
use super::{Action, EventSource, FreezePrecondition, FreezeResult, Rebuilt, Recall, RestorePrecondition};
use crate::job::event::says_unknown;
use crate::job::{Charged, Outcome, Reason};

/// What follows the published event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AfterPublish {
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
    Reopen(Box<Rebuilt>),
}

impl Machine {
    /// Ends the job with this outcome, which is sealed in a receipt first if there are receipts.
    pub(super) fn end(&mut self, outcome: Outcome, expect: FreezePrecondition) -> Action {
        let outcome = Box::new(self.failed.counted_in(outcome));
        self.forget();
        if self.rules.receipts {
            return self.seal(outcome);
        }
        Action::Freeze { source: EventSource::New(outcome), expect, then: AfterPublish::Ack }
    }

    fn seal(&self, outcome: Box<Outcome>) -> Action {
        Action::Seal { outcome, corrects: self.corrects.clone() }
    }

    /// The receipt has the outcome, this life's or another's.
    pub(super) fn sealed(outcome: Box<Outcome>, corrects: Option<Bytes>, event: Bytes) -> Action {
        if let Some(first) = corrects {
            return Action::Freeze {
                source: EventSource::Sealed(event),
                expect: FreezePrecondition::Correcting { first },
                then: AfterPublish::Ack,
            };
        }
        let then = match (says_unknown(&event), is_unknown(&outcome)) {
            // Another life gave the job up while this life learned its real outcome.
            (true, false) => AfterPublish::Correct(outcome),
            (true, true) => AfterPublish::LookBack,
            // Every life finds these bytes in the receipt, so the record has nothing to add.
            (false, _) => return Action::Publish { event, then: AfterPublish::Close },
        };
        Action::Freeze { source: EventSource::Sealed(event), expect: FreezePrecondition::Unfinished, then }
    }

    /// The ledger has the outcome, this life's or another's.
    pub(super) fn frozen(&mut self, then: AfterPublish, frozen: FreezeResult, now: Duration) -> Action {
        match frozen {
            FreezeResult::Event(event) => Action::Publish { event, then },
            FreezeResult::Changed(known) => self.read(known, None, now),
        }
    }

    /// The event is confirmed.
    pub(super) fn published(&mut self, event: Bytes, then: AfterPublish) -> Action {
        match then {
            AfterPublish::Ack => Action::MarkPublished { sealed: None },
            AfterPublish::Close => Action::MarkPublished { sealed: Some(event) },
            AfterPublish::LookBack => Action::ReadReceipts { why: Recall::Ended { event, published: true } },
            AfterPublish::Correct(outcome) => {
                self.corrects = Some(event);
                self.seal(outcome)
            }
            AfterPublish::Reopen(rebuilt) => Action::Restore { over: RestorePrecondition::Ended, rebuilt },
        }
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded(_) => false,
        Outcome::Failed(failure) => failure.reason == Reason::OutcomeUnknown,
        Outcome::Cancelled(cancellation) => cancellation.charged == Charged::Unknown,
    }
}
