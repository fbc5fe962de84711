//! What the record makes of a life, whenever it is read.

use std::time::Duration;

use super::generation::{Generation, Since};
use super::life::{At, Life, Then};
use super::look::Recalling;
use super::unstored::Tried;
use super::{Basis, Expect, HandBack, Unanswerable, Words, outcome};
use crate::job::event::says_unknown;
use crate::ledger::record::{Known, Stage};

impl Life {
    /// The record was read.
    pub fn read(&mut self, known: Known, now: Duration) {
        self.cancelled |= known.cancelled;
        let Some(record) = known.record else {
            if self.rules.receipts {
                self.at = At::Recalling(Recalling::Everything);
            } else {
                self.fresh(1, 1);
            }
            return;
        };
        if record.digest != self.digest {
            return match record.stage {
                Stage::Done { replaceable: true, .. } => self.fresh(1, record.round + 1),
                // Written without a look at the receipts, perhaps, by the hand of a later job.
                Stage::Submitting { attempt, .. } if self.rules.receipts => {
                    self.at = At::Recalling(Recalling::Whose { attempt });
                }
                Stage::Done { replaceable: false, .. }
                | Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. }
                | Stage::Told { .. } => self.at = At::Burying(Unanswerable::Conflict),
            };
        }
        self.round = record.round;
        (self.corrects, self.failed, self.under) = (record.corrects, record.failed, record.under);
        match record.stage {
            Stage::New { attempt } => self.fresh(attempt, record.round),
            Stage::Submitting { attempt, nonce } => self.look_on(attempt, nonce, now),
            Stage::Generating { attempt, task, age } => {
                // Whoever takes over looks at once.
                let accepted = Since { noted: now, age_then: age };
                let noted = self.noted.as_ref() == Some(&task);
                let generation = Generation::new(attempt, task, accepted, now);
                let tried = record.tried.map(Tried::new);
                let (entries, succeeded) = (Some(record.entries), tried.is_some());
                self.generate(Generation { noted, entries, succeeded, tried, ..generation });
            }
            // The same input, and what was wrong beside it is corrected.
            Stage::Done { replaceable: true, .. } if self.faults.is_empty() => {
                self.fresh(1, record.round + 1)
            }
            Stage::Done { event, .. } if self.rules.receipts && says_unknown(&event) => {
                self.at = At::Recalling(Recalling::Ended { event, told: false });
            }
            Stage::Done { event, .. } => self.at = At::Telling { event, then: Then::Ack },
            Stage::Told { .. } => self.at = At::Reading,
        }
    }

    /// The record can't be read, and is not guessed at.
    pub fn unreadable(&mut self) {
        self.at = At::HandingBack(HandBack::Unreadable);
    }

    pub(super) fn fresh(&mut self, attempt: u32, round: u32) {
        self.round = round;
        self.under = None;
        self.at = if self.faults.is_empty() {
            At::Ready { attempt, basis: Basis::Read }
        } else {
            // Nothing was paid and nothing is: this one needs no receipt.
            let words = Words::New(Box::new(outcome::invalid(self.faults.clone())));
            At::Freezing { words, expect: Expect::Unposted, then: Then::Ack }
        };
    }
}
