//! The cost and the lateness of learned schedules, by integration over known distributions, compared with a poll
//! every two seconds.

#![expect(
    clippy::print_stdout,
    reason = "the numbers are worth more than their bounds: run it with --nocapture"
)]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const PACE: Pace =
    Pace { first: Duration::from_secs(3), min: Duration::from_secs(1), max: Duration::from_secs(20) };
/// The reference for all thresholds: the first poll after a second, and then one every two seconds.
const FIXED: Pace =
    Pace { first: Duration::from_secs(1), min: Duration::from_secs(2), max: Duration::from_secs(2) };

/// Durations in seconds with their weights, which sum up to one; ascending.
struct Known(Vec<(f64, f64)>);

impl Known {
    fn lognormal(median_s: f64, sigma: f64) -> Self {
        const STEPS: i32 = 4000;
        let at = |step: i32| {
            let z = 12.0 * (f64::from(step) + 0.5) / f64::from(STEPS) - 6.0;
            (median_s * (sigma * z).exp(), (-z * z / 2.0).exp())
        };
        let points: Vec<_> = (0..STEPS).map(at).collect();
        let all: f64 = points.iter().map(|(_, weight)| weight).sum();
        Self(points.into_iter().map(|(seconds, weight)| (seconds, weight / all)).collect())
    }

    fn mixed(share: f64, one: Self, other: Self) -> Self {
        let ones = one.0.into_iter().map(|(seconds, weight)| (seconds, weight * share));
        let others = other.0.into_iter().map(|(seconds, weight)| (seconds, weight * (1.0 - share)));
        let mut points: Vec<_> = ones.chain(others).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(points)
    }

    /// The durations of a few hundred jobs with exactly this distribution, each known exactly.
    fn durations(&self) -> Durations {
        let mut bins = [0.0; 300];
        for (seconds, weight) in &self.0 {
            let mut one = Durations::default();
            one.add(exactly(*seconds), &Durations::default());
            for (bin, part) in one.bins() {
                bins[usize::from(bin)] += part * weight * 100.0;
            }
        }
        Durations::from_bins((0..).zip(bins))
    }

    /// The duration that this part of all jobs doesn't exceed.
    fn quantile(&self, part: f64) -> f64 {
        let mut below = 0.0;
        let mut points = self.0.iter();
        points.find(|(_, weight)| (below += weight, below >= part).1).unwrap().0
    }
}

fn exactly(seconds: f64) -> Ended {
    let age = Duration::from_secs_f64(seconds);
    Ended { after: age, until: age }
}

static SEEDS: LazyLock<Vec<Seed>> =
    LazyLock::new(|| (0..40).map(|job| Seed::from_text(&format!("job-{job}"))).collect());

/// The cost of a schedule.
#[derive(Debug)]
struct Cost {
    polls: f64,
    mean_s: f64,
    p90_s: f64,
}

/// The ages at the polls of a task that doesn't end before the last of them.
fn ages(known_s: f64, wait: impl Fn(u32, Duration) -> Duration) -> Vec<f64> {
    let (mut ages, mut age) = (Vec::new(), Duration::ZERO);
    while ages.last().is_none_or(|last| *last < known_s) {
        age += wait(u32::try_from(ages.len()).unwrap(), age);
        ages.push(age.as_secs_f64());
    }
    ages
}

fn cost(known: &Known, wait: impl Fn(u32, Duration, Seed) -> Duration) -> Cost {
    let longest = known.0.last().unwrap().0;
    let (mut polls, mut mean_s, mut lags) = (0.0, 0.0, Vec::new());
    for seed in SEEDS.iter() {
        let ages = ages(longest, |polls, age| wait(polls, age, *seed));
        for (seconds, weight) in &known.0 {
            let look = ages.partition_point(|age| age < seconds);
            let (lag, weight) = (ages[look] - seconds, weight / SEEDS.len() as f64);
            polls += weight * (look + 1) as f64;
            mean_s += weight * lag;
            lags.push((lag, weight));
        }
    }
    lags.sort_by(|a, b| a.0.total_cmp(&b.0));
    Cost { polls, mean_s, p90_s: Known(lags).quantile(0.9) }
}

