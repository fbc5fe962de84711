//! Which dead letters are being replayed, in Redis: noted from before the publish until the letter is gone from its
//! queue, so that a replay that was cut off is finished, and none is sent twice.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::connection::Connection;
use super::{LedgerError, unavailable};

/// For how long a replay that was cut off is remembered.
const REPLAY_NOTED: Duration = Duration::from_secs(24 * 3600);

/// The notes, under `{<prefix>}:replay:<key of the letter>`.
#[derive(Debug)]
pub struct RedisReplays {
    connection: Connection,
    prefix: String,
}

/// What Redis knows of the replay of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayNote {
    /// There was none: it begins now.
    New,
    /// One was begun, and it is unknown whether the message was sent.
    Begun,
    /// The message was sent; only the dead letter is still there.
    Sent,
}

impl RedisReplays {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str) -> Self {
        Self { connection, prefix: prefix.to_owned() }
    }

    /// Notes that a dead letter is about to be replayed, unless a replay of it was noted before. Returns what was noted.
    ///
    /// # Errors
    ///
    /// Redis gave no answer; don't replay it.
    pub async fn begin(&self, letter: &str) -> Result<ReplayNote, LedgerError> {
        let key = self.key(letter);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg("begun").arg("NX").arg("PX").arg(REPLAY_NOTED.as_millis().to_string());
        let set: Option<String> = self.query(&set).await?;
        if set.is_some() {
            return Ok(ReplayNote::New);
        }
        let mut get = redis::cmd("GET");
        get.arg(&key);
        let noted: Option<String> = self.query(&get).await?;
        Ok(if noted.as_deref() == Some("sent") { ReplayNote::Sent } else { ReplayNote::Begun })
    }

    /// Notes that RabbitMQ has confirmed the replayed message.
    ///
    /// # Errors
    ///
    /// Redis gave no answer.
    pub async fn sent(&self, letter: &str) -> Result<(), LedgerError> {
        let mut set = redis::cmd("SET");
        set.arg(self.key(letter)).arg("sent").arg("PX").arg(REPLAY_NOTED.as_millis().to_string());
        self.query::<Value>(&set).await.map(drop)
    }

    /// Forgets the replay of a dead letter that is gone from its queue, or was not sent.
    ///
    /// # Errors
    ///
    /// Redis gave no answer. The note expires by itself.
    pub async fn forget(&self, letter: &str) -> Result<(), LedgerError> {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.key(letter));
        self.query::<Value>(&delete).await.map(drop)
    }

    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LedgerError> {
        self.connection.query(command).await.map_err(unavailable)
    }

    fn key(&self, letter: &str) -> String {
        format!("{{{}}}:replay:{letter}", self.prefix)
    }
}
