//! `comet-bench`: what comet-worker costs to run, beside the floor and beside what users would write by hand. Run it through
//! `make bench`; `tests/bench/README.md` says how it measures, `docs/benchmarks.md` what came of it.
//!
//! | file | holds |
//! |---|---|
//! | `stand.rs`, `sim.rs`, `process.rs` | what all share: services, the stand-in for CometAPI, processes and what they have used |
//! | `contenders.rs`, `peers.rs`, `floor.rs`, `peers/` | who takes part |
//! | `run.rs` | one contender doing one queue of jobs |
//! | `throughput.rs` … | the measurements, one a file |
//! | `report.rs`, `machine.rs` | tables, and where they were measured |

mod contenders;
mod machine;
mod peers;
mod process;
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
    /// The page whose parts are replaced by what was measured.
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Jobs a second and CPU per job, beside the floor and the peers
    Throughput,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: u32,
    pub jobs: u64,
    pub peers: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        // A figure that was missed is told in its table; it is a finding, and no failure of the benchmark.
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
    let effort =
        Effort { rounds: options.rounds.max(1), jobs: options.jobs.max(20), peers: !options.no_peers };
    match what {
        What::Throughput => throughput::measure(stand, &effort).await,
    }
}

/// Words for people, while it runs.
pub fn say(words: &str) {
    // Nobody is left to tell when this fails too.
    let _ = writeln!(std::io::stderr(), "bench: {words}");
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
