//! Measures what Redis does and stores for a job.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use tokio::time::sleep;

use crate::Effort;
use crate::contenders::Contender;
use crate::report::{Bound, Limit, Section, Table, figure};
use crate::sim::Sim;
use crate::stand::{Dialect, Line, Stand};

/// At its start a worker checks its rights with one script.
const SCRIPTS_AT_START: f64 = 1.0;
/// Records that are looked at one by one.
const SAMPLE: u64 = 100;

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let client = redis::Client::open(stand.redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let others = figure_of(&mut redis, "clients", "connected_clients").await? > 1.0;

    let how = "Round trips and bytes on the wire are Redis's own counts (`INFO`) over a run of instant generations with one look each, receipts \
               on; each round trip is one script, and the one that a worker makes at its start is not counted. The pace is fixed: a worker that learns \
               it makes one call more each five seconds, whatever number of jobs it has. Bytes of a record are `MEMORY USAGE` of all its values, the key's entry included.";
    let mut section = Section::new("redis", "Redis", how.to_owned());
    let jobs = effort.of(5_000);
    let sim = Sim::start(stand, "fixed:0", &[]).await?;
    let mut line = Line::open(stand).await?;
    line.feed(jobs, Dialect::Plain).await?;
    let memory = figure_of(&mut redis, "memory", "used_memory").await?;
    let before = Traffic::of(&mut redis).await?;
    let mut worker = Contender::unlearning_worker().start(&line, &sim, &[])?;
    line.ended(jobs, || worker.still_runs()).await?;
    worker.stop().await?;
    let after = Traffic::of(&mut redis).await?;
    let grown = figure_of(&mut redis, "memory", "used_memory").await? - memory;
    let finished = record_bytes(&mut redis, &line.prefix, SAMPLE.min(jobs)).await?;
    line.close().await?;
    drop(sim);

    let generating = generating(stand, &mut redis).await?;

    let each = |value: f64| figure(value / jobs as f64);
    let scripts = after.scripts - before.scripts - SCRIPTS_AT_START;
    let head =
        ["round trips a job", "bytes to Redis a job", "bytes from Redis a job", "CPU ms of Redis a job"];
    let mut table = Table::new(&head);
    table.row([
        each(scripts),
        each(after.received - before.received),
        each(after.sent - before.sent),
        each((after.cpu_s - before.cpu_s) * 1000.0),
    ]);
    section.tables.push(table);
    let head = ["", "bytes", "100,000 of them", "a million"];
    let mut table = Table::new(&head);
    let mib = |bytes: f64, records: f64| format!("{} MiB", figure(bytes * records / 1024.0 / 1024.0));
    for (what, bytes) in [
        ("a record while generating", generating),
        ("a finished record", finished),
        ("a finished record, as Redis has grown", grown / jobs as f64),
    ] {
        table.row([what.to_owned(), figure(bytes), mib(bytes, 1e5), mib(bytes, 1e6)]);
    }
    section.tables.push(table);
    section.bounds.push(Bound {
        what: "round trips of a job, its polls not counted".to_owned(),
        measured: scripts / jobs as f64,
        limit: Limit::AtMost(5.0),
        unit: "",
    });
    if others {
        section.notes.push("**Others were connected to this Redis**: its counts are theirs, too.".to_owned());
    }
    Ok(section)
}

/// Bytes of a record whose generation runs.
async fn generating(stand: &Stand, redis: &mut MultiplexedConnection) -> Result<f64> {
    let sim = Sim::start(stand, "fixed:5s", &[]).await?;
    let mut line = Line::open(stand).await?;
    line.feed(SAMPLE, Dialect::Plain).await?;
    let mut worker = Contender::patient_worker().start(&line, &sim, &[])?;
    while sim.summary().await?.accepted < SAMPLE {
        worker.still_runs()?;
        sleep(Duration::from_millis(50)).await;
    }
    // The last task may still be on its way into its record.
    sleep(Duration::from_millis(500)).await;
    let bytes = record_bytes(redis, &line.prefix, SAMPLE).await?;
    line.ended(SAMPLE, || worker.still_runs()).await?;
    worker.stop().await?;
    line.close().await?;
    Ok(bytes)
}

async fn record_bytes(redis: &mut MultiplexedConnection, prefix: &str, sample: u64) -> Result<f64> {
    let mut bytes = 0;
    for number in 0..sample {
        let mut usage = redis::cmd("MEMORY");
        usage.arg("USAGE").arg(format!("{{{prefix}}}:job:{prefix}-{number}")).arg("SAMPLES").arg(0);
        let used: Option<u64> = usage.query_async(redis).await?;
        bytes += used.with_context(|| format!("job {number} has no record"))?;
    }
    Ok(bytes as f64 / sample as f64)
}

/// Redis's own counts.
struct Traffic {
    scripts: f64,
    received: f64,
    sent: f64,
    cpu_s: f64,
}

impl Traffic {
    async fn of(redis: &mut MultiplexedConnection) -> Result<Self> {
        let calls: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await?;
        let calls_of = |name: &str| {
            let line = calls.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
            line.and_then(|line| line.split(',').next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        Ok(Self {
            scripts: calls_of("cmdstat_evalsha") + calls_of("cmdstat_eval"),
            received: figure_of(redis, "stats", "total_net_input_bytes").await?,
            sent: figure_of(redis, "stats", "total_net_output_bytes").await?,
            cpu_s: figure_of(redis, "cpu", "used_cpu_user").await?
                + figure_of(redis, "cpu", "used_cpu_sys").await?,
        })
    }
}

async fn figure_of(redis: &mut MultiplexedConnection, section: &str, name: &str) -> Result<f64> {
    let info: String = redis::cmd("INFO").arg(section).query_async(redis).await?;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("INFO {section} has no {name}"))
}
