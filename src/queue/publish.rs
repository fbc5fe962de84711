//! Publishes with confirms, over a pool of channels with one outstanding publish each.
//!
//! There is only one, because lapin 4.12.3 attaches a returned message to whichever confirm comes next on the
//! channel. After a timeout the channel is closed, and what still arrives on it is ignored.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::fit::fitted;
use super::request::{Reply, reply};
use super::topology::{self, Names};
use super::{Address, ConnectError};
use crate::metrics::{Metrics, Service};

/// One message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// `""` is the default exchange: the routing key is the name of a queue.
    pub exchange: String,
    pub routing_key: String,
    /// An unroutable message comes back as [`Routed::Nowhere`], instead of being dropped silently.
    pub mandatory: bool,
    pub properties: BasicProperties,
    pub body: Bytes,
}

/// The result of a confirmed publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// At least one queue has it, or it wasn't mandatory.
    ToQueue,
    /// It was mandatory, and no queue took it.
    Nowhere,
}

/// The broker didn't confirm. Whether it has the message is unknown, so publish it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("RabbitMQ did not take the message: {0}")]
    Failed(String),
    /// A queue that the message is routed to refuses it (`basic.nack`). The other queues have it, and get a copy with
    /// each repetition.
    #[error("a queue behind exchange {0:?} refuses the message")]
    Refused(String),
    /// The user of `amqp.url` may not write to this exchange; `""` is the default one.
    #[error("there is no right to publish to exchange {0:?}")]
    Forbidden(String),
    /// The exchange was deleted. Call [`Publish::restore`] first.
    #[error("there is no exchange {0}")]
    NoExchange(String),
    #[error("RabbitMQ did not confirm within {0:?} (a memory or disk alarm holds publishers up)")]
    NotConfirmed(Duration),
}

/// What a job's life needs from the broker to publish the job's end.
#[async_trait]
pub trait Publish: Send + Sync {
    /// # Errors
    ///
    /// [`PublishError`]: publish the same message again.
    async fn publish(&self, message: &Outgoing) -> Result<Routed, PublishError>;

    /// Declares the exchange and the queues again if they were deleted, unless that is the operator's task.
    async fn restore(&self);
}

/// The confirm channels.
#[derive(Debug)]
pub struct Publisher {
    address: Address,
    confirm_timeout: Duration,
    places: Semaphore,
    idle: Mutex<Vec<Channel>>,
    connection: tokio::sync::Mutex<Link>,
    /// What [`Publish::restore`] declares; `None` if the operator declares it.
    topology: Option<Names>,
    metrics: Metrics,
    /// The publisher for [`DIRECT_REPLY`]; `None` in that publisher itself.
    apart: Option<Box<Publisher>>,
}

/// The broker makes up names with this prefix for a client's channel. If a producer makes one up, RabbitMQ 3.10
/// answers a publish to it with `INTERNAL_ERROR` and closes the connection. So messages to such names go over a
/// connection that carries nothing else.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";
const APART_CHANNELS: usize = 4;

#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    connected_before: bool,
    /// Until this time a new try would fail as the last one did.
    refused_until: Option<(Instant, ConnectError)>,
}

/// After a failed connect, other tasks don't try for this long.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

impl Publisher {
    async fn publish_over_one(&self, message: &Outgoing) -> Result<Routed, PublishError> {
        let channel = self.channel().await?;
        let result = self.publish_on(&channel, message).await;
        match &result {
            Ok(_) => self.idle().push(channel),
            // What still arrives on this channel belongs to a publish that no task waits for.
            Err(_) => abandon(channel),
        }
        result
    }

    /// Creates the publisher, which connects at the first publish.
    #[must_use]
    pub fn new(
        address: Address,
        channels: usize,
        confirm_timeout: Duration,
        topology: Option<Names>,
        metrics: Metrics,
    ) -> Self {
        let apart = Self::over(address.clone(), APART_CHANNELS, confirm_timeout, Metrics::default());
        Self {
            topology,
            apart: Some(Box::new(apart)),
            ..Self::over(address, channels, confirm_timeout, metrics)
        }
    }

    fn over(address: Address, channels: usize, confirm_timeout: Duration, metrics: Metrics) -> Self {
        Self {
            address,
            confirm_timeout,
            places: Semaphore::new(channels.max(1)),
            idle: Mutex::default(),
            connection: tokio::sync::Mutex::default(),
            topology: None,
            metrics,
            apart: None,
        }
    }

