//! `comet-worker resolve --fetch`: fetches the files of a task that ended after its job did.
//!
//! No message of the job is left in a queue, so this process does what a worker would do: download, store, seal,
//! freeze, publish. Each of these may be repeated, and the first seal counts, so another run completes a run that was
//! interrupted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::parts;
use crate::clock;
use crate::config::Config;
use crate::images::{Downloader, Images as _};
use crate::job::answers::{ResultFile, TaskStatus};
use crate::job::event::{Context, Event, EventView, may_be_corrected, says_unknown};
use crate::job::receipt::history::History;
use crate::job::route::Route;
use crate::job::step::{FreezePrecondition, FreezeResult};
use crate::job::{
    Digest, Envelope, ExternalIds, ExternalTaskId, FileKind, Job, JobId, Made, Outcome, StoredFile, Success,
    TaskId, Timings,
};
use crate::ledger::{JobRef, Ledger};
use crate::metrics::Metrics;
use crate::metrics::Standstill;
use crate::provider::Provider as _;
use crate::queue::publish::Publisher;
use crate::receipts::Receipts;
use crate::storage::{MediaFault, Storage};
use crate::worker::life::Interrupts;
use crate::worker::publish::Publishing;
use crate::worker::standstills::Standstills;
use crate::worker::transfer;

/// The pause before a failing server is asked again.
const REST: Duration = Duration::from_secs(1);
/// For this long RabbitMQ is tried, so that the event isn't left behind for a restart of the broker.
const PUBLISH_MAX: Duration = Duration::from_secs(15);

/// Fetches the images of the job's task, publishes them, and returns the published event.
///
/// # Errors
///
/// There is nothing to fetch, or not yet, or a service is away. It is safe to run the command again.
pub(super) async fn fetch(
    config: &Config,
    job: &JobId,
    history: &History,
    storage: &Storage,
) -> anyhow::Result<Bytes> {
    let Some(first) = history.result.clone() else { bail!("{job} has not ended yet") };
    let told = EventView::parse(&first).context("its sealed event")?;
    let Some(task) = told.task_id.as_deref().and_then(TaskId::new) else {
        bail!("{job} ended without a task, so there is nothing to fetch")
    };
    if says_unknown(&first) || !may_be_corrected(&first) {
        let reason = told.reason.as_deref().unwrap_or("with its results");
        bail!("{job} ended as {reason}, so there is nothing to fetch");
    }
    let route = super::route_of(config, job, history)?;
    let job = known_job(job, Arc::clone(&route), &first, history)?;
    let event = match &history.resolved {
        // An earlier run has done this part.
        Some(resolved) => resolved.clone(),
        None => {
            let event = stored_event(config, &job, &route, &task, &told, history, storage).await?;
            Receipts::new(storage.clone()).seal_correction(&job.id, event).await?
        }
    };
    let ledger = parts::ledger(config, &Metrics::default())?;
    freeze(&*ledger, &job, first, &event).await?;
    publish(config, &job, &event).await?;
    // If this write is lost, the record stays longer.
    if let Err(error) = ledger.mark_published(entry(&job), &event, false).await {
        tracing::debug!("the record will not expire: {error}");
    }
    Ok(event)
}

/// What the event and the receipts still know about the job.
fn known_job(id: &JobId, route: Arc<Route>, first: &[u8], history: &History) -> anyhow::Result<Job> {
    #[derive(Deserialize)]
    struct Told {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        metadata: Option<Box<RawValue>>,
    }

    let Told { data } = serde_json::from_slice(first).context("its sealed event")?;
    let intent = history.attempts.first().and_then(|attempt| attempt.intent.as_ref());
    let digest = Digest::new(intent.map(|intent| intent.digest.clone()).unwrap_or_default());
    Ok(Job {
        id: id.clone(),
        external_ids: ExternalIds::new(None, "", id, &digest),
        digest,
        operation: Some(route.name.clone()),
        route: Some(route),
        slots: 1,
        model: String::new(),
        calls_back: false,
        timeout_s: None,
        metadata: data.metadata,
        envelope: Envelope::default(),
    })
}

/// The external id under which the job's task was sent, from its receipts or its event.
fn external(job: &Job, told: &EventView, history: &History) -> ExternalTaskId {
    let noted = history.task().and_then(|(attempt, _)| history.sent_under(attempt)).map(|under| under.id);
    let told = || told.external_task_id.as_deref().and_then(ExternalTaskId::new);
    noted.or_else(told).unwrap_or_else(|| job.external_ids.of_generation(1))
}

