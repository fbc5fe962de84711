//! One multiplexed connection to Redis, which is replaced when it can't be trusted.
//!
//! The connection manager of the `redis` crate keeps a connection that times out, or whose server has become a
//! read-only replica; this one drops both. A server may close idle connections, so a call on a broken connection is
//! repeated once on a fresh one. Scripts may run twice.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, ToRedisArgs};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::endpoint::Endpoint;
use crate::net::tls;
use crate::secret::Secret;

/// One timeout may mean a slow server; two in a row mean a dead connection.
const TIMEOUTS_MAX: u32 = 2;
/// The command, the digest of the script, and the number of keys.
const EVALSHA_BYTES: usize = 60;
/// A cluster that redirects a call more often than this can't serve it at present.
const REDIRECTIONS_MAX: u32 = 16;
/// The wait before a call is repeated, if a server answers "try again" while the call's keys move between nodes.
const TRY_AGAIN: Duration = Duration::from_millis(50);

pub struct Connection {
    endpoint: Endpoint,
    current: Mutex<Current>,
    reconnected: Box<dyn Fn() + Send + Sync + 'static>,
    /// Receives how long each call took, and whether it failed.
    measured: Measured,
}

type Measured = Box<dyn Fn(Duration, bool) + Send + Sync>;

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// The number of the connection, so that a late failure of an old one doesn't drop its successor.
    number: u64,
    timeouts: u32,
}

/// A connection for one call.
struct Taken {
    connection: MultiplexedConnection,
    number: u64,
    /// Whether it was made for this call.
    is_fresh: bool,
}

/// How a failed call continues.
enum Next {
    /// The keys have moved to that node for good.
    Moved(String),
    /// Ask that node, for this call only.
    Ask(String),
    TryAgain,
    /// The connection broke, perhaps because it was idle for too long.
    Reconnect,
    GiveUp,
}

impl Connection {
    /// Connects to a `redis.url` with the first command. Neither connecting nor an answer may take longer than
    /// `response_timeout`. `reconnected` is called for every connection but the first.
    ///
    /// # Errors
    ///
    /// The URL can't be used; the message is for a person.
    pub fn new(
        url: impl Into<Secret>,
        response_timeout: Duration,
        reconnected: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Ok(Self {
            endpoint: Endpoint::new(url, response_timeout)?,
            current: Mutex::default(),
            reconnected: Box::new(reconnected),
            measured: Box::new(|_, _| {}),
        })
    }

    /// Sets `measured`, which is called after each call with how long it took and whether it failed.
    #[must_use]
    pub fn measuring(self, measured: impl Fn(Duration, bool) + Send + Sync + 'static) -> Self {
        Self { measured: Box::new(measured), ..self }
    }

    /// Sets the certificates that connections by TLS trust and present.
    #[must_use]
    pub fn with_certificates(self, certificates: tls::Files) -> Self {
        Self { endpoint: self.endpoint.with_certificates(certificates), ..self }
    }

