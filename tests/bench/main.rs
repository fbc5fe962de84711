//! `comet-bench`: what comet-worker costs to run, compared with the floor and with what users would write by hand.
//! Run it through `make bench`. `tests/bench/README.md` says how it measures, and `docs/benchmarks.md` has the
//! results.
//!
//! | file | holds |
//! |---|---|
//! | `stand.rs`, `sim.rs`, `process.rs` | what all share: services, the stand-in for CometAPI, processes and what they have used |
//! | `contenders.rs`, `peers.rs`, `floor.rs`, `peers/` | the contenders |
//! | `run.rs` | one contender doing one queue of jobs |
//! | `throughput.rs` … | the measurements, one per file |
//! | `report.rs`, `machine.rs` | tables, and where they were measured |

mod contenders;
mod fleet;
mod growth;
mod idle;
mod in_flight;
mod killed;
mod machine;
mod peers;
mod polls;
mod process;
mod redis_cost;
mod report;
mod run;
mod sim;
mod stand;
mod throughput;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::report::Section;
use crate::stand::Stand;

#[derive(Debug, Parser)]
#[command(about = "What comet-worker costs to run; `make bench` starts it")]
struct Options {
    /// What is measured; everything, unless named.
    what: Vec<What>,
    /// Rounds in turn; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Jobs of a round, for the fastest.
    #[arg(long, default_value_t = 6000)]
    jobs: u64,
    /// Without what has to be installed from the registries of npm and Python.
    #[arg(long)]
    no_peers: bool,
    /// A small part of the big numbers, to see that all of it works.
    #[arg(long, default_value_t = 1)]
    divisor: u64,
    /// The page whose parts are replaced by what was measured.
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Jobs a second and CPU per job, beside the floor and the peers
    Throughput,
    /// Memory and connections with 10,000 generations in flight
    InFlight,
    /// A kill with 10,000 in flight: when all are looked at again
    Killed,
    /// Looks per job and how late the end is seen, by the spread of the durations
    Polls,
    /// A worker that has nothing to do
    Idle,
    /// CPU per job in long queues, and with many in flight
    Growth,
    /// Round trips and bytes in Redis
    Redis,
    /// What it takes to see a large fleet
    Fleet,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: u32,
    /// Of a round, for the fastest.
    pub jobs: u64,
    pub peers: bool,
    /// What a big measurement is divided by: 1 but for a try whether all of this works.
    pub divisor: u64,
}

impl Effort {
    /// A count that the requirement names, or its part in a small run.
    pub fn of(&self, count: u64) -> u64 {
        (count / self.divisor).max(20)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        // A missed bound is reported in its table. It is a result, not a failure of the benchmark.
        Ok(false) => {
            say("some figures are not what was asked of them: see the tables");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("the benchmark failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all bounds hold.
async fn measure(options: &Options) -> Result<bool> {
    let stand = Stand::from_environment()?;
    let all = What::value_variants();
    let chosen = if options.what.is_empty() { all } else { &options.what };
    let mut holds = true;
    for what in chosen {
        let (started, when) = (Instant::now(), machine::when(&stand).await?);
        let section = one(*what, &stand, options).await?;
        let text = section.markdown(&when);
        say(&format!("{} took {:.0?}", section.name, started.elapsed()));
        print(&text)?;
        if let Some(page) = &options.write {
            report::replace(page, section.name, &text)?;
        }
        holds &= section.bounds.iter().all(report::Bound::holds);
    }
    Ok(holds)
}

async fn one(what: What, stand: &Stand, options: &Options) -> Result<Section> {
    let effort = Effort {
        rounds: options.rounds.max(1),
        jobs: options.jobs.max(20),
        peers: !options.no_peers,
        divisor: options.divisor.max(1),
    };
    match what {
        What::Throughput => throughput::measure(stand, &effort).await,
        What::InFlight => in_flight::measure(stand, &effort).await,
        What::Killed => killed::measure(stand, &effort).await,
        What::Polls => polls::measure(stand, &effort).await,
        What::Idle => idle::measure(stand, &effort).await,
        What::Growth => growth::measure(stand, &effort).await,
        What::Redis => redis_cost::measure(stand, &effort).await,
        What::Fleet => fleet::measure(stand, &effort).await,
    }
}

/// Words for people, while it runs.
pub fn say(words: &str) {
    // If this fails too, the message can't be shown anywhere.
    let _ = writeln!(std::io::stderr(), "bench: {words}");
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
