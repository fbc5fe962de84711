//! An open submit: another life's, or this life's own without an answer. It is looked up until its task is found or
//! the quiet period is over.

use std::time::Duration;

use super::machine::Machine;
use super::timing::Pulls;
use super::{Action, AfterPublish, BeginPrecondition, EventSource, FreezePrecondition, Recall, outcome};
use crate::job::answers::Lookup;
use crate::job::receipt::Shut;
use crate::job::record::Nonce;
use crate::job::{Charged, Outcome, SentUnder};

/// The shortest and the longest time between two reads of the record, unless a hint arrives.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(5);

/// An open submit, as this life knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenSubmit {
    pub(super) attempt: u32,
    pub(super) nonce: Nonce,
    /// When this life first knew, by the clock of this process, that a life had asked at the gate: the quiet period
    /// begins there. Without receipts, when it first knew of the ask in the record.
    pub(super) seen: Option<Duration>,
    /// How long the last wait was; the next is half as long again.
    pub(super) waited: Duration,
    pub(super) pulls: Pulls,
    /// The provider's answer, if the open POST was this life's own.
    pub(super) unanswered: Option<Unanswered>,
    /// Another task has the external id, so this job's task may exist although it isn't found.
    pub(super) may_be_hidden: bool,
}

/// What the provider answered instead of accepting or refusing the POST.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    pub(super) message: String,
    pub(super) provider_code: Option<String>,
    /// The provider says that it has a task under our id, so a look-up that finds none proves nothing.
    pub(super) exists: bool,
}

/// When this process first knew that a life had asked at the gate of an attempt, by its own clock. The quiet period
/// begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentSeen {
    attempt: u32,
    at: Duration,
}

impl OpenSubmit {
    pub(super) fn new(attempt: u32, nonce: Nonce, seen: Option<Duration>) -> Self {
        let (waited, pulls) = (Duration::ZERO, Pulls::new());
        Self { attempt, nonce, seen, waited, pulls, unanswered: None, may_be_hidden: false }
    }

    pub(super) fn after_own_post(self, unanswered: Unanswered) -> Self {
        Self { unanswered: Some(unanswered), ..self }
    }

    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The state that the record must have for this life to end the job without knowing of a task.
    pub(super) fn expect(&self) -> FreezePrecondition {
        FreezePrecondition::Submitting { nonce: self.nonce.clone() }
    }

    pub(super) fn next(self) -> Action {
        let open = Box::new(self);
        if open.seen.is_some() { Action::LookUp { open } } else { Action::SeeIntent { open } }
    }

    /// A callback makes the end of a wait earlier; returns when it ends.
    pub(super) fn pull(&mut self, until: Duration, from: Duration, now: Duration) -> Duration {
        self.pulls.pull(until, from, now)
    }

    /// Whether the provider says that it has a task under our id.
    fn exists(&self) -> bool {
        self.unanswered.as_ref().is_some_and(|unanswered| unanswered.exists)
    }
}

impl Machine {
    /// The record says that this attempt is open. If this life knew of the same ask `before`, the time at which it
    /// first knew stays.
    pub(super) fn find_open(
        &self,
        attempt: u32,
        nonce: Nonce,
        before: Option<Box<OpenSubmit>>,
        now: Duration,
    ) -> Action {
        let known = before.filter(|before| {
            // With receipts, the ask in the record may be another one now, but the gate was asked all the same.
            before.attempt == attempt && (self.rules.receipts || before.nonce == nonce)
        });
        match known {
            Some(before) => OpenSubmit { nonce, ..*before }.next(),
            None => OpenSubmit::new(attempt, nonce, (!self.rules.receipts).then_some(now)).next(),
        }
    }

    /// If no life has asked at the gate of the open attempt, nothing was sent, and this life goes through the gate
    /// itself at once.
    pub(super) fn saw_intent(&mut self, open: OpenSubmit, intended: bool, now: Duration) -> Action {
        if !intended {
            return self.ask_to_post(open.attempt, BeginPrecondition::NeverAsked(open.nonce));
        }
        let seen = Some(self.saw(open.attempt, now));
        // The result of the attempt may already be in the receipts, and only there.
        Action::ReadReceipts { why: Recall::Attempt(Box::new(OpenSubmit { seen, ..open })) }
    }

