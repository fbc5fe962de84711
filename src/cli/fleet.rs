//! What commands and the admin port read of the fleet: from Redis, RabbitMQ and the receipts.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use lapin::Connection;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::parts;
use crate::clock;
use crate::config::{Config, redacted};
use crate::fleet::job::JobView;
use crate::fleet::spend::{DaySpend, SpendState};
use crate::fleet::{Fleet, Minute, Queues, UnfinishedJob, WorkerState};
use crate::job::JobId;
use crate::job::event::EventView;
use crate::job::spend::UnitPrice;
use crate::job::stage::JobStage;
use crate::ledger::fleet::RedisFleet;
use crate::ledger::spend::RedisSpend;
use crate::ledger::{self, LedgerError};
use crate::metrics::{Metrics, PauseReason, Standstill};
use crate::queue::topology::{self, Names};
use crate::queue::{self, Address};
use crate::receipts::Receipts;
use crate::storage::Storage;

/// How long RabbitMQ may take to say how many messages are where.
const QUEUES_MAX: Duration = Duration::from_secs(5);

/// The largest image that is shown.
const IMAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The three sources.
pub(super) struct FleetReader {
    redis: RedisFleet,
    /// `None` without `generation.receipts`.
    receipts: Option<Receipts>,
    spend: RedisSpend,
    unit_price: Option<UnitPrice>,
    rabbit: QueueCounts,
    slots_max: u32,
    /// `redis.url`, without its password.
    redis_url: String,
}

/// Asks RabbitMQ how many messages are in each queue, over a connection that is kept.
struct QueueCounts {
    address: Address,
    /// Without its password.
    url: String,
    names: Names,
    connection: Mutex<Option<Connection>>,
}

impl FleetReader {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let receipts = if config.generation.receipts && config.storage.url != "memory:" {
            Some(Receipts::new(Storage::open(&parts::storage_options(config)).context("storage")?))
        } else {
            None
        };
        Ok(Self {
            redis: parts::fleet(config, &Metrics::new())?,
            receipts,
            rabbit: QueueCounts {
                address: parts::address(config)?,
                url: redacted(&config.amqp.url.now()),
                names: parts::names(config),
                connection: Mutex::default(),
            },
            spend: parts::spend(config, &Metrics::new())?,
            unit_price: config.spend.unit_price.clone(),
            slots_max: config.generation.max_running,
            redis_url: redacted(&config.redis.url.now()),
        })
    }

    /// The whole fleet; `queues` is what RabbitMQ has said.
    pub(super) async fn fleet(&self, queues: Queues, recent: usize) -> anyhow::Result<Fleet> {
        let snapshot = self.asked(self.redis.snapshot(recent)).await?;
        let spend = self.spend_today().await?;
        Ok(Fleet { spend: Some(spend), ..snapshot.with(queues, self.slots_max) })
    }

    /// What was spent since the day began.
    pub(super) async fn spend_today(&self) -> anyhow::Result<SpendState> {
        let today = self.asked(self.spend.today()).await?;
        let rules = self.spend.rules();
        let day = rules.day(clock::unix_ms()).to_string();
        Ok(SpendState::of(day, &today, rules.cap, self.unit_price.as_ref()))
    }

    /// What was spent on each of the last `days` days, the latest first.
    pub(super) async fn spend(&self, days: u32) -> anyhow::Result<Vec<DaySpend>> {
        let today = self.spend.rules().day(clock::unix_ms());
        let days = self.asked(self.spend.days(today, days)).await?;
        Ok(days.into_iter().map(|day| day.at(self.unit_price.as_ref())).collect())
    }

    /// The unfinished jobs, the oldest at their stage first.
    pub(super) async fn jobs(
        &self,
        stage: Option<JobStage>,
        limit: usize,
    ) -> anyhow::Result<Vec<UnfinishedJob>> {
        let mut jobs = self.asked(self.redis.jobs(stage, limit)).await?;
        if stage.is_none_or(|stage| stage == JobStage::Waiting) {
            for job in self.waiting().await? {
                if !jobs.iter().any(|listed| listed.job_id == job.job_id) {
                    jobs.push(job);
                }
            }
            jobs.sort_by(|one, other| (&one.since, &one.job_id).cmp(&(&other.since, &other.job_id)));
            jobs.truncate(limit);
        }
        Ok(jobs)
    }

    /// The jobs that workers hold for their first submit, which have no record yet: the oldest of each worker.
    async fn waiting(&self) -> anyhow::Result<Vec<UnfinishedJob>> {
        let workers = self.asked(self.redis.snapshot(0)).await?.workers;
        let waiting = workers.into_iter().flat_map(|worker| worker.waiting).map(|waiting| UnfinishedJob {
            job_id: waiting.job_id,
            stage: JobStage::Waiting,
            since: waiting.since,
        });
        Ok(waiting.collect())
    }

    /// The life of one job; `None` if neither Redis, nor the store, nor a worker knows it.
    pub(super) async fn job(&self, job: &JobId) -> anyhow::Result<Option<JobView>> {
        let record = self.asked(self.redis.record(job)).await?;
        let mut listed = self.asked(self.redis.job(job.as_str())).await?;
        if listed.is_none() && record.record.is_none() {
            let mut waiting = self.waiting().await?.into_iter();
            listed = waiting.find(|waiting| waiting.job_id == job.as_str());
        }
        let receipts = match &self.receipts {
            Some(receipts) => receipts.dated(job).await?,
            None => Vec::new(),
        };
        Ok(JobView::of(job, &record, listed, &receipts))
    }

    pub(super) async fn hour(&self) -> anyhow::Result<Vec<Minute>> {
        self.asked(self.redis.hour()).await
    }

    /// An image of a job that has succeeded; `None` if there is none with this index, or it is too large to be shown.
    pub(super) async fn image(&self, job: &JobId, index: usize) -> anyhow::Result<Option<Bytes>> {
        let Some(receipts) = &self.receipts else { return Ok(None) };
        let Some(event) = receipts.last_word(job).await? else { return Ok(None) };
        let images = EventView::parse(&event).map(|view| view.images).unwrap_or_default();
        // A bigger one is no thumbnail, and would be held in memory whole.
        let Some(image) = images.get(index).filter(|image| image.bytes <= IMAGE_BYTES_MAX) else {
            return Ok(None);
        };
        Ok(Some(receipts.storage().read(&image.location).await?))
    }

    async fn asked<T>(&self, asking: impl Future<Output = Result<T, LedgerError>>) -> anyhow::Result<T> {
        let url = &self.redis_url;
        asking.await.map_err(|error| match error {
            LedgerError::Unavailable(why) => {
                let (what, remedy) = (PauseReason::Redis.as_str(), ledger::REMEDY);
                anyhow::anyhow!("{what}: can't ask Redis at {url}: {why}; {remedy}")
            }
            LedgerError::Unreadable(_) => error.into(),
        })
    }

    /// How many messages are in each queue, and what kept RabbitMQ from saying it.
    pub(super) async fn queues(&self) -> (Queues, Option<String>) {
        let asked = timeout(QUEUES_MAX, self.rabbit.now()).await;
        match asked.unwrap_or_else(|_| Err(format!("no answer within {QUEUES_MAX:?}"))) {
            Ok(queues) => (queues, None),
            Err(why) => {
                let (what, remedy) = (Standstill::RabbitMq.as_str(), queue::REMEDY);
                let url = &self.rabbit.url;
                (Queues::default(), Some(format!("{what}: can't ask RabbitMQ at {url}: {why}; {remedy}")))
            }
        }
    }

    /// Ends the connection to RabbitMQ, which would otherwise say that its client has vanished.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.rabbit.connection.lock().await.take() {
            let _ = timeout(QUEUES_MAX, connection.close(200, "seen".into())).await;
        }
    }
}

