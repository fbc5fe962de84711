//! What a life remembers of a running task.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{Machine, State};
use super::unstored::Tried;
use super::{Action, Rules};
use crate::job::TaskId;
use crate::job::pace::{Pace, Schedule};

/// A life gives a task at least this part of the timeout on its own clock, whatever age the record says: that one is told by
/// Redis's clock, and a jump of it by an hour must not end a generation at the first look. A part and not the whole, so that
/// a deploy or a crash adds a little to the timeout and doesn't begin it anew.
const OWN_PART: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    pub(super) attempt: u32,
    pub(super) task: TaskId,
    /// When it was accepted; before this life began, perhaps.
    pub(super) accepted: Since,
    pub(super) next_poll: Duration,
    /// A callback pulls it no further forward than this.
    pub(super) pull_from: Duration,
    pub(super) pulls: Pulls,
    /// A receipt has the task id.
    pub(super) noted: bool,
    /// Queries in a row without an answer about the task.
    pub(super) failures: u32,
    /// Those of them that came after its timeout, while the provider answers about other tasks.
    pub(super) in_vain: u32,
    pub(super) empty_results: u32,
    /// Since when the provider has called it a success without images.
    pub(super) empty_since: Option<Duration>,
    /// The provider has called it a success, with images.
    pub(super) succeeded: bool,
    /// How long its images have been tried for in vain; `None`: not yet.
    pub(super) tried: Option<Tried>,
    /// This life was counted among those that have entered the storing of its images.
    pub(super) entered: bool,
    /// How many lives may have entered the storing of its images before this one; `None` for the life
    /// that submitted it, and once this one has entered too.
    pub(super) entries: Option<u32>,
}

/// A moment that may lie before the clock's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Since {
    pub(super) noted: Duration,
    pub(super) age_then: Duration,
}

impl Since {
    pub(super) fn age(self, now: Duration) -> Duration {
        self.seen(now) + self.age_then
    }

    /// How much of the age has passed on this life's own clock.
    fn seen(self, now: Duration) -> Duration {
        now.saturating_sub(self.noted)
    }

    /// How long the task may still run. None: a look at it now is the last one.
    pub(super) fn left(self, now: Duration, rules: &Rules) -> Duration {
        // A delivery is held for some time only: whoever holds it for that long must come to an end.
        let own_part = (rules.timeout / OWN_PART).min(rules.hold / 2);
        let by_age = rules.timeout.saturating_sub(self.age(now));
        by_age.max(own_part.saturating_sub(self.seen(now)))
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

    /// A task that is to be waited for is in a receipt before the wait; an instant one is spared it,
    /// unless others may have given it up.
    pub(super) fn next(&self, now: Duration, receipts: bool, perhaps_given_up: bool) -> Action {
        if receipts && !self.noted && (perhaps_given_up || now < self.next_poll) {
            return Action::NoteTask { attempt: self.attempt, task: self.task.clone() };
        }
        Action::Poll { task: self.task.clone(), at: self.next_poll }
    }
}

impl Rules {
    /// How long to wait for the next look, after `polls` of them, at a task of this age.
    pub(super) fn wait(&self, polls: u32, age: Duration) -> Duration {
        match &self.learned {
            // A job may have less time than others like it take.
            Some(schedule) => schedule.wait(polls, age, &self.pace, self.seed).min(self.timeout),
            None => self.pace.wait(polls, self.seed),
        }
    }
}

impl Machine {
    /// From now on the task is looked at so: what is known of others like it changes while a job waits.
    pub fn look_by(&mut self, learned: Option<Arc<Schedule>>) {
        self.rules.learned = learned;
    }

    /// How long the task has been running, where there is one to be looked at.
    #[must_use]
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let State::Generating(generation) = &self.at else { return None };
        Some(generation.accepted.age(now))
    }
}

/// How often callbacks may still pull a look forward. They are unsigned and come in any number, so they
/// change when looks are made, and hardly how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pulls {
    left: u32,
}

impl Pulls {
    /// Three for the changes of a task's status, and some for copies of them.
    const TIMES_MAX: u32 = 8;
    /// From one look to the next where `poll.min_ms` is longer: who relies on callbacks polls seldom.
    const APART_MAX: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { left: Self::TIMES_MAX }
    }

    /// From when on a look may be pulled that follows one at `asked`.
    pub(super) fn after_look(asked: Duration, pace: &Pace) -> Duration {
        asked + pace.min.min(Self::APART_MAX)
    }

    /// A callback came: when to look instead of at `next`.
    pub(super) fn pull(&mut self, next: Duration, from: Duration, now: Duration) -> Duration {
        let pulled = from.max(now);
        if self.left == 0 || pulled >= next {
            return next;
        }
        self.left -= 1;
        pulled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::pace::Seed;

    const HOUR_S: u64 = 3600;

    fn rules(timeout_s: u64, hold_s: u64) -> Rules {
        let second = Duration::from_secs(1);
        Rules {
            gate: second,
            quiet: second,
            timeout: Duration::from_secs(timeout_s),
            hold: Duration::from_secs(hold_s),
            patience: second,
            receipts: true,
            trust_lookup: false,
            max_attempts: 1,
            pace: Pace { first: second, min: second, max: second },
            learned: None,
            seed: Seed::from_text("a"),
        }
    }

    #[test]
    fn a_life_waits_for_the_rest_of_the_timeout_and_for_a_part_of_it_on_its_own_clock_at_least() {
        // timeout, hold, age in the record, seen pass by this life: what is left.
        for (timeout, hold, recorded, seen, left) in [
            // Its own POST: the timeout, and nothing else.
            (900, 900, 0, 0, 900),
            (900, 900, 0, 600, 300),
            (900, 900, 0, 900, 0),
            (900, 900, 0, 9000, 0),
            // Taken over young: what the others have left of it.
            (900, 900, 300, 0, 600),
            (900, 900, 300, 599, 1),
            (900, 900, 300, 600, 0),
            // Taken over old, or with a clock that has jumped ahead: a fourth, once.
            (900, 900, 800, 0, 225),
            (900, 900, 800, 100, 125),
            (900, 900, 900, 0, 225),
            (900, 900, 10 + HOUR_S, 0, 225),
            (900, 900, 10 + HOUR_S, 224, 1),
            (900, 900, 10 + HOUR_S, 225, 0),
            (900, 900, 365 * 24 * HOUR_S, 0, 225),
            // A fourth that is longer than a delivery is held: no life would come to an end.
            (86_400, 900, 90_000, 0, 450),
            (86_400, 900, 90_000, 450, 0),
        ] {
            let noted = Duration::from_secs(77);
            let since = Since { noted, age_then: Duration::from_secs(recorded) };
            let now = noted + Duration::from_secs(seen);
            let found = since.left(now, &rules(timeout, hold));
            assert_eq!(found.as_secs(), left, "{timeout} {hold} {recorded} {seen}");
        }
    }
}
