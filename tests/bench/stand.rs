//! What all contenders share, one after another: the broker, Redis and the programs. For each run it makes names of
//! its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use comet_worker::queue::topology::{self, Names};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

/// Publishes on their way to the broker while a queue is filled.
const PUBLISHES_AT_ONCE: usize = 500;
/// After this long without an event, none is expected any more.
const SILENCE_MAX: Duration = Duration::from_secs(90);

pub struct Stand {
    pub amqp_url: String,
    pub redis_url: String,
    /// `target/release` or the like.
    programs: PathBuf,
    /// Peers are installed here.
    pub workshop: PathBuf,
    /// Everything that a run writes is below it. It is in memory if possible, because a disk's file system has costs
    /// of its own, which differ from run to run (ext4 searches for a free inode after all that were deleted lately).
    pub folder: PathBuf,
}

impl Stand {
    pub fn from_environment() -> Result<Self> {
        let url = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name}: run through `make bench`, which starts what is missing"))
        };
        let examples = std::env::current_exe()?;
        let programs = examples.ancestors().nth(2).context("this program is no example of Cargo's")?;
        let target = programs.parent().context("no target folder")?;
        let workshop = target.join("bench");
        std::fs::create_dir_all(&workshop)?;
        let programs = programs.to_owned();
        let memory = PathBuf::from("/dev/shm");
        let folder = if TempDir::new_in(&memory).is_ok() { memory } else { workshop.clone() };
        Ok(Self { amqp_url: url("AMQP_URL")?, redis_url: url("REDIS_URL")?, programs, workshop, folder })
    }

    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let program = self.programs.join(name);
        ensure!(program.is_file(), "no {}; `make bench` builds it", program.display());
        Ok(program)
    }
}

/// How a job's message looks to the contender that takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The job itself.
    Plain,
    /// A call of Celery's task `generate`, as `generate.delay(job)` would send it.
    Celery,
}

/// One run's queues, keys and folder.
pub struct Line<'a> {
    pub stand: &'a Stand,
    pub prefix: String,
    pub names: Names,
    pub folder: TempDir,
    connection: Connection,
    channel: Channel,
    told: Consumer,
    fed: u64,
    /// The jobs that have ended.
    ended: HashMap<String, End>,
}

/// The content of a job's event, and when it came, in Unix milliseconds.
#[derive(Debug)]
pub struct End {
    pub task_id: String,
    pub told_ms: i64,
}

impl<'a> Line<'a> {
    /// All contenders use the worker's topology.
    pub async fn open(stand: &'a Stand) -> Result<Line<'a>> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let prefix = format!("comet-bench-{}", unique.get(..8).unwrap_or_default());
        let called = |name: &str| format!("{prefix}.{name}");
        let names = Names {
            jobs: called("jobs"),
            events: called("events"),
            dead: called("dead"),
            unrouted: called("unrouted"),
        };
        let connection = Connection::connect(&stand.amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let differences = topology::ensure(&connection, &names, true).await?;
        ensure!(differences.is_empty(), "{differences:?}");
        let queue = called("told");
        let queue = queue.as_str();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.into(), durable, FieldTable::default()).await?;
        let bind = QueueBindOptions::default();
        let events = names.events.as_str();
        channel.queue_bind(queue.into(), events.into(), "job.*".into(), bind, FieldTable::default()).await?;
        // It has a channel of its own, because its deliveries count as acknowledged when they are sent.
        let hear = connection.create_channel().await?;
        let no_ack = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let told = hear.basic_consume(queue.into(), "".into(), no_ack, FieldTable::default()).await?;
        let folder = TempDir::new_in(&stand.folder)?;
        Ok(Self { stand, prefix, names, folder, connection, channel, told, fed: 0, ended: HashMap::new() })
    }

    pub fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    /// Puts `jobs` more jobs into the queue, confirmed.
    pub async fn feed(&mut self, jobs: u64, dialect: Dialect) -> Result<()> {
        let numbers = self.fed..self.fed + jobs;
        self.fed = numbers.end;
        let mut sending = futures_util::stream::iter(numbers)
            .map(|number| self.send(format!("{}-{number}", self.prefix), dialect))
            .buffer_unordered(PUBLISHES_AT_ONCE);
        while let Some(sent) = sending.next().await {
            sent?;
        }
        Ok(())
    }

