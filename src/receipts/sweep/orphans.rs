//! Finds paid attempts that nothing goes on with: their receipts are old, and no result was ever sealed.

use object_store::path::Path;
use serde::Serialize;

use super::{Receipt, by_job};
use crate::job::JobId;
use crate::job::event::rfc_3339;
use crate::job::receipt::ReceiptName;
use crate::receipts::Receipts;
use crate::storage::{Storage, StoreError};

/// An attempt of a job without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    pub job_id: JobId,
    /// `None`: it was perhaps posted, and no task is known.
    pub task_id: Option<String>,
    pub external_task_id: Option<String>,
    /// When its last receipt was written, by the store's clock.
    pub since: String,
}

/// The search through all receipts of a store.
#[derive(Debug)]
pub struct Orphans {
    storage: Storage,
    receipts: Receipts,
    before_ms: i64,
}

impl Orphans {
    /// Searches for jobs whose receipts were all written before `before_ms` (Unix milliseconds, by the store's clock).
    #[must_use]
    pub fn new(storage: Storage, before_ms: i64) -> Self {
        Self { receipts: Receipts::new(storage.clone()), storage, before_ms }
    }

    /// The orphans in one folder.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn of(&self, folder: &Path) -> Result<Vec<Orphan>, StoreError> {
        let mut found = Vec::new();
        for (job, receipts) in by_job(&self.storage, folder).await? {
            let Some(since_ms) = self.without_end(&receipts) else { continue };
            let history = self.receipts.history(&job).await?;
            if history.result.is_some() {
                continue;
            }
            // An attempt that was refused or shut, and no other since, cost nothing.
            let Some(open) = history.open_attempt() else { continue };
            found.push(Orphan {
                task_id: open.task.as_ref().map(|task| task.as_str().to_owned()),
                external_task_id: open.intent.as_ref().map(|intent| intent.external_task_id.clone()),
                job_id: job,
                since: rfc_3339(since_ms),
            });
        }
        Ok(found)
    }

    /// When the last receipt was written, if all are old and none is a result.
    fn without_end(&self, receipts: &[Receipt]) -> Option<i64> {
        let has = |name| receipts.iter().any(|receipt| receipt.name == Some(name));
        let last_ms = receipts.iter().map(|receipt| receipt.written_ms).max()?;
        let is_open = has(ReceiptName::Intent(1)) && !has(ReceiptName::Result);
        (is_open && last_ms < self.before_ms).then_some(last_ms)
    }
}