    pub(super) fn looked_up(
        &mut self,
        mut open: OpenSubmit,
        found: Lookup,
        asked: Duration,
        now: Duration,
    ) -> Action {
        let quiet_over = open.seen.unwrap_or(now) + self.rules.quiet;
        let wait = self.rules.pace.grow(open.waited).clamp(LOOK_MIN, LOOK_MAX);
        open.waited = wait;
        // The producer chose this id, so a task that existed under it before this POST belongs to another job.
        let is_own = self.under.as_ref().is_some_and(SentUnder::is_own);
        let is_another = match &found {
            Lookup::Found(_) => open.exists() && is_own,
            Lookup::Another { .. } => true,
            Lookup::NotFound { .. } | Lookup::Unavailable { .. } => false,
        };
        open.may_be_hidden |= is_another;
        match found {
            Lookup::Found(task) if !is_another => {
                if open.unanswered.is_none() {
                    // It was another life's POST, and this life can't say since when others have known of it.
                    self.given_up_from = Some(now);
                }
                Action::RecordTask { attempt: open.attempt, task }
            }
            Lookup::Found(_) | Lookup::NotFound { .. } | Lookup::Another { .. } if asked >= quiet_over => {
                self.doubt(open)
            }
            Lookup::Found(_) | Lookup::NotFound { .. } | Lookup::Another { .. } => {
                let until = (now + wait).min(quiet_over.max(now));
                let pull_from = Pulls::after_look(asked, &self.rules.pace);
                Action::LookOn { until, pull_from, open: Box::new(open) }
            }
            // No answer doesn't mean that there is no task, so the job waits until the provider can answer.
            Lookup::Unavailable { after, .. } => {
                let until = now + after.unwrap_or_default().max(wait);
                Action::LookOn { until, pull_from: until, open: Box::new(open) }
            }
        }
    }

    fn doubt(&mut self, open: OpenSubmit) -> Action {
        if self.rules.receipts {
            Action::ReadReceipts { why: Recall::InDoubt(Box::new(open)) }
        } else if self.trusts_a_miss(&open) {
            Action::CloseAttempt { attempt: open.attempt, nonce: Some(open.nonce), requeue: false }
        } else {
            self.give_up(open)
        }
    }

    /// Whether a task that the look-up doesn't find certainly doesn't exist.
    pub(super) fn trusts_a_miss(&self, open: &OpenSubmit) -> bool {
        self.rules.trust_lookup && !open.exists() && !open.may_be_hidden
    }

    /// Either the gate is shut, or another life has passed it.
    pub(super) fn shut(&mut self, open: OpenSubmit, cancels: bool, shut: Shut) -> Action {
        match (shut, cancels) {
            // No submit was under way, and none will be.
            (Shut::Shut, true) => self.end(outcome::cancelled(Charged::No, None), open.expect()),
            (Shut::Shut, false) => self.give_up(open),
            (Shut::Taken, true) => Action::ReadReceipts { why: Recall::Attempt(Box::new(open)) },
            (Shut::Taken, false) => Action::ReadReceipts { why: Recall::InDoubt(Box::new(open)) },
        }
    }

    pub(super) fn give_up(&mut self, open: OpenSubmit) -> Action {
        let expect = open.expect();
        if self.cancelled {
            // The user has cancelled the job, so no person has to clear it up.
            return self.end(outcome::cancelled(Charged::Unknown, None), expect);
        }
        let outcome = match open.unanswered {
            Some(Unanswered { message, provider_code, .. }) => outcome::unknown(message, provider_code),
            None => outcome::left_open(),
        };
        Action::Park { outcome: Box::new(outcome), expect }
    }

    /// The copy for a person is in the dead-letter queue.
    pub(super) fn parked(&mut self, outcome: Outcome, expect: FreezePrecondition) -> Action {
        match self.corrects.take() {
            None => self.end(outcome, expect),
            // It is unknown again, which the consumers know already.
            Some(first) => Action::Freeze {
                source: EventSource::Sealed(first),
                expect: FreezePrecondition::Unfinished,
                then: AfterPublish::LookBack,
            },
        }
    }

    /// A life has asked at the gate of `attempt`, at `at` or earlier; returns the earliest time known.
    pub(super) fn saw(&mut self, attempt: u32, at: Duration) -> Duration {
        match self.seen {
            Some(seen) if seen.attempt == attempt => seen.at,
            Some(_) | None => {
                self.seen = Some(IntentSeen { attempt, at });
                at
            }
        }
    }

    /// This life's own POST of `attempt` is open, so nothing that was known before counts.
    pub(super) fn posted(&mut self, attempt: u32, asked: Duration) {
        self.seen = Some(IntentSeen { attempt, at: asked });
    }
}
