//! The sweep's part that talks to the store.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::Serialize;

use super::{Keep, Kind, Look, Receipt, holds_back, look, named};
use crate::job::JobId;
use crate::storage::{Storage, StoreError, bounded};

/// Jobs whose receipts are removed at once; within a job they go one after the other.
const AT_ONCE: usize = 32;
/// A store that fails so often is down, and each try costs its timeout.
const FAILURES_MAX: u64 = 100;

/// What a sweep has come to so far; in a dry run, what it would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub removed: Removed,
    pub kept: Kept,
    /// Jobs whose receipts could not be read or removed; some of them may be gone.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub jobs: u64,
    pub receipts: u64,
    /// What crashed tries of the store have left.
    pub probes: u64,
}

/// Jobs whose receipts stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub young: u64,
    /// Old, and without a result.
    pub unfinished: u64,
    /// Ended as `outcome_unknown`, and nobody has cleared it up.
    pub outcome_unknown: u64,
    /// A newer worker's, or unreadable.
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

/// What became of one job's receipts.
enum Done {
    Removed {
        receipts: u64,
    },
    Kept(Keep),
    /// Another sweep was here.
    Gone,
}

impl Sweep {
    /// Of what was written before `before_ms` (Unix milliseconds, by the store's clock).
    #[must_use]
    pub fn new(storage: Storage, before_ms: i64, dry_run: bool) -> Self {
        Self { storage, before_ms, dry_run, tally: Tally::default() }
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Removes what probes have left, and returns the folders of receipts, at most 256. The store's
    /// id lies beside them and is no business of a sweep's.
    ///
    /// # Errors
    ///
    /// The store's.
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
        Ok(listed.common_prefixes.into_iter().filter(is_folder).collect())
    }

    /// Sweeps one folder. What fails for one job is logged and counted, and the others go on.
    ///
    /// # Errors
    ///
    /// The store's, when the folder can't be listed, or after too many failures.
    pub async fn folder(&mut self, folder: &Path) -> Result<(), StoreError> {
        let jobs = self.jobs(folder).await?;
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

    /// By job; a folder has one in 256 of all jobs.
    async fn jobs(&self, folder: &Path) -> Result<BTreeMap<JobId, Vec<Receipt>>, StoreError> {
        let mut jobs: BTreeMap<JobId, Vec<Receipt>> = BTreeMap::new();
        let mut listing = self.storage.objects().list(Some(folder));
        while let Some(object) = bounded(&format!("can't list {folder}"), listing.try_next()).await? {
            // What has no name of ours is not ours.
            if let Some((job, kind)) = object.location.filename().and_then(named) {
                let written_ms = written_ms(&object);
                jobs.entry(job).or_default().push(Receipt { kind, key: object.location, written_ms });
            }
        }
        Ok(jobs)
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
                let result = receipts.iter().find(|receipt| receipt.kind == Kind::Result);
                let Some(result) = result else { return Ok(Done::Gone) };
                let Some(bytes) = self.read(&result.key).await? else { return Ok(Done::Gone) };
                if let Some(keep) = holds_back(&bytes, resolved) {
                    return Ok(Done::Kept(keep));
                }
            }
        }
        let mut in_turn: Vec<&Receipt> = receipts.iter().collect();
        in_turn.sort_by_key(|receipt| receipt.kind.turn());
        for receipt in in_turn {
            self.remove(&receipt.key).await?;
        }
        Ok(Done::Removed { receipts: number(receipts.len()) })
    }

    async fn read(&self, key: &Path) -> Result<Option<bytes::Bytes>, StoreError> {
        let reading = async {
            match self.storage.objects().get(key).await {
                Ok(found) => Ok(Some(found.bytes().await?)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        bounded(&format!("can't read {key}"), reading).await
    }

    /// What is gone already is as good as removed: a repeated delete may find it so.
    async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        let removing = async {
            match self.storage.objects().delete(key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        bounded(&format!("can't remove {key}"), removing).await
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

/// Named by two hex digits, as [`super::super::Receipts`] does.
fn is_folder(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn written_ms(object: &ObjectMeta) -> i64 {
    object.last_modified.timestamp_millis()
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
