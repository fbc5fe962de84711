//! Measures a worker that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::sim::Sim;
use crate::stand::{Dialect, Line, Stand};

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let watched = Duration::from_secs((60 / effort.divisor).max(3));
    let sim = Sim::start(stand, "fixed:0", &[]).await?;
    let mut line = Line::open(stand).await?;
    let mut worker = Contender::patient_worker().start(&line, &sim, &[])?;
    // After one job, the connections exist, and code and buffers are in memory.
    line.feed(1, Dialect::Plain).await?;
    line.ended(1, || worker.still_runs()).await?;
    let (started, cpu) = (Instant::now(), worker.cpu()?);
    sleep(watched).await;
    worker.still_runs()?;
    let used = worker.cpu()?.saturating_sub(cpu);
    let share = used.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    let memory = worker.memory()?;
    worker.stop().await?;
    line.close().await?;

    let how = format!("A worker with an empty queue, watched for {watched:?} after its first job.");
    let mut section = Section::new("idle", "Idle", how);
    let mut table = Table::new(&["CPU ms", "% of a core", "resident MiB", "at most"]);
    let used_ms = used.as_millis().to_string();
    table.row([used_ms, figure(share), figure(memory.now), figure(memory.most)]);
    section.tables.push(table);
    let bound = |what: &str, measured, most, unit| Bound {
        what: what.to_owned(),
        measured,
        limit: Limit::AtMost(most),
        unit,
    };
    section.bounds.push(bound("resident memory", memory.now, 30.0, " MiB"));
    section.bounds.push(bound("of a core", share, 0.5, " %"));
    Ok(section)
}
