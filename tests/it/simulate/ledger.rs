//! The ledger as one process reaches it, with a memory of what it was before each write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::step::{Basis, Expect, Frozen, Moved, Over};
use comet_worker::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
use comet_worker::ledger::record::{Known, Nonce, Stage};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{Entry, Ledger, LedgerError};

use super::net::Link;
use super::script::{Cast, Safeguard};
use crate::doubles::ledger::{MemoryLedger, Table};
use crate::doubles::slots::SlotTable;

/// How long a count that was lost is not trusted.
const RECOUNT: Duration = Duration::from_secs(75);
/// More writes are never lost at once.
const REMEMBERED: usize = 3;

/// The ledger of all processes.
#[derive(Debug, Default)]
pub struct SharedLedger {
    memory: MemoryLedger,
    /// Before each of the last writes, the youngest at the end.
    past: Mutex<Vec<Table>>,
    now: Mutex<Table>,
}

impl SharedLedger {
    /// Its account has nothing running yet.
    pub fn new(cast: &Cast) -> Self {
        let ledger = Self::default();
        let mut table = ledger.memory.table.lock().unwrap();
        table.freeze_overwrites = cast.without == Some(Safeguard::FirstFreeze);
        if cast.max_running > 0 && cast.without != Some(Safeguard::SlotCount) {
            table.slots = SlotTable::new(cast.max_running, RECOUNT);
            table.slots.begin_count();
        }
        drop(table);
        ledger
    }

    pub fn flush(&self) {
        self.memory.table.lock().unwrap().flush();
        self.remember();
    }

    /// Past all links, as by another program.
    pub fn cancel(&self, job: &JobId) {
        self.memory.table.lock().unwrap().cancel(job, Duration::ZERO);
        self.remember();
    }

    pub fn lose_writes(&self, number: usize) {
        self.remember();
        let mut past = self.past.lock().unwrap();
        let kept = past.len().saturating_sub(number);
        let Some(before) = past.get(kept).cloned() else { return };
        past.truncate(kept);
        self.now.lock().unwrap().clone_from(&before);
        *self.memory.table.lock().unwrap() = before;
    }

    /// Called after each step of the table.
    fn remember(&self) {
        let table = self.memory.table.lock().unwrap();
        let mut now = self.now.lock().unwrap();
        if *now != *table {
            let mut past = self.past.lock().unwrap();
            if past.len() == REMEMBERED {
                past.remove(0);
            }
            past.push(std::mem::replace(&mut now, table.clone()));
        }
    }
}

/// One process's way to it.
pub struct LinkedLedger {
    pub link: Link,
    pub ledger: Arc<SharedLedger>,
}

impl LinkedLedger {
    async fn call<T, F>(
        &self,
        what: &'static str,
        about: &str,
        act: impl FnOnce(MemoryLedger) -> F,
    ) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LedgerError>> + Send + 'static,
    {
        let ledger = Arc::clone(&self.ledger);
        let acting = act(ledger.memory.clone());
        let acting = async move {
            let value = acting.await;
            ledger.remember();
            value
        };
        let answer = self.link.call(what, about, acting).await;
        answer.unwrap_or_else(|_| Err(LedgerError::Unavailable("no answer".to_owned())))
    }
}

/// An [`Entry`] that outlives its process.
struct Owned {
    job: JobId,
    digest: Digest,
    round: u32,
    failed: FailedTasks,
    under: Option<SentUnder>,
    slots: Slots,
}

impl Owned {
    fn of(entry: Entry<'_>) -> Self {
        Self {
            job: entry.job.clone(),
            digest: entry.digest.clone(),
            round: entry.round,
            failed: entry.failed.clone(),
            under: entry.under.cloned(),
            slots: entry.slots,
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            job: &self.job,
            digest: &self.digest,
            round: self.round,
            failed: &self.failed,
            under: self.under.as_ref(),
            slots: self.slots,
        }
    }
}