    async fn send(&self, job_id: String, dialect: Dialect) -> Result<()> {
        let job = json!({
            "job_id": job_id,
            "input": {
                "model_name": "kling-v2",
                "prompt": "the two of them at a sunlit kitchen table",
                "subject_image_list": [
                    {"subject_image": "https://pictures.example/a.png"},
                    {"subject_image": "https://pictures.example/b.png"}
                ],
                "n": 1,
                "aspect_ratio": "1:1"
            },
            "metadata": {"customer": 42}
        });
        let properties = BasicProperties::default().with_delivery_mode(2);
        let properties = properties.with_content_type("application/json".into());
        let (body, properties) = match dialect {
            Dialect::Plain => (job.to_string(), properties),
            Dialect::Celery => {
                let chained = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null});
                (json!([[job], {}, chained]).to_string(), celery(properties, &job_id))
            }
        };
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let queue = self.names.jobs.as_str().into();
        let sent = self.channel.basic_publish("".into(), queue, options, body.as_bytes(), properties).await?;
        let confirmed = sent.await?;
        ensure!(confirmed == lapin::Confirmation::Ack(None), "a job was not queued: {confirmed:?}");
        Ok(())
    }

    /// Waits until so many jobs have ended, all in all; an end that isn't a success is an error.
    pub async fn ended(&mut self, jobs: u64, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        #[derive(Deserialize)]
        struct Told<'t> {
            r#type: &'t str,
            data: Data<'t>,
        }
        #[derive(Deserialize)]
        struct Data<'t> {
            job_id: &'t str,
            task_id: &'t str,
        }
        let mut silent = Duration::ZERO;
        const TICK: Duration = Duration::from_secs(1);
        while self.count() < jobs {
            let Ok(delivery) = timeout(TICK, self.told.next()).await else {
                alive()?;
                silent += TICK;
                ensure!(silent < SILENCE_MAX, "only {} of {jobs} jobs have ended", self.count());
                continue;
            };
            silent = Duration::ZERO;
            let delivery = delivery.context("the events' queue is gone")??;
            let told: Told<'_> = serde_json::from_slice(&delivery.data)?;
            if told.r#type != "comet.job.succeeded" {
                bail!("not a success: {}", String::from_utf8_lossy(&delivery.data));
            }
            let told_ms = jiff::Timestamp::now().as_millisecond();
            let end = End { task_id: told.data.task_id.to_owned(), told_ms };
            self.ended.entry(told.data.job_id.to_owned()).or_insert(end);
        }
        Ok(())
    }

    fn count(&self) -> u64 {
        self.ended.len() as u64
    }

    pub fn ends(&self) -> impl Iterator<Item = &End> {
        self.ended.values()
    }

    /// Files that were written for images; a worker keeps its receipts elsewhere in the folder.
    pub fn files(&self) -> Result<u64> {
        count_pictures(&self.images())
    }

    /// Deletes what the run has left in services and folder.
    pub async fn close(self) -> Result<()> {
        let told = format!("{}.told", self.prefix);
        for queue in [&self.names.jobs, &self.names.dead, &self.names.unrouted, &told] {
            self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
        }
        let exchanges = [self.names.events.clone(), format!("{}.unrouted", self.names.events)];
        for exchange in &exchanges {
            self.channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await?;
        }
        self.connection.close(200, "done".into()).await?;
        forget(&self.stand.redis_url, &self.prefix).await?;
        self.folder.close()?;
        Ok(())
    }
}

fn celery(properties: BasicProperties, id: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in [("lang", "py"), ("task", "generate"), ("id", id), ("root_id", id)] {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    properties.with_content_encoding("utf-8".into()).with_correlation_id(id.into()).with_headers(headers)
}

fn count_pictures(folder: &Path) -> Result<u64> {
    let mut pictures = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pictures += count_pictures(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "png") {
            pictures += 1;
        }
    }
    Ok(pictures)
}

/// Deletes the keys of one run in small steps, so that Redis blocks no other client.
async fn forget(url: &str, prefix: &str) -> Result<()> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for pattern in [format!("{{{prefix}}}*"), format!("{prefix}:*")] {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut redis).await?;
            if !keys.is_empty() {
                let _: u64 = redis::cmd("UNLINK").arg(keys).query_async(&mut redis).await?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok(())
}
