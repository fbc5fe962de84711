//! Takes jobs over one channel with one consumer that can be stopped and started, and settles its deliveries.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel, Connection, Consumer};
use tokio::time::timeout;

use super::message;
use super::request::{ANSWER_LIMIT, answered};
use super::wire::{Large, LargeMessagePermit};

/// The pause before a withheld message is requeued: RabbitMQ 4 itself moves a message that was requeued twenty times
/// to the dead-letter queue.
const WITHHELD_PAUSE: Duration = Duration::from_secs(20);

/// A job's message, as it came in.
#[derive(Debug, Clone)]
pub struct Message {
    pub body: Bytes,
    pub properties: BasicProperties,
    /// The broker says that it was sent to a consumer before.
    pub redelivered: bool,
}

impl Message {
    /// Whether no consumer has had this message before, as far as the message shows.
    #[must_use]
    pub fn is_first_delivery(&self) -> bool {
        let Self { properties, redelivered, .. } = self;
        !redelivered && message::deliveries(properties) == 0 && message::handed_on(properties) == 0
    }
}

/// A message, and the way to settle its delivery.
pub struct Incoming {
    pub message: Box<Message>,
    pub settle: Box<dyn Settle>,
}

/// Ends a delivery. Neither method says whether the broker received the answer, because AMQP has no reply to it. A
/// lost answer causes a redelivery, and then the record says that nothing is left to do.
#[async_trait]
pub trait Settle: Send + Sync {
    async fn ack(&self);
    /// Puts the message back into the queue, for any worker.
    async fn requeue(&self);
}

/// The consuming side of one connection.
pub struct JobConsumer {
    channel: Channel,
    consumer: Option<Consumer>,
    queue: String,
    large: Option<Large>,
}

/// The connection or the channel is gone, or RabbitMQ refused. Build everything anew.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConsumeError(String);

impl JobConsumer {
    /// # Errors
    ///
    /// [`ConsumeError`].
    pub async fn open(
        connection: &Connection,
        queue: &str,
        large: Option<&Large>,
    ) -> Result<Self, ConsumeError> {
        let channel = asked("opening a channel", connection.create_channel()).await?;
        Ok(Self { channel, consumer: None, queue: queue.to_owned(), large: large.cloned() })
    }

    /// Begins to take up to `prefetch` deliveries at a time.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`].
    pub async fn start(&mut self, prefetch: u16) -> Result<(), ConsumeError> {
        self.stop().await?;
        asked("setting the prefetch", self.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consuming = self.channel.basic_consume(
            self.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        self.consumer = Some(asked("consuming", consuming).await?);
        Ok(())
    }

    /// Stops taking deliveries; what was sent and not yet read goes back to the queue.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`].
    pub async fn stop(&mut self) -> Result<(), ConsumeError> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(()) };
        let cancelling = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        asked("cancelling the consumer", cancelling).await?;
        let rest = async {
            while let Some(Ok(delivery)) = consumer.next().await {
                let (body, _) = message::whole(delivery.data, delivery.properties);
                let _place = self.large.as_ref().and_then(|large| large.claim(body.len()));
                Settling { acker: delivery.acker, _place }.requeue().await;
            }
        };
        // After a cancel the stream ends. If it doesn't, the broker keeps the rest until the channel closes.
        let _ = timeout(ANSWER_LIMIT, rest).await;
        Ok(())
    }

    /// Returns the next delivery; never returns while stopped.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`] when the stream has ended, with an error or without one (the broker cancels a consumer whose
    /// queue is deleted).
    pub async fn next(&mut self) -> Result<Incoming, ConsumeError> {
        let Some(consumer) = &mut self.consumer else { return std::future::pending().await };
        match next_whole(consumer).await {
            Some(Ok(Delivery { data, properties, acker, redelivered, .. })) => {
                let (body, properties) = message::whole(data, properties);
                let message = Box::new(Message { body, properties, redelivered });
                let _place = self.large.as_ref().and_then(|large| large.claim(message.body.len()));
                Ok(Incoming { message, settle: Box::new(Settling { acker, _place }) })
            }
            Some(Err(error)) => Err(ConsumeError(error.to_string())),
            None => Err(ConsumeError("RabbitMQ cancelled the consumer (was the queue deleted?)".to_owned())),
        }
    }

    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.channel.status().connected()
    }
}

/// Returns the next delivery that has its body. A delivery without its body goes back to the queue after a while, and
/// counts as held until then.
async fn next_whole(consumer: &mut Consumer) -> Option<lapin::Result<Delivery>> {
    loop {
        let next = consumer.next().await;
        match next {
            Some(Ok(delivery)) if message::is_withheld(&delivery.properties) => {
                tracing::debug!("a message longer than amqp.max_message_bytes waits for the one before it");
                let settling = Settling { acker: delivery.acker, _place: None };
                tokio::spawn(async move {
                    tokio::time::sleep(WITHHELD_PAUSE).await;
                    settling.requeue().await;
                });
            }
            Some(_) | None => return next,
        }
    }
}

struct Settling {
    acker: Acker,
    /// Held for as long as the message may be.
    _place: Option<LargeMessagePermit>,
}

#[async_trait]
impl Settle for Settling {
    async fn ack(&self) {
        if !matches!(self.acker.ack(BasicAckOptions::default()).await, Ok(true)) {
            tracing::debug!("an ack was lost with its channel; the job comes again and is told again");
        }
    }

    async fn requeue(&self) {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        // On a dead channel there is nothing to do, because the broker has requeued the message itself.
        let _ = self.acker.nack(requeue).await;
    }
}

async fn asked<T>(what: &str, request: impl Future<Output = lapin::Result<T>>) -> Result<T, ConsumeError> {
    answered(request).await.map_err(|error| ConsumeError(format!("{what}: {error}")))
}
