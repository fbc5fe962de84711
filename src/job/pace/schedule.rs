//! When a task is polled, by how long the latest ones took.

use std::time::Duration;

use super::durations::Durations;
use super::{Pace, Seed};

/// How much waiting a poll is worth. With a lower price, polls come closer and ends are seen sooner.
const PRICE_S: f64 = 0.175;
/// The part of the running tasks that may end unseen before the next poll, in thousandths: one in eight.
const UNSEEN: u32 = 125;
/// The same, if callbacks tell of nearly all ends and the polls are only a safety net.
const UNSEEN_MAX: u32 = 950;
/// Fewer tasks than these prove nothing.
const TASKS_MIN: usize = 20;
/// Jobs that are submitted together are polled at different times: a wait is shortened by up to this part of it. The
/// wait for a time at which ends are likely is long, so it is shortened less.
const GAP_JITTER: f64 = 0.2;
const LIKELY_JITTER: f64 = 0.1;

/// What is known of how long tasks take, perhaps nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// How long the latest tasks took, in milliseconds, ascending.
    took_ms: Box<[u32]>,
    /// The part of the ends that callbacks report, in thousandths, less than all.
    called_back: u32,
}

impl Schedule {
    /// `called_back` is the part of the ends that callbacks report, in `0.0..1.0`. The polls are only needed for the
    /// others.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest number that there is, and is bounded"
    )]
    pub fn learn(durations: &Durations, called_back: f64) -> Self {
        let mut took_ms: Box<[u32]> = durations.iter().collect();
        took_ms.sort_unstable();
        Self { took_ms, called_back: (called_back.clamp(0.0, 0.99) * 1000.0) as u32 }
    }

    /// How long to wait before the next poll, after `polls` of them, at a task of this age. The wait is within the
    /// bounds of `pace`, except for the first poll: while too little is known, it comes after `pace.first`. Otherwise
    /// it comes when ends are likely, perhaps later than that, and as early as `pace.first` if that is less than
    /// `pace.min`.
    #[must_use]
    pub fn wait(&self, polls: u32, age: Duration, pace: &Pace, seed: Seed) -> Duration {
        let (age_s, chance) = (age.as_secs_f64(), seed.fraction(polls));
        let until_likely_s = self.likely_s(age).map(|likely_s| {
            // If there was no callback for an end, it is seen a little later.
            let grace_s = self.gap_s(likely_s) * f64::from(self.called_back) / 1000.0;
            (likely_s - age_s) * (1.0 - LIKELY_JITTER * chance) + grace_s
        });
        if polls == 0 {
            return until_likely_s
                .map_or(pace.first, |wait_s| seconds(wait_s, pace.first.min(pace.min), Duration::MAX));
        }
        let gap_s = self.gap_s(age_s) * (1.0 - GAP_JITTER * chance);
        seconds(gap_s.max(until_likely_s.unwrap_or_default()), pace.min, pace.max)
    }

    /// The age at which the part that may end unseen, of the tasks that still run at `age`, has ended. `None` if too
    /// few of the known tasks took that long.
    fn likely_s(&self, age: Duration) -> Option<f64> {
        let ended = self.took_ms.partition_point(|took_ms| u128::from(*took_ms) <= age.as_millis());
        let (_, longer_ms) = self.took_ms.split_at_checked(ended)?;
        let unseen = (UNSEEN * 1000 / (1000 - self.called_back)).min(UNSEEN_MAX);
        let number = longer_ms.len() * usize::try_from(unseen).ok()? / 1000;
        let took_ms = longer_ms.get(number).filter(|_| longer_ms.len() >= TASKS_MIN)?;
        Some(f64::from(*took_ms) / 1000.0)
    }

    /// The time between two polls that costs least.
    ///
    /// While nothing is known, a task ends within the next moment with a chance that falls with its age `a`: it is
    /// about `1 / a` a second. A gap `g` then costs a waiting of `g² / 2a`, and a poll at [`PRICE_S`] each `g` seconds.
    /// The sum is least at `g = √(2a · price)`. If it is known when ends begin to be likely, most of them follow soon,
    /// and the age is counted half from there.
    fn gap_s(&self, age_s: f64) -> f64 {
        let likely_s = self.likely_s(Duration::ZERO).unwrap_or(age_s);
        (PRICE_S * (likely_s + age_s)).sqrt()
    }
}

