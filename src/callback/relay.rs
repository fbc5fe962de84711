//! From a hit to whoever holds the job, in this process or another.

use async_trait::async_trait;

use super::listener::Tell;
use crate::job::JobId;
use crate::ledger::RedisLedger;
use crate::ledger::hints::Hints;

/// Over a connection of its own: a storm of hits delays no move of a record.
pub struct Relay {
    pub hints: Hints,
    pub ledger: RedisLedger,
}

#[async_trait]
impl Tell for Relay {
    async fn tell(&self, job: &JobId) -> Result<(), String> {
        if self.hints.poll(job.as_str()) {
            return Ok(());
        }
        self.ledger.hint_poll(job).await.map_err(|error| error.to_string())
    }
}
