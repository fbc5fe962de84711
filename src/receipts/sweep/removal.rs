//! The part of the sweep that uses the store.

use futures_util::{StreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Serialize;

use super::{Keep, Look, Receipt, by_job, holds_back, look, written_ms};
use crate::job::JobId;
use crate::job::receipt::ReceiptName;
use crate::storage::{Storage, StoreError, bounded, unless_absent};

/// The number of jobs whose receipts are removed at the same time; those of one job are removed one after the other.
const AT_ONCE: usize = 32;
/// A store with this many failures is down, and each try costs a timeout.
const FAILURES_MAX: u64 = 100;

/// The result of a sweep so far; in a dry run, the result that it would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub removed: Removed,
    pub kept: Kept,
    /// Jobs whose receipts could not be read or removed; some of their receipts may be gone.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub jobs: u64,
    pub receipts: u64,
    /// Objects that interrupted tests of the store have left.
    pub probes: u64,
}

/// Jobs whose receipts are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub young: u64,
    /// Old jobs without a result.
    pub unfinished: u64,
    /// Jobs that ended as `outcome_unknown` and that no person has cleared up.
    pub outcome_unknown: u64,
    /// Jobs with receipts that are unreadable or from a newer worker.
    pub not_understood: u64,
}

/// One sweep over the receipts of a store.
#[derive(Debug)]
pub struct Sweep {
    storage: Storage,
    before_ms: i64,
    dry_run: bool,
    tally: Tally,
}

/// The result for one job's receipts.
enum Done {
    Removed {
        receipts: u64,
    },
    Kept(Keep),
    /// Another sweep has removed them.
    Gone,
}

impl Sweep {
    /// A sweep of receipts that were written before `before_ms` (Unix milliseconds, by the store's clock).
    #[must_use]
    pub fn new(storage: Storage, before_ms: i64, dry_run: bool) -> Self {
        Self { storage, before_ms, dry_run, tally: Tally::default() }
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Removes the objects that tests of the store have left, and returns the folders of receipts, at most 256. The
    /// store's id is beside them and is not touched.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn begin(&mut self) -> Result<Vec<Path>, StoreError> {
        let root = self.storage.key(["receipts"]);
        let listing = self.storage.objects().list_with_delimiter(Some(&root));
        let listed = bounded(&format!("can't list {root}"), listing).await?;
        for object in &listed.objects {
            let is_probe = object.location.filename().is_some_and(|name| name.starts_with("probe-"));
            if is_probe && written_ms(object) < self.before_ms {
                self.remove(&object.location).await?;
                self.tally.removed.probes += 1;
            }
        }
        Ok(listed.common_prefixes.into_iter().filter(super::is_folder).collect())
    }

    /// Sweeps one folder. If it fails for one job, this is logged and counted, and the other jobs continue.
    ///
    /// # Errors
    ///
    /// Those of the store, if the folder can't be listed or after too many failures.
    pub async fn folder(&mut self, folder: &Path) -> Result<(), StoreError> {
        let jobs = by_job(&self.storage, folder).await?;
        let mut tally = self.tally;
        let mut sweeping = stream::iter(&jobs).map(|job| self.job(job)).buffer_unordered(AT_ONCE);
        while let Some((job, done)) = sweeping.next().await {
            if let Err(error) = &done {
                tracing::warn!(job_id = %job, "its receipts are left for the next sweep: {error}");
            }
            tally.count(job, done);
            if tally.failed >= FAILURES_MAX {
                break;
            }
        }
        drop(sweeping);
        self.tally = tally;
        if tally.failed >= FAILURES_MAX {
            return Err(StoreError::new("given up", &format!("{FAILURES_MAX} jobs failed")));
        }
        Ok(())
    }

    async fn job<'a>(
        &self,
        (job, receipts): (&'a JobId, &Vec<Receipt>),
    ) -> (&'a JobId, Result<Done, StoreError>) {
        (job, self.all_of_it(receipts).await)
    }

    async fn all_of_it(&self, receipts: &[Receipt]) -> Result<Done, StoreError> {
        match look(receipts, self.before_ms) {
            Look::Keep(keep) => return Ok(Done::Kept(keep)),
            Look::Leftover => {}
            Look::Ended { resolved } => {
                let result = receipts.iter().find(|receipt| receipt.name == Some(ReceiptName::Result));
                let Some(result) = result else { return Ok(Done::Gone) };
                let Some(bytes) =
                    self.storage.find(&format!("can't read {}", result.key), &result.key).await?
                else {
                    return Ok(Done::Gone);
                };
                if let Some(keep) = holds_back(&bytes, resolved) {
                    return Ok(Done::Kept(keep));
                }
            }
        }
        let mut in_turn: Vec<&Receipt> = receipts.iter().collect();
        in_turn.sort_by_key(|receipt| receipt.turn());
        for receipt in in_turn {
            self.remove(&receipt.key).await?;
        }
        Ok(Done::Removed { receipts: number(receipts.len()) })
    }

    /// An object that is already gone counts as removed, since a repeated delete may find this.
    async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        let removing = async { unless_absent(self.storage.objects().delete(key).await) };
        bounded(&format!("can't remove {key}"), removing).await.map(drop)
    }
}

impl Tally {
    fn count(&mut self, job: &JobId, done: Result<Done, StoreError>) {
        match done {
            Ok(Done::Removed { receipts }) => {
                self.removed.jobs += 1;
                self.removed.receipts += receipts;
            }
            Ok(Done::Gone) => {}
            Ok(Done::Kept(Keep::Young)) => self.kept.young += 1,
            Ok(Done::Kept(Keep::Unfinished)) => {
                tracing::info!(job_id = %job, "kept: it is unfinished");
                self.kept.unfinished += 1;
            }
            Ok(Done::Kept(Keep::OutcomeUnknown)) => {
                tracing::info!(job_id = %job, "kept: its outcome is unknown, and waits for a person");
                self.kept.outcome_unknown += 1;
            }
            Ok(Done::Kept(Keep::NotUnderstood)) => {
                tracing::info!(job_id = %job, "kept: this version doesn't understand its receipts");
                self.kept.not_understood += 1;
            }
            Err(_) => self.failed += 1,
        }
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
