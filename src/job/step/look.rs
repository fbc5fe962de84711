//! An open submit: another life's, or this life's own without an answer. And the reasons to read the receipts.

use std::time::Duration;

use bytes::Bytes;

use super::again::BadEnd;
use super::generation::Pulls;
use super::machine::{AfterPublish, Machine, State};
use super::{
    Action, BeginPrecondition, EventSource, FreezePrecondition, Rebuilt, RestorePrecondition, Unanswerable,
    outcome,
};
use crate::job::answers::Lookup;
use crate::job::receipt::history::History;
use crate::job::receipt::{Decision, Shut};
use crate::job::record::{Nonce, Snapshot};
use crate::job::{Charged, SentUnder};

/// The shortest and the longest time between two reads of the record, unless a hint arrives.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(5);

/// An open submit, as this life knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LookOn {
    pub(super) attempt: u32,
    nonce: Nonce,
    /// When this life first knew, by the clock of this process, that a life had asked at the gate: the quiet period
    /// begins there. Without receipts, when it first knew of the ask in the record.
    sight: Option<Duration>,
    phase: Phase,
    /// How long the last wait was; the next is half as long again.
    waited: Duration,
    pulls: Pulls,
    /// The provider's answer, if the open POST was this life's own.
    unanswered: Option<Unanswered>,
    /// Another task has the external id, so this job's task may exist although it isn't found.
    may_be_hidden: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    LookUp,
    Wait {
        until: Duration,
        /// A callback can't move the end of the wait to an earlier time than this.
        pull_from: Duration,
    },
    Read,
}

/// What the provider answered instead of accepting or refusing the POST.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    pub(super) message: String,
    pub(super) provider_code: Option<String>,
    /// The provider says that it has a task under our id, so a look-up that finds none proves nothing.
    pub(super) exists: bool,
}

/// Why the receipts are read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Recalling {
    /// There is no record.
    Everything,
    /// Another life has taken the gate of this attempt.
    Attempt(LookOn),
    /// The quiet period is over and the provider knows of no task.
    InDoubt(LookOn),
    /// The task of this attempt ended without images: may another generation follow?
    BadEnd(BadEnd),
    /// The job ended as unknown, by this event; the task may have become known since.
    Ended { event: Bytes, told: bool },
    /// The record says that another job with this id has this attempt open.
    Whose { attempt: u32 },
}

impl LookOn {
    pub(super) fn new(attempt: u32, nonce: Nonce, sight: Option<Duration>) -> Self {
        let (phase, waited, pulls) = (Phase::LookUp, Duration::ZERO, Pulls::new());
        Self { attempt, nonce, sight, phase, waited, pulls, unanswered: None, may_be_hidden: false }
    }

    pub(super) fn after_own_post(self, unanswered: Unanswered) -> Self {
        Self { unanswered: Some(unanswered), ..self }
    }

    /// The state that the record must have for this life to end the job without knowing of a task.
    fn expect(&self) -> FreezePrecondition {
        FreezePrecondition::Submitting { nonce: self.nonce.clone() }
    }

    pub(super) fn next(&self, now: Duration) -> Action {
        if self.sight.is_none() {
            return Action::SeeIntent { attempt: self.attempt };
        }
        match self.phase {
            Phase::LookUp => Action::LookUp,
            Phase::Wait { until, .. } if now < until => Action::LookOn { until },
            Phase::Wait { .. } | Phase::Read => Action::Read,
        }
    }
}

impl Machine {
    /// Another life has this attempt open. If the same ask is seen again, the time of the first sight stays.
    pub(super) fn look_on(&mut self, attempt: u32, nonce: Nonce, now: Duration) {
        let sight = (!self.rules.receipts).then_some(now);
        let mut look = LookOn::new(attempt, nonce, sight);
        if let State::LookingOn(before) = &self.at
            && before.attempt == attempt
            && (self.rules.receipts || before.nonce == look.nonce)
        {
            // The ask in the record may be another one now, but the gate was asked all the same.
            look = LookOn { nonce: look.nonce, phase: Phase::LookUp, ..before.clone() };
        }
        self.at = State::LookingOn(look);
    }

    /// Reports whether any life has asked at the gate of the open attempt. If none has, nothing was sent, and this
    /// life goes through the gate itself at once.
    pub fn saw_intent(&mut self, intended: bool, now: Duration) {
        let State::LookingOn(look) = self.at.clone() else { return self.unexpected() };
        self.at = if intended {
            let sight = Some(self.sighted(look.attempt, now));
            // The result of the attempt may already be in the receipts, and only there.
            State::Recalling(Recalling::Attempt(LookOn { sight, ..look }))
        } else {
            State::Ready { attempt: look.attempt, basis: BeginPrecondition::NeverAsked(look.nonce) }
        };
    }

