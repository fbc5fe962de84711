//! The running task: when it is queried, what its answers mean, and whether another generation follows it.
//!
//! The job's first intent says how many generations the job may have, and every worker obeys it. A life that ends the
//! job although another generation might follow first shuts the gate of that generation. So of two lives with the
//! same job, one can't end it while the other continues.

use std::time::Duration;

use super::machine::Machine;
use super::patience::Tried;
use super::store::Storing;
use super::timing::{Pulls, Since, milliseconds};
use super::{Action, BeginPrecondition, FreezePrecondition, GivenUp, MoveResult, Recall, outcome};
use crate::job::answers::{Failed, TaskStatus};
use crate::job::receipt::Shut;
use crate::job::receipt::history::History;
use crate::job::record::{Snapshot, Stage};
use crate::job::{Charged, FailedTasks, Outcome, TaskId};

/// How often a success without images is queried again before it is believed.
const EMPTY_RESULTS_MAX: u32 = 3;
const EMPTY_RESULT_WAIT: Duration = Duration::from_secs(10);
/// And for how long, unless the job's timeout is shorter.
const EMPTY_RESULTS_FOR: Duration = Duration::from_secs(300);
/// A task is given up after this many queries in vain, if its timeout is over and the provider answers about other
/// tasks.
const IN_VAIN_MAX: u32 = 4;
/// What a life remembers of a running task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generation {
    pub(super) attempt: u32,
    pub(super) task: TaskId,
    /// When the task was accepted, which may be before this life began.
    pub(super) accepted: Since,
    pub(super) next_poll: Duration,
    /// A callback can't move the next poll to an earlier time than this.
    pub(super) pull_from: Duration,
    pub(super) pulls: Pulls,
    /// Whether a receipt has the task id.
    pub(super) noted: bool,
    /// How many queries in a row got no answer about the task.
    pub(super) failures: u32,
    /// How many of them came after the timeout while the provider answered about other tasks.
    pub(super) in_vain: u32,
    pub(super) empty_results: u32,
    /// When the provider first reported a success without images.
    pub(super) empty_since: Option<Duration>,
    /// Whether the provider has reported a success with images.
    pub(super) succeeded: bool,
    /// How long the images have been tried for in vain; `None` if they have not been tried for.
    pub(super) tried: Option<Tried>,
    /// Whether this life was counted among the lives that have begun to store the images.
    pub(super) entered: bool,
    /// How many lives before this one may have begun to store the images. `None` for the life that submitted the job,
    /// and as soon as this life is counted too.
    pub(super) entries: Option<u32>,
}

/// A task that ended without images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BadEnd {
    pub(super) attempt: u32,
    task: TaskId,
    outcome: Box<Outcome>,
    /// `Some` if the provider says that the task failed, for a reason that need not make the next one fail too.
    failed: Option<Charged>,
}

impl Machine {
    /// The task runs. If the job is cancelled, the life ends without waiting for the task, which continues at the
    /// provider.
    pub(super) fn generate(&mut self, generation: Generation, now: Duration) -> Action {
        if self.cancelled {
            return self.end_cancelled(&generation.task);
        }
        self.wait_for(generation, now)
    }

    /// Waits for the task's next poll. Before that, a receipt gets the task id. A task that may be queried at once
    /// needs no receipt, unless another life may have given the job up.
    pub(super) fn wait_for(&self, generation: Generation, now: Duration) -> Action {
        let waits = now < generation.next_poll || self.may_have_been_given_up(now);
        if self.rules.receipts && !generation.noted && waits {
            let (attempt, task) = (generation.attempt, generation.task.clone());
            let then = Action::Poll(Box::new(Generation { noted: true, ..generation }));
            return Action::NoteTask { attempt, task, then: Box::new(then) };
        }
        Action::Poll(Box::new(generation))
    }

    /// The record was read after a hint. Returns the end of a job that its user has cancelled.
    pub(super) fn cancels(&mut self, known: &Snapshot, task: &TaskId) -> Option<Action> {
        self.cancelled |= known.cancelled;
        self.cancelled.then(|| self.end_cancelled(task))
    }

    fn end_cancelled(&mut self, task: &TaskId) -> Action {
        let cancelled = outcome::cancelled(Charged::Yes, Some(task.clone()));
        self.end(cancelled, FreezePrecondition::Unfinished)
    }

