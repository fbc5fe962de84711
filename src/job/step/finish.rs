//! From the running task to the ack.

use std::time::Duration;

use bytes::Bytes;

use super::generation::{Generation, Pulls};
use super::look::Recalling;
use super::machine::{AfterPublish, Machine, State};
use super::unstored::Tried;
use super::{EventSource, FreezePrecondition, FreezeResult, RestorePrecondition, Stored, outcome};
use crate::job::answers::Failed;
use crate::job::answers::TaskStatus;
use crate::job::event::says_unknown;
use crate::job::record::{Snapshot, Stage};
use crate::job::{Charged, Outcome, Reason, Success};

/// A success without images is asked for again this often before it is believed.
const EMPTY_RESULTS_MAX: u32 = 3;
const EMPTY_RESULT_WAIT: Duration = Duration::from_secs(10);
/// And for so long, unless the job has less time.
const EMPTY_RESULTS_FOR: Duration = Duration::from_secs(300);
/// A task whose timeout is over, and about which alone the provider has no answer, is given up after so many looks.
const IN_VAIN_MAX: u32 = 4;
/// The life that would be this one to enter the storing of the images doesn't: those before it died.
const ENTRIES_MAX: u32 = 5;

impl Machine {
    /// The task was queried at `asked`.
    pub fn viewed(&mut self, view: TaskStatus, asked: Duration, now: Duration) {
        let State::Generating(mut generation) = self.at.clone() else { return self.unexpected() };
        self.polls += 1;
        if generation.noted {
            // Whether the job was given up has been looked at.
            self.asked = None;
        }
        let last_look = generation.accepted.left(asked, &self.rules).is_zero();
        let answered = !matches!(view, TaskStatus::Unavailable { .. });
        (generation.failures, generation.in_vain) =
            if answered { (0, 0) } else { (generation.failures + 1, generation.in_vain) };
        // Once ended, a task stays ended: caches and pollers behind the API have been seen to take it back.
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

    /// Whether the task's timeout is over, and it is looked at only since nobody could say how it is.
    #[must_use]
    pub fn is_overdue(&self, now: Duration) -> bool {
        let State::Generating(generation) = &self.at else { return false };
        generation.accepted.left(now, &self.rules).is_zero()
    }

    /// The task was queried at `asked`, when it was overdue, without an answer, and the provider answers
    /// about others: it is not the provider that is down.
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

    /// The task that this life knows to be running, as a ledger that has lost it is told: with the event that
    /// its end will correct, if there is one.
    #[must_use]
    pub fn running(&self) -> Option<(Stage, Option<Bytes>)> {
        let State::Generating(generation) = &self.at else { return None };
        let (attempt, task) = (generation.attempt, generation.task.clone());
        Some((Stage::Generating { attempt, task, age: Duration::ZERO }, self.corrects.clone()))
    }

    /// Whether lives have died while they stored this job's images, as it seems.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        let State::Entering { generation, .. } = &self.at else { return false };
        generation.entries.is_some_and(|entries| entries > 1)
    }

    /// This life is counted among those that have entered the storing of the images.
    pub fn entered(&mut self, known: Snapshot, now: Duration) {
        let State::Entering { mut generation, images, units } = self.at.clone() else {
            return self.unexpected();
        };
        match &known.record {
            // Lost: the images are as good.
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

    /// The images are stored, or are not to be had this time.
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
        // A URL that is spent is asked for afresh at once, the first time.
        let wait = if why.needs_fresh_url && tried.rounds == 1 {
            Duration::ZERO
        } else {
            self.rules.pace.wait_after_failure(tried.rounds, self.rules.seed)
        };
        self.wait_for_images(generation, tried, wait, now);
        // The life that submitted the job enters with its next try, which frees the job's slots: the task has ended. Others have entered,
        // and left; should they die now, it is not the image that has killed them.
        if let State::Generating(generation) = &mut self.at
            && !generation.entered
        {
            generation.entries = Some(0);
        }
    }

    /// The provider called the task a success, and now says something else of it.
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

    /// For how long the images have been tried for in vain, over all lives, where they have.
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

    /// A receipt has the outcome, ours or somebody else's: these bytes.
    pub fn sealed(&mut self, event: Bytes) {
        let State::Sealing { outcome } = self.at.clone() else { return self.unexpected() };
        self.at = if let Some(first) = self.corrects.clone() {
            let expect = FreezePrecondition::Correcting { first };
            State::Freezing { words: EventSource::Sealed(event), expect, then: AfterPublish::Ack }
        } else {
            let then = match (says_unknown(&event), is_unknown(&outcome)) {
                // Somebody gave the job up while this hand came to know what became of it.
                (true, false) => AfterPublish::Correct(outcome),
                (true, true) => AfterPublish::LookBack,
                // Everybody finds these bytes in the receipt: the record has nothing to add.
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

    /// The outcome is in the ledger, ours or somebody else's.
    pub fn frozen(&mut self, frozen: FreezeResult, now: Duration) {
        let State::Freezing { then, .. } = self.at.clone() else { return self.unexpected() };
        match frozen {
            FreezeResult::Event(event) => self.at = State::Publishing { event, then },
            FreezeResult::Changed(known) => self.read(known, now),
        }
    }

    /// The event, or the dead letter, is confirmed.
    pub fn published(&mut self) {
        if let State::Publishing { event, then } = std::mem::replace(&mut self.at, State::Told) {
            self.follow(event, then);
        }
    }

    /// The record is told, or whoever has moved it meanwhile is the one to do so.
    pub fn remembered(&mut self) {
        let State::Remembering { .. } = self.at else { return self.unexpected() };
        self.at = State::Told;
    }

    /// What follows an event that is told.
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
