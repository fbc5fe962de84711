//! What the polls of one life show of the duration of its task.
//!
//! The provider's own times (`created_at`, `updated_at`) are not used. Their unit and meaning change with the reply's
//! family, and a gateway that asks upstream only from time to time shows an end later than the time in its reply
//! (docs/provider.md, "The gateway's wrapper" and "Limits and pace"). A schedule needs to know when an end becomes
//! visible.

use std::time::Duration;

use super::durations::Ended;

/// The polls of one life. A failure is an end like a success, since the job waits for it too, and it frees the
/// account's slots. A timeout is not an end, since no poll has seen one.
#[derive(Debug, Default)]
pub struct Watch {
    /// Whether this life's own POST was accepted, so that nothing could be seen before its first poll.
    own: bool,
    /// The age at which the task was last seen running.
    running: Option<Duration>,
    /// Whether a callback has caused the poll that is under way.
    called: bool,
    over: bool,
}

/// The longest time between the end and its callback.
const CALLED_WITHIN: Duration = Duration::from_secs(1);
/// A life that took the task over knows its duration if the last two polls were this close: a part of the duration,
/// or the constant.
const CLOSE_PART: u32 = 4;
const CLOSE: Duration = Duration::from_secs(2);

impl Watch {
    /// For a task that this life has just submitted.
    #[must_use]
    pub fn own() -> Self {
        Self { own: true, ..Self::default() }
    }

    /// Records that a callback causes the next poll.
    pub fn called(&mut self) {
        self.called = true;
    }

    /// Whether a callback had caused the last poll with an answer.
    #[must_use]
    pub fn was_called(&self) -> bool {
        self.called
    }

    /// Records that a poll at this age saw the task running.
    pub fn running(&mut self, age: Duration) {
        (self.running, self.called) = (Some(age), false);
    }

    /// Records that a poll at this age saw the end. Returns, once, what this shows.
    pub fn ended(&mut self, age: Duration) -> Option<Ended> {
        let before = if self.own { Some(self.running.unwrap_or_default()) } else { self.running };
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        let mut after = before?.min(age);
        if self.called {
            after = after.max(age.saturating_sub(CALLED_WITHIN));
        }
        let close = (age / CLOSE_PART).max(CLOSE);
        (self.own || age - after <= close).then_some(Ended { after, until: age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ended(after: u64, until: u64) -> Option<Ended> {
        Some(Ended { after: s(after), until: s(until) })
    }

    #[test]
    fn an_end_lies_between_the_last_two_looks_and_counts_once() {
        let mut watch = Watch::own();
        watch.running(s(9));
        watch.running(s(12));
        assert_eq!(watch.ended(s(14)), ended(12, 14));
        assert_eq!(watch.ended(s(24)), None, "it is looked at again for its images");
        assert_eq!(Watch::own().ended(s(14)), ended(0, 14), "before the first look");
    }

    #[test]
    fn who_takes_over_knows_only_what_it_saw_from_close_by() {
        for age in [14, 1, 0] {
            // Its age counts from the note of its id, and a task that was found by a look-up is older.
            assert_eq!(Watch::default().ended(s(age)), None, "it may have ended long ago");
        }
        let seen = |running, end| {
            let mut watch = Watch::default();
            watch.running(s(running));
            watch.ended(s(end))
        };
        assert_eq!(seen(10, 20), None);
        assert_eq!(seen(15, 20), ended(15, 20));
        assert_eq!(seen(1, 3), ended(1, 3));
        assert_eq!(seen(20, 15), ended(15, 15), "a clock that goes back");
    }

    #[test]
    fn an_end_that_a_callback_told_of_has_just_come() {
        let mut watch = Watch::own();
        watch.called();
        watch.running(s(2));
        assert!(!watch.was_called(), "that one told of something else");
        watch.called();
        assert!(watch.was_called());
        assert_eq!(watch.ended(s(30)), ended(29, 30));
    }
}
