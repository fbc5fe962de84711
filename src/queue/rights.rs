//! Checks that the user of `amqp.url` may do what `run` does: publish to the exchange and to the default exchange,
//! and consume.
//!
//! RabbitMQ checks the right to write when a message is published, also within a transaction. So a transaction that
//! is rolled back tries the right and leaves no message behind.

use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ErrorKind};

use super::request::{Reply, RequestError, answered};
use super::topology::Names;

const TRIES: u32 = 10;

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// `write` or `read`, as `rabbitmqctl set_permissions` calls it.
    pub right: &'static str,
    /// `amq.default`, `exchange comet.events`, `queue comet.jobs`
    pub resource: String,
    /// What the worker can't do without it.
    pub consequence: &'static str,
}

/// Tries each right whose resource exists.
///
/// # Errors
///
/// RabbitMQ's answer, if it is not that the right is missing.
pub async fn missing(connection: &Connection, names: &Names) -> Result<Vec<MissingRight>, String> {
    let mut missing = Vec::new();
    if !may(connection, |channel| publish_nothing(channel, "")).await? {
        missing.push(MissingRight {
            right: "write",
            resource: "amq.default".to_owned(),
            consequence: "dead letters, unrouted events and copies to reply_to can't be published to their queues",
        });
    }
    if !may(connection, |channel| publish_nothing(channel, &names.events)).await? {
        missing.push(MissingRight {
            right: "write",
            resource: format!("exchange {}", names.events),
            consequence: "no job's end can be told",
        });
    }
    if !may(connection, |channel| consume_nothing(channel, &names.jobs)).await? {
        missing.push(MissingRight {
            right: "read",
            resource: format!("queue {}", names.jobs),
            consequence: "no job can be taken",
        });
    }
    Ok(missing)
}

/// Tries the act on a channel of its own, because a refusal closes the channel. Also returns true if the resource
/// doesn't exist.
///
/// A refusal that comes between two steps of the act leaves only "the channel is closing", without the broker's
/// reason. The next try most likely returns the reason.
async fn may<F>(connection: &Connection, act: impl Fn(Channel) -> F) -> Result<bool, String>
where
    F: Future<Output = lapin::Result<()>>,
{
    let mut tries = 1;
    loop {
        let acting = async {
            let channel = connection.create_channel().await?;
            act(channel.clone()).await?;
            let _ = channel.close(200, "tried".into()).await;
            Ok::<_, lapin::Error>(())
        };
        let Err(error) = answered(acting).await else { return Ok(true) };
        match error.reply() {
            Some(Reply::AccessRefused) => return Ok(false),
            Some(Reply::NotFound) => return Ok(true),
            None if tries < TRIES && is_closing(&error) => tries += 1,
            Some(Reply::PreconditionFailed) | None => return Err(error.to_string()),
        }
    }
}

fn is_closing(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused(error) if matches!(error.kind(), ErrorKind::InvalidChannelState(..)))
}

fn publish_nothing(channel: Channel, exchange: &str) -> impl Future<Output = lapin::Result<()>> {
    let exchange = exchange.to_owned();
    async move {
        channel.tx_select().await?;
        let options = BasicPublishOptions::default();
        let key = "comet-worker.check".into();
        channel.basic_publish(exchange.into(), key, options, b"", BasicProperties::default()).await?;
        channel.tx_rollback().await
    }
}

/// Consumes with the lowest priority, so that the broker gives messages to the workers first; a message that still
/// comes is requeued.
fn consume_nothing(channel: Channel, queue: &str) -> impl Future<Output = lapin::Result<()>> {
    let queue = queue.to_owned();
    async move {
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongInt(-100));
        let consumer =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments).await?;
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        let all = BasicNackOptions { multiple: true, requeue: true };
        channel.basic_nack(0, all).await
    }
}
