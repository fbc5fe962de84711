//! `comet-worker resolve`: a person decides what the workers can't know.
//!
//! The decision is a receipt, so it outlives this process and a loss of Redis. A worker acts on it: the job's message
//! goes back from the dead-letter queue to the job queue, and the worker that gets it finds the decision. A job that
//! ended before its task did has no message left in a queue, so this command fetches its images itself.

mod fetch;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use super::output::Output;
use super::{Usage, parts, render};
use crate::config::Config;
use crate::job::answers::TaskStatus;
use crate::job::event::{EventView, may_be_corrected, says_unknown};
use crate::job::receipt::Decision;
use crate::job::receipt::history::History;
use crate::job::request::{self, DeadReason, Rules};
use crate::job::route::Route;
use crate::job::{JobId, TaskId};
use crate::metrics::Metrics;
use crate::provider::Provider as _;
use crate::queue::consume::Message;
use crate::queue::message;
use crate::queue::publish::{Publish as _, Publisher, Routed};
use crate::queue::{dead, topology};
use crate::receipts::Receipts;
use crate::storage::Storage;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker resolve order-1 --task-id 878106242831892487
  comet-worker resolve order-1 --submit-again
  comet-worker resolve order-1 --give-up
  comet-worker resolve order-2 --fetch
For jobs that ended as outcome_unknown: look for their external_task_id at CometAPI first. Their
message goes back from the dead letters to the jobs, and a worker tells the correction, event
JOB/resolved, which supersedes the first one. --fetch is for jobs whose task was accepted and whose
images are not stored (timed_out, result_expired, result_invalid, quarantined): this command fetches,
stores and tells them, as the same correction. Needs generation.receipts.
Exit code: 0 decided and on its way, or fetched, 1 there is nothing to resolve, or it failed.")]
#[command(group(clap::ArgGroup::new("decision").required(true)))]
pub(super) struct Arguments {
    /// The job's id
    #[arg(value_name = "JOB")]
    job: JobId,
    /// It was accepted, as this task: its images are fetched and told
    #[arg(long, value_name = "ID", group = "decision", value_parser = task_id)]
    task_id: Option<TaskId>,
    /// It was not accepted: it is submitted once more. If it was, it is paid for twice
    #[arg(long, group = "decision")]
    submit_again: bool,
    /// Give it up: it ends as job.cancelled, charged: unknown
    #[arg(long, group = "decision")]
    give_up: bool,
    /// Its task ended after the job did: its images are fetched, stored and told, now
    #[arg(long, group = "decision")]
    fetch: bool,
    /// One JSON object: {job_id, decision, task_id}; of --fetch, the event
    #[arg(long)]
    json: bool,
}

fn task_id(text: &str) -> Result<TaskId, String> {
    TaskId::new(text).ok_or_else(|| "a task id is one word of at most 256 characters".to_owned())
}

/// The person's decision.
#[derive(Debug, Clone)]
pub(super) enum Word {
    Task(TaskId),
    Decided(Decision),
}

impl Word {
    fn of(arguments: &Arguments) -> Self {
        match &arguments.task_id {
            Some(task) => Self::Task(task.clone()),
            None if arguments.submit_again => Self::Decided(Decision::SubmitAgain),
            None => Self::Decided(Decision::GiveUp),
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Task(_) => "task_id",
            Self::Decided(Decision::SubmitAgain) => "submit_again",
            Self::Decided(Decision::GiveUp) => "give_up",
        }
    }
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    if !config.generation.receipts {
        bail!(Usage(NO_RECEIPTS.to_owned()));
    }
    let job = &arguments.job;
    let mut output = Output::plain();
    if arguments.fetch {
        let event = fetch(config, job).await?;
        let view = EventView::parse(&event).context("the correction")?;
        output.data(&if arguments.json { render::json(&event) } else { render::event(&view) });
        return output.check();
    }
    let word = Word::of(arguments);
    decide(config, job, &word).await?;
    if arguments.json {
        output.data(&decided(job, &word).to_string());
    } else {
        let what = match &word {
            Word::Task(task) => format!("task {task} is fetched"),
            Word::Decided(Decision::SubmitAgain) => "it is submitted again".to_owned(),
            Word::Decided(Decision::GiveUp) => "it is given up".to_owned(),
        };
        output.data(&format!("{job}  back in {}: {what}; event {job}/resolved follows", config.amqp.queue));
    }
    output.check()
}

pub(super) const NO_RECEIPTS: &str = "generation.receipts is false, so nothing is known of how a job was posted: send it \
                                      again under another job_id instead";

/// Fetches the images of the job's task, and publishes them; the event.
pub(super) async fn fetch(config: &Config, job: &JobId) -> anyhow::Result<Bytes> {
    let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
    let history = Receipts::new(storage.clone()).history(job).await?;
    fetch::fetch(config, job, &history, &storage).await
}

/// Notes the decision, and sends the job's message back to the workers.
pub(super) async fn decide(config: &Config, job: &JobId, word: &Word) -> anyhow::Result<()> {
    let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
    let receipts = Receipts::new(storage);
    let history = receipts.history(job).await?;
    let gate = gate(job, &history, word)?;
    if let Word::Task(task) = word {
        let route = route_of(config, job, &history)?;
        known_to_the_provider(config, &route, task).await?;
    }
    note(&receipts, job, gate, word).await?;
    send_back(config, job).await
}