fn fixed(known: &Known) -> Cost {
    cost(known, |polls, _, seed| FIXED.wait(polls, seed))
}

fn learned(known: &Known, schedule: &Schedule) -> Cost {
    cost(known, |polls, age, seed| schedule.wait(polls, age, &PACE, seed))
}

fn learn(durations: &Durations) -> Schedule {
    Schedule::learn(durations, &PACE, 0.0).expect("enough jobs")
}

#[test]
fn a_learned_schedule_needs_fewer_polls_for_the_same_lag() {
    for (sigma, of_the_fixed, fixed_polls) in [(0.4, 0.7, 9.1), (0.15, 0.45, 8.6)] {
        let known = Known::lognormal(15.0, sigma);
        let fixed = fixed(&known);
        assert!((fixed.polls - fixed_polls).abs() < 0.05 && (fixed.mean_s - 1.0).abs() < 0.02, "{fixed:?}");
        let learned = learned(&known, &learn(&known.durations()));
        println!("sigma {sigma}: fixed {fixed:?}, learned {learned:?}");
        assert!(learned.polls <= of_the_fixed * fixed.polls, "{sigma}: {learned:?}");
        assert!(learned.mean_s <= fixed.mean_s, "{sigma}: {learned:?}");
        assert!(learned.p90_s <= 2.2, "{sigma}: {learned:?}");
    }
}

#[test]
fn who_asks_for_closer_looks_gets_them_learned_as_well() {
    let pace =
        Pace { first: Duration::ZERO, min: Duration::from_millis(100), max: Duration::from_millis(500) };
    let known = Known::lognormal(3.0, 0.2);
    let schedule = Schedule::learn(&known.durations(), &pace, 0.0).unwrap();
    let learned = cost(&known, |polls, age, seed| schedule.wait(polls, age, &pace, seed));
    let fixed = cost(&known, |polls, _, seed| {
        Pace { first: pace.max, min: pace.max, max: pace.max }.wait(polls, seed)
    });
    println!("at most half a second: fixed {fixed:?}, learned {learned:?}");
    assert!(
        learned.mean_s <= 1.03 * fixed.mean_s && learned.polls <= 0.6 * fixed.polls,
        "{learned:?} {fixed:?}"
    );
}

/// The user asks for a poll at once and the provider's tasks end at once: learned schedules used to wait half a
/// second.
#[test]
fn tasks_that_end_at_once_are_looked_at_when_the_user_says() {
    let mut known = Durations::default();
    for _ in 0..100 {
        known.add(Ended { after: Duration::ZERO, until: Duration::from_millis(5) }, &Durations::default());
    }
    let first = |known: &Durations, first_ms| {
        let pace = Pace { first: Duration::from_millis(first_ms), ..PACE };
        let schedule = Schedule::learn(known, &pace, 0.0).unwrap();
        SEEDS.iter().map(|seed| schedule.wait(0, Duration::ZERO, &pace, *seed)).max().unwrap()
    };
    assert_eq!(first(&known, 0), Duration::ZERO);
    assert!(first(&known, 3000) < PACE.first, "earlier than asked for, where that is known to do");
    for _ in 0..10 {
        known.add(exactly(2.0), &Durations::default());
    }
    assert!(first(&known, 0) > Duration::ZERO, "a tenth takes longer");
}

#[test]
fn there_are_no_looks_between_two_humps() {
    let known = Known::mixed(0.5, Known::lognormal(8.0, 0.1), Known::lognormal(40.0, 0.1));
    let schedule = learn(&known.durations());
    let ages = ages(60.0, |polls, age| schedule.wait(polls, age, &PACE, SEEDS[0]));
    let between = ages.iter().filter(|age| (14.0..28.0).contains(*age)).count();
    assert!(between <= 1, "{ages:?}");
    let (fixed, learned) = (fixed(&known), learned(&known, &schedule));
    println!("two humps: fixed {fixed:?}, learned {learned:?}");
    assert!(
        learned.polls <= 0.45 * fixed.polls && learned.mean_s <= 1.2 && learned.p90_s <= 2.2,
        "{learned:?}"
    );
}

