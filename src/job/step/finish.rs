//! From the running task to the acknowledgement.

use std::time::Duration;

use bytes::Bytes;

use super::generation::{Generation, Pulls};
use super::look::Recalling;
use super::machine::{AfterPublish, Machine, State};
use super::unstored::Tried;
use super::{EventSource, FreezePrecondition, FreezeResult, RestorePrecondition, Stored, outcome};
use crate::job::answers::{Failed, TaskStatus};
use crate::job::event::says_unknown;
use crate::job::record::{Snapshot, Stage};
use crate::job::{Charged, Outcome, Reason, Success};

/// How often a success without images is queried again before it is believed.
const EMPTY_RESULTS_MAX: u32 = 3;
const EMPTY_RESULT_WAIT: Duration = Duration::from_secs(10);
/// And for how long, unless the job's timeout is shorter.
const EMPTY_RESULTS_FOR: Duration = Duration::from_secs(300);
/// A task is given up after this many queries in vain, if its timeout is over and the provider answers about other
/// tasks.
const IN_VAIN_MAX: u32 = 4;
/// The life with this number doesn't store the images but ends the job, since the lives before it died while storing.
const ENTRIES_MAX: u32 = 5;

impl Machine {
    /// Reports the answer to a query of the task that was sent at `asked`.
    pub fn viewed(&mut self, view: TaskStatus, asked: Duration, now: Duration) {
        let State::Generating(mut generation) = self.at.clone() else { return self.unexpected() };
        self.polls += 1;
        if generation.noted {
            // At this point the life has already checked whether the job was given up.
            self.asked = None;
        }
        let last_look = generation.accepted.left(asked, &self.rules).is_zero();
        let answered = !matches!(view, TaskStatus::Unavailable { .. });
        (generation.failures, generation.in_vain) =
            if answered { (0, 0) } else { (generation.failures + 1, generation.in_vain) };
        // A task that has succeeded stays so: caches and pollers behind the API are known to report an older status
        // afterwards.
        let has_images = matches!(&view, TaskStatus::Succeeded { images, .. } if !images.is_empty());
        if generation.succeeded && answered && !has_images {
            return self.taken_back(generation, now);
        }
        match view {
            TaskStatus::Running | TaskStatus::NotFound { .. } if last_look => {
                let timed_out = outcome::timed_out(generation.task.clone());
                return self.end_badly(generation, timed_out, None);
            }
            TaskStatus::Running | TaskStatus::NotFound { .. } => {
                let due = now + self.rules.wait(self.polls, generation.accepted.age(now));
                let deadline = now + generation.accepted.left(now, &self.rules);
                generation.next_poll = due.min(deadline);
                generation.pull_from = Pulls::after_look(asked, &self.rules.pace);
            }
            TaskStatus::Unavailable { after, .. } => {
                let wait = self.rules.pace.wait_after_failure(generation.failures, self.rules.seed);
                generation.next_poll = now + after.unwrap_or_default().max(wait);
                generation.pull_from = generation.next_poll;
            }
            TaskStatus::Failed { message, why, units } => {
                self.timings.generate = Some(milliseconds(generation.accepted.age(now)));
                let charged = outcome::charged(units.as_deref());
                let failed = outcome::failed(generation.task.clone(), message, why == Failed::Policy, units);
                return self.end_badly(generation, failed, (why == Failed::Technical).then_some(charged));
            }
            TaskStatus::Succeeded { images, units } if images.is_empty() => {
                generation.empty_results += 1;
                generation.next_poll =
                    now + EMPTY_RESULT_WAIT * generation.empty_results.min(EMPTY_RESULTS_MAX);
                generation.pull_from = generation.next_poll;
                let since = *generation.empty_since.get_or_insert(now);
                let long_enough = now.saturating_sub(since) >= EMPTY_RESULTS_FOR.min(self.rules.timeout);
                if generation.empty_results > EMPTY_RESULTS_MAX && long_enough {
                    let without_images = outcome::without_images(generation.task.clone(), units);
                    return self.end_badly(generation, without_images, None);
                }
            }
            TaskStatus::Succeeded { images, units } => {
                self.timings.generate.get_or_insert(milliseconds(generation.accepted.age(now)));
                generation.succeeded = true;
                self.at = match generation.entries {
                    Some(_) => State::Entering { generation, images, units },
                    None => State::Storing { generation, images, units },
                };
                return;
            }
        }
        self.at = State::Generating(generation);
    }

