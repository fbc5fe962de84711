//! Where Redis is, as `redis.url` says: one server, the nodes of a cluster, or the server that sentinels name.
//!
//! All keys share one hash tag, so one node of a cluster has all of them. The other nodes name it (`MOVED`), and it
//! is then tried first. Login and certificates are read for each connection: a password that changes in its file is
//! used from the next connection on.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, IntoConnectionInfo, RedisConnectionInfo, RedisResult};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::greeting::greet;
use crate::net::{Sentinels, Server, Stream, several, tcp, tls};
use crate::secret::Secret;

const PORT: u16 = 6379;

/// How to reach Redis.
pub struct Endpoint {
    urls: Secret,
    /// The time for one way to a server, with its login and first answers.
    limit: Duration,
    certificates: tls::Files,
    /// Which node is tried first; it changes with each connection.
    turn: AtomicUsize,
    /// The node with the keys, if another node has named it.
    moved: Mutex<Option<Server>>,
    /// The node of the last connection.
    connected: Mutex<Option<Server>>,
}

enum Plan {
    Nodes(Vec<Node>),
    Sentinels(Box<Sentinels>),
}

#[derive(Clone)]
struct Node {
    at: At,
    tls: bool,
    login: RedisConnectionInfo,
}

#[derive(Clone)]
enum At {
    Server(Server),
    Socket(PathBuf),
}

/// A connection that has been greeted, and its login.
struct Opened {
    stream: Stream,
    login: RedisConnectionInfo,
}

impl Endpoint {
    /// `urls` is the value of `redis.url`.
    ///
    /// # Errors
    ///
    /// Why the URLs can't be used, for a person.
    pub fn new(urls: impl Into<Secret>, limit: Duration) -> Result<Self, String> {
        let urls = urls.into();
        plan(&urls.now())?;
        let certificates = tls::Files { section: "redis", ..tls::Files::default() };
        Ok(Self {
            urls,
            limit,
            certificates,
            turn: AtomicUsize::new(0),
            moved: Mutex::default(),
            connected: Mutex::default(),
        })
    }

    /// Sets the certificates that connections by TLS trust and present.
    #[must_use]
    pub fn with_certificates(self, certificates: tls::Files) -> Self {
        Self { certificates, ..self }
    }

    /// Opens a connection for commands. An answer that takes longer than the limit is an error.
    ///
    /// # Errors
    ///
    /// The answer of each server, or why it was not reached.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        match plan(&self.urls.now()).map_err(io::Error::other)? {
            Plan::Nodes(nodes) => {
                self.first_of(self.in_turn(nodes), |node| self.connect_to(node).boxed()).await
            }
            Plan::Sentinels(sentinels) => Box::pin(self.by_sentinels(&sentinels)).await,
        }
    }

    /// Opens a connection to listen on.
    ///
    /// # Errors
    ///
    /// The same as in [`Self::connect`].
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        match plan(&self.urls.now()).map_err(io::Error::other)? {
            Plan::Nodes(nodes) => {
                self.first_of(self.in_turn(nodes), |node| self.listen_to(node).boxed()).await
            }
            Plan::Sentinels(sentinels) => {
                let node = Box::pin(self.found_by(&sentinels)).await?;
                self.listen_to(node).await
            }
        }
    }

    /// Opens a connection to the node that another node has named for a single command (`ASK`).
    ///
    /// # Errors
    ///
    /// The same as in [`Self::connect`].
    pub(super) async fn connect_once(&self, to: &str) -> RedisResult<MultiplexedConnection> {
        let Plan::Nodes(nodes) = plan(&self.urls.now()).map_err(io::Error::other)? else {
            return Err(io::Error::other("sentinels lead to no cluster").into());
        };
        let (Some(server), Some(node)) = (self.server(to), nodes.into_iter().next()) else {
            return Err(io::Error::other(format!("{to} is no address of a node")).into());
        };
        self.connect_to(Node { at: At::Server(server), ..node }).await
    }

    /// Records that the node at `to` has the keys (`host:port`; without a host, it is on the host of the answering
    /// node).
    pub(super) fn moved_to(&self, to: &str) {
        let server = self.server(to);
        if let Some(server) = &server {
            tracing::info!("Redis: the keys are at {server}");
        }
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    fn server(&self, to: &str) -> Option<Server> {
        redirected(to, self.connected.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// The node with the keys first, and then the others; each connection begins with another one of them.
    fn in_turn(&self, mut nodes: Vec<Node>) -> Vec<Node> {
        let begin = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.rotate_left(begin);
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let (Some(server), Some(any)) = (moved, nodes.first().cloned()) {
            nodes.insert(0, Node { at: At::Server(server), ..any });
        }
        nodes
    }

    async fn first_of<'a, T>(
        &self,
        nodes: Vec<Node>,
        open: impl Fn(Node) -> BoxFuture<'a, RedisResult<T>>,
    ) -> RedisResult<T> {
        let mut faults = Vec::new();
        let alone = nodes.len() == 1;
        for node in nodes {
            let name = node.at.to_string();
            match open(node).await {
                Ok(opened) => return Ok(opened),
                Err(error) if alone => return Err(error),
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        // The node that the keys moved to may be gone for good.
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Err(io::Error::other(faults.join("; ")).into())
    }

    async fn connect_to(&self, node: Node) -> RedisResult<MultiplexedConnection> {
        self.within(&node.at.to_string(), async {
            let server = match &node.at {
                At::Server(server) => Some(server.clone()),
                At::Socket(_) => None,
            };
            let Opened { stream, login } = self.open(node).await?;
            *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = server;
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.limit));
            let setting_up = MultiplexedConnection::new_with_config(&login, stream, config);
            let (connection, driver) = Box::pin(setting_up).await?;
            // The task ends with the connection.
            tokio::spawn(driver);
            Ok(connection)
        })
        .await
    }

    async fn listen_to(&self, node: Node) -> RedisResult<PubSub> {
        self.within(&node.at.to_string(), async {
            let Opened { stream, login } = self.open(node).await?;
            Box::pin(PubSub::new(&login, stream)).await
        })
        .await
    }

    async fn within<T>(&self, at: &str, opening: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        match timeout(self.limit, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                let words = format!("no answer from {at} within {:?}", self.limit);
                Err(io::Error::new(io::ErrorKind::TimedOut, words).into())
            }
        }
    }

    async fn open(&self, node: Node) -> RedisResult<Opened> {
        let turn = self.turn.load(Ordering::Relaxed);
        let mut stream = match &node.at {
            At::Socket(path) => Stream::Unix(UnixStream::connect(path).await?),
            At::Server(server) => {
                let tcp = tcp(server, turn).await?;
                if node.tls {
                    Stream::Tls(Box::new(self.certificates.over(tcp, &server.host).await?))
                } else {
                    Stream::Tcp(tcp)
                }
            }
        };
        greet(&mut stream).await?;
        Ok(Opened { stream, login: node.login })
    }

    async fn by_sentinels(&self, sentinels: &Sentinels) -> RedisResult<MultiplexedConnection> {
        let node = self.found_by(sentinels).await?;
        let name = node.at.to_string();
        let mut connection = self.connect_to(node).await?;
        // A primary that was just replaced still answers for a while.
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        let is_primary = matches!(role.first(), Some(redis::Value::BulkString(word)) if word == b"master");
        if is_primary {
            Ok(connection)
        } else {
            let name_of = &sentinels.name;
            Err(io::Error::other(format!("the sentinels say that {name} is {name_of}, and it is a replica"))
                .into())
        }
    }

    /// Returns the server that the first sentinel that knows it names.
    async fn found_by(&self, sentinels: &Sentinels) -> RedisResult<Node> {
        let (own_login, login) = (login(sentinels.own_login.as_str()), login(sentinels.login.as_str()));
        let (own_login, login) = (own_login.map_err(io::Error::other)?, login.map_err(io::Error::other)?);
        let tls = sentinels.tls;
        let at = |server: &Server| Node { at: At::Server(server.clone()), tls, login: own_login.clone() };
        let mut asked: Vec<Node> = sentinels.servers.iter().map(at).collect();
        let begin = self.turn.fetch_add(1, Ordering::Relaxed) % asked.len().max(1);
        asked.rotate_left(begin);
        let found = self.first_of(asked, |node| self.ask_sentinel(node, &sentinels.name).boxed());
        Ok(Node { at: At::Server(found.await?), tls, login })
    }

    async fn ask_sentinel(&self, sentinel: Node, name: &str) -> RedisResult<Server> {
        let mut sentinel = self.connect_to(sentinel).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let address: Option<(String, u16)> = ask.query_async(&mut sentinel).await?;
        let (host, port) = address.ok_or_else(|| {
            io::Error::other(format!("it knows no {name}: look at the name behind # in redis.url"))
        })?;
        Ok(Server { host, port })
    }
}

