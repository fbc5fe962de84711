//! What the admin port's interface answers with: the same as the commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::Status;
use crate::admin::api::{Decision, FleetSource, NoAnswer};
use crate::cli::dead;
use crate::cli::dead::replay::{self, ReplayOutcome};
use crate::cli::fleet::FleetReader;
use crate::cli::parts::NoRabbitMq;
use crate::cli::{cancel, resolve};
use crate::config::Config;
use crate::fleet::job::JobView;
use crate::fleet::spend::DaySpend;
use crate::fleet::{Fleet, Minute, Queues, UnfinishedJob};
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::TaskId;
use crate::job::receipt;
use crate::job::stage::JobStage;
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::queue::dead::LookError;
use crate::queue::publish::PublishError;
use crate::queue::topology::TopologyError;
use crate::storage::StoreError;

/// However many look, Redis is asked this often, and RabbitMQ less often, since each time takes a connection.
const FLEET_KEPT: Duration = Duration::from_secs(1);
const QUEUES_KEPT: Duration = Duration::from_secs(10);
/// How many of the latest ends are shown.
const RECENT: usize = 50;
/// Images that are read from the store at a time, how long another waits for its turn, and the longest that one takes.
const IMAGES_MAX: usize = 4;
const IMAGE_WAIT_MAX: Duration = Duration::from_secs(10);
const IMAGE_MAX: Duration = Duration::from_secs(20);
/// Looks at the dead letters and decisions that are under way at a time; each takes connections. And the longest that
/// one of them may take.
const QUEUE_USERS_MAX: usize = 2;
const QUEUE_USE_MAX: Duration = Duration::from_secs(120);

/// The source of the answers.
pub(super) struct FleetApi {
    config: Config,
    reader: FleetReader,
    ledger: Arc<dyn Ledger>,
    /// This worker alone.
    status: Arc<dyn Status>,
    fleet: Mutex<Option<(Instant, Result<Fleet, NoAnswer>)>>,
    queues: Mutex<Option<(Instant, Queues)>>,
    queue_users: Semaphore,
    images: Semaphore,
}

impl FleetApi {
    pub(super) fn new(
        config: &Config,
        ledger: Arc<dyn Ledger>,
        status: Arc<dyn Status>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            reader: FleetReader::new(config)?,
            ledger,
            status,
            fleet: Mutex::default(),
            queues: Mutex::default(),
            queue_users: Semaphore::new(QUEUE_USERS_MAX),
            images: Semaphore::new(IMAGES_MAX),
        })
    }

    /// Those that wait meanwhile get the same answer.
    async fn queues(&self) -> Queues {
        let mut kept = self.queues.lock().await;
        if let Some((at, queues)) = &*kept
            && at.elapsed() < QUEUES_KEPT
        {
            return *queues;
        }
        let (queues, trouble) = self.reader.queues().await;
        if let Some(trouble) = trouble {
            tracing::debug!("{trouble}");
        }
        *kept = Some((Instant::now(), queues));
        queues
    }

    /// What there is to say while nothing is known of the fleet: why, and what stands still in this worker.
    fn without_the_fleet(&self, error: &anyhow::Error) -> NoAnswer {
        let own = match self.status.ready() {
            Ok(()) => "this worker takes jobs".to_owned(),
            Err(reasons) => format!("this worker takes no jobs: {}", reasons.join("; ")),
        };
        NoAnswer::Unavailable(format!("{error:#}. Nothing else is known of the fleet; {own}"))
    }

    async fn few_at_a_time<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, NoAnswer> {
        let Ok(_permit) = self.queue_users.try_acquire() else {
            let message = "others are looking at the dead letters just now: try again in a moment";
            return Err(NoAnswer::Unavailable(message.to_owned()));
        };
        match timeout(QUEUE_USE_MAX, work).await {
            Ok(done) => done.map_err(no_answer),
            Err(_) => Err(NoAnswer::Unavailable(format!("not done within {QUEUE_USE_MAX:?}"))),
        }
    }
}

#[async_trait]
impl FleetSource for FleetApi {
    async fn fleet(&self) -> Result<Fleet, NoAnswer> {
        let mut kept = self.fleet.lock().await;
        if let Some((at, fleet)) = &*kept
            && at.elapsed() < FLEET_KEPT
        {
            return fleet.clone();
        }
        let asked = self.reader.fleet(self.queues().await, RECENT).await;
        let fleet = asked.map_err(|error| self.without_the_fleet(&error));
        *kept = Some((Instant::now(), fleet.clone()));
        fleet
    }

    async fn jobs(&self, stage: Option<JobStage>, limit: usize) -> Result<Vec<UnfinishedJob>, NoAnswer> {
        self.reader.jobs(stage, limit).await.map_err(unavailable)
    }

    async fn job(&self, job: &JobId) -> Result<JobView, NoAnswer> {
        let known = self.reader.job(job).await.map_err(unavailable)?;
        known.ok_or_else(|| NoAnswer::NotFound(format!("no worker, no record and no receipt knows {job}")))
    }

