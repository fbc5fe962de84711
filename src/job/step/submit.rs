//! From the right to post to the noted task, or back to the next attempt.

use std::time::Duration;

use bytes::Bytes;

use super::generation::{Generation, Since};
use super::life::{At, Life, Then};
use super::look::{LookOn, Recalling, Unanswered};
use super::{Basis, Expect, HandBack, Moved, Rebuilt, Words, outcome};
use crate::job::event::says_unknown;
use crate::job::{Charged, Outcome, TaskId};
use crate::ledger::record::{Nonce, Stage};
use crate::provider::Answer;
use crate::receipts::Gate;

impl Life {
    /// The ledger was asked, at `asked` and with `nonce`, for the right to post.
    pub fn begun(&mut self, moved: Moved, nonce: Nonce, asked: Duration, now: Duration) {
        let At::Ready { attempt, .. } = self.at else { return self.unexpected() };
        match moved {
            Moved::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.asked = Some(asked);
                self.at = match (self.cancelled, self.rules.receipts) {
                    (false, true) => At::Asking { attempt, nonce, asked },
                    (false, false) => At::Gated { attempt, nonce, asked },
                    // The right to post, given up for good: at the gate it is decided, as ever.
                    (true, true) => {
                        At::Shutting { look: LookOn::new(attempt, nonce, Some(now)), cancels: true }
                    }
                    (true, false) => {
                        return self.end(outcome::cancelled(Charged::No, None), Expect::Submitting { nonce });
                    }
                };
            }
            // It waits in the line.
            Moved::Full | Moved::Paced { .. } => {}
            Moved::No(known) => self.read(known, now),
        }
    }

    /// The receipts were asked. The clock of the last look runs from the ledger's ask on, also when
    /// this ask had to be repeated.
    pub fn gated(&mut self, gate: Gate, now: Duration) {
        let At::Asking { attempt, nonce, asked } = self.at.clone() else { return self.unexpected() };
        self.at = match gate {
            Gate::Mine => At::Gated { attempt, nonce, asked },
            // What that hand has come to may be in the receipts already.
            Gate::Taken => {
                let sight = self.sighted(attempt, now);
                At::Recalling(Recalling::Attempt(LookOn::new(attempt, nonce, Some(sight))))
            }
        };
    }

    /// The right to post is given up unused; whoever comes next gets the next attempt.
    pub fn withheld(&mut self) {
        let At::Gated { attempt, nonce, .. } = self.at.clone() else { return self.unexpected() };
        self.close(attempt, nonce, false);
    }

    /// The POST came to this.
    pub fn answered(&mut self, answer: Answer, took: Duration) {
        let At::Gated { attempt, nonce, asked } = self.at.clone() else { return self.unexpected() };
        match answer {
            Answer::Accepted(task) => {
                self.timings.submit = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                self.at = At::Accepting { attempt, task };
            }
            Answer::Later(_) => self.close(attempt, nonce, false),
            Answer::Account(_) => self.close(attempt, nonce, true),
            Answer::Refused(refusal) => {
                self.end(outcome::refused(refusal), Expect::Submitting { nonce });
            }
            Answer::Unknown { message, provider_code, exists } => {
                let unanswered = Unanswered { message, provider_code, exists };
                self.posted(attempt, asked);
                let look = LookOn::new(attempt, nonce, Some(asked)).after_own_post(unanswered);
                self.at = At::LookingOn(look);
            }
        }
    }

    /// The attempt was surely not accepted.
    fn close(&mut self, attempt: u32, nonce: Nonce, hand_back: bool) {
        self.at = if self.rules.receipts {
            At::Refusing { attempt, hand_back }
        } else {
            At::Reopening { attempt, nonce: Some(nonce), hand_back }
        };
    }

    /// A receipt says that the attempt is closed.
    pub fn refused(&mut self) {
        let (attempt, hand_back) = if let At::Refusing { attempt, hand_back } = self.at {
            (attempt, hand_back)
        } else if let At::Gated { attempt, .. } = self.at {
            (attempt, false)
        } else {
            return self.unexpected();
        };
        self.at = At::Reopening { attempt, nonce: None, hand_back };
    }

    /// The record is past the attempt, or somebody else moved it.
    pub fn reopened(&mut self, moved: Moved, now: Duration) {
        let (attempt, hand_back) = if let At::Reopening { attempt, hand_back, .. } = self.at {
            (attempt, hand_back)
        } else if let At::Gated { attempt, .. } = self.at {
            (attempt, false)
        } else {
            return self.unexpected();
        };
        match moved {
            Moved::Yes { .. } if hand_back => {
                self.forget();
                self.at = At::HandingBack(HandBack::Paused);
            }
            Moved::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.forget();
                self.under = None;
                self.at = At::Ready { attempt: attempt + 1, basis: Basis::Read };
            }
            // No answer to this, so it is asked again.
            Moved::Full | Moved::Paced { .. } => {}
            Moved::No(known) => self.read(known, now),
        }
    }

    /// The task id is in the ledger, and so far is the job now; `noted` where a receipt has it too.
    pub fn accepted(&mut self, stage: Stage, noted: bool, now: Duration) {
        let At::Accepting { attempt, task } = self.at.clone() else { return self.unexpected() };
        let first = now + self.rules.wait(0, Duration::ZERO);
        match stage {
            Stage::Generating { attempt, task: known, age } => {
                let accepted = Since { noted: now, age_then: age };
                let noted = noted && known == task;
                let generation = Generation { noted, ..Generation::new(attempt, known, accepted, first) };
                if noted {
                    self.note(generation.task.clone());
                }
                self.generate(generation);
            }
            Stage::Done { event, .. } => {
                // It was given up while the POST was under way. What this task comes to corrects it.
                let unknown = self.rules.receipts && says_unknown(&event);
                let then =
                    if unknown { Then::Reopen(self.late(attempt, task, event.clone())) } else { Then::Ack };
                self.at = At::Telling { event, then };
            }
            Stage::Told { .. } => self.at = At::Reading,
            Stage::New { .. } | Stage::Submitting { .. } => self.at = At::Unread,
        }
    }

    /// A task that has come to light after the job was given up by this event.
    pub(super) fn late(&self, attempt: u32, task: TaskId, corrects: Bytes) -> Rebuilt {
        Rebuilt {
            digest: Some(self.digest.clone()),
            round: self.round,
            failed: self.failed.clone(),
            under: self.under.clone(),
            stage: Stage::Generating { attempt, task, age: Duration::ZERO },
            corrects: Some(corrects),
        }
    }

    /// A receipt has the task id.
    pub fn noted(&mut self) {
        let At::Generating(generation) = &self.at else { return self.unexpected() };
        self.note(generation.task.clone());
    }

    /// The job ends so: sealed in a receipt first, where there are receipts.
    pub(super) fn end(&mut self, outcome: Outcome, expect: Expect) {
        let outcome = Box::new(self.failed.counted_in(outcome));
        self.forget();
        self.at = if self.rules.receipts {
            At::Sealing { outcome }
        } else {
            At::Freezing { words: Words::New(outcome), expect, then: Then::Ack }
        };
    }
}
