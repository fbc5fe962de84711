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

use crate::admin::api::{Decision, FleetSource, NoAnswer};
use crate::cli::dead::{self, replay};
use crate::cli::fleet::{self, FleetReader};
use crate::cli::{cancel, resolve};
use crate::config::Config;
use crate::fleet::job::JobView;
use crate::fleet::{Fleet, Minute, Queues, UnfinishedJob};
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::TaskId;
use crate::job::receipt;
use crate::job::stage::JobStage;
use crate::ledger::Ledger;
use crate::metrics::Metrics;

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
const DESKS_MAX: usize = 2;
const DESK_MAX: Duration = Duration::from_secs(120);

/// The source of the answers.
pub(super) struct FleetOfConfig {
    config: Config,
    reader: FleetReader,
    ledger: Arc<dyn Ledger>,
    fleet: Mutex<Option<(Instant, Result<Fleet, NoAnswer>)>>,
    queues: Mutex<Option<(Instant, Queues)>>,
    desks: Semaphore,
    images: Semaphore,
}

impl FleetOfConfig {
    pub(super) fn new(config: &Config, ledger: Arc<dyn Ledger>) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            reader: FleetReader::new(config)?,
            ledger,
            fleet: Mutex::default(),
            queues: Mutex::default(),
            desks: Semaphore::new(DESKS_MAX),
            images: Semaphore::new(IMAGES_MAX),
        })
    }

    /// Shows the backlog in the metrics while this worker is the one that shows it, until `stop`.
    pub(super) async fn show_backlog(
        &self,
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
            let seen = if shows.load(Ordering::Relaxed) {
                timeout(QUEUES_KEPT, self.fleet()).await.ok().and_then(Result::ok)
            } else {
                None
            };
            let held = |fleet: &Fleet| fleet.workers.iter().map(|worker| worker.in_flight).sum::<usize>();
            let seen =
                seen.as_ref().map(|fleet| (&fleet.queues, u64::try_from(held(fleet)).unwrap_or(u64::MAX)));
            metrics.backlog(seen);
        }
    }

    /// Those that wait meanwhile get the same answer.
    async fn queues(&self) -> Queues {
        let mut kept = self.queues.lock().await;
        if let Some((at, queues)) = &*kept
            && at.elapsed() < QUEUES_KEPT
        {
            return *queues;
        }
        let (queues, trouble) = fleet::queues(&self.config, self.reader.names()).await;
        if let Some(trouble) = trouble {
            tracing::debug!("{trouble}");
        }
        *kept = Some((Instant::now(), queues));
        queues
    }

    async fn at_a_desk<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, NoAnswer> {
        let Ok(_desk) = self.desks.try_acquire() else {
            let message = "others are looking at the dead letters just now: try again in a moment";
            return Err(NoAnswer::Unavailable(message.to_owned()));
        };
        match timeout(DESK_MAX, work).await {
            Ok(done) => done.map_err(|error| NoAnswer::Refused(format!("{error:#}"))),
            Err(_) => Err(NoAnswer::Unavailable(format!("not done within {DESK_MAX:?}"))),
        }
    }
}

#[async_trait]
impl FleetSource for FleetOfConfig {
    async fn fleet(&self) -> Result<Fleet, NoAnswer> {
        let mut kept = self.fleet.lock().await;
        if let Some((at, fleet)) = &*kept
            && at.elapsed() < FLEET_KEPT
        {
            return fleet.clone();
        }
        let fleet = self.reader.fleet(self.queues().await, RECENT).await.map_err(unavailable);
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
                let event = self.at_a_desk(resolve::fetch(&self.config, job)).await?;
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
        self.at_a_desk(resolve::decide(&self.config, job, &word)).await?;
        Ok(resolve::decided(job, &word))
    }

    async fn dead(&self, limit: usize) -> Result<Vec<Value>, NoAnswer> {
        let letters = self.at_a_desk(dead::first(&self.config, limit)).await?;
        Ok(letters.iter().filter_map(|letter| serde_json::to_value(letter).ok()).collect())
    }

    async fn replay(&self, key: &str, force: bool) -> Result<Value, NoAnswer> {
        let found = self.at_a_desk(replay::one(&self.config, key, force)).await?;
        match found {
            None => Err(NoAnswer::NotFound(format!("no dead letter has the key {key}"))),
            Some((replay::Done::Left(why), _)) => Err(NoAnswer::Refused(why.to_owned())),
            Some((replay::Done::Replayed | replay::Done::SentBefore | replay::Done::WouldBe, line)) => {
                Ok(line)
            }
        }
    }
}

fn unavailable(error: anyhow::Error) -> NoAnswer {
    NoAnswer::Unavailable(format!("{error:#}"))
}