fn seconds(wait_s: f64, least: Duration, most: Duration) -> Duration {
    Duration::try_from_secs_f64(wait_s).unwrap_or(most).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace =
        Pace { first: Duration::from_secs(3), min: Duration::from_secs(1), max: Duration::from_secs(20) };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn seeds() -> impl Iterator<Item = Seed> {
        (0..40).map(|job| Seed::from_text(&format!("job-{job}")))
    }

    /// This many tasks, which took evenly between the two.
    fn known(tasks: u32, from_ms: u32, to_ms: u32) -> Durations {
        (0..tasks).map(|task| from_ms + (to_ms - from_ms) * task / tasks).collect()
    }

    #[test]
    fn while_little_is_known_polls_begin_as_the_user_says_and_become_rarer() {
        let schedule = Schedule::learn(&known(19, 10_000, 20_000), 0.0);
        for seed in seeds() {
            assert_eq!(schedule.wait(0, Duration::ZERO, &PACE, seed), PACE.first);
            for (age, least_ms, most_ms) in
                [(s(3), 1000, 1030), (s(15), 1830, 2300), (s(60), 3660, 4590), (s(1500), 18_300, 20_000)]
            {
                let wait = schedule.wait(1, age, &PACE, seed).as_millis();
                assert!((least_ms..=most_ms).contains(&wait), "{age:?}: {wait}");
            }
        }
    }

    #[test]
    fn the_first_poll_comes_when_an_eighth_of_the_tasks_has_ended_and_a_little_earlier() {
        let schedule = Schedule::learn(&known(200, 10_000, 18_000), 0.0);
        for seed in seeds() {
            let first = schedule.wait(0, Duration::ZERO, &PACE, seed);
            assert!((s(9)..=s(11)).contains(&first), "{first:?}");
            let next = schedule.wait(1, s(12), &PACE, seed);
            assert!((s(1)..=s(3)).contains(&next), "{next:?}");
        }
    }

    #[test]
    fn no_poll_is_made_while_no_end_is_likely() {
        let humps: Durations =
            known(100, 4000, 5000).iter().chain(known(100, 18_000, 19_000).iter()).collect();
        let schedule = Schedule::learn(&humps, 0.0);
        for seed in seeds() {
            let wait = schedule.wait(1, s(5), &PACE, seed);
            assert!((s(11)..=s(14)).contains(&wait), "{wait:?}");
            let pulled = schedule.wait(1, s(1), &PACE, seed);
            assert!(
                (s(2)..=s(4)).contains(&pulled),
                "after a poll that a callback has asked for: {pulled:?}"
            );
        }
    }

    #[test]
    fn jobs_that_are_submitted_together_are_polled_apart_and_each_alike_everywhere() {
        let schedule = Schedule::learn(&known(100, 15_000, 16_000), 0.0);
        for (polls, age) in [(0, Duration::ZERO), (1, s(3)), (4, s(90))] {
            let waits: std::collections::HashSet<_> =
                seeds().map(|seed| schedule.wait(polls, age, &PACE, seed)).collect();
            assert_eq!(waits.len(), 40);
            let wait = || schedule.wait(polls, age, &PACE, Seed::from_text("a"));
            assert_eq!(wait(), wait());
        }
    }

    #[test]
    fn tasks_that_end_at_once_are_polled_when_the_user_says() {
        let schedule = Schedule::learn(&known(100, 1, 3), 0.0);
        let first = |first_ms| {
            let pace = Pace { first: Duration::from_millis(first_ms), ..PACE };
            seeds().map(|seed| schedule.wait(0, Duration::ZERO, &pace, seed)).max().unwrap()
        };
        assert!(first(0) < Duration::from_millis(5), "{:?}", first(0));
        assert_eq!(first(3000), PACE.min, "earlier than asked for, where that is known to do");
    }

    #[test]
    fn if_callbacks_tell_of_most_ends_polls_are_a_safety_net() {
        let durations = known(200, 10_000, 18_000);
        let first = |called_back| {
            let schedule = Schedule::learn(&durations, called_back);
            schedule.wait(0, Duration::ZERO, &PACE, Seed::from_text("a"))
        };
        let (none, half, most) = (first(0.0), first(0.5), first(0.95));
        assert!(none < half && half < most, "{none:?} {half:?} {most:?}");
        assert!(most > s(15), "{most:?}");
        assert!(first(1.0) < s(25), "all of them: there is a poll all the same");
    }

    proptest! {
        #[test]
        fn polls_stay_within_the_bounds_and_go_on_for_ever(
            took_ms in prop::collection::vec(0_u32.., 0..400),
            first_ms in 0_u64..100_000,
            (min_ms, more_ms) in (1_u64..100_000, 0_u64..1_000_000),
            called_back in -1.0..2.0_f64,
            job in "[a-z]{1,8}",
        ) {
            let [first, min, max] = [first_ms, min_ms, min_ms + more_ms].map(Duration::from_millis);
            let (pace, seed) = (Pace { first, min, max }, Seed::from_text(&job));
            let schedule = Schedule::learn(&took_ms.into_iter().collect(), called_back);
            let mut age = Duration::ZERO;
            for polls in 0..200 {
                let wait = schedule.wait(polls, age, &pace, seed);
                prop_assert!(polls == 0 || (min..=max).contains(&wait), "{polls} at {age:?}: {wait:?}");
                prop_assert!(wait >= first.min(min), "{polls} at {age:?}: {wait:?}");
                // A poll takes a moment, and a callback may ask for one at any time.
                age += if polls % 7 == 3 { wait / 3 } else { wait + Duration::from_millis(20) };
            }
            for age in [Duration::MAX, Duration::from_secs(u64::from(u32::MAX)), Duration::ZERO] {
                prop_assert!((min..=max).contains(&schedule.wait(5, age, &pace, seed)));
            }
        }
    }
}
