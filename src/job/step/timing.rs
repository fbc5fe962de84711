//! Times of a running task: its age, what is left of its timeout, and how much a callback may change.

use std::time::Duration;

use super::Rules;
use super::machine::Machine;
use crate::job::pace::Pace;

/// A life gives a task at least this part of the timeout by its own clock, whatever age the record says. That age is
/// measured by the clock of Redis, and if that clock jumps by an hour, the first query must not end the generation.
/// It is only a part, so that a deploy or a crash extends the timeout a little and doesn't start it again.
const OWN_PART: u32 = 4;

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

    /// How much of the age has passed by this life's own clock.
    fn seen(self, now: Duration) -> Duration {
        now.saturating_sub(self.noted)
    }

    /// How long the task may still run. If it is zero, a query now is the last one.
    pub(super) fn left(self, now: Duration, rules: &Rules) -> Duration {
        // A delivery can only be held for a limited time, so a life must come to an end within it.
        let own_part = (rules.timeout / OWN_PART).min(rules.hold / 2);
        let by_age = rules.timeout.saturating_sub(self.age(now));
        by_age.max(own_part.saturating_sub(self.seen(now)))
    }
}

impl Machine {
    /// How long to wait before the next query, after `polls` of them, at a task of this age.
    pub(super) fn wait(&self, polls: u32, age: Duration) -> Duration {
        let Rules { pace, timeout, .. } = &self.rules;
        match &self.learned {
            // A job may have a shorter timeout than similar jobs need.
            Some(schedule) => schedule.wait(polls, age, pace, self.seed).min(*timeout),
            None => pace.wait(polls),
        }
    }
}

/// How often callbacks may still make the next query earlier. Callbacks are unsigned and their number is unlimited,
/// so they may change when a task is queried, but hardly how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pulls {
    left: u32,
}

impl Pulls {
    /// Three for the changes of a task's status, and some for copies of these callbacks.
    const TIMES_MAX: u32 = 8;
    /// The shortest time between two queries if `poll.min_ms` is longer: a user who relies on callbacks polls seldom.
    const APART_MAX: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { left: Self::TIMES_MAX }
    }

    /// The earliest time of a query that a callback asks for, after a query at `asked`.
    pub(super) fn after_look(asked: Duration, pace: &Pace) -> Duration {
        asked + pace.min.min(Self::APART_MAX)
    }

    /// Returns when to query after a callback, instead of at `next`.
    pub(super) fn pull(&mut self, next: Duration, from: Duration, now: Duration) -> Duration {
        let pulled = from.max(now);
        if self.left == 0 || pulled >= next {
            return next;
        }
        self.left -= 1;
        pulled
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: u64 = 3600;

    fn rules(timeout_s: u64, hold_s: u64) -> Rules {
        let [timeout, hold] = [timeout_s, hold_s].map(Duration::from_secs);
        Rules { timeout, hold, ..Rules::of_a_second() }
    }

    #[test]
    fn a_life_waits_for_the_rest_of_the_timeout_and_for_a_part_of_it_on_its_own_clock_at_least() {
        // timeout, hold, age in the record, time that passed in this life, time left
        for (timeout, hold, recorded, seen, left) in [
            // Its own POST: exactly the timeout.
            (900, 900, 0, 0, 900),
            (900, 900, 0, 600, 300),
            (900, 900, 0, 900, 0),
            (900, 900, 0, 9000, 0),
            // A young task is taken over: the rest of the timeout.
            (900, 900, 300, 0, 600),
            (900, 900, 300, 599, 1),
            (900, 900, 300, 600, 0),
            // An old task is taken over, or the clock has jumped ahead: a fourth of the timeout, once.
            (900, 900, 800, 0, 225),
            (900, 900, 800, 100, 125),
            (900, 900, 900, 0, 225),
            (900, 900, 10 + HOUR_S, 0, 225),
            (900, 900, 10 + HOUR_S, 224, 1),
            (900, 900, 10 + HOUR_S, 225, 0),
            (900, 900, 365 * 24 * HOUR_S, 0, 225),
            // A fourth is longer than a delivery is held: without the other bound no life would end the task.
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