#[test]
fn failures_that_come_at_once_are_worth_one_early_look_where_they_are_many() {
    let of = |share| Known::mixed(share, Known::lognormal(2.0, 0.2), Known::lognormal(20.0, 0.2));
    let before_ten = |known: &Known| {
        let schedule = learn(&known.durations());
        ages(60.0, |polls, age| schedule.wait(polls, age, &PACE, SEEDS[0]))
            .iter()
            .filter(|age| **age < 10.0)
            .count()
    };
    assert_eq!(before_ten(&of(0.01)), 0);
    assert!((1..=2).contains(&before_ten(&of(0.2))), "{}", before_ten(&of(0.2)));
}

/// Jobs whose ends are learned from the polls of a schedule that was learned from the jobs before.
struct Loop {
    durations: Durations,
    /// Durations that are not shared yet.
    news: Durations,
    schedule: Option<Schedule>,
    jobs: u32,
}

impl Loop {
    fn new() -> Self {
        Self { durations: Durations::default(), news: Durations::default(), schedule: None, jobs: 0 }
    }

    /// Runs this many jobs. Their durations are spread evenly over the distribution, in no order.
    fn run(&mut self, known: &Known, jobs: u32) {
        for _ in 0..jobs {
            self.jobs += 1;
            let seed = Seed::from_text(&format!("looped-{}", self.jobs));
            let took = known.quantile(seed.fraction(7));
            let wait = |polls, age| match &self.schedule {
                Some(schedule) => schedule.wait(polls, age, &PACE, seed),
                None => PACE.wait(polls, seed),
            };
            let ages = ages(took, wait);
            let mut watch = Watch::own();
            let (last, before) = ages.split_last().unwrap();
            before.iter().for_each(|age| watch.running(Duration::from_secs_f64(*age)));
            let ended = watch.ended(Duration::from_secs_f64(*last)).unwrap();
            self.news.add(ended, &self.durations);
            if self.jobs.is_multiple_of(10) {
                self.durations.fold(&std::mem::take(&mut self.news));
                self.schedule = Schedule::learn(&self.durations, &PACE, 0.0);
            }
        }
    }

    fn cost(&self, known: &Known) -> Cost {
        learned(known, self.schedule.as_ref().expect("enough jobs"))
    }
}

#[test]
fn what_is_learned_from_its_own_looks_stays_near_the_best_for_thousands_of_jobs() {
    for (sigma, of_the_fixed) in [(0.4, 0.7), (0.15, 0.45)] {
        let known = Known::lognormal(15.0, sigma);
        let fixed = fixed(&known);
        let mut jobs = Loop::new();
        let (mut polls, mut mean_s, mut p90_s, mut times) = (0.0, 0.0, 0.0_f64, 0.0);
        for hundreds in 1..=20 {
            jobs.run(&known, 100);
            let cost = jobs.cost(&known);
            assert!(cost.polls <= 1.15 * of_the_fixed * fixed.polls, "{sigma} at {hundreds}00: {cost:?}");
            assert!(cost.mean_s <= 1.15 && cost.p90_s <= 2.2, "{sigma} at {hundreds}00: {cost:?}");
            if hundreds > 2 {
                (polls, mean_s, times) = (polls + cost.polls, mean_s + cost.mean_s, times + 1.0);
                p90_s = p90_s.max(cost.p90_s);
            }
        }
        let (polls, mean_s) = (polls / times, mean_s / times);
        println!(
            "sigma {sigma}, over 2,000 jobs: {polls:.2} polls, mean {mean_s:.2} s, p90 at most {p90_s:.2} s"
        );
        assert!(polls <= of_the_fixed * fixed.polls && mean_s <= fixed.mean_s, "{polls} {mean_s}");
    }
}

