//! From the right to post to the noted task, or back to the next attempt.

use std::time::Duration;

use bytes::Bytes;

use super::machine::Machine;
use super::open::{OpenSubmit, Unanswered};
use super::timing::{Since, milliseconds};
use super::{
    Action, AfterPublish, BeginPrecondition, FreezePrecondition, Generation, GivenUp, MoveResult, Rebuilt,
    Recall, RequeueReason, outcome,
};
use crate::job::answers::SubmitOutcome;
use crate::job::event::says_unknown;
use crate::job::receipt::Gate;
use crate::job::record::{Nonce, Stage};
use crate::job::{Charged, TaskId};

impl Machine {
    pub(super) fn ask_to_post(&self, attempt: u32, basis: BeginPrecondition) -> Action {
        Action::AskToPost { attempt, round: self.round, basis, cancels: self.cancelled }
    }

    pub(super) fn begun(
        &mut self,
        attempt: u32,
        basis: BeginPrecondition,
        moved: MoveResult,
        nonce: Nonce,
        asked: Duration,
        now: Duration,
    ) -> Action {
        match moved {
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.given_up_from = Some(asked + self.rules.quiet);
                match (self.cancelled, self.rules.receipts) {
                    (false, true) => Action::AskGate { attempt, nonce, asked },
                    (false, false) => self.post_in_time(attempt, nonce, asked, now),
                    // The right to post is given up for good, so the gate decides, as always.
                    (true, true) => {
                        let open = OpenSubmit::new(attempt, nonce, Some(now));
                        Action::Shut { attempt, cancels: true, why: GivenUp::Submit(Box::new(open)) }
                    }
                    (true, false) => self
                        .end(outcome::cancelled(Charged::No, None), FreezePrecondition::Submitting { nonce }),
                }
            }
            // The job waits for its turn.
            MoveResult::Full | MoveResult::Paced { .. } | MoveResult::Spent(_) => {
                self.ask_to_post(attempt, basis)
            }
            MoveResult::No(known) => self.read(known, None, now),
        }
    }

    pub(super) fn gated(
        &mut self,
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
        gate: Gate,
        now: Duration,
    ) -> Action {
        match gate {
            Gate::Mine => self.post_in_time(attempt, nonce, asked, now),
            // The result of that life may already be in the receipts.
            Gate::Taken => {
                let seen = self.saw(attempt, now);
                let open = OpenSubmit::new(attempt, nonce, Some(seen));
                Action::ReadReceipts { why: Recall::Attempt(Box::new(open)) }
            }
        }
    }

    /// `generation.gate_s` counts from the ask at the ledger, also if the ask at the gate had to be repeated.
    fn post_in_time(&self, attempt: u32, nonce: Nonce, asked: Duration, now: Duration) -> Action {
        let until = asked + self.rules.gate;
        if now > until {
            return self.close(attempt, nonce, false);
        }
        Action::Post { attempt, nonce, asked, until }
    }

    pub(super) fn answered(
        &mut self,
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
        answer: SubmitOutcome,
        took: Duration,
    ) -> Action {
        match answer {
            SubmitOutcome::Accepted(task) => {
                self.timings.submit = Some(milliseconds(took));
                Action::RecordTask { attempt, task }
            }
            SubmitOutcome::Later(_) => self.close(attempt, nonce, false),
            SubmitOutcome::Account(_) => self.close(attempt, nonce, true),
            SubmitOutcome::Refused(refusal) => {
                self.end(outcome::refused(refusal), FreezePrecondition::Submitting { nonce })
            }
            SubmitOutcome::Unknown { message, provider_code, exists } => {
                let unanswered = Unanswered { message, provider_code, exists };
                self.posted(attempt, asked);
                OpenSubmit::new(attempt, nonce, Some(asked)).after_own_post(unanswered).next()
            }
        }
    }

    /// The attempt was certainly not accepted; the next ask is for the next attempt.
    pub(super) fn close(&self, attempt: u32, nonce: Nonce, requeue: bool) -> Action {
        if self.rules.receipts {
            Action::NoteRefusal { attempt, requeue }
        } else {
            Action::CloseAttempt { attempt, nonce: Some(nonce), requeue }
        }
    }

    pub(super) fn reopened(
        &mut self,
        attempt: u32,
        nonce: Option<Nonce>,
        requeue: bool,
        moved: MoveResult,
        now: Duration,
    ) -> Action {
        match moved {
            MoveResult::Yes { .. } if requeue => {
                self.forget();
                Action::Requeue { why: RequeueReason::Paused }
            }
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.forget();
                self.under = None;
                self.ask_to_post(attempt + 1, BeginPrecondition::Read)
            }
            // Neither is an answer to this action, so the action is repeated.
            MoveResult::Full | MoveResult::Paced { .. } | MoveResult::Spent(_) => {
                Action::CloseAttempt { attempt, nonce, requeue }
            }
            MoveResult::No(known) => self.read(known, None, now),
        }
    }

    /// The ledger has the task id. If the job may have been given up meanwhile, the worker that gave it up has
    /// acknowledged its message. So the task is noted, and the message is published again for the correction.
    pub(super) fn accepted(
        &mut self,
        attempt: u32,
        task: TaskId,
        stage: Stage,
        noted: bool,
        now: Duration,
    ) -> Action {
        let is_another = matches!(&stage, Stage::Generating { task: known, .. } if *known != task);
        let then = self.accepted_as(attempt, task.clone(), stage, noted, now);
        // A second task of the job is a fault in itself, and no record but the receipt has its id.
        let is_second = is_another && self.rules.receipts;
        if matches!(then, Action::NoteTask { .. }) && !is_second {
            return then;
        }
        if is_second || owes_a_correction(&then) || self.may_have_been_given_up(now) {
            return Action::NoteTask { attempt, task, then: Box::new(then) };
        }
        then
    }

    fn accepted_as(
        &mut self,
        attempt: u32,
        task: TaskId,
        stage: Stage,
        noted: bool,
        now: Duration,
    ) -> Action {
        match stage {
            Stage::Generating { attempt, task: known, age } => {
                let first = now + self.wait(0, Duration::ZERO);
                let accepted = Since { noted: now, age_then: age };
                let noted = noted && known == task;
                let generation = Generation { noted, ..Generation::new(attempt, known, accepted, first) };
                if noted {
                    self.note(generation.task.clone());
                }
                self.generate(generation, now)
            }
            Stage::Done { event, .. } => {
                // The job was given up while the POST was under way. The outcome of this task corrects that.
                let unknown = self.rules.receipts && says_unknown(&event);
                let then = if unknown {
                    AfterPublish::Reopen(Box::new(self.late(attempt, task, event.clone())))
                } else {
                    AfterPublish::Ack
                };
                Action::Publish { event, then }
            }
            Stage::Published { .. } => Action::ReadPublishedEvent,
            Stage::New { .. } | Stage::Submitting { .. } => Action::Read { before: None },
        }
    }

    /// A receipt has the task id.
    pub(super) fn noted(&mut self, task: TaskId, then: Box<Action>, now: Duration) -> Action {
        // A second task of the job is not the one that this life waits for.
        if then.generation().is_none_or(|generation| *generation.task() == task) {
            self.note(task);
        }
        let owes = owes_a_correction(&then);
        if owes || self.may_have_been_given_up(now) {
            return Action::Redeliver { if_unknown: !owes, then };
        }
        *then
    }

    /// Every life finds this task in the receipt, so none gives the job up any more.
    pub(super) fn note(&mut self, task: TaskId) {
        (self.seen, self.noted) = (None, Some(task));
    }

    /// The record of a task that became known after the job was given up with this event.
    pub(super) fn late(&self, attempt: u32, task: TaskId, corrects: Bytes) -> Rebuilt {
        Rebuilt {
            digest: Some(self.digest.clone()),
            route: self.route.clone(),
            round: self.round,
            failed: self.failed.clone(),
            under: self.under.clone(),
            stage: Stage::Generating { attempt, task, age: Duration::ZERO },
            corrects: Some(corrects),
        }
    }
}

/// Whether the job was given up, and the event was published, while this life learned its task.
fn owes_a_correction(action: &Action) -> bool {
    let Action::Publish { then: AfterPublish::Reopen(rebuilt), .. } = action else { return false };
    matches!(rebuilt.stage, Stage::Generating { .. })
}
