//! A task that came to no good, and whether another generation may follow it.
//!
//! How many generations a job may have was written into its first intent, and everybody goes by that.
//! So of two hands at one job none ends it while the other goes on: whoever ends it, though another
//! generation might follow, shuts the gate to that one first.

use std::time::Duration;

use super::generation::Generation;
use super::look::Recalling;
use super::machine::{Machine, State};
use super::{BeginPrecondition, FreezePrecondition, MoveResult};
use crate::job::receipt::Shut;
use crate::job::receipt::history::History;
use crate::job::{Charged, FailedTasks, Outcome, TaskId};

/// The end of a task without images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BadEnd {
    pub(super) attempt: u32,
    task: TaskId,
    outcome: Box<Outcome>,
    /// The provider says that it failed, and for nothing that would fail the next one too.
    failed: Option<Charged>,
}

impl Machine {
    /// The task ends so. Another generation follows where that may be; else the job ends with it.
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

    /// The job's receipts were read.
    pub(super) fn recalled_after(&mut self, end: BadEnd, history: &History) {
        // The correction of an unknown outcome is the last word, and so is what is sealed already.
        if self.corrects.is_some() || !history.allows_another(end.attempt) {
            return self.end(*end.outcome, FreezePrecondition::Unfinished);
        }
        self.at = match (history.failed_at(end.attempt), end.failed) {
            // Somebody saw it before, and has gone on, perhaps.
            (Some(failed), _) => State::Following { attempt: end.attempt, failed },
            (None, Some(charged)) => State::NotingFailure { attempt: end.attempt, task: end.task, charged },
            (None, None) => State::Closing(end),
        };
    }

    /// A receipt has the failure.
    pub fn failure_noted(&mut self) {
        let State::NotingFailure { attempt, task, charged } = self.at.clone() else {
            return self.unexpected();
        };
        self.at = State::Following { attempt, failed: self.failed.clone().and(task, charged) };
    }

    /// The record is past the attempt, or somebody else moved it.
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
            // No answer to this, so it is asked again.
            MoveResult::Full | MoveResult::Paced { .. } => {}
        }
    }

    /// The gate behind a task that is given up was to be shut.
    pub(super) fn closed(&mut self, end: BadEnd, shut: Shut) {
        match shut {
            Shut::Shut => self.end(*end.outcome, FreezePrecondition::Unfinished),
            // Another hand has seen the task fail, and goes on.
            Shut::Taken => self.at = State::Recalling(Recalling::BadEnd(end)),
        }
    }

    /// Those of the generations before the one that this life is about.
    #[must_use]
    pub fn failed(&self) -> &FailedTasks {
        &self.failed
    }
}