    /// Closes the connection without waiting for publishes under way.
    pub async fn close(&self) {
        if let Some(apart) = &self.apart {
            Box::pin(apart.close()).await;
        }
        self.idle().clear();
        if let Some(connection) = self.connection.lock().await.connection.take() {
            let closing = connection.close(200, "the worker stops".into());
            let _ = timeout(Duration::from_secs(1), closing).await;
        }
    }

    async fn publish_on(&self, channel: &Channel, message: &Outgoing) -> Result<Routed, PublishError> {
        let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
        let sent = channel.basic_publish(
            message.exchange.as_str().into(),
            message.routing_key.as_str().into(),
            options,
            &message.body,
            fitted(message.properties.clone(), self.address.frame_max()),
        );
        let confirmed = async { sent.await?.await };
        match timeout(self.confirm_timeout, confirmed).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(Routed::ToQueue),
            Ok(Ok(Confirmation::Ack(Some(_)))) => Ok(Routed::Nowhere),
            Ok(Ok(Confirmation::Nack(_))) => Err(PublishError::Refused(message.exchange.clone())),
            Ok(Ok(Confirmation::NotRequested)) => Err(PublishError::Failed("no confirm".to_owned())),
            Ok(Err(error)) => Err(match reply(&error) {
                Some(Reply::NotFound) => PublishError::NoExchange(message.exchange.clone()),
                Some(Reply::AccessRefused) => PublishError::Forbidden(message.exchange.clone()),
                Some(_) | None => PublishError::Failed(error.to_string()),
            }),
            Err(_) => Err(PublishError::NotConfirmed(self.confirm_timeout)),
        }
    }

    /// Returns a channel in confirm mode: an idle one, or a new one.
    async fn channel(&self) -> Result<Channel, PublishError> {
        loop {
            let Some(channel) = self.idle().pop() else { break };
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let mut link = self.connection.lock().await;
        let opening = async {
            let channel = self.link(&mut link).await?.create_channel().await.map_err(failed)?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
            Ok(channel)
        };
        let result = match timeout(self.confirm_timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(PublishError::NotConfirmed(self.confirm_timeout)),
        };
        if result.is_err() {
            link.connection = None;
        }
        result
    }

    async fn link<'a>(&self, link: &'a mut Link) -> Result<&'a Connection, PublishError> {
        if let Some(alive) = link.connection.take().filter(|connection| connection.status().connected()) {
            return Ok(link.connection.insert(alive));
        }
        if let Some((until, error)) = &link.refused_until
            && Instant::now() < *until
        {
            return Err(error.clone().into());
        }
        let connection = match self.address.connect("publish").await {
            Ok(connection) => connection,
            Err(error) => {
                link.refused_until = Some((Instant::now() + CONNECT_PAUSE, error.clone()));
                return Err(error.into());
            }
        };
        if link.connected_before {
            self.metrics.reconnected(Service::RabbitMq);
        }
        link.connected_before = true;
        Ok(link.connection.insert(connection))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Publish for Publisher {
    async fn publish(&self, message: &Outgoing) -> Result<Routed, PublishError> {
        if message.exchange.is_empty()
            && message.routing_key.starts_with(DIRECT_REPLY)
            && let Some(apart) = &self.apart
        {
            let publishing = timeout(self.confirm_timeout, apart.publish(message));
            return publishing.await.unwrap_or(Err(PublishError::NotConfirmed(self.confirm_timeout)));
        }
        let place = self.places.acquire().await;
        let begun = Instant::now();
        let result = self.publish_over_one(message).await;
        self.metrics.publish_ended(begun.elapsed(), result.is_err());
        drop(place);
        result
    }

    async fn restore(&self) {
        let Some(names) = &self.topology else { return };
        let mut link = self.connection.lock().await;
        let making = async {
            let connection = self.link(&mut link).await?;
            topology::ensure(connection, names, true)
                .await
                .map_err(|error| PublishError::Failed(error.to_string()))
        };
        if let Err(error) = making.await {
            tracing::debug!("the topology is not restored yet: {error}");
        }
    }
}

/// Closes without waiting, because closing also hangs on a blocked connection.
fn abandon(channel: Channel) {
    tokio::spawn(async move {
        let closing = channel.close(200, "not confirmed in time".into());
        let _ = timeout(Duration::from_secs(5), closing).await;
    });
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn failed(error: lapin::Error) -> PublishError {
    PublishError::Failed(error.to_string())
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}