    /// Whether the task's timeout is over, so that it is only queried because the provider had no answer about it.
    #[must_use]
    pub fn is_overdue(&self, now: Duration) -> bool {
        let State::Generating(generation) = &self.at else { return false };
        generation.accepted.left(now, &self.rules).is_zero()
    }

    /// Reports that a query at `asked` of an overdue task got no answer, although the provider answers about other
    /// tasks: so the provider isn't down.
    pub fn viewed_in_vain(&mut self, message: String, asked: Duration, now: Duration) {
        let State::Generating(generation) = &mut self.at else { return self.unexpected() };
        generation.in_vain += 1;
        if generation.in_vain < IN_VAIN_MAX {
            return self.viewed(TaskStatus::Unavailable { message, fault: None, after: None }, asked, now);
        }
        self.polls += 1;
        let generation = generation.clone();
        let never_answered = outcome::never_answered(generation.task.clone(), &message);
        self.end_badly(generation, never_answered, None);
    }

    /// Returns the running task of this life, and the event that its end will correct, if there is one. It is for a
    /// ledger that has lost the task.
    #[must_use]
    pub fn running(&self) -> Option<(Stage, Option<Bytes>)> {
        let State::Generating(generation) = &self.at else { return None };
        let (attempt, task) = (generation.attempt, generation.task.clone());
        Some((Stage::Generating { attempt, task, age: Duration::ZERO }, self.corrects.clone()))
    }

