//! RabbitMQ: jobs come in over one connection, events and dead letters go out over another.
//!
//! Two connections, since a broker under a memory or disk alarm stops reading from those that
//! publish: acks on a shared one would hang. Nothing here reconnects by itself; a connection, its
//! channels and consumers are built anew together by whoever holds them.

pub mod consume;
pub mod dead;
pub mod fit;
pub mod listen;
pub mod message;
pub mod publish;
pub mod rights;
pub mod topology;
pub mod wire;

use std::sync::atomic::Ordering;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

/// The longest frame that lapin gets and sends, in bytes, unless the URL says otherwise. lapin keeps a buffer of 32 frames for each
/// direction of a connection, and by the broker's own 128 KiB two connections come to hold 16 MiB. On the wire the longest frame is
/// the broker's own all the same: [`wire`] stands between the two.
const FRAME_MAX: u32 = 16 * 1024;

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct Address {
    uri: AMQPUri,
    connect_timeout: Duration,
    shared: wire::Shared,
}

/// Why there is no connection, without the password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to RabbitMQ: {0}")]
    Failed(String),
    #[error("no connection to RabbitMQ within {0:?}")]
    TimedOut(Duration),
}

impl Address {
    /// `url` is `amqp://` or `amqps://`; its vhost `""` is read as `/`, as most clients do.
    ///
    /// # Errors
    ///
    /// A text for people, when the URL is none.
    pub fn new(url: &str, heartbeat: Duration, connect_timeout: Duration) -> Result<Self, String> {
        let mut uri: AMQPUri = url.parse()?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat = Some(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX));
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self { uri, connect_timeout, shared: wire::Shared::default() })
    }

    /// Of messages with bodies of more than `bytes`, connections by this address bring one at a time.
    #[must_use]
    pub fn with_large_messages_apart(mut self, bytes: usize) -> Self {
        self.shared.large = Some(wire::Large::over(bytes));
        self
    }

    /// What connections by this address have brought.
    #[must_use]
    pub fn seen(&self) -> &wire::Seen {
        &self.shared.seen
    }

    pub(crate) fn large(&self) -> Option<&wire::Large> {
        self.shared.large.as_ref()
    }

    /// The longest frame that the broker takes, as it said to the last connection.
    #[must_use]
    pub fn frame_max(&self) -> u32 {
        match self.shared.frame_max.load(Ordering::Relaxed) {
            0 => wire::FRAME_MAX,
            frame_max => frame_max,
        }
    }

    /// Opens one connection; `purpose` shows in RabbitMQ's list of connections.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; trying again later is right for each.
    pub async fn connect(&self, purpose: &str) -> Result<Connection, ConnectError> {
        let name = format!("comet-worker {purpose}");
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = wire::connect(self.uri.clone(), properties, self.shared.clone());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
            Err(_) => Err(ConnectError::TimedOut(self.connect_timeout)),
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }
}