/// The target of a redirection to `host:port`; without a host, it is on the host of the answering node.
fn redirected(to: &str, said_by: Option<&Server>) -> Option<Server> {
    let server = Server::parse(to)?;
    if server.host.is_empty() { Some(Server { host: said_by?.host.clone(), ..server }) } else { Some(server) }
}

fn plan(urls: &str) -> Result<Plan, String> {
    if urls.starts_with("redis-sentinel://") || urls.starts_with("rediss-sentinel://") {
        return Sentinels::parse(urls).map(Box::new).map(Plan::Sentinels);
    }
    several(urls).into_iter().map(node).collect::<Result<_, _>>().map(Plan::Nodes)
}

fn node(url: &str) -> Result<Node, String> {
    let parsed = redis::parse_redis_url(url).ok_or("it is no URL of a Redis")?;
    let tls = matches!(parsed.scheme(), "rediss" | "valkeys");
    if tls && parsed.fragment().is_some() {
        return Err(
            "TLS is never without a look at the certificate: leave out what stands behind #".to_owned()
        );
    }
    if parsed.scheme().contains("unix") || parsed.scheme() == "file" {
        let path = parsed.to_file_path().unwrap_or_else(|()| PathBuf::from(parsed.path()));
        return Ok(Node { at: At::Socket(path), tls: false, login: login(url)? });
    }
    let server = Server::of(&parsed, PORT).ok_or("it names no host")?;
    // The part after the scheme is the same with and without TLS.
    let (_, rest) = url.split_once("://").ok_or("it is no URL")?;
    Ok(Node { at: At::Server(server), tls, login: login(&format!("redis://{rest}"))? })
}

/// User, password, database and protocol.
fn login(url: &str) -> Result<RedisConnectionInfo, String> {
    url.into_connection_info().map(|info| info.redis_settings().clone()).map_err(|error| error.to_string())
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_without_a_host_leads_to_the_host_that_says_so() {
        let said_by = Server { host: "node-2".to_owned(), port: 6379 };
        let shown = |to: &str, by: Option<&Server>| redirected(to, by).map(|server| server.to_string());
        assert_eq!(shown(":7000", Some(&said_by)).as_deref(), Some("node-2:7000"));
        assert_eq!(shown("10.0.0.3:7000", Some(&said_by)).as_deref(), Some("10.0.0.3:7000"));
        assert_eq!(shown(":7000", None), None);
        assert_eq!(shown("?", Some(&said_by)), None);
    }
}
