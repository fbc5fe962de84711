//! Measures ten thousand generations in flight on one worker: memory, and connections to the provider.

use anyhow::Result;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::run::{Plan, run};
use crate::sim::Sim;
use crate::stand::Stand;

const GENERATION: &str = "fixed:15s";

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let jobs = effort.of(10_000);
    let sim = Sim::start(stand, GENERATION, &[]).await?;
    let prefetch = jobs.to_string();
    let more = [("WORKER__MAX_IN_FLIGHT", prefetch.as_str())];
    // Every job is done, once, with its image stored: else the run is an error.
    let plan = Plan { queued: jobs, warm: 0, jobs, refilled: false, more: &more };
    let run = run(stand, &sim, &Contender::patient_worker(), plan).await?;

    let how = format!(
        "{jobs} jobs wait in the queue of a worker that holds as many; a generation takes 15 s; polls by default settings, \
         receipts on. Every job was done, once, and its image stored."
    );
    let mut section = Section::new("in-flight", "Ten thousand in flight", how);
    let head = [
        "jobs",
        "running at once",
        "seconds",
        "polls a job",
        "CPU ms a job",
        "resident MiB, at most",
        "at the end",
    ];
    let mut table = Table::new(&head);
    let polls = run.report.polls as f64 / jobs as f64;
    table.row([
        jobs.to_string(),
        run.report.running_max.to_string(),
        figure(run.took.as_secs_f64()),
        figure(polls),
        figure(run.cpu_ms_per_job),
        figure(run.memory.most),
        figure(run.memory.now),
    ]);
    section.tables.push(table);
    let mut bound = |what: &str, measured: f64, most: f64, unit| {
        section.bounds.push(Bound { what: what.to_owned(), measured, limit: Limit::AtMost(most), unit });
    };
    bound("resident memory", run.memory.most, 120.0, " MiB");
    bound("connections to the provider at once", run.report.connections_max as f64, 128.0, "");
    Ok(section)
}
