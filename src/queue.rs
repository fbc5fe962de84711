//! RabbitMQ. Jobs come in over one connection; events and dead letters go out over another.
//!
//! There are two connections because a broker under a memory or disk alarm stops reading from connections that
//! publish, and acknowledgements on a shared one would hang. Nothing here reconnects by itself: the owner of a
//! connection builds it anew together with its channels and consumers.

pub mod consume;
pub mod dead;
pub mod fit;
pub mod listen;
pub mod message;
pub mod publish;
mod request;
pub mod rights;
pub mod topology;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use url::Url;

use crate::net::{Server, several, tls};
use crate::secret::Secret;

/// The longest frame that lapin receives and sends, in bytes, unless the URL says otherwise. lapin keeps a buffer of
/// 32 frames for each direction of a connection, so with the broker's own 128 KiB two connections would hold 16 MiB.
/// On the wire the longest frame is still the broker's own, because [`wire`] stands between the two.
const FRAME_MAX: u32 = 16 * 1024;

/// What a person can do where there is no connection to RabbitMQ. Every view says it in these words.
pub const REMEDY: &str = "check amqp.url and the server";

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct Address {
    /// One URL, or the URLs of a cluster's nodes.
    urls: Secret,
    heartbeat: Duration,
    connect_timeout: Duration,
    certificates: tls::Files,
    /// The node that is tried first, another one each time.
    turn: Arc<AtomicUsize>,
    shared: wire::Shared,
}

/// One node, with its URL.
#[derive(Clone)]
struct Node {
    uri: AMQPUri,
    server: Server,
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
    /// Each URL is `amqp://` or `amqps://`; the vhost `""` is read as `/`, as most clients do. Several URLs,
    /// separated by commas, are the nodes of one cluster. `connect_timeout` is for each node.
    ///
    /// # Errors
    ///
    /// A text for people, if one of the URLs is invalid.
    pub fn new(
        urls: impl Into<Secret>,
        heartbeat: Duration,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let urls = urls.into();
        nodes(&urls.now(), heartbeat)?;
        Ok(Self {
            urls,
            heartbeat,
            connect_timeout,
            certificates: tls::Files { section: "amqp", ..tls::Files::default() },
            turn: Arc::default(),
            shared: wire::Shared::default(),
        })
    }

    /// Makes TLS connections trust and present these certificates.
    #[must_use]
    pub fn with_certificates(mut self, certificates: tls::Files) -> Self {
        self.certificates = certificates;
        self
    }

    /// Lets connections by this address bring only one message at a time whose body is longer than `bytes`.
    #[must_use]
    pub fn with_large_messages_apart(mut self, bytes: usize) -> Self {
        self.shared.large = Some(wire::Large::over(bytes));
        self
    }

    /// The messages that connections by this address have brought.
    #[must_use]
    pub fn seen(&self) -> &wire::Seen {
        &self.shared.seen
    }

    pub(crate) fn large(&self) -> Option<&wire::Large> {
        self.shared.large.as_ref()
    }

    /// The longest frame that the broker accepts, as it told the last connection.
    #[must_use]
    pub fn frame_max(&self) -> u32 {
        match self.shared.frame_max.load(Ordering::Relaxed) {
            0 => wire::FRAME_MAX,
            frame_max => frame_max,
        }
    }

    /// Opens one connection, to the first node that accepts it. `purpose` shows in RabbitMQ's list of connections. A
    /// login that comes from a file is read from the file each time.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; after each of them the caller should try again later.
    pub async fn connect(&self, purpose: &str) -> Result<Connection, ConnectError> {
        let mut nodes = nodes(&self.urls.now(), self.heartbeat).map_err(ConnectError::Failed)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let begin = turn % nodes.len().max(1);
        nodes.rotate_left(begin);
        let alone = nodes.len() == 1;
        let mut faults = Vec::new();
        for node in nodes {
            let server = node.server.clone();
            match self.connect_to(node, turn, purpose).await {
                Ok(connection) => return Ok(connection),
                Err(fault) if alone => return Err(fault),
                Err(fault) => faults.push(format!("{server}: {}", fault.reason())),
            }
        }
        Err(ConnectError::Failed(faults.join("; ")))
    }

    async fn connect_to(&self, node: Node, turn: usize, purpose: &str) -> Result<Connection, ConnectError> {
        let name = format!("comet-worker {purpose}");
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let certificates = (node.uri.scheme == AMQPScheme::AMQPS).then_some(&self.certificates);
        let limit = self.connect_timeout;
        let connecting = async {
            let stream = wire::dial(&node.server, certificates, turn).await;
            let stream = stream.map_err(|error| ConnectError::Failed(error.to_string()))?;
            wire::connect(node.uri, properties, stream, self.shared.clone())
                .await
                .map_err(|error| ConnectError::Failed(error.to_string()))
        };
        tokio::time::timeout(limit, Box::pin(connecting)).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }
}

impl ConnectError {
    /// The reason, without the words that there is no connection.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Failed(message) => message.clone(),
            Self::TimedOut(limit) => format!("no answer within {limit:?}"),
        }
    }
}

fn nodes(urls: &str, heartbeat: Duration) -> Result<Vec<Node>, String> {
    several(urls).into_iter().map(|url| node(url, heartbeat)).collect()
}

fn node(url: &str, heartbeat: Duration) -> Result<Node, String> {
    let mut uri: AMQPUri = url.parse()?;
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat = Some(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX));
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    // The library's own parser reads an IPv6 address as no host, and no host as this machine.
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    let server = Server::of(&parsed, uri.authority.port).ok_or("the URL names no host")?;
    Ok(Node { uri, server })
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = nodes(&self.urls.now(), self.heartbeat).unwrap_or_default();
        let shown: Vec<String> =
            nodes.iter().map(|node| format!("{}/{}", node.server, node.uri.vhost)).collect();
        f.write_str(&shown.join(","))
    }
}