    /// # Errors
    ///
    /// Any error of Redis or of the way to it; it is then unknown whether the command ran.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.call(command, None).await
    }

    /// Calls a script. If the server has forgotten it, its text is sent first.
    ///
    /// # Errors
    ///
    /// The same as in [`Connection::query`].
    pub async fn invoke<T: FromRedisValue>(&self, script: &Script, call: &Cmd) -> RedisResult<T> {
        self.call(call, Some(script)).await
    }

    async fn call<T: FromRedisValue>(&self, call: &Cmd, script: Option<&Script>) -> RedisResult<T> {
        let begun = Instant::now();
        let result = self.called(call, script).await;
        (self.measured)(begun.elapsed(), result.is_err());
        result
    }

    async fn called<T: FromRedisValue>(&self, call: &Cmd, script: Option<&Script>) -> RedisResult<T> {
        let (mut redirections, mut is_repeated) = (0, false);
        loop {
            let Taken { mut connection, number, is_fresh } = self.take().await?;
            let result = once(&mut connection, call, script).await;
            self.judge(number, result.as_ref().err()).await;
            let Err(error) = &result else { return result };
            redirections += 1;
            match next(error) {
                Next::GiveUp => return result,
                Next::Reconnect if is_fresh || is_repeated => return result,
                Next::Reconnect => is_repeated = true,
                _ if redirections > REDIRECTIONS_MAX => return result,
                Next::Moved(to) => {
                    self.endpoint.moved_to(&to);
                    self.drop_connection(number).await;
                }
                Next::Ask(to) => return Box::pin(self.ask(&to, call, script)).await,
                Next::TryAgain => sleep(TRY_AGAIN).await,
            }
        }
    }

    /// Sends only this call to the node that the keys are moving to.
    async fn ask<T: FromRedisValue>(&self, to: &str, call: &Cmd, script: Option<&Script>) -> RedisResult<T> {
        let mut connection = self.endpoint.connect_once(to).await?;
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(call.clone());
        let answer: RedisResult<(T,)> = both.query_async(&mut connection).await;
        let answer = match (answer, script) {
            (Err(error), Some(script)) if is_forgotten(&error) => {
                script.load_async(&mut connection).await?;
                both.query_async(&mut connection).await
            }
            (answer, _) => answer,
        };
        answer.map(|(answer,)| answer)
    }

    async fn take(&self) -> RedisResult<Taken> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok(Taken { connection: connection.clone(), number: current.number, is_fresh: false });
        }
        let connection = Box::pin(self.endpoint.connect()).await?;
        if current.number > 0 {
            (self.reconnected)();
        }
        current.number += 1;
        current.timeouts = 0;
        current.connection = Some(connection.clone());
        Ok(Taken { connection, number: current.number, is_fresh: true })
    }

    async fn drop_connection(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.connection = None;
        }
    }

    async fn judge(&self, number: u64, error: Option<&RedisError>) {
        let Some(error) = error else {
            // The lock is free except during reconnects, and the counter only matters after a timeout.
            if let Ok(mut current) = self.current.try_lock() {
                current.timeouts = 0;
            }
            return;
        };
        let mut current = self.current.lock().await;
        if current.number != number {
            return;
        }
        if error.is_timeout() {
            current.timeouts += 1;
        }
        if current.timeouts >= TIMEOUTS_MAX || is_replaced(error) || is_broken(error) {
            current.connection = None;
        }
    }
}

async fn once<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    call: &Cmd,
    script: Option<&Script>,
) -> RedisResult<T> {
    match (call.query_async(connection).await, script) {
        (Err(error), Some(script)) if is_forgotten(&error) => {
            Box::pin(script.load_async(connection)).await?;
            call.query_async(connection).await
        }
        (result, _) => result,
    }
}

/// Builds the call of a script by its digest. The crate's own invocation allocates a vector for every argument, which
/// would be some forty for a job.
#[must_use]
pub fn evalsha(script: &Script, keys: &[&str], args: &[impl AsRef<[u8]> + ToRedisArgs]) -> Cmd {
    let args_bytes = args.iter().map(|arg| arg.as_ref().len());
    let bytes: usize = keys.iter().map(|key| key.len()).chain(args_bytes).sum();
    let mut call = Cmd::with_capacity(3 + keys.len() + args.len(), EVALSHA_BYTES + bytes);
    call.arg("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
    call
}

fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
fn next(error: &RedisError) -> Next {
    let redirected = || error.redirect_node().map(|(to, _)| to.to_owned());
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => redirected().map_or(Next::GiveUp, Next::Moved),
        ErrorKind::Server(ServerErrorKind::Ask) => redirected().map_or(Next::GiveUp, Next::Ask),
        ErrorKind::Server(ServerErrorKind::TryAgain) => Next::TryAgain,
        _ if is_broken(error) => Next::Reconnect,
        _ => Next::GiveUp,
    }
}

/// Whether the server at the other end can't be used any more.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
fn is_replaced(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
        ),
        _ => false,
    }
}

/// Whether the connection has ended or is out of sync.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
fn is_broken(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(_) => false,
        ErrorKind::Io => !error.is_timeout(),
        _ => error.is_unrecoverable_error(),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client is not shown, since its URL may contain a password.
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
