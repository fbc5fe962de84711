//! What a life does when it has read the record.

use std::time::Duration;

use super::generation::{Generation, Since};
use super::look::Recalling;
use super::machine::{AfterPublish, Machine, State};
use super::unstored::Tried;
use super::{BeginPrecondition, EventSource, FreezePrecondition, RequeueReason, Unanswerable, outcome};
use crate::job::event::says_unknown;
use crate::job::record::{Snapshot, Stage};

impl Machine {
    /// Reports the record.
    pub fn read(&mut self, known: Snapshot, now: Duration) {
        self.cancelled |= known.cancelled;
        let Some(record) = known.record else {
            if self.rules.receipts {
                self.at = State::Recalling(Recalling::Everything);
            } else {
                self.fresh(1, 1);
            }
            return;
        };
        if record.digest != self.digest {
            return match record.stage {
                Stage::Done { replaceable: true, .. } => self.fresh(1, record.round + 1),
                // Another life of a later job may have written this without reading the receipts.
                Stage::Submitting { attempt, .. } if self.rules.receipts => {
                    self.at = State::Recalling(Recalling::Whose { attempt });
                }
                Stage::Done { replaceable: false, .. }
                | Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. }
                | Stage::Told { .. } => self.at = State::DeadLettering(Unanswerable::Conflict),
            };
        }
        self.round = record.round;
        (self.corrects, self.failed, self.under) = (record.corrects, record.failed, record.under);
        match record.stage {
            Stage::New { attempt } => self.fresh(attempt, record.round),
            Stage::Submitting { attempt, nonce } => self.look_on(attempt, nonce, now),
            Stage::Generating { attempt, task, age } => {
                // A life that takes over a task queries it at once.
                let accepted = Since { noted: now, age_then: age };
                let noted = self.noted.as_ref() == Some(&task);
                let generation = Generation::new(attempt, task, accepted, now);
                let tried = record.tried.map(Tried::new);
                let (entries, succeeded) = (Some(record.entries), tried.is_some());
                self.generate(Generation { noted, entries, succeeded, tried, ..generation });
            }
            // The input is the same, and what was wrong in the rest of the message is corrected.
            Stage::Done { replaceable: true, .. } if self.faults.is_empty() => {
                self.fresh(1, record.round + 1)
            }
            Stage::Done { event, .. } if self.rules.receipts && says_unknown(&event) => {
                self.at = State::Recalling(Recalling::Ended { event, told: false });
            }
            Stage::Done { event, .. } => self.at = State::Publishing { event, then: AfterPublish::Ack },
            Stage::Told { .. } => self.at = State::Reading,
        }
    }

    /// Reports that the record can't be read; its meaning is not guessed.
    pub fn unreadable(&mut self) {
        self.at = State::Requeueing(RequeueReason::Unreadable);
    }

    pub(super) fn fresh(&mut self, attempt: u32, round: u32) {
        self.round = round;
        self.under = None;
        self.at = if self.faults.is_empty() {
            State::Ready { attempt, basis: BeginPrecondition::Read }
        } else {
            // Nothing was paid and nothing will be, so this outcome needs no receipt.
            let words = EventSource::New(Box::new(outcome::invalid(self.faults.clone())));
            State::Freezing { words, expect: FreezePrecondition::Unposted, then: AfterPublish::Ack }
        };
    }
}
