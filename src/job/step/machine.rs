//! The state machine: what a life knows of its job, and which decision each result leads to.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::open::IntentSeen;
use super::{
    Action, AfterPublish, BeginPrecondition, Delivered, Generation, GivenUp, Input, Misfit, RequeueReason,
    Rules,
};
use crate::job::pace::{Schedule, Seed};
use crate::job::record::Stage;
use crate::job::route::RouteName;
use crate::job::{Digest, FailedTasks, Fault, SentUnder, TaskId, Timings};

/// One job, from its delivery to its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) digest: Digest,
    pub(super) route: Option<RouteName>,
    pub(super) faults: Vec<Fault>,
    pub(super) learned: Option<Arc<Schedule>>,
    pub(super) seed: Seed,
    pub(super) round: u32,
    pub(super) polls: u32,
    pub(super) timings: Timings,
    /// The event of an unknown outcome that this life will correct.
    pub(super) corrects: Option<Bytes>,
    /// The failed tasks of the generations before the current one.
    pub(super) failed: FailedTasks,
    /// The external id of the open, the accepted or the next attempt.
    pub(super) under: Option<SentUnder>,
    /// The user has cancelled the job.
    pub(super) cancelled: bool,
    pub(super) seen: Option<IntentSeen>,
    /// From this time on, another life may have ended the job without knowing of this life's task.
    pub(super) given_up_from: Option<Duration>,
    /// The job's task id, if a receipt has it.
    pub(super) noted: Option<TaskId>,
    action: Action,
}

impl Machine {
    /// Starts a life with a delivery; only the message is known.
    #[must_use]
    pub fn new(rules: Rules, job: Delivered) -> Self {
        let Delivered { digest, route, faults, queued_ms, learned, seed } = job;
        let timings = Timings { queued: queued_ms, ..Timings::default() };
        Self {
            rules,
            digest,
            route,
            faults,
            learned,
            seed,
            round: 1,
            polls: 0,
            timings,
            corrects: None,
            failed: FailedTasks::NONE,
            under: None,
            cancelled: false,
            seen: None,
            given_up_from: None,
            noted: None,
            action: Action::Read { before: None },
        }
    }

    /// RabbitMQ delivers this message for the first time, so the life asks for the right to post at once. If another
    /// life has posted before, the ledger or the gate says so.
    #[must_use]
    pub fn delivered_first(mut self) -> Self {
        if self.faults.is_empty() && self.seen.is_none() {
            self.action = self.ask_to_post(1, BeginPrecondition::Unread);
        }
        self
    }

    /// What to do now.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Takes the result of the action, and returns the next action. `now` counts from an arbitrary zero and includes
    /// the time for which the machine was suspended.
    ///
    /// # Errors
    ///
    /// The input is no result of the action. The next action is then to read the record again.
    pub fn apply(&mut self, input: Input, now: Duration) -> Result<&Action, Misfit> {
        let action = mem::replace(&mut self.action, Action::Read { before: None });
        self.action = self.next(action, input, now)?;
        Ok(&self.action)
    }

