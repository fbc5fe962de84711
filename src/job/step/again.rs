//! A task that ended without images, and whether another generation may follow it.
//!
//! The job's first intent says how many generations the job may have, and every worker obeys it. A life that ends the
//! job although another generation might follow first shuts the gate of that generation. So of two lives with the
//! same job, one can't end it while the other continues.

use std::time::Duration;

use super::generation::Generation;
use super::look::Recalling;
use super::machine::{Machine, State};
use super::{BeginPrecondition, FreezePrecondition, MoveResult};
use crate::job::receipt::Shut;
use crate::job::receipt::history::History;
use crate::job::{Charged, FailedTasks, Outcome, TaskId};

/// A task that ended without images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BadEnd {
    pub(super) attempt: u32,
    task: TaskId,
    outcome: Box<Outcome>,
    /// `Some` if the provider says that the task failed, for a reason that need not make the next one fail too.
    failed: Option<Charged>,
}

impl Machine {
    /// Ends the task with this outcome. Another generation follows if that is allowed; otherwise the job ends.
    pub(super) fn end_badly(&mut self, generation: Generation, outcome: Outcome, failed: Option<Charged>) {
        let Generation { attempt, task, .. } = generation;
        let end = BadEnd { attempt, task, outcome: Box::new(outcome), failed };
        if self.rules.receipts {
            self.at = State::Recalling(Recalling::BadEnd(end));
            return;
        }
        match end.failed {
            Some(charged) if self.failed.generation() < self.rules.max_attempts => {
                let failed = self.failed.clone().and(end.task, charged);
                self.at = State::Following { attempt, failed };
            }
            Some(_) | None => self.end(*end.outcome, FreezePrecondition::Unfinished),
        }
    }

    /// Reports the job's receipts after such an end.
    pub(super) fn recalled_after(&mut self, end: BadEnd, history: &History) {
        // The correction of an unknown outcome is final, and so is a sealed outcome.
        if self.corrects.is_some() || !history.allows_another(end.attempt) {
            return self.end(*end.outcome, FreezePrecondition::Unfinished);
        }
        self.at = match (history.failed_at(end.attempt), end.failed) {
            // Another life has seen the failure before and may already have gone on to the next generation.
            (Some(failed), _) => State::Following { attempt: end.attempt, failed },
            (None, Some(charged)) => State::NotingFailure { attempt: end.attempt, task: end.task, charged },
            (None, None) => State::Closing(end),
        };
    }

    /// Reports that a receipt has the failure.
    pub fn failure_noted(&mut self) {
        let State::NotingFailure { attempt, task, charged } = self.at.clone() else {
            return self.unexpected();
        };
        self.at = State::Following { attempt, failed: self.failed.clone().and(task, charged) };
    }

    /// Reports that the record is past the attempt, or that another life has moved it.
    pub fn followed(&mut self, moved: MoveResult, now: Duration) {
        let State::Following { attempt, failed } = self.at.clone() else { return self.unexpected() };
        match moved {
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.forget();
                self.failed = failed;
                self.under = None;
                self.at = State::Ready { attempt: attempt + 1, basis: BeginPrecondition::Read };
            }
            MoveResult::No(known) => self.read(known, now),
            // Neither is an answer to this action, so the action is repeated.
            MoveResult::Full | MoveResult::Paced { .. } => {}
        }
    }

    /// Reports the try to shut the gate after a task that is given up.
    pub(super) fn closed(&mut self, end: BadEnd, shut: Shut) {
        match shut {
            Shut::Shut => self.end(*end.outcome, FreezePrecondition::Unfinished),
            // Another life has seen the task fail, and continues.
            Shut::Taken => self.at = State::Recalling(Recalling::BadEnd(end)),
        }
    }

    /// The failed tasks of the generations before the current one.
    #[must_use]
    pub fn failed(&self) -> &FailedTasks {
        &self.failed
    }
}
