//! Looks through the dead-letter queue.
//!
//! AMQP has no way to read a message without taking it, so every message is taken and put back. Brokers count that
//! (RabbitMQ 4 drops a message at its 21st return, unless its queue says otherwise). Our own queue says otherwise:
//! see [`topology`]. In a queue that was declared by others, a message that was read often is
//! republished to the end of the queue instead.

mod letter;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::{Channel, Connection};

use super::consume::Message;
use super::message::{deliveries, handed_on_properties, sent_back_properties, whole};
use super::publish::{Outgoing, Publish, Routed};
use super::request::answered;
use super::topology::{self, Names};

pub use letter::Letter;

/// Well below the broker's own limit of 20.
const LOOKED_AT_MAX: u64 = 10;

/// Why the queue could not be searched. No message is lost by it.
#[derive(Debug, thiserror::Error)]
#[error("the dead-letter queue {queue}: {message}")]
pub struct LookError {
    queue: String,
    message: String,
}

/// A walk through all messages of the queue, from the first to the last that was there when it began. While it goes
/// on, no other reader sees the messages that it has taken. A message that is not settled goes back to its place.
pub struct Letters<'a> {
    channel: Channel,
    queue: String,
    publisher: &'a dyn Publish,
    /// Whether looking costs nothing, however often.
    looks_are_free: bool,
    /// Messages that arrive meanwhile are not read, because they may be our own.
    left: Option<u32>,
    put_back: Vec<u64>,
}

/// A message that the walk has come to. Give it to [`Letters::put_back`] or [`Letters::settle`].
#[derive(Debug)]
pub struct TakenLetter {
    pub message: Message,
    tag: u64,
}

/// Messages of a job that were taken, and that stay in the queue until they are settled.
pub struct Found<'a> {
    letters: Letters<'a>,
    taken: Vec<u64>,
    /// The first of the messages.
    pub message: Message,
}

impl<'a> Letters<'a> {
    /// Begins a walk. `declare` as in `amqp.declare`: without it, nothing is known of the queue's arguments.
    ///
    /// # Errors
    ///
    /// [`LookError`]: the queue is missing, or RabbitMQ didn't answer.
    pub async fn open(
        connection: &Connection,
        publisher: &'a dyn Publish,
        names: &Names,
        declare: bool,
    ) -> Result<Self, LookError> {
        let queue = names.dead.clone();
        let failed = |message: String| LookError { queue: names.dead.clone(), message };
        let looks_are_free = declare && topology::dead_is_as_declared(connection, names).await;
        let channel =
            answered(connection.create_channel()).await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { channel, queue, publisher, looks_are_free, left: None, put_back: Vec::new() })
    }

    /// Takes the next message; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`LookError`].
    pub async fn next(&mut self) -> Result<Option<TakenLetter>, LookError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let get = self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        let Some(got) = self.asked(get).await? else { return Ok(None) };
        self.left = Some(self.left.map_or(got.message_count, |left| left.saturating_sub(1)));
        let tag = got.delivery.delivery_tag;
        Ok(Some(TakenLetter { message: message_of(got), tag }))
    }

    /// Leaves the message in the queue.
    ///
    /// # Errors
    ///
    /// [`LookError`].
    pub async fn put_back(&mut self, taken: TakenLetter) -> Result<(), LookError> {
        if self.looks_are_free || deliveries(&taken.message.properties) < LOOKED_AT_MAX {
            self.put_back.push(taken.tag);
            return Ok(());
        }
        self.to_the_end(&taken.message).await?;
        self.settle(taken).await
    }

    /// Drops the message from the queue, after it was dealt with. It is gone for certain after [`Self::close`].
    ///
    /// # Errors
    ///
    /// [`LookError`]; the message may still be there.
    pub async fn settle(&self, taken: TakenLetter) -> Result<(), LookError> {
        self.settle_tag(taken.tag).await
    }

    async fn settle_tag(&self, tag: u64) -> Result<(), LookError> {
        self.asked(self.channel.basic_ack(tag, BasicAckOptions::default())).await.map(drop)
    }

    /// Puts back what was left, in its order, and waits until the broker has done all of it.
    ///
    /// # Errors
    ///
    /// [`LookError`]; RabbitMQ puts the messages back itself when the connection ends.
    pub async fn close(mut self) -> Result<(), LookError> {
        for tag in std::mem::take(&mut self.put_back) {
            let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            self.asked(self.channel.basic_nack(tag, requeue)).await?;
        }
        // The broker answers this after everything that came before it on the channel.
        self.asked(self.channel.close(200, "looked".into())).await
    }

    async fn asked<T>(&self, request: impl Future<Output = lapin::Result<T>>) -> Result<T, LookError> {
        answered(request).await.map_err(|error| self.error(error.to_string()))
    }

    async fn to_the_end(&self, message: &Message) -> Result<(), LookError> {
        let afresh = Outgoing {
            exchange: String::new(),
            routing_key: self.queue.clone(),
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
        LookError { queue: self.queue.clone(), message }
    }
}

/// Searches the queue once for the messages for which `is_wanted` returns true. All others stay where they were.
///
/// # Errors
///
/// [`LookError`]; no message is lost by it.
pub async fn find<'a>(
    connection: &Connection,
    publisher: &'a dyn Publish,
    names: &Names,
    declare: bool,
    is_wanted: impl Fn(&Message) -> bool,
) -> Result<Option<Found<'a>>, LookError> {
    let mut letters = Letters::open(connection, publisher, names, declare).await?;
    let (mut tags, mut first) = (Vec::new(), None);
    while let Some(taken) = letters.next().await? {
        if is_wanted(&taken.message) {
            tags.push(taken.tag);
            first.get_or_insert(taken.message);
        } else {
            letters.put_back(taken).await?;
        }
    }
    match first {
        Some(message) => Ok(Some(Found { letters, taken: tags, message })),
        None => letters.close().await.map(|()| None),
    }
}

impl Found<'_> {
    /// Drops the messages from the queue after they were dealt with.
    ///
    /// # Errors
    ///
    /// [`LookError`]; the messages may still be there.
    pub async fn settle(self) -> Result<(), LookError> {
        for tag in self.taken {
            self.letters.settle_tag(tag).await?;
        }
        self.letters.close().await
    }
}

/// A dead letter as the job that it was, for the jobs' queue.
#[must_use]
pub fn as_job(names: &Names, letter: &Message) -> Outgoing {
    Outgoing {
        exchange: String::new(),
        routing_key: names.jobs.clone(),
        mandatory: true,
        properties: sent_back_properties(&letter.properties),
        body: letter.body.clone(),
    }
}

fn message_of(got: BasicGetMessage) -> Message {
    let (body, properties) = whole(got.delivery.data, got.delivery.properties);
    Message { body, properties, redelivered: got.delivery.redelivered }
}