#[test]
fn a_changed_provider_is_relearned_within_three_hundred_jobs() {
    for (before, after) in
        [((15.0, 0.4), (40.0, 0.4)), ((40.0, 0.4), (15.0, 0.4)), ((15.0, 0.15), (5.0, 0.2))]
    {
        let (before, after) = (Known::lognormal(before.0, before.1), Known::lognormal(after.0, after.1));
        let mut jobs = Loop::new();
        jobs.run(&before, 500);
        let stale = jobs.cost(&after);
        jobs.run(&after, 300);
        let cost = jobs.cost(&after);
        let best = learned(&after, &learn(&after.durations()));
        println!("stale {stale:?}, relearned {cost:?}, best {best:?}");
        assert!(cost.mean_s <= 1.15 && cost.p90_s <= 2.2, "{cost:?}");
        assert!(cost.polls <= best.polls * 1.25 + 1.0, "{cost:?} {best:?}");
    }
}

#[test]
fn the_bounds_alone_are_the_schedule_where_little_is_known_or_they_are_equal() {
    let known = Known::lognormal(15.0, 0.4).durations();
    let few = Durations::from_bins(known.bins().map(|(bin, weight)| (bin, weight * 0.19)));
    assert_eq!(Schedule::learn(&few, &PACE, 0.0), None);
    assert_eq!(Schedule::learn(&Durations::default(), &PACE, 0.0), None);
    assert_eq!(Schedule::learn(&known, &FIXED, 0.0), None, "a fixed pace stays fixed");
}

#[test]
fn where_callbacks_tell_of_most_ends_looks_are_a_safety_net() {
    let known = Known::lognormal(15.0, 0.4);
    let first = |called_back| {
        let schedule = Schedule::learn(&known.durations(), &PACE, called_back).unwrap();
        let first_s = schedule.wait(0, Duration::ZERO, &PACE, SEEDS[0]).as_secs_f64();
        known.0.iter().filter(|(seconds, _)| *seconds < first_s).map(|(_, weight)| weight).sum::<f64>()
    };
    let (none, half, most) = (first(0.0), first(0.5), first(0.95));
    assert!(none < half && half < most, "{none} {half} {most}");
    assert!(most > 0.85, "the first look comes behind {most} of the ends");
    assert!(
        Schedule::learn(&known.durations(), &PACE, 1.0).is_some(),
        "all of them: there is a look all the same"
    );
}

proptest! {
    #[test]
    fn looks_stay_within_the_bounds_and_go_on_for_ever(
        bins in prop::collection::vec((0_u16..300, 0.0..1e6_f64), 0..40),
        first_ms in 0_u64..100_000,
        (min_ms, more_ms) in (1_u64..100_000, 0_u64..1_000_000),
        called_back in -1.0..2.0_f64,
        job in "[a-z]{1,8}",
    ) {
        let [first, min, max] = [first_ms, min_ms, min_ms + more_ms].map(Duration::from_millis);
        let (pace, seed) = (Pace { first, min, max }, Seed::from_text(&job));
        let durations = Durations::from_bins(bins);
        if let Some(schedule) = Schedule::learn(&durations, &pace, called_back) {
            let mut age = Duration::ZERO;
            for polls in 0..200 {
                let wait = schedule.wait(polls, age, &pace, seed);
                prop_assert!(polls == 0 || (min..=max).contains(&wait), "{polls} at {age:?}: {wait:?}");
                prop_assert!(wait >= first.min(min), "{polls} at {age:?}: {wait:?}");
                // A poll takes a moment, and a callback may ask for one at any time.
                age += if polls % 7 == 3 { wait / 3 } else { wait + Duration::from_millis(20) };
            }
            for age in [Duration::MAX / 2, Duration::from_secs(u64::from(u32::MAX)), Duration::ZERO] {
                prop_assert!((min..=max).contains(&schedule.wait(5, age, &pace, seed)));
            }
        }
    }
}