    /// A callback about a task that is not waited for changes nothing; an unreadable record ends the life.
    fn next(&mut self, action: Action, input: Input, now: Duration) -> Result<Action, Misfit> {
        Ok(match (action, input) {
            (_, Input::Unreadable) => Action::Requeue { why: RequeueReason::Unreadable },
            // What is known of the job.
            (Action::Read { before }, Input::Record(known)) => self.read(known, before, now),
            (Action::Restore { .. } | Action::AskToPost { .. }, Input::Record(known)) => {
                self.read(known, None, now)
            }
            (Action::ReadReceipts { why }, Input::Receipts(history)) => self.recalled(why, &history, now),
            (Action::ReadPublishedEvent, Input::LastEvent(event)) => Self::read_again(event),
            // From the right to post to the noted task.
            (Action::AskToPost { attempt, basis, .. }, Input::Begun { moved, nonce, under, asked }) => {
                self.under = Some(under);
                self.begun(attempt, basis, moved, nonce, asked, now)
            }
            (Action::AskGate { attempt, nonce, asked }, Input::Gate(gate)) => {
                self.gated(attempt, nonce, asked, gate, now)
            }
            (Action::Post { attempt, nonce, .. }, Input::NotPosted) => self.close(attempt, nonce, false),
            (Action::Post { attempt, nonce, asked, .. }, Input::Answered { answer, took }) => {
                self.answered(attempt, nonce, asked, answer, took)
            }
            (Action::RecordTask { attempt, task }, Input::Accepted { stage, noted, learned }) => {
                self.learned = learned;
                self.accepted(attempt, task, stage, noted, now)
            }
            (Action::NoteTask { task, then, .. }, Input::Done) => self.noted(task, then, now),
            (Action::Redeliver { then, .. }, Input::Done) => *then,
            (Action::NoteRefusal { attempt, requeue }, Input::Done) => {
                Action::CloseAttempt { attempt, nonce: None, requeue }
            }
            (Action::CloseAttempt { attempt, nonce, requeue }, Input::Moved(moved)) => {
                self.reopened(attempt, nonce, requeue, moved, now)
            }
            // An open submit.
            (Action::SeeIntent { open }, Input::Intended(intended)) => self.saw_intent(*open, intended, now),
            (Action::LookUp { open }, Input::LookedUp { found, asked }) => {
                self.looked_up(*open, found, asked, now)
            }
            (Action::LookOn { open, .. }, Input::LookAgain) => Action::Read { before: Some(open) },
            (Action::LookOn { until, pull_from, mut open }, Input::Called) => {
                let until = open.pull(until, pull_from, now);
                Action::LookOn { until, pull_from, open }
            }
            (Action::Shut { why: GivenUp::Submit(open), cancels, .. }, Input::Shut(shut)) => {
                self.shut(*open, cancels, shut)
            }
            (Action::Shut { why: GivenUp::NextGeneration(end), .. }, Input::Shut(shut)) => {
                self.shut_next(end, shut)
            }
            (Action::Park { outcome, expect }, Input::Done) => self.parked(*outcome, expect),
            // The running task.
            (Action::Poll(generation), Input::Polled { status, asked }) => {
                self.polled(generation, status, asked, now)
            }
            (Action::Poll(generation), Input::Record(known)) => {
                self.cancels(&known, generation.task()).unwrap_or(Action::Poll(generation))
            }
            (Action::Poll(mut generation), Input::Called) => {
                generation.pull(now);
                Action::Poll(generation)
            }
            (
                Action::QueryOther { generation, message, after, asked },
                Input::AnswersAboutOthers(about_others),
            ) => self.queried_other(*generation, message, after, about_others, asked, now),
            (Action::NoteFailure { attempt, task, charged }, Input::Done) => {
                Action::NextGeneration { attempt, failed: self.failed.clone().and(task, charged) }
            }
            (Action::NextGeneration { attempt, failed }, Input::Moved(moved)) => {
                self.followed(attempt, failed, moved, now)
            }
            // Its images.
            (Action::CountEntry(storing), Input::Record(known)) => self.entered(storing, known, now),
            (Action::Store(storing), Input::Record(known)) => {
                self.cancels(&known, storing.task()).unwrap_or(Action::Store(storing))
            }
            (Action::Store(storing), Input::Stored { stored, took }) => {
                self.stored(*storing, stored, took, now)
            }
            // From the outcome to the acknowledgement.
            (Action::Seal { outcome, corrects }, Input::Sealed(event)) => {
                Self::sealed(outcome, corrects, event)
            }
            (Action::Freeze { then, .. }, Input::Frozen(frozen)) => self.frozen(then, frozen, now),
            (Action::Publish { event, then }, Input::Done) => self.published(event, then),
            (Action::MarkPublished { .. } | Action::DeadLetter { .. }, Input::Done) => Action::Ack,
            (action, Input::Called) => action,
            (
                action @ (Action::Read { .. }
                | Action::ReadReceipts { .. }
                | Action::ReadPublishedEvent
                | Action::Restore { .. }
                | Action::AskToPost { .. }
                | Action::AskGate { .. }
                | Action::Post { .. }
                | Action::RecordTask { .. }
                | Action::NoteTask { .. }
                | Action::Redeliver { .. }
                | Action::NoteRefusal { .. }
                | Action::CloseAttempt { .. }
                | Action::SeeIntent { .. }
                | Action::LookUp { .. }
                | Action::LookOn { .. }
                | Action::Shut { .. }
                | Action::Park { .. }
                | Action::Poll(_)
                | Action::QueryOther { .. }
                | Action::NoteFailure { .. }
                | Action::NextGeneration { .. }
                | Action::CountEntry(_)
                | Action::Store(_)
                | Action::Seal { .. }
                | Action::Freeze { .. }
                | Action::Publish { .. }
                | Action::MarkPublished { .. }
                | Action::DeadLetter { .. }
                | Action::Ack
                | Action::Requeue { .. }),
                input,
            ) => return Err(Misfit::new(&action, &input)),
        })
    }

    /// The external id of the open or the accepted attempt; `None` if there is no such attempt, or no readable record
    /// or receipt has the id.
    #[must_use]
    pub fn sent_under(&self) -> Option<&SentUnder> {
        self.under.as_ref()
    }

