//! `comet-floor`: the floor under the worker's cost. It is the shortest program that makes the calls of a job
//! (submit, note the task id, poll, download, write, publish, acknowledge) with the worker's client libraries, and it
//! guarantees nothing. It never reads what it has noted, checks nothing, and drops a job that meets any trouble with
//! a line on stderr.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[tokio::main]
async fn main() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let connection = Connection::connect(&variable("AMQP_URL")?, ConnectionProperties::default()).await?;
    let publish = connection.create_channel().await?;
    publish.confirm_select(ConfirmSelectOptions::default()).await?;
    let floor = Arc::new(Floor {
        publish,
        redis: redis::Client::open(variable("REDIS_URL")?)?.get_multiplexed_async_connection().await?,
        http: reqwest::Client::new(),
        submit_url: format!("{}/kling/v1/images/generations", variable("API_BASE_URL")?),
        api_key: variable("API_KEY")?,
        exchange: variable("EVENTS_EXCHANGE")?,
        prefix: variable("KEY_PREFIX")?,
        folder: PathBuf::from(variable("IMAGES_DIR")?),
    });
    tokio::fs::create_dir_all(&floor.folder).await?;
    let consume = connection.create_channel().await?;
    consume.basic_qos(variable("PREFETCH")?.parse()?, BasicQosOptions::default()).await?;
    let queue = variable("JOBS_QUEUE")?;
    let mut deliveries = consume
        .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    while let Some(delivery) = deliveries.next().await {
        let (floor, delivery) = (Arc::clone(&floor), delivery?);
        tokio::spawn(async move {
            if let Err(error) = floor.run(delivery).await {
                let _ = writeln!(std::io::stderr(), "{error:#}");
            }
        });
    }
    Ok(())
}

struct Floor {
    publish: Channel,
    redis: redis::aio::MultiplexedConnection,
    http: reqwest::Client,
    submit_url: String,
    api_key: String,
    exchange: String,
    prefix: String,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Job<'a> {
    job_id: &'a str,
    #[serde(borrow)]
    input: HashMap<&'a str, &'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The body for the provider: the input, and the job's id as the task's external id.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    input: &'a HashMap<&'a str, &'a RawValue>,
    external_task_id: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    data: Task,
}

#[derive(Deserialize)]
struct Task {
    task_id: String,
    task_status: String,
    task_result: Option<TaskResult>,
}

#[derive(Deserialize)]
struct TaskResult {
    images: Vec<Picture>,
}

#[derive(Deserialize)]
struct Picture {
    index: u32,
    url: String,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    data: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    job_id: &'a str,
    task_id: &'a str,
    images: Vec<PathBuf>,
    metadata: Option<&'a RawValue>,
}

impl Floor {
    async fn run(&self, delivery: Delivery) -> Result<()> {
        let job: Job<'_> = serde_json::from_slice(&delivery.data)?;
        let task = self.submit(&job).await?;
        let key = format!("{}:task:{}", self.prefix, job.job_id);
        self.redis.clone().set::<_, _, ()>(key, &task).await?;
        let pictures = self.pictures(&task).await?;
        let images = try_join_all(pictures.iter().map(|picture| self.store(job.job_id, picture))).await?;
        let told = Told { job_id: job.job_id, task_id: &task, images, metadata: job.metadata };
        let event = serde_json::to_vec(&Event { r#type: "comet.job.succeeded", data: told })?;
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let exchange = self.exchange.as_str().into();
        let sent = self.publish.basic_publish(exchange, "job.succeeded".into(), options, &event, properties);
        sent.await?.await?;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    async fn submit(&self, job: &Job<'_>) -> Result<String> {
        let body = Body { input: &job.input, external_task_id: job.job_id };
        let request = self.http.post(&self.submit_url).bearer_auth(&self.api_key).json(&body);
        let reply = request.send().await?.error_for_status()?.json::<Reply>().await?;
        Ok(reply.data.task_id)
    }

    async fn pictures(&self, task: &str) -> Result<Vec<Picture>> {
        loop {
            let request = self.http.get(format!("{}/{task}", self.submit_url)).bearer_auth(&self.api_key);
            let reply = request.send().await?.error_for_status()?.json::<Reply>().await?;
            match (reply.data.task_status.as_str(), reply.data.task_result) {
                ("succeed", Some(result)) => return Ok(result.images),
                ("failed", _) => bail!("task {task} failed"),
                _ => tokio::time::sleep(Duration::from_secs(2)).await,
            }
        }
    }

    async fn store(&self, job: &str, picture: &Picture) -> Result<PathBuf> {
        let bytes = self.http.get(&picture.url).send().await?.error_for_status()?.bytes().await?;
        let path = self.folder.join(format!("{job}-{}.png", picture.index));
        tokio::fs::write(&path, bytes).await?;
        Ok(path)
    }
}