impl QueueCounts {
    async fn now(&self) -> Result<Queues, String> {
        let mut kept = self.connection.lock().await;
        let connection = match kept.take().filter(|kept| kept.status().connected()) {
            Some(connection) => connection,
            None => self.address.connect("status").await.map_err(|error| error.reason())?,
        };
        let queues = Queues {
            jobs: topology::messages(&connection, &self.names.jobs).await,
            dead: topology::messages(&connection, &self.names.dead).await,
            unrouted: topology::messages(&connection, &self.names.unrouted).await,
        };
        // A question that was cut off, and one without any answer, leave the connection to be made anew.
        if queues != Queues::default() {
            *kept = Some(connection);
        }
        Ok(queues)
    }
}

/// How often a command that waits looks whether the fleet goes on.
const WATCHED_EVERY: Duration = Duration::from_secs(5);

/// Tells when the whole fleet comes to a standstill, and when it goes on, for a command that waits for it. Nothing
/// comes if Redis can't be asked from here. Ends with the receiver.
pub(super) fn news(config: &Config) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(4);
    let Ok(redis) = parts::fleet(config, &Metrics::new()) else { return receiver };
    tokio::spawn(async move {
        let (mut seen, mut said) = (None, None);
        let mut tick = tokio::time::interval(WATCHED_EVERY);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                _ = tick.tick() => {}
            }
            let Ok(looked) = redis.snapshot(0).await else { continue };
            let now = standing(&looked.workers);
            // What is seen once may be a moment of a deploy.
            let is_lasting = seen == now;
            seen.clone_from(&now);
            if is_lasting && said != now {
                said.clone_from(&now);
                let _ = sender.send(now.unwrap_or_else(|| "the fleet goes on".to_owned())).await;
            }
        }
    });
    receiver
}

/// Why no worker of the fleet goes on; `None` if one does.
fn standing(workers: &[WorkerState]) -> Option<String> {
    if workers.is_empty() {
        return Some(
            "no worker runs: the jobs wait in their queue; start one with comet-worker run".to_owned(),
        );
    }
    if workers.iter().any(|worker| worker.standstills.is_empty()) {
        return None;
    }
    let mut words: Vec<String> = workers
        .iter()
        .flat_map(|worker| &worker.standstills)
        .map(|stands| format!("{}: {}; {}", stands.what, stands.detail, stands.r#do))
        .collect();
    words.sort();
    words.dedup();
    Some(format!("the fleet stands still: {}", words.join("; ")))
}
