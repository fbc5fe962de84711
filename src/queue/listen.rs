//! Listens to events, for the tools around the worker, on a queue that belongs to this process and disappears with
//! it. Events that arrive while no tool listens are missed, but no job depends on them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::message::whole;
use super::request::{Reply, answered};
use super::{Address, ConnectError};

/// How many events the broker sends before they are acknowledged. Together with the channel behind it, this bounds
/// what is held here.
const PREFETCH: u16 = 64;
/// A reader that can't keep up (a stopped terminal) loses the oldest events beyond this many, so that it doesn't fill
/// the broker.
const WATCHED_MAX: i64 = 10_000;
/// How often a silent connection is checked.
const TICK: Duration = Duration::from_secs(1);

/// Events as they come, until the connection ends.
pub struct Listener {
    events: mpsc::Receiver<Result<Bytes, ListenError>>,
    queue: String,
}

/// Why no more events arrive.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The exchange doesn't exist, and waiting alone won't help.
    #[error("RabbitMQ has no exchange {0}")]
    NoExchange(String),
    /// The connection ended, or RabbitMQ refused. Connect again; the events of the time between are missed.
    #[error("{0}")]
    Broken(String),
}

impl Listener {
    /// Listens on a queue that can be named as `reply_to`: see [`Self::queue`].
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn replies(address: &Address) -> Result<Self, ListenError> {
        let (connection, channel) = open(address, "replies").await?;
        // The queue is not bounded: it gets one event per job that the caller sends.
        let queue = own_queue(&channel, FieldTable::default()).await?;
        Self::start(connection, channel, queue).await
    }

    /// Listens to every event about a job on the exchange `exchange`.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn events(address: &Address, exchange: &str) -> Result<Self, ListenError> {
        let (connection, channel) = open(address, "watch").await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(WATCHED_MAX));
        let queue = own_queue(&channel, arguments).await?;
        let binding = channel.queue_bind(
            queue.as_str().into(),
            exchange.into(),
            "job.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        answered(binding).await.map_err(|error| match error.reply() {
            Some(Reply::NotFound) => ListenError::NoExchange(exchange.to_owned()),
            Some(_) | None => ListenError::Broken(format!("binding the queue: {error}")),
        })?;
        Self::start(connection, channel, queue).await
    }

    /// The broker's name for this listener's queue.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Returns the next event's bytes. The future may be dropped and called again without missing an event.
    ///
    /// # Errors
    ///
    /// Once, when the connection has ended; after that it never returns.
    pub async fn next(&mut self) -> Result<Bytes, ListenError> {
        let ended = || Err(ListenError::Broken("the connection to RabbitMQ has ended".to_owned()));
        self.events.recv().await.unwrap_or_else(ended)
    }

    async fn start(connection: Connection, channel: Channel, queue: String) -> Result<Self, ListenError> {
        asked("setting the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let consumer = asked("consuming", consuming).await?;
        let (into, events) = mpsc::channel(1);
        tokio::spawn(forward(connection, consumer, into));
        Ok(Self { events, queue })
    }
}

/// Passes events from the broker to the listener. It ends with the connection or with the listener, and closes the
/// connection.
async fn forward(
    connection: Connection,
    mut consumer: Consumer,
    into: mpsc::Sender<Result<Bytes, ListenError>>,
) {
    let end = loop {
        let next = tokio::select! {
            () = into.closed() => break None,
            next = timeout(TICK, consumer.next()) => next,
        };
        match next {
            Err(_) if connection.status().connected() => {}
            Err(_) => break Some("the connection to RabbitMQ was lost".to_owned()),
            Ok(Some(Ok(Delivery { data, properties, acker, .. }))) => {
                let (body, _) = whole(data, properties);
                if into.send(Ok(body)).await.is_err() {
                    break None;
                }
                // A lost acknowledgement means a lost connection, which the next turn of the loop sees.
                let _ = acker.ack(BasicAckOptions::default()).await;
            }
            Ok(Some(Err(error))) => break Some(format!("the connection to RabbitMQ was lost: {error}")),
            Ok(None) => break Some("RabbitMQ ended the delivery of events".to_owned()),
        }
    };
    if let Some(message) = end {
        let _ = into.send(Err(ListenError::Broken(message))).await;
    }
    let _ = timeout(TICK, connection.close(200, "done".into())).await;
}

async fn open(address: &Address, purpose: &str) -> Result<(Connection, Channel), ListenError> {
    let connection = address.connect(purpose).await?;
    let channel = asked("opening a channel", connection.create_channel()).await?;
    Ok((connection, channel))
}

/// Declares an exclusive queue: no other connection can read or fill it by mistake, and it disappears with the
/// connection.
async fn own_queue(channel: &Channel, arguments: FieldTable) -> Result<String, ListenError> {
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = asked("declaring a queue of our own", channel.queue_declare("".into(), options, arguments));
    Ok(queue.await?.name().as_str().to_owned())
}

async fn asked<T>(what: &str, request: impl Future<Output = lapin::Result<T>>) -> Result<T, ListenError> {
    answered(request).await.map_err(|error| ListenError::Broken(format!("{what}: {error}")))
}
