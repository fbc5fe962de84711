//! The sweep: it removes receipts that are no longer needed, and never those of unfinished jobs.
//!
//! A job's receipts are removed all together or not at all: if every one of them is older than the age that was asked
//! for, and the job has ended and needs no person. The age is the store's own `last_modified` compared with the clock
//! of the machine that sweeps. The two clocks need to agree only in the order of magnitude, since an age is days.
//!
//! # While workers run
//!
//! Workers read and create receipts during a sweep, and nothing stops them. The age keeps the two apart, not a lock:
//!
//! - A job that is under way has a young receipt or no `result`, so it is kept. A young receipt after an old `result` (a
//!   task id that was noted late, a correction) makes the whole job young.
//! - A copy of the job's message that comes after its end is answered from Redis, which remembers the job for
//!   `redis.remember_s`, and the age is not shorter than that. If Redis was flushed, the copy is answered from two receipts:
//!   `intent-1`, which shows a worker that the job exists, and `result`. So these two are removed last, and the answer is
//!   the same until the first of them is removed.
//! - A copy that comes after that is a new job, and paid for. So the age must be longer than any copy can stay in a queue.
//!   The user is told this, since no program here can know it.
//! - If a worker has read `intent-1`, and both are removed before it reads `result`, it takes the job for one with an open
//!   POST and looks its task up. This needs a copy of that age at that moment.
//! - Receipts are never changed, so what was listed is what is removed, unless it was removed and a new job with that id
//!   has come since. Two sweeps at the same time could do that. Therefore `result` is read again immediately before its job
//!   is removed; if it is missing, the rest is not removed either.
//!
//! # If a sweep is interrupted
//!
//! A sweep may die at any point. It leaves `result`, which shows the next sweep that the job has ended, until only
//! `resolved` remains. `resolved` alone is a leftover, since it is never written before `result`. In the other order,
//! a `result` that says "unknown" would remain and wait for a person although a person has already decided.

mod orphans;
mod removal;

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::job::event::{EventKind, EventView};
use crate::job::receipt::ReceiptName;
use crate::job::{JobId, Reason};

use crate::storage::{Storage, StoreError, bounded};

pub use orphans::{Orphan, Orphans};
pub use removal::{Kept, Removed, Sweep, Tally};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Receipt {
    /// `None` if a newer worker has written it.
    name: Option<ReceiptName>,
    key: Path,
    /// When it was written by the store's clock, in Unix milliseconds.
    written_ms: i64,
}

impl Receipt {
    /// The order of removal; the reasons are at the head of this file.
    fn turn(&self) -> u8 {
        match self.name {
            Some(ReceiptName::Intent(1)) => 1,
            None
            | Some(
                ReceiptName::Intent(_)
                | ReceiptName::Task(_)
                | ReceiptName::Refused(_)
                | ReceiptName::Failed(_)
                | ReceiptName::Decision(_),
            ) => 0,
            Some(ReceiptName::Result) => 2,
            Some(ReceiptName::Correction) => 3,
        }
    }
}

/// The job and the name of the receipt in an object's name. A job id may contain dots, a receipt's name has none.
fn named(name: &str) -> Option<(JobId, Option<ReceiptName>)> {
    let (job, receipt) = name.rsplit_once('.')?;
    Some((job.parse().ok()?, ReceiptName::parse(receipt)))
}

/// The receipts of a folder by job; a folder has one in 256 of all jobs.
async fn by_job(storage: &Storage, folder: &Path) -> Result<BTreeMap<JobId, Vec<Receipt>>, StoreError> {
    let mut jobs: BTreeMap<JobId, Vec<Receipt>> = BTreeMap::new();
    let mut listing = storage.objects().list(Some(folder));
    while let Some(object) = bounded(&format!("can't list {folder}"), listing.try_next()).await? {
        // An object without a name of our form is not ours.
        if let Some((job, name)) = object.location.filename().and_then(named) {
            let written_ms = written_ms(&object);
            jobs.entry(job).or_default().push(Receipt { name, key: object.location, written_ms });
        }
    }
    Ok(jobs)
}

/// The folders of receipts, at most 256.
pub(super) async fn folders(storage: &Storage) -> Result<Vec<Path>, StoreError> {
    let root = storage.key(["receipts"]);
    let listing = storage.objects().list_with_delimiter(Some(&root));
    let listed = bounded(&format!("can't list {root}"), listing).await?;
    Ok(listed.common_prefixes.into_iter().filter(is_folder).collect())
}

/// The name is two hex digits, as [`super::Receipts`] writes it.
fn is_folder(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn written_ms(object: &ObjectMeta) -> i64 {
    object.last_modified.timestamp_millis()
}

/// Why the receipts of a job are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// One of them is not old enough.
    Young,
    /// There is no `result`.
    Unfinished,
    /// The outcome is unknown, and no person has cleared it up.
    OutcomeUnknown,
    /// A receipt is from a newer worker, or no longer readable.
    NotUnderstood,
}

/// What the names and the times show about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Keep(Keep),
    /// The job has ended; its `result` says how.
    Ended {
        resolved: bool,
    },
    /// The rest of an interrupted sweep.
    Leftover,
}

fn look(receipts: &[Receipt], before_ms: i64) -> Look {
    let has = |name: Option<ReceiptName>| receipts.iter().any(|receipt| receipt.name == name);
    let (result, resolved) = (has(Some(ReceiptName::Result)), has(Some(ReceiptName::Correction)));
    if receipts.iter().any(|receipt| receipt.written_ms >= before_ms) {
        Look::Keep(Keep::Young)
    } else if has(None) {
        Look::Keep(Keep::NotUnderstood)
    } else if result {
        Look::Ended { resolved }
    } else if resolved && receipts.len() == 1 {
        Look::Leftover
    } else {
        Look::Keep(Keep::Unfinished)
    }
}

/// Why the receipts of a job with this result are kept nevertheless.
fn holds_back(result: &[u8], resolved: bool) -> Option<Keep> {
    if resolved {
        return None;
    }
    let Ok(event) = EventView::parse(result) else { return Some(Keep::NotUnderstood) };
    if !event.kind().is_some_and(EventKind::is_terminal) {
        return Some(Keep::NotUnderstood);
    }
    let is_unknown = event.reason.as_deref() == Some(Reason::OutcomeUnknown.as_str());
    is_unknown.then_some(Keep::OutcomeUnknown)
}

#[cfg(test)]
mod tests;