    async fn hour(&self) -> Result<Vec<Minute>, NoAnswer> {
        self.reader.hour().await.map_err(unavailable)
    }

    async fn spend(&self, days: u32) -> Result<Vec<DaySpend>, NoAnswer> {
        self.reader.spend(days).await.map_err(unavailable)
    }

    async fn image(&self, job: &JobId, index: usize) -> Result<Bytes, NoAnswer> {
        let Ok(_permit) = timeout(IMAGE_WAIT_MAX, self.images.acquire()).await else {
            return Err(NoAnswer::Unavailable("others are looking at images just now".to_owned()));
        };
        let found = timeout(IMAGE_MAX, self.reader.image(job, index)).await;
        let found = found.map_err(|_| NoAnswer::Unavailable(format!("not read within {IMAGE_MAX:?}")))?;
        let found = found.map_err(unavailable)?;
        found.ok_or_else(|| NoAnswer::NotFound(format!("{job} has no image {index}, or keeps no receipts")))
    }

    async fn cancel(&self, job: &JobId) -> Result<Value, NoAnswer> {
        let known = self.ledger.cancel(job).await;
        let line = cancel::line(job, known.map_err(|error| NoAnswer::Unavailable(error.to_string()))?);
        if line.has_ended() {
            return Err(NoAnswer::Refused(format!("{job} has ended already")));
        }
        serde_json::to_value(&line).map_err(|error| NoAnswer::Unavailable(error.to_string()))
    }

    async fn resolve(&self, job: &JobId, decision: Decision) -> Result<Value, NoAnswer> {
        if !self.config.generation.receipts {
            return Err(NoAnswer::Refused(resolve::NO_RECEIPTS.to_owned()));
        }
        let word = match decision {
            Decision::Fetch => {
                let event = self.few_at_a_time(resolve::fetch(&self.config, job)).await?;
                return serde_json::from_slice(&event)
                    .map_err(|error| NoAnswer::Unavailable(error.to_string()));
            }
            Decision::TaskId { task_id } => {
                let task = TaskId::new(&task_id);
                let wrong =
                    || NoAnswer::Refused("a task id is one word of at most 256 characters".to_owned());
                resolve::Word::Task(task.ok_or_else(wrong)?)
            }
            Decision::SubmitAgain => resolve::Word::Decided(receipt::Decision::SubmitAgain),
            Decision::GiveUp => resolve::Word::Decided(receipt::Decision::GiveUp),
        };
        self.few_at_a_time(resolve::decide(&self.config, job, &word)).await?;
        Ok(resolve::decided(job, &word))
    }

    async fn dead(&self, limit: usize) -> Result<Vec<Value>, NoAnswer> {
        let letters = self.few_at_a_time(dead::first(&self.config, limit)).await?;
        Ok(letters.iter().filter_map(|letter| serde_json::to_value(letter).ok()).collect())
    }

    async fn replay(&self, key: &str, force: bool) -> Result<Value, NoAnswer> {
        let found = self.few_at_a_time(replay::one(&self.config, key, force)).await?;
        match found {
            None => Err(NoAnswer::NotFound(format!("no dead letter has the key {key}"))),
            Some((ReplayOutcome::Left(why), _)) => Err(NoAnswer::Refused(why.to_owned())),
            Some((ReplayOutcome::Replayed | ReplayOutcome::SentBefore | ReplayOutcome::WouldBe, line)) => {
                Ok(line)
            }
        }
    }
}

/// Shows the backlog and today's spend in the metrics while this worker is the one that shows it, until `stop`, which waits for no answer.
pub(super) async fn show_backlog(
    source: &dyn FleetSource,
    shows: &AtomicBool,
    metrics: &Metrics,
    heartbeat: &Heartbeat,
    stop: &CancellationToken,
) {
    let mut tick = interval(QUEUES_KEPT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => heartbeat.touch(),
        }
        let asking = async {
            if !shows.load(Ordering::Relaxed) {
                return None;
            }
            timeout(QUEUES_KEPT, source.fleet()).await.ok()?.ok()
        };
        let fleet = tokio::select! {
            () = stop.cancelled() => return,
            fleet = asking => fleet,
        };
        metrics.backlog(fleet.as_ref().map(|fleet| (&fleet.queues, fleet.held())));
        metrics.spent_today(fleet.as_ref().and_then(|fleet| fleet.spend.as_ref()));
    }
}

/// A service that was away is told apart from a state that doesn't allow what was asked for.
fn no_answer(error: anyhow::Error) -> NoAnswer {
    let is_away = error.chain().any(|cause| {
        cause.is::<NoRabbitMq>()
            || cause.is::<LookError>()
            || cause.is::<PublishError>()
            || cause.is::<TopologyError>()
            || cause.is::<LedgerError>()
            || cause.is::<StoreError>()
    });
    if is_away { unavailable(error) } else { NoAnswer::Refused(format!("{error:#}")) }
}

fn unavailable(error: anyhow::Error) -> NoAnswer {
    NoAnswer::Unavailable(format!("{error:#}"))
}

#[cfg(test)]
mod tests;
