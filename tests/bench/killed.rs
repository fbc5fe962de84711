//! Measures a kill with ten thousand generations in flight: how long it takes until each is polled again, and that
//! none is submitted again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::sim::{Report, Sim};
use crate::stand::{Dialect, Line, Stand};

/// Long enough that none ends before the kill.
const GENERATION: &str = "fixed:60s";
const LOOK_EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let jobs = effort.of(10_000);
    let sim = Sim::start(stand, GENERATION, &[]).await?;
    let prefetch = jobs.to_string();
    let more = [("WORKER__MAX_IN_FLIGHT", prefetch.as_str())];
    let worker = Contender::patient_worker();
    let mut line = Line::open(stand).await?;
    line.feed(jobs, Dialect::Plain).await?;

    let mut first = worker.start(&line, &sim, &more)?;
    while sim.summary().await?.accepted < jobs {
        first.still_runs()?;
        sleep(LOOK_EVERY).await;
    }
    // The answer to the last POST may still be on its way to Redis; a kill during a POST is not measured here.
    sleep(Duration::from_secs(1)).await;
    let before = sim.report().await?;
    ensure!(before.running == jobs, "only {} of {jobs} were generating at the kill", before.running);
    first.kill().await?;
    let before = polls(&sim.report().await?);

    let restarted = Instant::now();
    let mut second = worker.start(&line, &sim, &more)?;
    let (mut half, mut report) = (None, sim.report().await?);
    loop {
        let again = looked_at_again(&before, &report);
        if again * 2 >= jobs {
            half.get_or_insert_with(|| restarted.elapsed());
        }
        if again == jobs {
            break;
        }
        second.still_runs()?;
        ensure!(restarted.elapsed() < PATIENCE, "only {again} of {jobs} were looked at again");
        sleep(LOOK_EVERY).await;
        report = sim.report().await?;
    }
    let all = restarted.elapsed();
    line.ended(jobs, || second.still_runs()).await?;
    let memory = second.memory()?;
    second.stop().await?;
    sim.summary().await?.holds(jobs)?;
    line.close().await?;

    let how = format!(
        "SIGKILL for a worker while {jobs} generations of 60 s run, and another worker is started at once. Seconds from the start of its \
         process until the stand-in has seen a poll of each; {jobs} POSTs in all, none twice."
    );
    let mut section = Section::new("killed", "Killed with ten thousand in flight", how);
    let head = ["jobs", "half are looked at again after", "all after", "resident MiB of the second, at most"];
    let mut table = Table::new(&head);
    let seconds = |time: Duration| figure(time.as_secs_f64());
    table.row([jobs.to_string(), half.map_or(String::new(), seconds), seconds(all), figure(memory.most)]);
    section.tables.push(table);
    section.bounds.push(Bound {
        what: "every task is polled again after the restart within".to_owned(),
        measured: all.as_secs_f64(),
        limit: Limit::AtMost(10.0),
        unit: " s",
    });
    Ok(section)
}

fn polls(report: &Report) -> HashMap<String, u64> {
    report.tasks.iter().map(|task| (task.task_id.clone(), task.polls)).collect()
}

fn looked_at_again(before: &HashMap<String, u64>, now: &Report) -> u64 {
    let again = |task: &&crate::sim::Task| before.get(&task.task_id).is_some_and(|polls| task.polls > *polls);
    now.tasks.iter().filter(again).count() as u64
}