/// `{job_id, decision, task_id}`
pub(super) fn decided(job: &JobId, word: &Word) -> serde_json::Value {
    let task_id = match word {
        Word::Task(task) => Some(task.as_str()),
        Word::Decided(_) => None,
    };
    serde_json::json!({"job_id": job, "decision": word.as_str(), "task_id": task_id})
}

/// The gate that was shut when the job was given up.
fn gate(job: &JobId, history: &History, word: &Word) -> anyhow::Result<u32> {
    let Some(result) = &history.result else {
        if history.attempts.is_empty() {
            bail!(
                "the storage has no receipts of {job}: nothing was ever posted for it; check storage.url and storage.prefix"
            );
        }
        bail!("{job} has not ended yet; a worker is at it, or it waits in the queue");
    };
    let shown = |event: &[u8]| EventView::parse(event).map(|view| render::event(&view)).unwrap_or_default();
    if let Some(resolved) = &history.resolved {
        bail!("{job} is resolved already: {}", shown(resolved));
    }
    if !says_unknown(result) && may_be_corrected(result) {
        bail!("{job} ended before its task did; --fetch gets its images: {}", shown(result));
    }
    if !says_unknown(result) {
        bail!("{job} has an outcome that is known, so there is nothing to resolve: {}", shown(result));
    }
    if let Some((_, known)) = history.task() {
        match word {
            Word::Task(task) if *task == known => {}
            Word::Task(_) | Word::Decided(_) => {
                bail!("the task of {job} is known by now: {known}; send it on with --task-id {known}")
            }
        }
    }
    let (Some(gate), decided) = (history.last_shut_gate(), history.decision()) else {
        bail!("{job} is being submitted again, by an earlier decision");
    };
    match (decided, word) {
        (None, _) => Ok(gate),
        // The message may not have returned to the job queue at that time.
        (Some(before), Word::Decided(now)) if before == *now => Ok(gate),
        (Some(Decision::SubmitAgain), _) => bail!("it was decided before that {job} is submitted again"),
        (Some(Decision::GiveUp), _) => bail!("it was decided before that {job} is given up"),
    }
}

/// The route at which the job was submitted.
fn route_of(config: &Config, job: &JobId, history: &History) -> anyhow::Result<Arc<Route>> {
    let name = history
        .route()
        .with_context(|| format!("no receipt of {job} says at which route it was submitted"))?;
    let routes = config.api.routes();
    let route = routes.get(name.as_str()).cloned();
    route.with_context(|| format!("{job} was submitted at the route {name}, which this version doesn't know"))
}

/// Checks that the provider knows the task id, because a job would wait for a wrong one in vain, and the decision
/// can't be changed.
async fn known_to_the_provider(config: &Config, route: &Route, task: &TaskId) -> anyhow::Result<()> {
    match parts::provider(config)?.query(route, task).await {
        TaskStatus::Running | TaskStatus::Succeeded { .. } | TaskStatus::Failed { .. } => Ok(()),
        TaskStatus::NotFound { message } => bail!("CometAPI has no task {task}: {message}"),
        TaskStatus::Unavailable { message, .. } => {
            bail!("can't see whether CometAPI has task {task}, so nothing was decided: {message}")
        }
    }
}

async fn note(receipts: &Receipts, job: &JobId, gate: u32, word: &Word) -> anyhow::Result<()> {
    match word {
        Word::Task(task) => receipts.note_task(job, gate.saturating_sub(1), task).await?,
        Word::Decided(decision) => {
            let counts = receipts.decide(job, gate, *decision).await?;
            if counts != *decision {
                bail!(
                    "another decision about {job} was made just now; look at it with comet-worker watch --job {job}"
                );
            }
        }
    }
    Ok(())
}

async fn send_back(config: &Config, job: &JobId) -> anyhow::Result<()> {
    let names = parts::names(config);
    let address = parts::address(config)?;
    let connection = address.connect("resolve").await.map_err(|error| parts::no_rabbitmq(config, &error))?;
    if config.amqp.declare {
        topology::ensure(&connection, &names, true).await?;
    }
    let publisher = Publisher::new(address, 1, config.amqp.confirm_timeout, None, Metrics::default());
    let rules = parts::request_rules(config);
    let declare = config.amqp.declare;
    let found =
        dead::find(&connection, &publisher, &names, declare, |message| is_copy_of(job, message, &rules))
            .await?;
    let Some(found) = found else {
        bail!(
            "decided and noted, but {} has no copy of {job} (any more): send the same job once more, with \
             comet-worker submit, and a worker acts on it",
            names.dead
        );
    };
    if publisher.publish(&dead::as_job(&names, &found.message)).await? == Routed::Nowhere {
        bail!(
            "decided and noted, but RabbitMQ has no queue {}: start a worker, then say it again",
            names.jobs
        );
    }
    found.settle().await.context("it is in the queue again, and its copy still among the dead letters")?;
    publisher.close().await;
    Ok(())
}

fn is_copy_of(job: &JobId, message: &Message, rules: &Rules) -> bool {
    let reason = message::dead_reason(&message.properties);
    reason.as_deref() == Some(DeadReason::OutcomeUnknown.as_str())
        && request::parse(&message.body, &message::properties(&message.properties), rules)
            .is_ok_and(|request| request.job.id == *job)
}
