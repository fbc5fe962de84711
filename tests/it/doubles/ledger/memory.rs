//! The async interface of the table, which can fail before or after a move.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::record::{Nonce, Snapshot, Stage};
use comet_worker::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use comet_worker::job::{FailedTasks, JobId, TaskId};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger, LedgerError};
use tokio::time::Instant;

use super::Table;
use crate::doubles::slots::SlotTable;

/// How the next calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The call never arrives.
    Before,
    /// The move happens, and its answer is lost.
    After,
}

/// The table behind the trait, on a wall clock that follows tokio's time.
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    pub table: Arc<Mutex<Table>>,
    troubles: Arc<Mutex<Vec<Trouble>>>,
    start: Instant,
    /// The wall clock's reading at the start.
    wall: Arc<Mutex<Duration>>,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        let wall = Arc::new(Mutex::new(Duration::from_secs(1_795_000_000)));
        Self { table: Arc::default(), troubles: Arc::default(), start: Instant::now(), wall }
    }
}

impl MemoryLedger {
    /// Uses an account that runs this many generations at a time, with an empty count.
    pub fn with_account(cap: u32, recount: Duration) -> Self {
        let ledger = Self::default();
        ledger.table.lock().unwrap().slots = SlotTable::new(cap, recount);
        ledger
    }

    /// Makes the next calls fail like this, one after the other.
    pub fn trouble(&self, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().extend(troubles.iter().rev());
    }

    /// Makes its wall clock jump: `change` is applied to its reading.
    pub fn jump(&self, change: impl FnOnce(Duration) -> Duration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = change(*wall);
    }

    fn now(&self) -> Duration {
        *self.wall.lock().unwrap() + self.start.elapsed()
    }

    async fn act<T>(&self, act: impl FnOnce(&mut Table, Duration) -> T) -> Result<T, LedgerError> {
        tokio::task::yield_now().await;
        let trouble = self.troubles.lock().unwrap().pop();
        if trouble == Some(Trouble::Before) {
            return Err(LedgerError::Unavailable("cut off".to_owned()));
        }
        let value = act(&mut self.table.lock().unwrap(), self.now());
        match trouble {
            Some(Trouble::After) => Err(LedgerError::Unavailable("no answer".to_owned())),
            Some(Trouble::Before) | None => Ok(value),
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError> {
        self.act(|table, now| table.look(job, slots, now)).await
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError> {
        self.act(|table, now| table.enter(job, life, now)).await
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        self.act(|table, _| table.leave(job, life, tried)).await
    }

    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError> {
        self.act(|table, now| table.cancel(job, now)).await
    }

    async fn begin(
        &self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError> {
        self.act(|table, now| table.begin(entry, attempt, nonce, basis, now)).await
    }

    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError> {
        self.act(|table, now| table.restore(entry, over, stage, corrects, now)).await
    }

    async fn reopen(
        &self,
        job: &JobId,
        attempt: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError> {
        self.act(|table, now| table.reopen(job, attempt, nonce, now)).await
    }

    async fn accept(&self, entry: JobRef<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        self.act(|table, now| table.accept(entry, attempt, task, now)).await
    }

    async fn follow(
        &self,
        job: &JobId,
        attempt: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError> {
        self.act(|table, _| table.follow(job, attempt, failed)).await
    }

    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError> {
        self.act(|table, now| table.freeze(entry, expect, event, replaceable, now)).await
    }

    async fn told(&self, entry: JobRef<'_>, sealed: Option<&Bytes>) -> Result<(), LedgerError> {
        self.act(|table, now| table.told(entry, sealed, now)).await
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        self.act(|table, _| table.store.get_or_insert(id.to_owned()).clone()).await
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        self.act(|table, now| table.slow_down(pause, rate, now)).await
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        self.act(|table, _| table.slots.begin_count()).await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        self.act(|_, _| ()).await
    }
}
