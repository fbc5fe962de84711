//! How long the latest tasks took, as far as polls have shown it.

use std::collections::VecDeque;
use std::time::Duration;

/// How many tasks are remembered. The more tasks, the steadier the schedule; with fewer, a change of the provider is
/// learned sooner. If a worker begins many jobs at once, the short ones among them end first and the long ones last,
/// so this should not be much less than the number of jobs at a time.
pub const REMEMBERED: usize = 300;

/// The end of a task, as its polls have shown it: after the age `after`, and by the age `until`. Ages count from the
/// acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub after: Duration,
    pub until: Duration,
}

/// The latest [`REMEMBERED`] durations, in milliseconds, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations(VecDeque<u32>);

impl Durations {
    /// Adds a task. Its duration is the middle of the time in which it may have ended.
    ///
    /// The middle is wrong for the tasks that the first poll finds ended. It need only be earlier than that poll: then
    /// the next first polls come earlier if too many tasks end before them.
    pub fn add(&mut self, ended: Ended) {
        let middle = ended.after.min(ended.until).saturating_add(ended.until) / 2;
        self.extend([u32::try_from(middle.as_millis()).unwrap_or(u32::MAX)]);
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<u32> for Durations {
    fn extend<T: IntoIterator<Item = u32>>(&mut self, newer_ms: T) {
        self.0.extend(newer_ms);
        self.0.drain(..self.0.len().saturating_sub(REMEMBERED));
    }
}

impl FromIterator<u32> for Durations {
    fn from_iter<T: IntoIterator<Item = u32>>(durations_ms: T) -> Self {
        let mut durations = Self::default();
        durations.extend(durations_ms);
        durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_as_the_middle_of_the_time_in_which_it_came() {
        let mut durations = Durations::default();
        for (after_ms, until_ms) in [(0, 3000), (14_000, 15_000), (5, 5), (9000, 20), (0, u64::MAX)] {
            let [after, until] = [after_ms, until_ms].map(Duration::from_millis);
            durations.add(Ended { after, until });
        }
        assert_eq!(durations.iter().collect::<Vec<_>>(), [1500, 14_500, 5, 20, u32::MAX]);
    }

    #[test]
    fn only_the_latest_durations_are_remembered() {
        let mut durations: Durations = (0..1000).collect();
        assert!(durations.iter().eq(1000 - 300..1000));
        durations.add(Ended { after: Duration::ZERO, until: Duration::ZERO });
        assert_eq!((durations.iter().count(), durations.iter().last()), (REMEMBERED, Some(0)));
    }
}