    /// The failed tasks of the generations before the current one.
    #[must_use]
    pub fn failed(&self) -> &FailedTasks {
        &self.failed
    }

    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    #[must_use]
    pub fn polls(&self) -> u32 {
        self.polls
    }

    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Whether a receipt has the job's task.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// What a later life of this process can take over of an open attempt.
    #[must_use]
    pub fn intent_seen(&self) -> Option<IntentSeen> {
        self.seen
    }

    /// Takes over what an earlier life of this process knew of an open attempt, so that the quiet period continues
    /// and doesn't start again with every connection.
    #[must_use]
    pub fn with_intent_seen(mut self, seen: Option<IntentSeen>) -> Self {
        self.seen = seen;
        self
    }

    /// Returns the running task of this life, and the event that its end will correct, if there is one. It is for a
    /// ledger that has lost the task.
    #[must_use]
    pub fn running(&self) -> Option<(Stage, Option<Bytes>)> {
        let Action::Poll(generation) = &self.action else { return None };
        Some((generation.stage(), self.corrects.clone()))
    }

    /// How long the task has been running; `None` if no task is running.
    #[must_use]
    pub fn age(&self, now: Duration) -> Option<Duration> {
        Some(self.action.generation()?.age(now))
    }

    /// For how long, over all lives, the images have been tried for in vain; `None` if they have not.
    #[must_use]
    pub fn tried(&self) -> Option<Duration> {
        self.action.generation()?.tried_for()
    }

    /// Clears what concerned the attempt that is over.
    pub(super) fn forget(&mut self) {
        (self.seen, self.given_up_from, self.noted) = (None, None, None);
    }

    /// Whether other lives may have given the job up before they could know of this life's task.
    pub(super) fn may_have_been_given_up(&self, now: Duration) -> bool {
        self.rules.receipts && self.given_up_from.is_some_and(|from| now >= from)
    }
}

impl Action {
    /// The task that this action is about, if a task runs or its images are about to be stored.
    pub(super) fn generation(&self) -> Option<&Generation> {
        if let Self::Poll(generation) | Self::QueryOther { generation, .. } = self {
            Some(generation)
        } else if let Self::CountEntry(storing) | Self::Store(storing) = self {
            Some(&storing.generation)
        } else if let Self::NoteTask { then, .. } | Self::Redeliver { then, .. } = self {
            then.generation()
        } else {
            None
        }
    }

    /// Whether the message and the body for the provider can still be needed when this action is done. An action that
    /// isn't listed counts as needing them.
    #[must_use]
    pub fn may_lead_to_post(&self) -> bool {
        let needs_nothing = matches!(
            self,
            Self::RecordTask { .. }
                | Self::NoteTask { .. }
                | Self::Poll(_)
                | Self::QueryOther { .. }
                | Self::CountEntry(_)
                | Self::Store(_)
                | Self::Seal { .. }
                | Self::Freeze { .. }
                | Self::Publish {
                    then: AfterPublish::Ack | AfterPublish::Close | AfterPublish::Correct(_),
                    ..
                }
                | Self::MarkPublished { .. }
                | Self::Ack
                | Self::Requeue { .. }
        );
        !needs_nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::record::Snapshot;

    fn machine() -> Machine {
        let job = Delivered {
            digest: Digest::new("d".to_owned()),
            route: Some(RouteName::default_route().clone()),
            faults: Vec::new(),
            queued_ms: None,
            learned: None,
            seed: Seed::from_text("a"),
        };
        Machine::new(Rules::of_a_second(), job)
    }

    #[test]
    fn an_input_that_does_not_fit_the_action_is_an_error_and_the_record_is_read_again() {
        let mut machine = machine().delivered_first();
        assert!(matches!(machine.action(), Action::AskToPost { attempt: 1, .. }));
        let misfit = machine.apply(Input::AnswersAboutOthers(true), Duration::ZERO).unwrap_err();
        assert_eq!(misfit.to_string(), "AnswersAboutOthers is no result of AskToPost");
        assert_eq!(*machine.action(), Action::Read { before: None });
    }

    #[test]
    fn a_callback_fits_every_action_and_changes_none_that_does_not_wait_for_a_task() {
        let mut machine = machine();
        machine.apply(Input::Called, Duration::ZERO).unwrap();
        assert_eq!(*machine.action(), Action::Read { before: None });
        let known = Snapshot { record: None, cancelled: true };
        assert!(matches!(
            machine.apply(Input::Record(known), Duration::ZERO),
            Ok(Action::ReadReceipts { .. })
        ));
        machine.apply(Input::Called, Duration::ZERO).unwrap();
        assert!(matches!(machine.action(), Action::ReadReceipts { .. }));
    }
}
