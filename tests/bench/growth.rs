//! Measures whether a job costs more if there are many, in the queue or in flight.

use anyhow::{Context, Result};

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Median, Section, Table, figure};
use crate::run::{Plan, Run, run};
use crate::say;
use crate::sim::Sim;
use crate::stand::Stand;

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let how = "CPU per job of the worker, receipts on, median (least–most). In the queue: instant generations, looked at at once; for each \
               hundred jobs that end as many are put in, so that the queue keeps its length, and both lengths are seen with the same jobs \
               done at the same load. In flight: one look a job, after its end; all that the process has used counts, its start included.";
    let mut section = Section::new("growth", "Growth", how.to_owned());
    section.tables.push(Table::new(&[
        "",
        "jobs counted",
        "CPU ms a job",
        "polls a job",
        "resident MiB, at most",
    ]));
    queued(stand, effort, &mut section).await?;
    in_flight(stand, effort, &mut section).await?;
    Ok(section)
}

async fn queued(stand: &Stand, effort: &Effort, section: &mut Section) -> Result<()> {
    let sim = Sim::start(stand, "fixed:0", &[]).await?;
    let worker = Contender::worker();
    let (few, many) = (effort.of(1_000), effort.of(100_000));
    let jobs = effort.of(10_000);
    let plan = |queued| Plan { queued, warm: jobs / 10, jobs, refilled: true, more: &[] };
    let (mut short_runs, mut long_runs) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        short_runs.push(run(stand, &sim, &worker, plan(few)).await?);
        long_runs.push(run(stand, &sim, &worker, plan(many)).await?);
    }
    let counted = jobs - jobs / 10;
    let short = row(section, &format!("{few} in the queue"), counted, &short_runs)?;
    let long = row(section, &format!("{many} in the queue"), counted, &long_runs)?;
    section.bounds.push(ratio("CPU per job, long queue to short", long, short));
    Ok(())
}

async fn in_flight(stand: &Stand, effort: &Effort, section: &mut Section) -> Result<()> {
    let worker = Contender::patient_worker();
    let fixed = |ms: &'static str| [("POLL__FIRST_MS", ms), ("POLL__MIN_MS", ms), ("POLL__MAX_MS", ms)];

    let few = effort.of(2_000);
    let sim = Sim::start(stand, "fixed:1s", &[]).await?;
    let more = [fixed("1200").as_slice(), &[("WORKER__MAX_IN_FLIGHT", "100")]].concat();
    let low =
        run(stand, &sim, &worker, Plan { queued: few, warm: 0, jobs: few, refilled: false, more: &more })
            .await?;

    let many = effort.of(10_000);
    let sim = Sim::start(stand, "fixed:20s", &[]).await?;
    let prefetch = many.to_string();
    let more = [fixed("20200").as_slice(), &[("WORKER__MAX_IN_FLIGHT", prefetch.as_str())]].concat();
    let high =
        run(stand, &sim, &worker, Plan { queued: many, warm: 0, jobs: many, refilled: false, more: &more })
            .await?;

    let low = row(section, "100 in flight", few, &[low])?;
    let high = row(section, &format!("{many} in flight"), many, &[high])?;
    section.bounds.push(ratio("CPU per job, many in flight to few", high, low));
    Ok(())
}

fn row(section: &mut Section, what: &str, jobs: u64, runs: &[Run]) -> Result<f64> {
    let median = |value: fn(&Run) -> f64| Median::of(runs.iter().map(value)).context("no runs");
    let cpu = median(|run| run.cpu_ms_per_job)?;
    let polls = median(|run| run.report.polls as f64 / run.report.accepted as f64)?;
    let memory = median(|run| run.memory.most)?;
    say(&format!("{what}: {cpu} ms of CPU a job"));
    if let Some(table) = section.tables.first_mut() {
        let cells = [what.to_owned(), jobs.to_string(), cpu.to_string()];
        table.row(cells.into_iter().chain([figure(polls.value), figure(memory.value)]));
    }
    Ok(cpu.value)
}

fn ratio(what: &str, one: f64, other: f64) -> Bound {
    Bound { what: what.to_owned(), measured: one / other, limit: Limit::AtMost(1.2), unit: " ×" }
}
