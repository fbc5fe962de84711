//! Counts what was spent today from the receipts, after Redis has lost its data.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use object_store::path::Path;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::clock;
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::event::{EndNote, JobEnd};
use crate::job::spend::SpendDay;
use crate::ledger::LedgerError;
use crate::ledger::spend::RedisSpend;
use crate::storage::{StoreError, StoreErrorKind};

const EVERY: Duration = Duration::from_secs(5);
/// While something is to be counted, jobs may wait for it.
const SOON: Duration = Duration::from_millis(500);
/// The store's clock and a worker's may differ by this much.
const CLOCKS_APART_MS: i64 = 3_600_000;
/// Folders that are read at the same time.
const FOLDERS: usize = 8;
/// A store that may not be listed for this long may never be.
const REFUSED_MAX: Duration = Duration::from_secs(300);

/// The count, and who makes it.
pub struct Spending {
    pub shared: Shared,
    pub redis: RedisSpend,
    /// This worker's id.
    pub worker: String,
}

/// How far the count is. What was counted stays counted when it goes on later, also in another worker.
#[derive(Debug, Default)]
struct Progress {
    day: Option<SpendDay>,
    done: BTreeSet<Path>,
    /// Since when the store refuses to be listed.
    refused: Option<Instant>,
    /// What was said last, so that it is said once.
    said: Option<String>,
}

/// Why it is not complete.
enum NotCounted {
    Redis(LedgerError),
    Store(StoreError),
    /// Another worker counts.
    Elsewhere,
    /// It is not known yet whether this worker's store is the fleet's.
    NoStore,
}

impl Spending {
    /// Looks whether something is to be counted, until `stop`.
    pub async fn keep(&self, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let mut progress = Progress::default();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => heartbeat.touch(),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                counted = self.turn(heartbeat, &mut progress) => {
                    pause = if counted.is_ok() { EVERY } else { SOON };
                    progress.say(counted.err());
                }
            }
        }
    }

    async fn turn(&self, heartbeat: &Heartbeat, progress: &mut Progress) -> Result<(), NotCounted> {
        if self.redis.is_complete().await? {
            progress.done.clear();
            return Ok(());
        }
        let receipts = self.shared.settings.rules.receipts;
        if receipts && self.shared.settings.request_rules.store.as_str().is_empty() {
            return Err(NotCounted::NoStore);
        }
        if !self.redis.claim(&self.worker).await? {
            return Err(NotCounted::Elsewhere);
        }
        // Without receipts, the day begins with the first end that is published.
        let ends = if receipts { self.count(heartbeat, progress).await? } else { 0 };
        self.redis.complete().await?;
        *progress = Progress::default();
        if ends > 0 {
            tracing::info!(ends, "counted what was spent today from the receipts, since Redis didn't know");
        }
        Ok(())
    }

    /// Returns how many ends of today were found.
    async fn count(&self, heartbeat: &Heartbeat, progress: &mut Progress) -> Result<usize, NotCounted> {
        let rules = self.redis.rules();
        let today = rules.day(clock::unix_ms());
        if progress.day != Some(today) {
            *progress = Progress { day: Some(today), refused: progress.refused, ..Progress::default() };
        }
        let since_ms = rules.begins_ms(today) - CLOCKS_APART_MS;
        let folders = match self.shared.receipts.folders().await {
            Ok(folders) => folders,
            Err(error) if may_never_list(&error) => {
                let since = *progress.refused.get_or_insert_with(Instant::now);
                if since.elapsed() < REFUSED_MAX {
                    return Err(NotCounted::Store(error));
                }
                self.shared.weaknesses.warn(&format!(
                    "what was spent today before now is not known, since the receipts can't be listed: {error}"
                ));
                return Ok(0);
            }
            Err(error) => return Err(NotCounted::Store(error)),
        };
        let left = folders.into_iter().filter(|folder| !progress.done.contains(folder));
        let mut reading = stream::iter(left.collect::<Vec<_>>())
            .map(|folder| async move {
                let read = self.shared.receipts.ended_since(&folder, since_ms).await;
                (folder, read)
            })
            .buffer_unordered(FOLDERS);
        let mut found = 0;
        while let Some((folder, read)) = reading.next().await {
            heartbeat.touch();
            if !self.redis.claim(&self.worker).await? {
                return Err(NotCounted::Elsewhere);
            }
            let events = read.map_err(NotCounted::Store)?;
            let ends = events.iter().filter_map(|event| end(event, &rules.label));
            let mut ends: Vec<(JobId, EndNote)> =
                ends.filter(|(_, end)| rules.day(end.spend.at_ms) == today).collect();
            ends.sort_by_key(|(_, end)| end.corrects);
            self.redis.recount(today, &ends).await?;
            found += ends.len();
            progress.done.insert(folder);
        }
        Ok(found)
    }
}

/// An end that has cost something, or corrects one that may have.
fn end(event: &[u8], label: &str) -> Option<(JobId, EndNote)> {
    let note = EndNote::of(event, label).filter(|note| note.corrects || note.spend.counts())?;
    Some((JobEnd::of(event)?.job_id.parse().ok()?, note))
}

impl Progress {
    fn say(&mut self, why: Option<NotCounted>) {
        let words = match why {
            Some(NotCounted::Store(error)) => {
                Some(format!("what was spent today can't be counted from the receipts yet: {error}"))
            }
            // The breaker says what a Redis that is away means for the jobs.
            Some(NotCounted::Redis(error)) => {
                tracing::debug!("whether today's spend is complete is unknown: {error}");
                return;
            }
            Some(NotCounted::Elsewhere | NotCounted::NoStore) | None => None,
        };
        if let Some(words) = &words
            && self.said.as_ref() != Some(words)
        {
            tracing::warn!("{words}");
        }
        self.said = words;
    }
}

impl From<LedgerError> for NotCounted {
    fn from(error: LedgerError) -> Self {
        Self::Redis(error)
    }
}

fn may_never_list(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::MayNotList | StoreErrorKind::Forbidden)
}
