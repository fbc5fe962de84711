//! The cost and the lateness of polls, simulated: jobs whose ends are learned from their polls, by which the jobs
//! after them are polled. Everything that is drawn is drawn from a fixed seed.

#![expect(
    clippy::print_stdout,
    reason = "the numbers are worth more than their bounds: run it with --nocapture"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// The bounds for which the cost is promised.
const PACE: Pace =
    Pace { first: Duration::from_secs(2), min: Duration::from_millis(500), max: Duration::from_secs(10) };
const JOBS: usize = 3000;
const HELD: usize = 400;
/// How long a query takes, and how long it takes until another job is submitted in the place of one that ended.
const QUERY: Duration = Duration::from_millis(20);
const NEXT_JOB: Duration = Duration::from_millis(50);
/// The time between two POSTs at the start.
const NEXT_POST: Duration = Duration::from_millis(5);
/// After this many ends the worker makes another schedule, see `worker::learning`.
const ENDS_A_SCHEDULE: u32 = 10;

/// Numbers in `0.0..1.0`, always the same.
struct Chance {
    seed: Seed,
    drawn: u32,
}

impl Chance {
    fn next(&mut self) -> f64 {
        self.drawn += 1;
        self.seed.fraction(self.drawn)
    }

    fn lognormal(&mut self, median_s: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.next()).ln()).sqrt();
        median_s * (sigma * radius * (std::f64::consts::TAU * self.next()).cos()).exp()
    }
}

struct Task {
    accepted: Duration,
    took: Duration,
    schedule: Schedule,
    seed: Seed,
    watch: Watch,
    polls: u32,
    lag: Duration,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Post,
    Poll(usize),
}

/// Runs all jobs with one worker that knows nothing at first. `took_s` draws the duration of the job of this number.
fn run(name: &str, took_s: impl Fn(&mut Chance, usize) -> f64) -> Vec<Task> {
    let mut chance = Chance { seed: Seed::from_text(name), drawn: 0 };
    let (mut durations, mut schedule, mut unlearned) = (Durations::default(), Schedule::default(), 0);
    let mut tasks: Vec<Task> = Vec::new();
    let posts = (0..HELD).map(|post| (NEXT_POST * u32::try_from(post).unwrap(), Event::Post));
    let mut queue: BinaryHeap<_> = posts.map(Reverse).collect();
    while let Some(Reverse((now, event))) = queue.pop() {
        let number = match event {
            Event::Post if tasks.len() == JOBS => continue,
            Event::Post => {
                let took = Duration::from_secs_f64(took_s(&mut chance, tasks.len()));
                let (seed, watch) = (Seed::from_text(&format!("{name}-{}", tasks.len())), Watch::own());
                let (schedule, lag) = (schedule.clone(), Duration::ZERO);
                tasks.push(Task { accepted: now, took, schedule, seed, watch, polls: 0, lag });
                let task = tasks.last().unwrap();
                let wait = task.schedule.wait(0, Duration::ZERO, &PACE, task.seed);
                queue.push(Reverse((now + wait, Event::Poll(tasks.len() - 1))));
                continue;
            }
            Event::Poll(number) => number,
        };
        let task = &mut tasks[number];
        let age = now - task.accepted;
        task.polls += 1;
        if age < task.took {
            task.watch.running(age);
            let wait = task.schedule.wait(task.polls, age + QUERY, &PACE, task.seed);
            queue.push(Reverse((now + QUERY + wait, Event::Poll(number))));
            continue;
        }
        task.lag = age - task.took;
        durations.add(task.watch.ended(age).unwrap());
        unlearned += 1;
        if unlearned == ENDS_A_SCHEDULE {
            (schedule, unlearned) = (Schedule::learn(&durations, 0.0), 0);
        }
        queue.push(Reverse((now + NEXT_JOB, Event::Post)));
    }
    tasks
}

/// What a job costs, and how late its end is seen.
#[derive(Debug)]
struct Cost {
    polls: f64,
    median_s: f64,
    p90_s: f64,
    p99_s: f64,
}

impl Cost {
    fn of(what: &str, tasks: &[Task]) -> Self {
        let mut lags: Vec<f64> = tasks.iter().map(|task| task.lag.as_secs_f64()).collect();
        lags.sort_by(f64::total_cmp);
        let polls: f64 = tasks.iter().map(|task| f64::from(task.polls)).sum();
        let at = |percent: usize| lags[lags.len() * percent / 100];
        let polls = polls / tasks.len() as f64;
        let cost = Self { polls, median_s: at(50), p90_s: at(90), p99_s: at(99) };
        println!("{what}: {cost:.2?}");
        cost
    }
}

/// Also for the very first jobs, for which nothing is known.
#[test]
fn ends_are_seen_a_second_late_for_few_polls() {
    for (sigma, polls, learned_polls) in [(0.4, 7.0, 5.8), (0.15, 4.5, 3.5)] {
        for name in ["one", "two", "three"] {
            let tasks = run(name, |chance, _| chance.lognormal(15.0, sigma));
            let all = Cost::of(&format!("sigma {sigma}, {name}, from nothing"), &tasks);
            assert!(all.polls <= polls, "{all:?}");
            assert!(all.median_s <= 1.05 && all.p90_s <= 2.2 && all.p99_s <= 4.0, "{all:?}");
            let learned = Cost::of(&format!("sigma {sigma}, {name}, learned"), &tasks[JOBS / 2..]);
            assert!(learned.polls <= learned_polls, "{learned:?}");
        }
    }
}

/// A provider that has become slower costs polls, and one that has become faster is seen late, once.
#[test]
fn a_changed_provider_is_learned_anew() {
    for (before_s, after_s, most_s) in [(15.0, 60.0, 8.0), (60.0, 15.0, 4.0), (40.0, 15.0, 4.0)] {
        let median_s = |job| if job < JOBS / 3 { before_s } else { after_s };
        let tasks = run("changed", |chance, job| chance.lognormal(median_s(job), 0.4));
        let change = format!("{before_s} s, then {after_s} s");
        Cost::of(&format!("{change}, the next jobs"), &tasks[JOBS / 3..][..500]);
        let learned = Cost::of(&format!("{change}, the last jobs"), &tasks[JOBS - 500..]);
        assert!(learned.polls <= 10.0 && learned.p90_s <= most_s, "{learned:?}");
    }
}

/// For example a provider that refuses a fifth of the tasks at once. Some of these are seen late.
#[test]
fn there_are_few_polls_between_two_humps() {
    for (share, short_s, most_s) in [(0.5, 8.0, 3.0), (0.2, 2.0, 6.0)] {
        let tasks = run("humps", |chance, _| {
            if chance.next() < share { chance.lognormal(short_s, 0.1) } else { chance.lognormal(40.0, 0.1) }
        });
        let cost =
            Cost::of(&format!("{share} of them take {short_s} s, the others 40 s"), &tasks[JOBS / 2..]);
        assert!(cost.polls <= 6.5 && cost.p90_s <= most_s, "{cost:?}");
    }
}