    pub(super) fn polled(
        &mut self,
        generation: Box<Generation>,
        status: TaskStatus,
        asked: Duration,
        now: Duration,
    ) -> Action {
        match status {
            TaskStatus::Unavailable { message, fault: None, after }
                if generation.accepted.left(asked, &self.rules).is_zero() =>
            {
                Action::QueryOther { generation, message, after, asked }
            }
            TaskStatus::Running
            | TaskStatus::Succeeded { .. }
            | TaskStatus::Failed { .. }
            | TaskStatus::NotFound { .. }
            | TaskStatus::Unavailable { .. } => self.answered_about(*generation, status, asked, now),
        }
    }

    /// The task is overdue, and the query at `asked` got no answer about it. If the provider answers about other
    /// tasks, it isn't down.
    pub(super) fn queried_other(
        &mut self,
        mut generation: Generation,
        message: String,
        after: Option<Duration>,
        about_others: bool,
        asked: Duration,
        now: Duration,
    ) -> Action {
        generation.in_vain += u32::from(about_others);
        if about_others && generation.in_vain >= IN_VAIN_MAX {
            self.polls += 1;
            let never_answered = outcome::never_answered(generation.task.clone(), &message);
            return self.end_badly(generation, never_answered, None);
        }
        // The provider isn't busy, so the wait that it asks for is not for this task, which has to end in this life.
        let after = after.filter(|_| !about_others);
        let status = TaskStatus::Unavailable { message, fault: None, after };
        self.answered_about(generation, status, asked, now)
    }

    fn answered_about(
        &mut self,
        mut generation: Generation,
        status: TaskStatus,
        asked: Duration,
        now: Duration,
    ) -> Action {
        self.polls += 1;
        if generation.noted {
            // At this point the life has already checked whether the job was given up.
            self.given_up_from = None;
        }
        let last_look = generation.accepted.left(asked, &self.rules).is_zero();
        let answered = !matches!(status, TaskStatus::Unavailable { .. });
        (generation.failures, generation.in_vain) =
            if answered { (0, 0) } else { (generation.failures + 1, generation.in_vain) };
        // A task that has succeeded stays so: caches and pollers behind the API are known to report an older status
        // afterwards.
        let has_files = matches!(&status, TaskStatus::Succeeded { files, .. } if !files.is_empty());
        if generation.succeeded && answered && !has_files {
            return self.taken_back(generation, now);
        }
        match status {
            TaskStatus::Running | TaskStatus::NotFound { .. } if last_look => {
                let timed_out = outcome::timed_out(generation.task.clone());
                return self.end_badly(generation, timed_out, None);
            }
            TaskStatus::Running | TaskStatus::NotFound { .. } => {
                let due = now + self.wait(self.polls, generation.accepted.age(now));
                let deadline = now + generation.accepted.left(now, &self.rules);
                generation.next_poll = due.min(deadline);
                generation.pull_from = Pulls::after_look(asked, &self.rules.pace);
            }
            TaskStatus::Unavailable { after, .. } => {
                let wait = self.rules.pace.wait_after_failure(generation.failures, self.seed);
                generation.not_before(now + after.unwrap_or_default().max(wait));
            }
            TaskStatus::Failed { message, why, units } => {
                self.timings.generate = Some(milliseconds(generation.accepted.age(now)));
                let charged = outcome::charged(units.as_deref());
                let failed = outcome::failed(generation.task.clone(), message, why == Failed::Policy, units);
                return self.end_badly(generation, failed, (why == Failed::Technical).then_some(charged));
            }
            TaskStatus::Succeeded { files, units } if files.is_empty() => {
                generation.empty_results += 1;
                generation
                    .not_before(now + EMPTY_RESULT_WAIT * generation.empty_results.min(EMPTY_RESULTS_MAX));
                let since = *generation.empty_since.get_or_insert(now);
                let long_enough = now.saturating_sub(since) >= EMPTY_RESULTS_FOR.min(self.rules.timeout);
                if generation.empty_results > EMPTY_RESULTS_MAX && long_enough {
                    let without_images = outcome::without_images(generation.task.clone(), units);
                    return self.end_badly(generation, without_images, None);
                }
            }
            TaskStatus::Succeeded { files, units } => {
                self.timings.generate.get_or_insert(milliseconds(generation.accepted.age(now)));
                generation.succeeded = true;
                return Storing { generation, files, units }.next();
            }
        }
        self.wait_for(generation, now)
    }

