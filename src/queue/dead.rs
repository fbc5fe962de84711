//! Searches the dead-letter queue for one job.
//!
//! AMQP has no way to read a message without taking it, so every message is taken and requeued. Brokers count that
//! (from RabbitMQ 4.0 on, the 21st such delivery is dropped), so a message that was read often is republished to the
//! end of the queue instead.

use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::{Channel, Connection};

use super::consume::Message;
use super::message::{deliveries, handed_on_properties, whole};
use super::publish::{Outgoing, Publish, Routed};
use super::request::answered;
use super::topology::Names;

/// Well below the broker's own limit of 20.
const LOOKED_AT_MAX: u64 = 10;

/// Messages of a job that were taken, and that stay in the queue until they are settled.
#[derive(Debug)]
pub struct Found {
    channel: Channel,
    tags: Vec<u64>,
    /// The first of the messages.
    pub message: Message,
}

/// Why the queue could not be searched.
#[derive(Debug, thiserror::Error)]
#[error("the dead-letter queue {queue}: {message}")]
pub struct LookError {
    queue: String,
    message: String,
}

/// Searches the queue once for the messages for which `is_wanted` returns true. All other messages stay where they
/// were, or move to the end of the queue.
///
/// # Errors
///
/// [`LookError`]; no message is lost by it.
pub async fn find(
    connection: &Connection,
    publisher: &dyn Publish,
    names: &Names,
    is_wanted: impl Fn(&Message) -> bool,
) -> Result<Option<Found>, LookError> {
    let looking = Looking { queue: &names.dead, publisher };
    let channel = looking.asked(connection.create_channel()).await?;
    let mut wanted = Vec::new();
    let mut first = None;
    let mut given_back = Vec::new();
    let mut left = None;
    while left != Some(0) {
        let get = channel.basic_get(names.dead.as_str().into(), BasicGetOptions::default());
        let Some(got) = looking.asked(get).await? else { break };
        let tag = got.delivery.delivery_tag;
        // Messages that arrive at the end meanwhile are not read, because they may be our own.
        left = Some(left.map_or(got.message_count, |left: u32| left.saturating_sub(1)));
        let message = message_of(got);
        if is_wanted(&message) {
            wanted.push(tag);
            first.get_or_insert(message);
        } else if deliveries(&message.properties) >= LOOKED_AT_MAX {
            looking.to_the_end(&message).await?;
            looking.asked(channel.basic_ack(tag, BasicAckOptions::default())).await?;
        } else {
            given_back.push(tag);
        }
    }
    for tag in given_back {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        looking.asked(channel.basic_nack(tag, requeue)).await?;
    }
    Ok(first.map(|message| Found { channel, tags: wanted, message }))
}

impl Found {
    /// Acknowledges the messages after they were dealt with, so the queue drops them.
    ///
    /// # Errors
    ///
    /// The broker's; the messages may still be there.
    pub async fn settle(self) -> Result<(), lapin::Error> {
        for tag in self.tags {
            self.channel.basic_ack(tag, BasicAckOptions::default()).await?;
        }
        self.channel.close(200, "settled".into()).await
    }
}

struct Looking<'a> {
    queue: &'a str,
    publisher: &'a dyn Publish,
}

impl Looking<'_> {
    async fn asked<T>(&self, request: impl Future<Output = lapin::Result<T>>) -> Result<T, LookError> {
        answered(request).await.map_err(|error| self.error(error.to_string()))
    }

    async fn to_the_end(&self, message: &Message) -> Result<(), LookError> {
        let afresh = Outgoing {
            exchange: String::new(),
            routing_key: self.queue.to_owned(),
            mandatory: true,
            properties: handed_on_properties(&message.properties),
            body: message.body.clone(),
        };
        match self.publisher.publish(&afresh).await {
            Ok(Routed::ToQueue) => Ok(()),
            Ok(Routed::Nowhere) => Err(self.error("it is gone".to_owned())),
            Err(error) => Err(self.error(error.to_string())),
        }
    }

    fn error(&self, message: String) -> LookError {
        LookError { queue: self.queue.to_owned(), message }
    }
}

fn message_of(got: BasicGetMessage) -> Message {
    let (body, properties) = whole(got.delivery.data, got.delivery.properties);
    Message { body, properties, redelivered: got.delivery.redelivered }
}
