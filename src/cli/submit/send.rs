//! Publishes one job's message until it is confirmed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;

use super::super::output::words;
use super::super::parts;
use super::input::Job;
use crate::clock;
use crate::config::Config;
use crate::queue::publish::{Outgoing, Publish as _, PublishError, Publisher, Routed};

/// How often a message is tried. A job that is published twice is still one job.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// The connection to the broker, and the state of this submit.
pub(super) struct Submit<'a> {
    config: &'a Config,
    publisher: Publisher,
    reply_to: Option<String>,
    /// One message has failed, and no further one begins.
    failed: AtomicBool,
    /// The user has been told that a message is tried again.
    held_up: AtomicBool,
}

impl<'a> Submit<'a> {
    pub(super) fn new(config: &'a Config, publisher: Publisher, reply_to: Option<String>) -> Self {
        let (failed, held_up) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { config, publisher, reply_to, failed, held_up }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        self.publisher.close().await;
    }

    /// # Errors
    ///
    /// The job is certainly not, or perhaps, submitted. From now on [`Self::has_failed`] is true.
    pub(super) async fn send<'j>(&self, job: &'j Job<'_>) -> anyhow::Result<&'j Job<'j>> {
        let sent = self.publish(job).await;
        if sent.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        sent.map(|()| job)
    }

    async fn publish(&self, job: &Job<'_>) -> anyhow::Result<()> {
        let message = self.message(job);
        let mut tries = 1;
        loop {
            match self.publisher.publish(&message).await {
                Ok(Routed::ToQueue) => return Ok(()),
                Ok(Routed::Nowhere) => anyhow::bail!(
                    "RabbitMQ has no queue {0}: start a worker, set amqp.declare = true, or make the queue",
                    self.config.amqp.queue
                ),
                Err(error) if tries >= TRIES => match error {
                    PublishError::Connect(error) => return Err(parts::no_rabbitmq(self.config, &error)),
                    PublishError::Refused(_) => anyhow::bail!(
                        "RabbitMQ's queue {0} is full and refuses jobs: let workers empty it, or raise its x-max-length",
                        self.config.amqp.queue
                    ),
                    PublishError::Forbidden(_) => anyhow::bail!(
                        "the user of amqp.url may not publish jobs: give it the write right on amq.default, the default \
                         exchange"
                    ),
                    PublishError::Failed(_) | PublishError::NoExchange(_) | PublishError::NotConfirmed(_) => {
                        return Err(error.into());
                    }
                },
                Err(error) => {
                    if !self.held_up.swap(true, Ordering::Relaxed) {
                        words(&format!("{error}; trying again"));
                    }
                    tries += 1;
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
            }
        }
    }

    fn message(&self, job: &Job<'_>) -> Outgoing {
        let now_s = u64::try_from(clock::unix_ms() / 1000).unwrap_or_default();
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_message_id(job.id.as_str().into())
            .with_timestamp(now_s)
            .with_app_id("comet-worker".into());
        if let Some(queue) = &self.reply_to {
            properties = properties.with_reply_to(queue.as_str().into());
        }
        Outgoing {
            exchange: String::new(),
            routing_key: self.config.amqp.queue.clone(),
            mandatory: true,
            properties,
            body: Bytes::copy_from_slice(job.text.as_bytes()),
        }
    }
}
