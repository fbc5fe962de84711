//! Measures how often a generation is polled, and how late its end is seen, for several spreads of the durations. It
//! compares the worker's own schedule, for all jobs from an empty Redis on and for the later half of them, with a
//! fixed one of 2 s, and with callbacks.
//!
//! The same is simulated in `src/job/pace/simulation.rs`. Another spread is another line in `SPREADS`.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::try_join;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::say;
use crate::sim::{Sim, Task};
use crate::stand::{Dialect, Line, Stand};

/// A distribution, and the polls a job that are allowed over all, and once durations are learned.
const SPREADS: [(&str, f64, f64); 2] = [("lognormal:15s,0.4", 7.0, 5.8), ("lognormal:15s,0.15", 4.5, 3.5)];
const LAG_MEDIAN_MAX_S: f64 = 1.05;
const LAG_P90_MAX_S: f64 = 2.2;
const LAG_P99_MAX_S: f64 = 4.0;
const CALLED_POLLS_MAX: f64 = 1.5;
const CALLED_LAG_MAX_S: f64 = 0.15;
const OWN: &[(&str, &str)] =
    &[("POLL__FIRST_MS", "2000"), ("POLL__MIN_MS", "500"), ("POLL__MAX_MS", "10000")];
const FIXED: &[(&str, &str)] =
    &[("POLL__FIRST_MS", "2000"), ("POLL__MIN_MS", "2000"), ("POLL__MAX_MS", "2000")];
const IN_FLIGHT: &str = "400";

/// What one schedule came to.
struct Seen {
    polls: f64,
    /// From the end of a task to its event, in seconds.
    lag_median: f64,
    lag_p90: f64,
    lag_p99: f64,
}

/// The jobs of one run.
struct Run {
    all: Seen,
    later_half: Seen,
}

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let jobs = effort.of(3_000);
    let how = format!(
        "{jobs} jobs for each run, from an empty Redis, {IN_FLIGHT} in flight, `poll` 2000/500/10000 ms; all runs at the same time. The lag \
         is from the end of the task to its event at the consumer, download and storing included."
    );
    let mut section = Section::new("polls", "Polls", how);
    let mut table = Table::new(&["durations", "schedule", "polls a job", "lag: median s", "p90 s", "p99 s"]);
    let mut row = |spread: &str, schedule: &str, seen: &Seen| {
        let figures = [seen.polls, seen.lag_median, seen.lag_p90, seen.lag_p99].map(figure);
        say(&format!("{spread}, {schedule}: {} polls a job, p90 {} s", figures[0], figures[2]));
        table.row([spread.to_owned(), schedule.to_owned()].into_iter().chain(figures));
    };
    let mut bounds = Vec::new();
    let mut bound = |what: String, measured, most, unit| {
        bounds.push(Bound { what, measured, limit: Limit::AtMost(most), unit });
    };
    // They wait nearly all of the time, so they don't disturb each other.
    let [first, second] = SPREADS;
    let (one, other, called) = try_join!(
        pair(stand, first.0, jobs),
        pair(stand, second.0, jobs),
        called_back(stand, first.0, jobs)
    )?;
    for ((spread, polls_max, learned_max), (fixed, own)) in [(first, one), (second, other)] {
        row(spread, "fixed, 2 s", &fixed.all);
        row(spread, "the worker's own, all jobs", &own.all);
        row(spread, "the worker's own, the later half", &own.later_half);
        bound(format!("{spread}: polls, all jobs"), own.all.polls, polls_max, "");
        bound(format!("{spread}: polls, the later half"), own.later_half.polls, learned_max, "");
        bound(format!("{spread}: median of the lag"), own.all.lag_median, LAG_MEDIAN_MAX_S, " s");
        bound(format!("{spread}: p90 of the lag"), own.all.lag_p90, LAG_P90_MAX_S, " s");
        bound(format!("{spread}: p99 of the lag"), own.all.lag_p99, LAG_P99_MAX_S, " s");
    }
    row(first.0, "with callbacks, the later half", &called.later_half);
    bound("with callbacks: polls a job".to_owned(), called.later_half.polls, CALLED_POLLS_MAX, "");
    bound("with callbacks: median lag".to_owned(), called.later_half.lag_median, CALLED_LAG_MAX_S, " s");
    section.tables.push(table);
    section.bounds = bounds;
    Ok(section)
}

/// The fixed schedule, and the worker's own.
async fn pair(stand: &Stand, spread: &str, jobs: u64) -> Result<(Run, Run)> {
    try_join!(Box::pin(one(stand, spread, jobs, FIXED)), Box::pin(one(stand, spread, jobs, OWN)))
}

async fn called_back(stand: &Stand, spread: &str, jobs: u64) -> Result<Run> {
    let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let (listen, public_url) = (free.to_string(), format!("http://{free}/hook"));
    let called = [("CALLBACK__LISTEN", listen.as_str()), ("CALLBACK__PUBLIC_URL", &public_url)];
    Box::pin(one(stand, spread, jobs, &[OWN, called.as_slice()].concat())).await
}

async fn one(stand: &Stand, spread: &str, jobs: u64, more: &[(&str, &str)]) -> Result<Run> {
    let sim = Sim::start(stand, spread, &[]).await?;
    let more = [more, &[("WORKER__MAX_IN_FLIGHT", IN_FLIGHT)]].concat();
    let mut line = Line::open(stand).await?;
    line.feed(jobs, Dialect::Plain).await?;
    let mut worker = Contender::patient_worker().start(&line, &sim, &more)?;
    line.ended(jobs, || worker.still_runs()).await?;
    worker.stop().await?;
    let report = sim.report().await?;
    report.holds(jobs)?;
    // In the order in which they were submitted.
    let (all, later_half) = (&report.tasks, report.tasks.iter().skip(report.tasks.len() / 2));
    let run = Run { all: seen(&line, all.iter())?, later_half: seen(&line, later_half)? };
    line.close().await?;
    Ok(run)
}

fn seen<'a>(line: &Line, counted: impl Iterator<Item = &'a Task> + Clone) -> Result<Seen> {
    let mut ends: HashMap<&str, i64> =
        counted.clone().map(|task| (task.task_id.as_str(), task.updated_at)).collect();
    let (tasks, polls): (usize, u64) = (ends.len(), counted.map(|task| task.polls).sum());
    let first_events = line.ends().filter_map(|end| Some((end.told_ms, ends.remove(end.task_id.as_str())?)));
    let mut lags: Vec<f64> =
        first_events.map(|(told_ms, ended_ms)| (told_ms - ended_ms) as f64 / 1000.0).collect();
    lags.sort_by(f64::total_cmp);
    let at = |share: usize| lags.get(lags.len() * share / 100).copied().context("no job was counted");
    Ok(Seen { polls: polls as f64 / tasks as f64, lag_median: at(50)?, lag_p90: at(90)?, lag_p99: at(99)? })
}
