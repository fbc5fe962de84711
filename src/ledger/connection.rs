//! One multiplexed connection to Redis, given up and made anew when it can't be trusted.
//!
//! The connection manager of the `redis` crate keeps a connection that times out, and one to a
//! server that became a read-only replica; this one drops both.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script,
    ServerErrorKind, ToRedisArgs,
};
use tokio::sync::Mutex;

/// A timeout may be a slow server; two in a row are a dead connection.
const TIMEOUTS_MAX: u32 = 2;
/// The command, its digest, and the number of its keys.
const EVALSHA_BYTES: usize = 60;

pub struct Connection {
    client: Client,
    response_timeout: Duration,
    current: Mutex<Current>,
    reconnected: Box<dyn Fn() + Send + Sync + 'static>,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections, so that a late failure of an old one doesn't drop its successor.
    number: u64,
    timeouts: u32,
}

impl Connection {
    /// Connects with the first command. `reconnected` is called for every connection but the first.
    ///
    /// # Errors
    ///
    /// When the URL is none that the `redis` crate takes.
    pub fn new(
        url: &str,
        response_timeout: Duration,
        reconnected: impl Fn() + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        Ok(Self {
            client: Client::open(url)?,
            response_timeout,
            current: Mutex::default(),
            reconnected: Box::new(reconnected),
        })
    }

    /// # Errors
    ///
    /// Any error of Redis or of the way to it; whether the command ran is then unknown.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let (mut connection, number) = self.get().await?;
        let result = command.query_async(&mut connection).await;
        self.judge(number, result.as_ref().err()).await;
        result
    }

    /// Makes a call of a script; a server that has forgotten it is given its text first.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn invoke<T: FromRedisValue>(&self, script: &Script, call: &Cmd) -> RedisResult<T> {
        let (mut connection, number) = self.get().await?;
        let mut result = call.query_async(&mut connection).await;
        if result.as_ref().is_err_and(is_forgotten) {
            result = match Box::pin(script.load_async(&mut connection)).await {
                Ok(_) => call.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        self.judge(number, result.as_ref().err()).await;
        result
    }

    async fn get(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.number));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.response_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        if current.number > 0 {
            (self.reconnected)();
        }
        current.number += 1;
        current.timeouts = 0;
        current.connection = Some(connection.clone());
        Ok((connection, current.number))
    }

    async fn judge(&self, number: u64, error: Option<&RedisError>) {
        let Some(error) = error else {
            // Uncontended but for reconnects; the counter matters only after a timeout.
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
        if current.timeouts >= TIMEOUTS_MAX || is_fatal(error) {
            current.connection = None;
        }
    }
}

/// The call of a script by its digest. The crate's own invocation keeps every argument in a vector of its own, and a
/// job has some forty.
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

/// Whether the server at the other end, or the way to it, is not the one to talk to any more.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
fn is_fatal(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading
        ),
        ErrorKind::Io => !error.is_timeout(),
        _ => error.is_unrecoverable_error(),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the client: its URL may hold a password.
        f.debug_struct("Connection").field("response_timeout", &self.response_timeout).finish_non_exhaustive()
    }
}