#[async_trait]
impl Ledger for LinkedLedger {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Known, LedgerError> {
        let id = job.clone();
        self.call("read", job.as_str(), |memory| async move { memory.read(&id, slots).await }).await
    }

    async fn begin(
        &self,
        entry: Entry<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &Basis,
    ) -> Result<Moved, LedgerError> {
        let (owned, nonce, basis) = (Owned::of(entry), nonce.clone(), basis.clone());
        let about = format!("{} {attempt}", entry.job);
        let act =
            |memory: MemoryLedger| async move { memory.begin(owned.entry(), attempt, &nonce, &basis).await };
        self.call("begin", &about, act).await
    }

    async fn restore(
        &self,
        entry: Entry<'_>,
        over: Over,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Known, LedgerError> {
        let (owned, stage, corrects) = (Owned::of(entry), stage.clone(), corrects.cloned());
        let act = |memory: MemoryLedger| async move {
            memory.restore(owned.entry(), over, &stage, corrects.as_ref()).await
        };
        self.call("restore", entry.job.as_str(), act).await
    }

    async fn reopen(&self, job: &JobId, attempt: u32, nonce: Option<&Nonce>) -> Result<Moved, LedgerError> {
        let (id, nonce) = (job.clone(), nonce.cloned());
        let about = format!("{job} {attempt}");
        let act = |memory: MemoryLedger| async move { memory.reopen(&id, attempt, nonce.as_ref()).await };
        self.call("reopen", &about, act).await
    }

    async fn accept(&self, entry: Entry<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        let (owned, task) = (Owned::of(entry), task.clone());
        let about = format!("{} {attempt}", entry.job);
        let act = |memory: MemoryLedger| async move { memory.accept(owned.entry(), attempt, &task).await };
        self.call("accept", &about, act).await
    }

    async fn follow(&self, job: &JobId, attempt: u32, failed: &FailedTasks) -> Result<Moved, LedgerError> {
        let (id, failed) = (job.clone(), failed.clone());
        let about = format!("{job} {attempt}");
        let act = |memory: MemoryLedger| async move { memory.follow(&id, attempt, &failed).await };
        self.call("follow", &about, act).await
    }

    async fn freeze(
        &self,
        entry: Entry<'_>,
        expect: &Expect,
        event: Bytes,
        replaceable: bool,
    ) -> Result<Frozen, LedgerError> {
        let (owned, expect) = (Owned::of(entry), expect.clone());
        let act = |memory: MemoryLedger| async move {
            memory.freeze(owned.entry(), &expect, event, replaceable).await
        };
        self.call("freeze", entry.job.as_str(), act).await
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Known, LedgerError> {
        let (id, life) = (job.clone(), life.to_owned());
        self.call("enter", job.as_str(), |memory| async move { memory.enter(&id, &life).await }).await
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        let (id, life) = (job.clone(), life.to_owned());
        self.call("leave", job.as_str(), |memory| async move { memory.leave(&id, &life, tried).await }).await
    }

    async fn cancel(&self, job: &JobId) -> Result<Known, LedgerError> {
        let id = job.clone();
        self.call("cancel", job.as_str(), |memory| async move { memory.cancel(&id).await }).await
    }

    async fn told(&self, entry: Entry<'_>, sealed: Option<&Bytes>) -> Result<(), LedgerError> {
        let (owned, sealed) = (Owned::of(entry), sealed.cloned());
        let act = |memory: MemoryLedger| async move { memory.told(owned.entry(), sealed.as_ref()).await };
        self.call("told", entry.job.as_str(), act).await
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        let id = id.to_owned();
        self.call("meet_store", "", |memory| async move { memory.meet_store(&id).await }).await
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        self.call("slow_down", "", |memory| async move { memory.slow_down(pause, rate).await }).await
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        self.call("begin_count", "", |memory| async move { memory.begin_count().await }).await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        self.call("probe ledger", "", |memory| async move { memory.probe().await }).await
    }
}
