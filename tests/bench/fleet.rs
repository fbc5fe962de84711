//! Measures what it takes to see a large fleet: many unfinished jobs, and many that Redis still remembers.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::fleet::RedisFleet;
use redis::aio::MultiplexedConnection;

use crate::Effort;
use crate::contenders::{self, Contender};
use crate::report::{Bound, Limit, Median, Section, Table, figure};
use crate::sim::Sim;
use crate::stand::{Line, Stand};

/// Commands that go to Redis together while it is filled.
const TOGETHER: u64 = 1000;
const LOOKS: u32 = 200;
const COMMANDS: u32 = 10;

pub async fn measure(stand: &Stand, effort: &Effort) -> Result<Section> {
    let (unfinished, finished) = (effort.of(100_000), effort.of(1_000_000));
    let client = redis::Client::open(stand.redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let sim = Sim::start(stand, "fixed:0", &[]).await?;
    let line = Line::open(stand).await?;
    // The address is read from the log.
    let mut worker = Contender::patient_worker().start(&line, &sim, &[("LOG__FORMAT", "text")])?;
    let address = loop {
        worker.still_runs()?;
        let log = worker.log();
        if let Some((_, rest)) = log.split_once("address=") {
            break rest.split_whitespace().next().context("no address")?.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    fill(&mut redis, &line.prefix, unfinished, finished).await?;
    let slow_log = SlowLog::begin(&mut redis).await?;

    let connection = Connection::new(stand.redis_url.as_str(), Duration::from_secs(10), || {})
        .map_err(anyhow::Error::msg)?;
    let fleet = RedisFleet::new(connection, &line.prefix);
    let (mut looks, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        let begun = Instant::now();
        let seen = fleet.snapshot(50).await?;
        looks.push(ms(begun));
        ensure!(seen.jobs.values().sum::<u64>() >= unfinished, "jobs are missing: {:?}", seen.jobs);
        let begun = Instant::now();
        fleet.jobs(None, 100).await?;
        lists.push(ms(begun));
    }
    let mut commands = Vec::new();
    for _ in 0..COMMANDS {
        let mut status = contenders::command(&line, &sim, &["status", "--json"])?;
        let begun = Instant::now();
        let output = status.stdin(Stdio::null()).output().await?;
        commands.push(ms(begun));
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let begun = Instant::now();
    for path in ["", "page.css", "page.js", "api/fleet", "api/jobs", "api/hour", "api/spend"] {
        reqwest::get(format!("http://{address}/{path}")).await?.error_for_status()?.bytes().await?;
    }
    let page = ms(begun);
    let slow = slow_log.end(&mut redis, &line.prefix).await?;
    worker.stop().await?;
    line.close().await?;

    let how = format!(
        "{unfinished} unfinished jobs in the index and {finished} finished records in Redis. A look is all that `status` and the page ask of Redis \
         for the fleet, measured at the client {LOOKS} times, and a list is the 100 oldest jobs. Redis's slow log was set to {SLOW_MICROS} µs \
         meanwhile, and read at the end for commands on these keys. `status --json` is the whole program, {COMMANDS} times, with its connections to Redis and RabbitMQ. The page is all that it \
         asks for before it shows everything, one after the other."
    );
    let mut section = Section::new("fleet", "Seeing a large fleet", how);
    let mut table = Table::new(&["", "median (least–most) ms"]);
    let spread = |values: &[f64]| Median::of(values.iter().copied()).context("nothing measured");
    for (what, values) in [("a look", &looks), ("a list", &lists), ("`status --json`", &commands)] {
        table.row([what.to_owned(), spread(values)?.to_string()]);
    }
    table.row(["the page".to_owned(), figure(page)]);
    section.tables.push(table);
    let bound = |what: &str, measured, most| Bound {
        what: what.to_owned(),
        measured,
        limit: Limit::AtMost(most),
        unit: " ms",
    };
    section.bounds.push(bound("a look, median", spread(&looks)?.value, 5.0));
    section.bounds.push(bound("a list, median", spread(&lists)?.value, 5.0));
    section.bounds.push(bound("status, median", spread(&commands)?.value, 300.0));
    section.bounds.push(bound("the page", page, 1000.0));
    section.bounds.push(Bound {
        what: "commands in Redis's slow log".to_owned(),
        measured: f64::from(u32::try_from(slow.len())?),
        limit: Limit::AtMost(0.0),
        unit: "",
    });
    section.notes.extend(slow);
    Ok(section)
}

/// What Redis counts as slow while this measures.
const SLOW_MICROS: u64 = 5000;

/// Redis's slow log, at a lower bound than Redis's own.
struct SlowLog {
    bound_before: String,
    last_id_before: i64,
}

/// An entry: its id, its time, how long it took in microseconds, its words, and who called.
type SlowCommand = (i64, i64, u64, Vec<String>, String, String);

impl SlowLog {
    async fn begin(redis: &mut MultiplexedConnection) -> Result<Self> {
        let name = "slowlog-log-slower-than";
        let (_, bound_before): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg(name).query_async(redis).await?;
        redis::cmd("CONFIG").arg("SET").arg(name).arg(SLOW_MICROS).query_async::<()>(redis).await?;
        let last: Vec<SlowCommand> = redis::cmd("SLOWLOG").arg("GET").arg(1).query_async(redis).await?;
        Ok(Self { bound_before, last_id_before: last.first().map_or(-1, |entry| entry.0) })
    }

    /// The commands on keys of this prefix that were slow.
    async fn end(self, redis: &mut MultiplexedConnection, prefix: &str) -> Result<Vec<String>> {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET")
            .arg("slowlog-log-slower-than")
            .arg(&self.bound_before)
            .query_async::<()>(redis)
            .await?;
        let entries: Vec<SlowCommand> = redis::cmd("SLOWLOG").arg("GET").arg(1000).query_async(redis).await?;
        let ours = entries.iter().filter(|(id, _, _, words, ..)| {
            *id > self.last_id_before && words.iter().any(|word| word.contains(prefix))
        });
        Ok(ours.map(|(_, _, micros, words, ..)| format!("{micros} µs: {}", words.join(" "))).collect())
    }
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

fn record(prefix: &str, number: u64) -> String {
    format!("{{{prefix}}}:job:finished-{number}")
}

/// As the scripts would have filled it.
async fn fill(redis: &mut MultiplexedConnection, prefix: &str, unfinished: u64, finished: u64) -> Result<()> {
    let now_ms = 1_795_850_000_000_u64;
    for from in (0..unfinished).step_by(usize::try_from(TOGETHER)?) {
        let mut add = redis::cmd("ZADD");
        add.arg(format!("{{{prefix}}}:unfinished"));
        for number in from..unfinished.min(from + TOGETHER) {
            let stage = 1 + number % 6;
            add.arg(stage * 10_000_000_000_000 + now_ms - number).arg(format!("unfinished-{number}"));
        }
        // Without a record, a worker would take it out of the index.
        let mut together = redis::pipe();
        for number in from..unfinished.min(from + TOGETHER) {
            let key = format!("{{{prefix}}}:job:unfinished-{number}");
            together.hset_multiple(key, &[("version", "1"), ("stage", "generating")]).ignore();
        }
        together.query_async::<()>(redis).await?;
        add.query_async::<()>(redis).await?;
    }
    for from in (0..finished).step_by(usize::try_from(TOGETHER)?) {
        let mut together = redis::pipe();
        for number in from..finished.min(from + TOGETHER) {
            let fields = [
                ("version", "2"),
                ("stage", "told"),
                ("digest", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
                ("round", "1"),
                ("event_id", "finished/succeeded"),
            ];
            together.hset_multiple(record(prefix, number), &fields).ignore();
        }
        together.query_async::<()>(redis).await?;
    }
    Ok(())
}
