//! From the right to post to the noted task, or back to the next attempt.

use std::time::Duration;

use bytes::Bytes;

use super::generation::{Generation, Since};
use super::look::{LookOn, Recalling, Unanswered};
use super::machine::{AfterPublish, Machine, State};
use super::{
    BeginPrecondition, EventSource, FreezePrecondition, MoveResult, Rebuilt, RequeueReason, outcome,
};
use crate::job::answers::SubmitOutcome;
use crate::job::event::says_unknown;
use crate::job::receipt::Gate;
use crate::job::record::{Nonce, Stage};
use crate::job::{Charged, Outcome, TaskId};

impl Machine {
    /// Reports the ledger's answer to the ask, at `asked` and with `nonce`, for the right to post.
    pub fn begun(&mut self, moved: MoveResult, nonce: Nonce, asked: Duration, now: Duration) {
        let State::Ready { attempt, .. } = self.at else { return self.unexpected() };
        match moved {
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.asked = Some(asked);
                self.at = match (self.cancelled, self.rules.receipts) {
                    (false, true) => State::Asking { attempt, nonce, asked },
                    (false, false) => State::Gated { attempt, nonce, asked },
                    // The right to post is given up for good, so the gate decides, as always.
                    (true, true) => {
                        State::Shutting { look: LookOn::new(attempt, nonce, Some(now)), cancels: true }
                    }
                    (true, false) => {
                        return self.end(
                            outcome::cancelled(Charged::No, None),
                            FreezePrecondition::Submitting { nonce },
                        );
                    }
                };
            }
            // The job waits for its turn.
            MoveResult::Full | MoveResult::Paced { .. } => {}
            MoveResult::No(known) => self.read(known, now),
        }
    }

    /// Reports the answer of the receipts. `generation.gate_s` counts from the ask at the ledger, also if the ask at
    /// the gate had to be repeated.
    pub fn gated(&mut self, gate: Gate, now: Duration) {
        let State::Asking { attempt, nonce, asked } = self.at.clone() else { return self.unexpected() };
        self.at = match gate {
            Gate::Mine => State::Gated { attempt, nonce, asked },
            // The result of that life may already be in the receipts.
            Gate::Taken => {
                let sight = self.sighted(attempt, now);
                State::Recalling(Recalling::Attempt(LookOn::new(attempt, nonce, Some(sight))))
            }
        };
    }

    /// Gives the right to post up unused; the next ask is for the next attempt.
    pub fn withheld(&mut self) {
        let State::Gated { attempt, nonce, .. } = self.at.clone() else { return self.unexpected() };
        self.close(attempt, nonce, false);
    }

    /// Reports the provider's answer to the POST.
    pub fn answered(&mut self, answer: SubmitOutcome, took: Duration) {
        let State::Gated { attempt, nonce, asked } = self.at.clone() else { return self.unexpected() };
        match answer {
            SubmitOutcome::Accepted(task) => {
                self.timings.submit = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                self.at = State::Accepting { attempt, task };
            }
            SubmitOutcome::Later(_) => self.close(attempt, nonce, false),
            SubmitOutcome::Account(_) => self.close(attempt, nonce, true),
            SubmitOutcome::Refused(refusal) => {
                self.end(outcome::refused(refusal), FreezePrecondition::Submitting { nonce });
            }
            SubmitOutcome::Unknown { message, provider_code, exists } => {
                let unanswered = Unanswered { message, provider_code, exists };
                self.posted(attempt, asked);
                let look = LookOn::new(attempt, nonce, Some(asked)).after_own_post(unanswered);
                self.at = State::LookingOn(look);
            }
        }
    }

    /// The attempt was certainly not accepted.
    fn close(&mut self, attempt: u32, nonce: Nonce, requeue: bool) {
        self.at = if self.rules.receipts {
            State::Refusing { attempt, requeue }
        } else {
            State::Reopening { attempt, nonce: Some(nonce), requeue }
        };
    }

    /// Reports that a receipt closes the attempt.
    pub fn refused(&mut self) {
        let (attempt, requeue) = if let State::Refusing { attempt, requeue } = self.at {
            (attempt, requeue)
        } else if let State::Gated { attempt, .. } = self.at {
            (attempt, false)
        } else {
            return self.unexpected();
        };
        self.at = State::Reopening { attempt, nonce: None, requeue };
    }

    /// Reports that the record is past the attempt, or that another life has moved it.
    pub fn reopened(&mut self, moved: MoveResult, now: Duration) {
        let (attempt, requeue) = if let State::Reopening { attempt, requeue, .. } = self.at {
            (attempt, requeue)
        } else if let State::Gated { attempt, .. } = self.at {
            (attempt, false)
        } else {
            return self.unexpected();
        };
        match moved {
            MoveResult::Yes { .. } if requeue => {
                self.forget();
                self.at = State::Requeueing(RequeueReason::Paused);
            }
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.forget();
                self.under = None;
                self.at = State::Ready { attempt: attempt + 1, basis: BeginPrecondition::Read };
            }
            // Neither is an answer to this action, so the action is repeated.
            MoveResult::Full | MoveResult::Paced { .. } => {}
            MoveResult::No(known) => self.read(known, now),
        }
    }

    /// Reports that the ledger has the task id. `stage` is the job's stage now; `noted` is true if a receipt also has
    /// the task id.
    pub fn accepted(&mut self, stage: Stage, noted: bool, now: Duration) {
        let State::Accepting { attempt, task } = self.at.clone() else { return self.unexpected() };
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
                // The job was given up while the POST was under way. The outcome of this task corrects that.
                let unknown = self.rules.receipts && says_unknown(&event);
                let then = if unknown {
                    AfterPublish::Reopen(self.late(attempt, task, event.clone()))
                } else {
                    AfterPublish::Ack
                };
                self.at = State::Publishing { event, then };
            }
            Stage::Told { .. } => self.at = State::Reading,
            Stage::New { .. } | Stage::Submitting { .. } => self.at = State::Unread,
        }
    }

    /// The record of a task that became known after the job was given up with this event.
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

    /// Reports that a receipt has the task id.
    pub fn noted(&mut self) {
        let State::Generating(generation) = &self.at else { return self.unexpected() };
        self.note(generation.task.clone());
    }

    /// Ends the job with this outcome, which is sealed in a receipt first if there are receipts.
    pub(super) fn end(&mut self, outcome: Outcome, expect: FreezePrecondition) {
        let outcome = Box::new(self.failed.counted_in(outcome));
        self.forget();
        self.at = if self.rules.receipts {
            State::Sealing { outcome }
        } else {
            State::Freezing { words: EventSource::New(outcome), expect, then: AfterPublish::Ack }
        };
    }
}