    /// Reports the look-up that was sent at `asked`, for a task under our own id.
    pub fn looked_up(&mut self, found: Lookup, asked: Duration, now: Duration) {
        let State::LookingOn(mut look) = self.at.clone() else { return self.unexpected() };
        let sight = look.sight.unwrap_or(now);
        let quiet_over = sight + self.rules.quiet;
        let wait = self.rules.pace.grow(look.waited).clamp(LOOK_MIN, LOOK_MAX);
        look.waited = wait;
        // The producer chose this id, so a task that existed under it before this POST belongs to another job.
        let was_there = look.unanswered.as_ref().is_some_and(|unanswered| unanswered.exists);
        let is_own = self.under.as_ref().is_some_and(SentUnder::is_own);
        let is_another = match &found {
            Lookup::Found(_) => was_there && is_own,
            Lookup::Another { .. } => true,
            Lookup::NotFound { .. } | Lookup::Unavailable { .. } => false,
        };
        look.may_be_hidden |= is_another;
        match found {
            Lookup::Found(task) if !is_another => self.at = State::Accepting { attempt: look.attempt, task },
            Lookup::Found(_) | Lookup::NotFound { .. } | Lookup::Another { .. } if asked >= quiet_over => {
                self.doubt(look);
            }
            Lookup::Found(_) | Lookup::NotFound { .. } | Lookup::Another { .. } => {
                let until = (now + wait).min(quiet_over.max(now));
                look.phase = Phase::Wait { until, pull_from: Pulls::after_look(asked, &self.rules.pace) };
                self.at = State::LookingOn(look);
            }
            // No answer doesn't mean that there is no task, so the job waits until the provider can answer.
            Lookup::Unavailable { after, .. } => {
                let until = now + after.unwrap_or_default().max(wait);
                look.phase = Phase::Wait { until, pull_from: until };
                self.at = State::LookingOn(look);
            }
        }
    }

    /// Reports that a hint has arrived or that it is time to look again.
    pub fn looked_on(&mut self) {
        let State::LookingOn(look) = &mut self.at else { return self.unexpected() };
        look.phase = Phase::Read;
    }

    /// Reports that the provider has called back: the awaited query is made now, or as soon as it may be made.
    pub fn pulled(&mut self, now: Duration) {
        match &mut self.at {
            State::Generating(generation) => {
                let (next, from) = (generation.next_poll, generation.pull_from);
                generation.next_poll = generation.pulls.pull(next, from, now);
            }
            // The POST of this or of another life has made a task.
            State::LookingOn(LookOn { phase: Phase::Wait { until, pull_from }, pulls, .. }) => {
                *until = pulls.pull(*until, *pull_from, now);
            }
            State::LookingOn(LookOn { phase: Phase::LookUp | Phase::Read, .. })
            | State::Unread
            | State::Recalling(_)
            | State::Reading
            | State::Restoring { .. }
            | State::Ready { .. }
            | State::Asking { .. }
            | State::Gated { .. }
            | State::Accepting { .. }
            | State::Refusing { .. }
            | State::Reopening { .. }
            | State::Shutting { .. }
            | State::Closing(_)
            | State::NotingFailure { .. }
            | State::Following { .. }
            | State::Parking { .. }
            | State::Entering { .. }
            | State::Storing { .. }
            | State::Sealing { .. }
            | State::Freezing { .. }
            | State::Publishing { .. }
            | State::Remembering { .. }
            | State::DeadLettering(_)
            | State::Told
            | State::Requeueing(_) => {}
        }
    }

    fn doubt(&mut self, look: LookOn) {
        if self.rules.receipts {
            self.at = State::Recalling(Recalling::InDoubt(look));
        } else if self.trusts_a_miss(&look) {
            self.at = State::Reopening { attempt: look.attempt, nonce: Some(look.nonce), requeue: false };
        } else {
            self.give_up(look);
        }
    }

    /// Whether a task that the look-up doesn't find certainly doesn't exist.
    fn trusts_a_miss(&self, look: &LookOn) -> bool {
        let exists = look.unanswered.as_ref().is_some_and(|unanswered| unanswered.exists);
        self.rules.trust_lookup && !exists && !look.may_be_hidden
    }

    /// Whether nothing is known of the job except that there is no record. A worker that can't read the receipts
    /// either then requeues the delivery, and nothing is lost.
    #[must_use]
    pub fn has_not_begun(&self) -> bool {
        matches!(self.at, State::Recalling(Recalling::Everything))
    }