    /// Ends the task with this outcome. Another generation follows if that is allowed; otherwise the job ends.
    pub(super) fn end_badly(
        &mut self,
        generation: Generation,
        outcome: Outcome,
        failed: Option<Charged>,
    ) -> Action {
        let Generation { attempt, task, .. } = generation;
        let end = BadEnd { attempt, task, outcome: Box::new(outcome), failed };
        if self.rules.receipts {
            return Action::ReadReceipts { why: Recall::BadEnd(end) };
        }
        match end.failed {
            Some(charged) if self.failed.generation() < self.rules.max_attempts => {
                Action::NextGeneration { attempt, failed: self.failed.clone().and(end.task, charged) }
            }
            Some(_) | None => self.end(*end.outcome, FreezePrecondition::Unfinished),
        }
    }

    /// The receipts of a job whose task ended without images.
    pub(super) fn recalled_after(&mut self, end: BadEnd, history: &History) -> Action {
        // The correction of an unknown outcome is final, and so is a sealed outcome.
        if self.corrects.is_some() || !history.allows_another(end.attempt) {
            return self.end(*end.outcome, FreezePrecondition::Unfinished);
        }
        match (history.failed_at(end.attempt), end.failed) {
            // Another life has seen the failure before and may already have gone on to the next generation.
            (Some(failed), _) => Action::NextGeneration { attempt: end.attempt, failed },
            (None, Some(charged)) => Action::NoteFailure { attempt: end.attempt, task: end.task, charged },
            (None, None) => {
                let attempt = end.attempt + 1;
                Action::Shut { attempt, cancels: false, why: GivenUp::NextGeneration(end) }
            }
        }
    }

    pub(super) fn followed(
        &mut self,
        attempt: u32,
        failed: FailedTasks,
        moved: MoveResult,
        now: Duration,
    ) -> Action {
        match moved {
            MoveResult::Yes { cancelled } => {
                self.cancelled |= cancelled;
                self.forget();
                self.failed = failed;
                self.under = None;
                self.ask_to_post(attempt + 1, BeginPrecondition::Read)
            }
            MoveResult::No(known) => self.read(known, None, now),
            // Neither is an answer to this action, so the action is repeated.
            MoveResult::Full | MoveResult::Paced { .. } | MoveResult::Spent(_) => {
                Action::NextGeneration { attempt, failed }
            }
        }
    }

    /// The try to shut the gate after a task that is given up.
    pub(super) fn shut_next(&mut self, end: BadEnd, shut: Shut) -> Action {
        match shut {
            Shut::Shut => self.end(*end.outcome, FreezePrecondition::Unfinished),
            // Another life has seen the task fail, and continues.
            Shut::Taken => Action::ReadReceipts { why: Recall::BadEnd(end) },
        }
    }
}

impl Generation {
    pub(super) fn new(attempt: u32, task: TaskId, accepted: Since, next_poll: Duration) -> Self {
        Self {
            attempt,
            task,
            accepted,
            next_poll,
            pull_from: accepted.noted,
            pulls: Pulls::new(),
            noted: false,
            failures: 0,
            in_vain: 0,
            empty_results: 0,
            empty_since: None,
            succeeded: false,
            tried: None,
            entered: false,
            entries: None,
        }
    }

    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// When to query the task, on the clock of [`Machine::apply`].
    #[must_use]
    pub fn next_poll(&self) -> Duration {
        self.next_poll
    }

    /// How long the task has been running.
    pub(super) fn age(&self, now: Duration) -> Duration {
        self.accepted.age(now)
    }

    pub(super) fn tried_for(&self) -> Option<Duration> {
        self.tried.as_ref().map(Tried::total)
    }

    /// The record of this task, for a ledger that has lost it.
    pub(super) fn stage(&self) -> Stage {
        Stage::Generating { attempt: self.attempt, task: self.task.clone(), age: Duration::ZERO }
    }

    /// Sets the next poll to a time that no callback makes earlier.
    pub(super) fn not_before(&mut self, next_poll: Duration) {
        (self.next_poll, self.pull_from) = (next_poll, next_poll);
    }

    /// A callback makes the next poll earlier.
    pub(super) fn pull(&mut self, now: Duration) {
        self.next_poll = self.pulls.pull(self.next_poll, self.pull_from, now);
    }
}
