//! Taking jobs: one channel, one consumer that can be stopped and started, and the settling of what
//! it brought.

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
use super::wire::{Large, LargeMessagePermit};

const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// RabbitMQ 4 moves a message that was given back twenty times to the dead-letter queue itself.
const WITHHELD_PAUSE: Duration = Duration::from_secs(20);

/// A job's message, as it came in.
#[derive(Debug, Clone)]
pub struct Message {
    pub body: Bytes,
    pub properties: BasicProperties,
    /// By the broker's word it was sent to a consumer before.
    pub redelivered: bool,
}

impl Message {
    /// Whether nobody has had this message before, as far as can be seen of it.
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

/// The end of a delivery. Neither answers whether the broker got it: there is no such answer in
/// AMQP. A lost one means a redelivery, and the record says that there is nothing left to do.
#[async_trait]
pub trait Settle: Send + Sync {
    async fn ack(&self);
    /// Back to the queue, for any worker.
    async fn requeue(&self);
}

/// The consuming side of one connection.
pub struct JobConsumer {
    channel: Channel,
    consumer: Option<Consumer>,
    queue: String,
    large: Option<Large>,
}

/// The connection or the channel is gone, or RabbitMQ refused: build everything anew.
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
        let channel = bounded("opening a channel", connection.create_channel()).await?;
        Ok(Self { channel, consumer: None, queue: queue.to_owned(), large: large.cloned() })
    }

    /// Begins to take up to `prefetch` deliveries at a time.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`].
    pub async fn start(&mut self, prefetch: u16) -> Result<(), ConsumeError> {
        self.stop().await?;
        bounded("setting the prefetch", self.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consuming = self.channel.basic_consume(
            self.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        self.consumer = Some(bounded("consuming", consuming).await?);
        Ok(())
    }

    /// Takes no more; what had been sent and not yet looked at goes back.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`].
    pub async fn stop(&mut self) -> Result<(), ConsumeError> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(()) };
        let cancelling = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        bounded("cancelling the consumer", cancelling).await?;
        let rest = async {
            while let Some(Ok(delivery)) = consumer.next().await {
                let (body, _) = message::whole(delivery.data, delivery.properties);
                let _place = self.large.as_ref().and_then(|large| large.claim(body.len()));
                Settling { acker: delivery.acker, _place }.requeue().await;
            }
        };
        // After a cancel the stream ends; should it not, the broker keeps the rest until we go.
        let _ = timeout(REPLY_TIMEOUT, rest).await;
        Ok(())
    }

    /// The next delivery; never, while stopped.
    ///
    /// # Errors
    ///
    /// [`ConsumeError`] when the stream has ended, with an error or without one (the broker cancels a
    /// consumer whose queue is deleted).
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

/// The next delivery that has its body. One that was withheld goes back to the queue after a while; until then it is one of those
/// that are held.
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
        // On a dead channel there is nothing to do: the broker has given it back itself.
        let _ = self.acker.nack(requeue).await;
    }
}

async fn bounded<T>(what: &str, future: impl Future<Output = lapin::Result<T>>) -> Result<T, ConsumeError> {
    match timeout(REPLY_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ConsumeError(format!("{what}: {error}"))),
        Err(_) => Err(ConsumeError(format!("{what}: no answer within {REPLY_TIMEOUT:?}"))),
    }
}