    /// Reports the job's receipts.
    pub fn recalled(&mut self, history: &History, now: Duration) {
        let State::Recalling(why) = self.at.clone() else { return self.unexpected() };
        let (look, in_doubt) = match why {
            Recalling::Everything => {
                return match history.rebuilt() {
                    Some(rebuilt) => self.restore(RestorePrecondition::Nothing, rebuilt),
                    None => self.fresh(1, 1),
                };
            }
            Recalling::BadEnd(end) => return self.recalled_after(end, history),
            Recalling::Ended { event, told } => return self.ended(event, told, history),
            Recalling::Whose { attempt } => {
                return match history.rebuilt() {
                    Some(rebuilt) if rebuilt.digest.as_ref() == Some(&self.digest) => {
                        self.restore(RestorePrecondition::Open(attempt), rebuilt);
                    }
                    Some(_) | None => self.at = State::DeadLettering(Unanswerable::Conflict),
                };
            }
            Recalling::Attempt(look) => (look, false),
            Recalling::InDoubt(look) => (look, true),
        };
        // The intent has the id of the POST, no matter which life sent it.
        self.under = history.sent_under(look.attempt).or(self.under.take());
        // The life that shut this gate may have died, and no life can pass it, so this life gives the job up too.
        if !in_doubt && history.is_cancelled_at(look.attempt) {
            return self.end(outcome::cancelled(Charged::No, None), look.expect());
        }
        if !in_doubt && history.is_given_up_at(look.attempt) {
            return self.give_up(look);
        }
        match history.rebuilt() {
            Some(rebuilt) if history.knows_more_than(look.attempt) => {
                self.restore(RestorePrecondition::Open(look.attempt), rebuilt)
            }
            Some(_) | None if !in_doubt => {
                let look = LookOn { sight: look.sight.or(Some(now)), ..look };
                self.at = State::LookingOn(look);
            }
            Some(_) | None if history.is_shut_behind(look.attempt) => self.give_up(look),
            Some(_) | None if self.trusts_a_miss(&look) => {
                self.at = State::Refusing { attempt: look.attempt, requeue: false };
            }
            Some(_) | None => self.at = State::Shutting { look, cancels: false },
        }
    }

    /// Reports the event in the receipts, for a job whose record says that its event was published.
    pub fn read_again(&mut self, event: Option<Bytes>) {
        let State::Reading = self.at else { return self.unexpected() };
        self.at = match event {
            Some(event) => State::Publishing { event, then: AfterPublish::Ack },
            None => State::DeadLettering(Unanswerable::Forgotten),
        };
    }

    /// The record says that the outcome is unknown. That event is published first, and then the correction: by a task
    /// that has become known since, or by a person's decision.
    fn ended(&mut self, event: Bytes, told: bool, history: &History) {
        if let Some(correction) = &history.resolved {
            let expect = FreezePrecondition::Correcting { first: event };
            self.at = State::Freezing {
                words: EventSource::Sealed(correction.clone()),
                expect,
                then: AfterPublish::Ack,
            };
            return;
        }
        let then = match (history.task(), history.decision()) {
            (Some((attempt, task)), _) => {
                self.note(task.clone());
                self.under = history.sent_under(attempt);
                AfterPublish::Reopen(self.late(attempt, task, event.clone()))
            }
            (None, Some(Decision::GiveUp)) => AfterPublish::Correct(Box::new(outcome::abandoned())),
            (None, Some(Decision::SubmitAgain) | None) => match history.rebuilt() {
                Some(rebuilt) if rebuilt.corrects.is_some() => AfterPublish::Reopen(rebuilt),
                Some(_) | None => AfterPublish::Ack,
            },
        };
        if told {
            self.follow(event, then);
        } else {
            self.at = State::Publishing { event, then };
        }
    }

    fn restore(&mut self, over: RestorePrecondition, rebuilt: Rebuilt) {
        self.at = State::Restoring { over, rebuilt };
    }

    /// Reports the record after the receipts were written over it. Another life may have moved it since.
    pub fn restored(&mut self, known: Snapshot, now: Duration) {
        let State::Restoring { .. } = self.at else { return self.unexpected() };
        self.read(known, now);
    }

    /// Reports whether the gate is shut or another life has passed it.
    pub fn shut(&mut self, shut: Shut) {
        if let State::Closing(end) = self.at.clone() {
            return self.closed(end, shut);
        }
        let State::Shutting { look, cancels } = self.at.clone() else { return self.unexpected() };
        match (shut, cancels) {
            // No submit was under way, and none will be.
            (Shut::Shut, true) => self.end(outcome::cancelled(Charged::No, None), look.expect()),
            (Shut::Shut, false) => self.give_up(look),
            (Shut::Taken, true) => self.at = State::Recalling(Recalling::Attempt(look)),
            (Shut::Taken, false) => self.at = State::Recalling(Recalling::InDoubt(look)),
        }
    }

    fn give_up(&mut self, look: LookOn) {
        if self.cancelled {
            // The user has cancelled the job, so no person has to clear it up.
            return self.end(outcome::cancelled(Charged::Unknown, None), look.expect());
        }
        let expect = look.expect();
        let outcome = Box::new(match look.unanswered {
            Some(Unanswered { message, provider_code, .. }) => outcome::unknown(message, provider_code),
            None => outcome::left_open(),
        });
        self.at = State::Parking { outcome, expect };
    }

    /// Reports that the copy for a person is in the dead-letter queue.
    pub fn parked(&mut self) {
        let State::Parking { outcome, expect } = self.at.clone() else { return self.unexpected() };
        match self.corrects.take() {
            None => self.end(*outcome, expect),
            // It is unknown again, which the consumers know already.
            Some(first) => {
                let expect = FreezePrecondition::Unfinished;
                self.at = State::Freezing {
                    words: EventSource::Sealed(first),
                    expect,
                    then: AfterPublish::LookBack,
                };
            }
        }
    }
}
