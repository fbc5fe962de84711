//! Passes a callback on to the worker with the job: this process or another one.

use std::sync::Arc;

use async_trait::async_trait;

use super::listener::Tell;
use crate::job::JobId;
use crate::ledger::Ledger;
use crate::ledger::hints::Hints;

/// It uses its own connection, so that many callbacks don't delay the moves of records.
pub struct Relay {
    pub hints: Hints,
    pub ledger: Arc<dyn Ledger>,
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
