//! One contender doing one queue of jobs.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::contenders::Contender;
use crate::process::{Memory, Program};
use crate::sim::{Report, Sim};
use crate::stand::{Dialect, Line, Stand};

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// In the queue before the contender is started.
    pub queued: u64,
    /// Done before anything is counted: connections, code and buffers are warm then.
    pub warm: u64,
    /// What is counted ends with this one.
    pub jobs: u64,
    /// As many jobs as end are added to the queue while it runs, so that its length stays the same.
    pub refilled: bool,
    /// Settings of the worker.
    pub more: &'a [(&'a str, &'a str)],
}

/// The most jobs that end before as many are added; in a short queue it is a tenth.
const REFILL_MAX: u64 = 100;

impl Plan<'_> {
    /// All that is in the queue.
    pub fn all(jobs: u64) -> Self {
        Self { queued: jobs, warm: jobs / 10, jobs, refilled: false, more: &[] }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    pub jobs_per_s: f64,
    pub cpu_ms_per_job: f64,
    pub memory: Memory,
    pub took: Duration,
    pub report: Report,
}

/// Fills the queue, starts the contender, and counts from the warmed-up state to the last job.
pub async fn run(stand: &Stand, sim: &Sim, contender: &Contender, plan: Plan<'_>) -> Result<Run> {
    let mut line = Line::open(stand).await?;
    let measured = on_line(&mut line, sim, contender, plan).await;
    let measured = measured.with_context(|| format!("{} with {plan:?}", contender.name));
    sim.reset().await?;
    line.close().await?;
    measured
}

async fn on_line(line: &mut Line<'_>, sim: &Sim, contender: &Contender, plan: Plan<'_>) -> Result<Run> {
    ensure!(plan.warm < plan.jobs && (plan.refilled || plan.jobs <= plan.queued), "an odd plan");
    line.feed(plan.queued, contender.dialect()).await?;
    let mut program = contender.start(line, sim, plan.more)?;
    let counted = count(line, &mut program, plan, contender.dialect()).await;
    let (took, cpu) = counted.with_context(|| program.last_words())?;
    let memory = program.memory()?;
    program.stop().await?;
    let report = sim.summary().await?;
    if plan.jobs == plan.queued && !plan.refilled {
        report.holds(plan.jobs)?;
        let files = line.files()?;
        ensure!(files == plan.jobs, "{files} files of {} jobs", plan.jobs);
    }
    let counted = (plan.jobs - plan.warm) as f64;
    Ok(Run {
        jobs_per_s: counted / took.as_secs_f64(),
        cpu_ms_per_job: cpu.as_secs_f64() * 1000.0 / counted,
        memory,
        took,
        report,
    })
}

async fn count(
    line: &mut Line<'_>,
    program: &mut Program,
    plan: Plan<'_>,
    dialect: Dialect,
) -> Result<(Duration, Duration)> {
    let lot = (plan.queued / 10).clamp(1, REFILL_MAX);
    let refill = plan.refilled.then_some((lot, dialect));
    until(line, program, 0..plan.warm, refill).await?;
    let (started, cpu) = (Instant::now(), program.cpu()?);
    until(line, program, plan.warm..plan.jobs, refill).await?;
    Ok((started.elapsed(), program.cpu()?.saturating_sub(cpu)))
}

/// From so many jobs ended to so many; `refill`: how many are put in when as many have ended.
async fn until(
    line: &mut Line<'_>,
    program: &mut Program,
    ended: Range<u64>,
    refill: Option<(u64, Dialect)>,
) -> Result<()> {
    if let Some((lot, dialect)) = refill {
        let mut before = ended.start;
        while before + lot < ended.end {
            before += lot;
            line.ended(before, || program.still_runs()).await?;
            line.feed(lot, dialect).await?;
        }
    }
    line.ended(ended.end, || program.still_runs()).await
}
