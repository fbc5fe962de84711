//! Measures how often a generation is polled, and how late its end is seen, for several spreads of the durations. It
//! compares the worker's own schedule with a fixed one of 2 s, and with callbacks.
//!
//! A schedule that learns must have seen some durations, so the first half of the jobs isn't counted. Another spread
//! is another line in `SPREADS`.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::try_join;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::say;
use crate::sim::Sim;
use crate::stand::{Dialect, Line, Stand};

/// A distribution, and the share of the fixed schedule's polls that is allowed.
const SPREADS: [(&str, f64); 2] = [("lognormal:15s,0.4", 0.7), ("lognormal:15s,0.15", 0.45)];
const LAG_P90_MAX_S: f64 = 2.2;
const CALLED_POLLS_MAX: f64 = 1.5;
const CALLED_LAG_MAX_S: f64 = 0.15;
const FIXED: &[(&str, &str)] =
    &[("POLL__FIRST_MS", "2000"), ("POLL__MIN_MS", "2000"), ("POLL__MAX_MS", "2000")];
const IN_FLIGHT: &str = "200";

/// What one schedule came to.
struct Seen {
    polls: f64,
    /// From the end of a task to its event, in seconds.
    lag_mean: f64,
    lag_median: f64,
    lag_p90: f64,
}

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let jobs = effort.of(1_800);
    let how = format!(
        "{jobs} jobs for each line, {IN_FLIGHT} in flight, the first half not counted; all lines at the same time. The lag is from the end \
         of the task to its event at the consumer, download and storing included."
    );
    let mut section = Section::new("polls", "Polls", how);
    let mut table = Table::new(&["durations", "schedule", "polls a job", "lag: mean s", "median s", "p90 s"]);
    let mut row = |spread: &str, schedule: &str, seen: &Seen| {
        let figures = [seen.polls, seen.lag_mean, seen.lag_median, seen.lag_p90].map(figure);
        say(&format!("{spread}, {schedule}: {} polls a job, p90 {} s", figures[0], figures[3]));
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
    for ((spread, allowed), (fixed, own)) in [(first, one), (second, other)] {
        row(spread, "fixed, 2 s", &fixed);
        row(spread, "the worker's default", &own);
        bound(format!("{spread}: polls, of the fixed schedule's"), own.polls / fixed.polls, allowed, " ×");
        bound(
            format!("{spread}: mean lag, of the fixed schedule's"),
            own.lag_mean / fixed.lag_mean,
            1.0,
            " ×",
        );
        bound(format!("{spread}: p90 of the lag"), own.lag_p90, LAG_P90_MAX_S, " s");
    }
    row(first.0, "the same, with callbacks", &called);
    bound("with callbacks: polls a job".to_owned(), called.polls, CALLED_POLLS_MAX, "");
    bound("with callbacks: median lag".to_owned(), called.lag_median, CALLED_LAG_MAX_S, " s");
    section.tables.push(table);
    section.bounds = bounds;
    Ok(section)
}

/// The fixed schedule, and the worker's own.
async fn pair(stand: &Stand, spread: &str, jobs: u64) -> Result<(Seen, Seen)> {
    try_join!(Box::pin(one(stand, spread, jobs, FIXED)), Box::pin(one(stand, spread, jobs, &[])))
}

async fn called_back(stand: &Stand, spread: &str, jobs: u64) -> Result<Seen> {
    let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let (listen, public_url) = (free.to_string(), format!("http://{free}/hook"));
    let called = [("CALLBACK__LISTEN", listen.as_str()), ("CALLBACK__PUBLIC_URL", &public_url)];
    Box::pin(one(stand, spread, jobs, &called)).await
}

async fn one(stand: &Stand, spread: &str, jobs: u64, more: &[(&str, &str)]) -> Result<Seen> {
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
    let counted = report.tasks.iter().skip(report.tasks.len() / 2);
    let ends: HashMap<&str, i64> =
        counted.clone().map(|task| (task.task_id.as_str(), task.updated_at)).collect();
    let looks: u64 = counted.map(|task| task.polls).sum();
    let mut seen = HashSet::new();
    let mut lags: Vec<f64> = Vec::new();
    for end in line.ends() {
        let Some(ended_ms) = ends.get(end.task_id.as_str()) else { continue };
        if seen.insert(end.task_id.as_str()) {
            lags.push((end.told_ms - ended_ms) as f64 / 1000.0);
        }
    }
    lags.sort_by(f64::total_cmp);
    let at = |share: usize| lags.get(lags.len() * share / 100).copied().context("no job was counted");
    let seen = Seen {
        polls: looks as f64 / ends.len() as f64,
        lag_mean: lags.iter().sum::<f64>() / lags.len() as f64,
        lag_median: at(50)?,
        lag_p90: at(90)?,
    };
    line.close().await?;
    Ok(seen)
}