async fn stored_event(
    config: &Config,
    job: &Job,
    route: &Route,
    task: &TaskId,
    told: &EventView,
    history: &History,
    storage: &Storage,
) -> anyhow::Result<Bytes> {
    let (files, units) = match parts::provider(config)?.query(route, task).await {
        TaskStatus::Succeeded { files, .. } if files.is_empty() => {
            bail!(
                "CometAPI calls task {task} a success, and its reply has no file where this version looks for one: try a later version"
            )
        }
        TaskStatus::Succeeded { files, units } => (files, units),
        TaskStatus::Running => bail!("task {task} still runs at CometAPI; say it again later"),
        TaskStatus::Failed { message, .. } => bail!("task {task} has failed at CometAPI: {message}"),
        TaskStatus::NotFound { message } => bail!("CometAPI has no task {task} any more: {message}"),
        TaskStatus::Unavailable { message, .. } => {
            bail!("CometAPI gives no answer about task {task}: {message}")
        }
    };
    let downloader = parts::downloader(config)?;
    let started = Instant::now();
    let mut stored = Vec::with_capacity(files.len());
    for file in &files {
        stored.push(store(&downloader, storage, (&job.id, task), file, config.download.attempts).await?);
    }
    let store = u64::try_from(started.elapsed().as_millis()).ok();
    let context = Context {
        source: &config.events.source,
        time_ms: clock::unix_ms(),
        round: 1,
        timings: Timings { store, ..Timings::default() },
        polls: 1,
        external: &external(job, told, history),
        failed: &history.failed(),
        supersedes: Some(&told.id),
    };
    let success = Success { task_id: task.clone(), made: Made::of(stored), units };
    Ok(Event::terminal(job, &Outcome::Succeeded(success), &context).body)
}

/// Downloads a file and stores it.
async fn store(
    downloader: &Downloader,
    storage: &Storage,
    (job, task): (&JobId, &TaskId),
    file: &ResultFile,
    attempts: u32,
) -> anyhow::Result<StoredFile> {
    let mut attempt = 1;
    loop {
        match store_once(downloader, storage, (job, task), file).await {
            Ok(stored) => return Ok(stored),
            Err(MediaFault::Store(error)) => return Err(error.into()),
            Err(MediaFault::File(error)) if error.trouble.may_pass() && attempt < attempts => {
                tokio::time::sleep(REST).await;
            }
            Err(MediaFault::File(error)) => {
                bail!("{} {}: {error}; {}", file.kind.as_str(), file.index, error.trouble.advice())
            }
        }
        attempt += 1;
    }
}

async fn store_once(
    downloader: &Downloader,
    storage: &Storage,
    (job, task): (&JobId, &TaskId),
    file: &ResultFile,
) -> Result<StoredFile, MediaFault> {
    let media = async || {
        let mut body = downloader.open(&file.url, file.kind).await?;
        let identity = format!("{task} {}", body.identity());
        let upload = storage.begin_media(job, file.kind, file.index, &identity);
        transfer::stream(&mut *body, upload).await
    };
    Ok(match file.kind {
        FileKind::Image => {
            let image = downloader.fetch(&file.url).await?;
            StoredFile::Image(storage.put_image(job, file.index, &image).await?)
        }
        FileKind::Video => StoredFile::Video(media().await?),
        FileKind::Audio => StoredFile::Audio(media().await?),
    })
}

/// Freezes the event, so that a further copy of the job publishes the same.
async fn freeze(ledger: &dyn Ledger, job: &Job, first: Bytes, event: &Bytes) -> anyhow::Result<()> {
    let again = "the results are stored and sealed; say it again to have them told";
    let correcting = FreezePrecondition::Correcting { first };
    match ledger.freeze(entry(job), &correcting, event.clone(), false).await.context(again)? {
        FreezeResult::Event(_) => Ok(()),
        FreezeResult::Changed(_) => bail!("another job with this job_id is in Redis by now; {again}"),
    }
}

fn entry(job: &Job) -> JobRef<'_> {
    JobRef::new(&job.id, &job.digest, job.route_name())
}

/// Publishes the event as a worker does.
async fn publish(config: &Config, job: &Job, event: &Bytes) -> anyhow::Result<()> {
    let metrics = Metrics::default();
    let publisher = Arc::new(parts::publisher(config, &metrics)?);
    let publishing = Publishing {
        publisher: Arc::<Publisher>::clone(&publisher),
        names: parts::names(config),
        standstills: Standstills::new(metrics.clone()),
        metrics,
    };
    let interrupts = Interrupts::new(CancellationToken::new(), CancellationToken::new(), PUBLISH_MAX * 2);
    let mut publish = pin!(publishing.event(job, event.clone(), &interrupts));
    let published = timeout(PUBLISH_MAX, publish.as_mut()).await;
    // Asked for while the publish is still waited for.
    let waits_for = publishing.standstills.now(Standstill::Publishing).unwrap_or_default();
    publisher.close().await;
    match published {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => bail!("the sealed correction can't be read"),
        Err(_) => bail!(
            "the results are stored and sealed, but the event isn't published: {waits_for}; say it again"
        ),
    }
}
