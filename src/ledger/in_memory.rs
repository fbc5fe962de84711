//! The ledger in memory, for a single process without Redis. Its moves are those of the Lua scripts, and it passes the
//! same tests. What it knows ends with the process; then a job goes on from its receipts, as it does with a Redis that
//! was flushed.
//!
//! One thing of the scripts is left out: a time that is later than possible was written before the clock of Redis was
//! set back, and is replaced. The clock of a process only goes forward.

mod expiry;
mod pace;
mod slots;
mod spend;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::hints::Hints;
use super::slots::Slots;
use super::{JobRef, Ledger, LedgerError};
use crate::clock;
use crate::job::record::{Nonce, Snapshot, Stage};
use crate::job::spend::SpendToday;
use crate::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use crate::job::{FailedTasks, JobId, TaskId};
pub use table::Table;

/// A hint that a move has made due: see [`super::hints`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DueHint {
    /// The job's record has moved, or its user has cancelled it.
    Look(JobId),
    /// It may be the job's turn to be submitted.
    Slot(JobId),
    /// The count of the slots is not complete: every running task has to be reported.
    Recount,
}

/// The table behind the trait, with a clock and the jobs that wait for hints.
pub struct InMemoryLedger {
    table: Mutex<Table>,
    hints: Hints,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl InMemoryLedger {
    /// `hints` has the lives of this process. `now` is the time since any moment: all ages are by this clock, so it
    /// should only go forward, like [`Clock`](crate::clock::Clock).
    #[must_use]
    pub fn new(table: Table, hints: Hints, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { table: Mutex::new(table), hints, now: Box::new(now) }
    }

    /// The table, for what is no move of a job, like copying it. Hints that are made due with this are sent with
    /// those of the next move.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<T>(&self, act: impl FnOnce(&mut Table, Duration) -> T) -> T {
        let mut table = self.table();
        let now = (self.now)();
        table.forget_due(now);
        table.set_time(clock::unix_ms());
        let value = act(&mut table, now);
        let due = table.take_hints();
        drop(table);
        for hint in due {
            match hint {
                DueHint::Look(job) => self.hints.wake(job.as_str()),
                DueHint::Slot(job) => self.hints.wake_for_slot(job.as_str()),
                DueHint::Recount => self.hints.wake_all(),
            }
        }
        value
    }
}

#[async_trait]
impl Ledger for InMemoryLedger {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError> {
        Ok(self.act(|table, now| table.read(job, slots, now)))
    }

    async fn begin(
        &self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError> {
        Ok(self.act(|table, now| table.begin(entry, attempt, nonce, basis, now)))
    }

    async fn reopen(
        &self,
        job: &JobId,
        attempt: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError> {
        Ok(self.act(|table, now| table.reopen(job, attempt, nonce, now)))
    }

    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError> {
        Ok(self.act(|table, now| table.restore(entry, over, stage, corrects, now)))
    }

    async fn accept(&self, entry: JobRef<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        Ok(self.act(|table, now| table.accept(entry, attempt, task, now)))
    }

    async fn follow(
        &self,
        job: &JobId,
        attempt: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError> {
        Ok(self.act(|table, now| table.follow(job, attempt, failed, now)))
    }

    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError> {
        Ok(self.act(|table, now| table.freeze(entry, expect, event, replaceable, now)))
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError> {
        Ok(self.act(|table, now| table.enter(job, life, now)))
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        self.act(|table, _| table.leave(job, life, tried));
        Ok(())
    }

    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError> {
        Ok(self.act(|table, now| table.cancel(job, now)))
    }

    async fn mark_published(
        &self,
        entry: JobRef<'_>,
        event: &Bytes,
        sealed: bool,
    ) -> Result<(), LedgerError> {
        self.act(|table, now| table.mark_published(entry, event, sealed, now));
        Ok(())
    }

    async fn hint_poll(&self, job: &JobId) -> Result<(), LedgerError> {
        self.hints.poll(job.as_str());
        Ok(())
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        Ok(self.act(|table, _| table.meet_store(id)))
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        self.act(|table, now| table.slow_down(pause, rate, now));
        Ok(())
    }

    async fn spend_today(&self) -> Result<SpendToday, LedgerError> {
        Ok(self.act(|table, _| table.spend_today(None)))
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        self.act(|table, _| table.begin_count());
        Ok(())
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}
