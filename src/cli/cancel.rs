//! `comet-worker cancel`: cancels jobs that are not wanted any more.

use anyhow::Context as _;
use serde::Serialize;

use super::output::Output;
use super::parts;
use crate::config::Config;
use crate::job::event::EventView;
use crate::job::record::{Snapshot, Stage};
use crate::job::{JobId, TaskId};
use crate::metrics::Metrics;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker cancel order-1 order-2
  comet-worker cancel --json order-1 | jq -r .state
A job that was not submitted to the provider yet costs nothing. CometAPI can't stop a generation:
one that it has accepted goes on there and is charged, and its result is not waited for.
A job that was not seen yet is cancelled when it comes, within redis.remember_s.
Every cancelled job has its event, job.cancelled, with what it cost.
Exit code: 0 all are cancelled, 1 one of them had ended already, or Redis didn't answer.")]
pub(super) struct Arguments {
    /// The jobs' ids
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
    /// One JSON object a job: {job_id, state, task_id, event_id}
    #[arg(long)]
    json: bool,
}

/// What a job was doing when it was cancelled.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    job_id: &'a JobId,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<TaskId>,
    /// The event of a job that had ended already.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
}

const ENDED: &str = "ended";

impl Line<'_> {
    /// Whether it had ended, so that it was not cancelled.
    pub(super) fn has_ended(&self) -> bool {
        self.state == ENDED
    }
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let ledger = parts::ledger(config, &Metrics::new())?;
    let mut output = Output::plain();
    let mut ended = 0;
    for job in &arguments.jobs {
        let known = ledger.cancel(job).await.with_context(|| format!("{job} is perhaps not cancelled"))?;
        let line = line(job, known);
        ended += usize::from(line.has_ended());
        if arguments.json {
            output.data(&serde_json::to_string(&line)?);
        } else {
            output.data(&text(&line));
        }
    }
    output.check()?;
    match ended {
        0 => Ok(()),
        1 => anyhow::bail!("1 job had ended already"),
        _ => anyhow::bail!("{ended} jobs had ended already"),
    }
}

/// What the job was doing, by its record after the cancel.
pub(super) fn line(job: &JobId, known: Snapshot) -> Line<'_> {
    let line = Line { job_id: job, state: "", task_id: None, event_id: None };
    match known.record.map(|record| record.stage) {
        None => Line { state: "not_seen", ..line },
        Some(Stage::New { .. }) => Line { state: "waiting", ..line },
        Some(Stage::Submitting { .. }) => Line { state: "submitting", ..line },
        Some(Stage::Generating { task, .. }) => Line { state: "generating", task_id: Some(task), ..line },
        Some(Stage::Done { event, .. }) => {
            Line { state: ENDED, event_id: EventView::parse(&event).ok().map(|event| event.id), ..line }
        }
        Some(Stage::Published { event_id }) => Line { state: ENDED, event_id: Some(event_id), ..line },
    }
}

fn text(line: &Line<'_>) -> String {
    let job = line.job_id;
    let task = line.task_id.as_ref().map(TaskId::as_str).unwrap_or_default();
    match line.state {
        "not_seen" => format!("{job}  cancelled before it was seen: it costs nothing when it comes"),
        "waiting" => format!("{job}  cancelled before it was submitted: it costs nothing"),
        "submitting" => format!("{job}  cancelled while it is being submitted: its event says what it cost"),
        "generating" => {
            format!("{job}  cancelled while it is generated as task {task}, which goes on and is charged")
        }
        _ => format!(
            "{job}  not cancelled: it has ended, see event {}",
            line.event_id.as_deref().unwrap_or("(unreadable)")
        ),
    }
}
