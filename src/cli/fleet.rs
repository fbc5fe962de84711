//! What commands and the admin port read of the fleet: from Redis, RabbitMQ and the receipts.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use super::parts;
use crate::config::{Config, redacted};
use crate::fleet::job::JobView;
use crate::fleet::{Fleet, Queues, UnfinishedJob};
use crate::job::JobId;
use crate::job::stage::JobStage;
use crate::ledger::fleet::RedisFleet;
use crate::metrics::Metrics;
use crate::queue::topology::{self, Names};
use crate::receipts::Receipts;
use crate::storage::Storage;

/// How long RabbitMQ may take to say how many messages are where.
const QUEUES_MAX: Duration = Duration::from_secs(5);

/// The three sources.
pub(super) struct FleetReader {
    redis: RedisFleet,
    /// `None` without `generation.receipts`.
    receipts: Option<Receipts>,
    names: Names,
    slots_max: u32,
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
            names: parts::names(config),
            slots_max: config.generation.max_running,
        })
    }

    /// The whole fleet; `queues` is what RabbitMQ has said.
    pub(super) async fn fleet(&self, queues: Queues, recent: usize) -> anyhow::Result<Fleet> {
        Ok(self.redis.look(recent).await?.with(queues, self.slots_max))
    }

    /// The unfinished jobs, the oldest at their stage first.
    pub(super) async fn jobs(
        &self,
        stage: Option<JobStage>,
        limit: usize,
    ) -> anyhow::Result<Vec<UnfinishedJob>> {
        let mut jobs = self.redis.jobs(stage, limit).await?;
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
        let workers = self.redis.look(0).await?.workers;
        let waiting = workers.into_iter().flat_map(|worker| worker.waiting).map(|waiting| UnfinishedJob {
            job_id: waiting.job_id,
            stage: JobStage::Waiting,
            since: waiting.since,
        });
        Ok(waiting.collect())
    }

    /// The life of one job; `None` if neither Redis, nor the store, nor a worker knows it.
    pub(super) async fn job(&self, job: &JobId) -> anyhow::Result<Option<JobView>> {
        let record = self.redis.record(job).await?;
        let mut listed = self.redis.job(job.as_str()).await?;
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

    pub(super) fn names(&self) -> &Names {
        &self.names
    }
}

/// How many messages are in each queue, and what kept RabbitMQ from saying it.
pub(super) async fn queues(config: &Config, names: &Names) -> (Queues, Option<String>) {
    let asking = async {
        let address = parts::address(config).map_err(|error| error.to_string())?;
        let connection = address.connect("status").await.map_err(|error| error.reason())?;
        let queues = Queues {
            jobs: topology::messages(&connection, &names.jobs).await,
            dead: topology::messages(&connection, &names.dead).await,
            unrouted: topology::messages(&connection, &names.unrouted).await,
        };
        let _ = connection.close(200, "seen".into()).await;
        Ok::<_, String>(queues)
    };
    let asked = timeout(QUEUES_MAX, asking).await;
    match asked.unwrap_or_else(|_| Err(format!("no answer within {QUEUES_MAX:?}"))) {
        Ok(queues) => (queues, None),
        Err(why) => {
            let url = redacted(&config.amqp.url.now());
            (Queues::default(), Some(format!("RabbitMQ at {url} could not be asked: {why}")))
        }
    }
}
