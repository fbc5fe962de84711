//! How long tasks take, as all workers have seen it.
//!
//! This is not part of any job's record. If it is lost, only more polls are needed; so it is written only from time
//! to time, and a worker that can't reach it continues with what it knows.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::connection::{Connection, evalsha};
use super::{LedgerError, unavailable};
use crate::job::pace::{Durations, Fading};
use crate::job::record::Unreadable;

/// The version that this worker writes and reads.
const VERSION: &str = "1";

/// The durations that workers share. A test double passes the same tests as Redis.
#[async_trait]
pub trait SharedDurations: Send + Sync {
    /// Adds the news about tasks of this model; older knowledge fades as in [`Durations::fold`]. Returns what all
    /// workers know now. Without news it only reads.
    ///
    /// # Errors
    ///
    /// It is unknown whether the news was added, and repeating the call isn't worth it; or the stored data has
    /// another version and was left unchanged.
    async fn learn(&self, model: &str, news: &Durations) -> Result<Durations, LedgerError>;
}

/// The durations in Redis, under `{<prefix>}:durations:<operation>:<model>`.
#[derive(Debug)]
pub struct RedisDurations {
    connection: Connection,
    script: Script,
    prefix: String,
    operation: &'static str,
    remember: Duration,
}

impl RedisDurations {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str, operation: &'static str, remember: Duration) -> Self {
        let script = Script::new(include_str!("durations.lua"));
        Self { connection, script, prefix: prefix.to_owned(), operation, remember }
    }

    #[must_use]
    pub fn key(&self, model: &str) -> String {
        format!("{{{}}}:durations:{}:{model}", self.prefix, self.operation)
    }
}

#[async_trait]
impl SharedDurations for RedisDurations {
    async fn learn(&self, model: &str, news: &Durations) -> Result<Durations, LedgerError> {
        let Fading { kept, scale } = news.fading();
        let remember_ms = self.remember.as_millis().max(1).to_string();
        let bins = news.bins().flat_map(|(bin, weight)| [bin.to_string(), (weight * scale).to_string()]);
        let args: Vec<String> = [remember_ms, kept.to_string()].into_iter().chain(bins).collect();
        let call = evalsha(&self.script, &[&self.key(model)], &args);
        let learning = self.connection.invoke(&self.script, &call);
        let fields: HashMap<String, String> = learning.await.map_err(unavailable)?;
        match fields.get("version").map(String::as_str) {
            None | Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Newer(other.chars().take(20).collect()).into()),
        }
        let bins = fields.iter().filter_map(|(bin, weight)| Some((bin.parse().ok()?, weight.parse().ok()?)));
        Ok(Durations::from_bins(bins))
    }
}