    /// Whether earlier lives seem to have died while they stored this job's images.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        let State::Entering { generation, .. } = &self.at else { return false };
        generation.entries.is_some_and(|entries| entries > 1)
    }

    /// Reports that this life is counted among the lives that have begun to store the images.
    pub fn entered(&mut self, known: Snapshot, now: Duration) {
        let State::Entering { mut generation, images, units } = self.at.clone() else {
            return self.unexpected();
        };
        match &known.record {
            // The record is lost, but the images are still valid.
            None => {}
            Some(record) if !matches!(record.stage, Stage::Generating { .. }) => {
                return self.read(known, now);
            }
            Some(record) if record.entries >= ENTRIES_MAX => {
                let quarantined = outcome::quarantined(generation.task.clone(), record.entries - 1, units);
                return self.end_badly(generation, quarantined, None);
            }
            Some(_) => {}
        }
        (generation.entered, generation.entries) = (true, None);
        self.at = State::Storing { generation, images, units };
        self.hinted(&known);
    }

    /// Reports whether the images are stored.
    pub fn stored(&mut self, stored: Stored, took: Duration, now: Duration) {
        let State::Storing { generation, units, .. } = self.at.clone() else { return self.unexpected() };
        let why = match stored {
            Stored::All(images) => {
                self.timings.store = Some(milliseconds(took));
                let success = Success { task_id: generation.task, images, units };
                return self.end(Outcome::Succeeded(success), FreezePrecondition::Unfinished);
            }
            Stored::Not(why) => why,
        };
        let mut tried = generation.tried.unwrap_or_else(|| Tried::new(Duration::ZERO));
        if tried.fail(&why, self.rules.patience, now) {
            let ended = if why.is_no_image { outcome::invalid_result } else { outcome::expired };
            let ended = ended(generation.task.clone(), why.message, units);
            return self.end_badly(generation, ended, None);
        }
        // The first time, a fresh URL is asked for at once instead of the one that gives nothing any more.
        let wait = if why.needs_fresh_url && tried.rounds == 1 {
            Duration::ZERO
        } else {
            self.rules.pace.wait_after_failure(tried.rounds, self.rules.seed)
        };
        self.wait_for_images(generation, tried, wait, now);
        // The life that submitted the job is counted with its next try. That also frees the job's slots, since the
        // task has ended. Other lives were counted before and got through the storing, so if they die now, the image
        // is not the cause.
        if let State::Generating(generation) = &mut self.at
            && !generation.entered
        {
            generation.entries = Some(0);
        }
    }

    /// The provider reported a success before, and now reports something else.
    fn taken_back(&mut self, generation: Generation, now: Duration) {
        let mut tried = generation.tried.unwrap_or_else(|| Tried::new(Duration::ZERO));
        if tried.take_back(self.rules.patience, now) {
            let message = "the provider called it a success, and then took that back".to_owned();
            let expired = outcome::expired(generation.task.clone(), message, None);
            return self.end_badly(generation, expired, None);
        }
        let wait = self.rules.pace.wait_after_failure(tried.rounds, self.rules.seed);
        self.wait_for_images(generation, tried, wait, now);
    }

    fn wait_for_images(&mut self, mut generation: Generation, tried: Tried, wait: Duration, now: Duration) {
        generation.tried = Some(tried);
        generation.next_poll = now + wait;
        generation.pull_from = generation.next_poll;
        self.at = State::Generating(generation);
    }

    /// For how long, over all lives, the images have been tried for in vain; `None` if they have not.
    #[must_use]
    pub fn tried(&self) -> Option<Duration> {
        let (State::Generating(generation)
        | State::Entering { generation, .. }
        | State::Storing { generation, .. }) = &self.at
        else {
            return None;
        };
        generation.tried.map(|tried| tried.total)
    }

    /// Reports the bytes of the outcome in its receipt, which are this life's or another's.
    pub fn sealed(&mut self, event: Bytes) {
        let State::Sealing { outcome } = self.at.clone() else { return self.unexpected() };
        self.at = if let Some(first) = self.corrects.clone() {
            let expect = FreezePrecondition::Correcting { first };
            State::Freezing { words: EventSource::Sealed(event), expect, then: AfterPublish::Ack }
        } else {
            let then = match (says_unknown(&event), is_unknown(&outcome)) {
                // Another life gave the job up while this life learned its real outcome.
                (true, false) => AfterPublish::Correct(outcome),
                (true, true) => AfterPublish::LookBack,
                // Every life finds these bytes in the receipt, so the record has nothing to add.
                (false, _) => {
                    self.at = State::Publishing { event, then: AfterPublish::Close };
                    return;
                }
            };
            State::Freezing {
                words: EventSource::Sealed(event),
                expect: FreezePrecondition::Unfinished,
                then,
            }
        };
    }

    /// Reports that the ledger has the outcome, this life's or another's.
    pub fn frozen(&mut self, frozen: FreezeResult, now: Duration) {
        let State::Freezing { then, .. } = self.at.clone() else { return self.unexpected() };
        match frozen {
            FreezeResult::Event(event) => self.at = State::Publishing { event, then },
            FreezeResult::Changed(known) => self.read(known, now),
        }
    }

    /// Reports that the event or the dead letter is confirmed.
    pub fn published(&mut self) {
        if let State::Publishing { event, then } = std::mem::replace(&mut self.at, State::Told) {
            self.follow(event, then);
        }
    }

    /// Reports that the record says "published", or that the life that has moved the record meanwhile will write
    /// that.
    pub fn remembered(&mut self) {
        let State::Remembering { .. } = self.at else { return self.unexpected() };
        self.at = State::Told;
    }

    /// Continues after a published event.
    pub(super) fn follow(&mut self, event: Bytes, then: AfterPublish) {
        self.at = match then {
            AfterPublish::Ack => State::Remembering { sealed: None },
            AfterPublish::Close => State::Remembering { sealed: Some(event) },
            AfterPublish::LookBack => State::Recalling(Recalling::Ended { event, told: true }),
            AfterPublish::Correct(outcome) => {
                self.corrects = Some(event);
                State::Sealing { outcome }
            }
            AfterPublish::Reopen(rebuilt) => State::Restoring { over: RestorePrecondition::Ended, rebuilt },
        };
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded(_) => false,
        Outcome::Failed(failure) => failure.reason == Reason::OutcomeUnknown,
        Outcome::Cancelled(cancellation) => cancellation.charged == Charged::Unknown,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
