//! How long tasks take, as all workers have seen it.
//!
//! This is not part of any job's record. If it is lost, only more polls are needed; so it is written only from time
//! to time, and a worker that can't reach it continues with what it knows.

use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::connection::{Connection, evalsha};
use super::{LedgerError, unavailable};
use crate::job::pace::{Durations, REMEMBERED};

/// The durations that workers share. A test double passes the same tests as Redis.
#[async_trait]
pub trait SharedDurations: Send + Sync {
    /// Adds the news about tasks of this kind, `<route>:<model>`; the oldest durations beyond [`REMEMBERED`] are forgotten. Returns what
    /// all workers know now. Without news it only reads.
    ///
    /// # Errors
    ///
    /// It is unknown whether the news was added, and repeating the call isn't worth it.
    async fn learn(&self, kind: &str, news: &Durations) -> Result<Durations, LedgerError>;
}

/// The durations in Redis, under `{<prefix>}:durations:1:<route>:<model>`. The number is the version: another form
/// of the data gets another key.
#[derive(Debug)]
pub struct RedisDurations {
    connection: Connection,
    script: Script,
    prefix: String,
    remember: Duration,
}

impl RedisDurations {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str, remember: Duration) -> Self {
        let script = Script::new(include_str!("durations.lua"));
        Self { connection, script, prefix: prefix.to_owned(), remember }
    }

    #[must_use]
    pub fn key(&self, kind: &str) -> String {
        format!("{{{}}}:durations:1:{kind}", self.prefix)
    }
}

#[async_trait]
impl SharedDurations for RedisDurations {
    async fn learn(&self, kind: &str, news: &Durations) -> Result<Durations, LedgerError> {
        let remember_ms = self.remember.as_millis().max(1).to_string();
        let bounds = [remember_ms, REMEMBERED.to_string()];
        let args: Vec<String> =
            bounds.into_iter().chain(news.iter().map(|took_ms| took_ms.to_string())).collect();
        let call = evalsha(&self.script, &[&self.key(kind)], &args);
        let durations: Vec<String> =
            self.connection.invoke(&self.script, &call).await.map_err(unavailable)?;
        Ok(durations.iter().filter_map(|took_ms| took_ms.parse().ok()).collect())
    }
}
