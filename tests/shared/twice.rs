//! A ledger whose answers are lost, every first time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::step::{Basis, Expect, Frozen, Moved, Over};
use comet_worker::job::{FailedTasks, JobId, TaskId};
use comet_worker::ledger::record::{Known, Nonce, Stage};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{Entry, Ledger, LedgerError};

/// Makes every call twice and answers with the second.
pub struct Twice(pub Arc<dyn Ledger>);

#[async_trait]
impl Ledger for Twice {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Known, LedgerError> {
        self.0.read(job, slots).await?;
        self.0.read(job, slots).await
    }
    async fn begin(
        &self,
        entry: Entry<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &Basis,
    ) -> Result<Moved, LedgerError> {
        self.0.begin(entry, attempt, nonce, basis).await?;
        self.0.begin(entry, attempt, nonce, basis).await
    }
    async fn restore(
        &self,
        entry: Entry<'_>,
        over: Over,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Known, LedgerError> {
        self.0.restore(entry, over, stage, corrects).await?;
        self.0.restore(entry, over, stage, corrects).await
    }
    async fn enter(&self, job: &JobId, life: &str) -> Result<Known, LedgerError> {
        self.0.enter(job, life).await?;
        self.0.enter(job, life).await
    }
    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        self.0.leave(job, life, tried).await?;
        self.0.leave(job, life, tried).await
    }
    async fn cancel(&self, job: &JobId) -> Result<Known, LedgerError> {
        self.0.cancel(job).await?;
        self.0.cancel(job).await
    }
    async fn reopen(&self, job: &JobId, attempt: u32, nonce: Option<&Nonce>) -> Result<Moved, LedgerError> {
        self.0.reopen(job, attempt, nonce).await?;
        self.0.reopen(job, attempt, nonce).await
    }
    async fn accept(&self, entry: Entry<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        self.0.accept(entry, attempt, task).await?;
        self.0.accept(entry, attempt, task).await
    }
    async fn follow(&self, job: &JobId, attempt: u32, failed: &FailedTasks) -> Result<Moved, LedgerError> {
        self.0.follow(job, attempt, failed).await?;
        self.0.follow(job, attempt, failed).await
    }

    async fn freeze(
        &self,
        entry: Entry<'_>,
        expect: &Expect,
        event: Bytes,
        replaceable: bool,
    ) -> Result<Frozen, LedgerError> {
        self.0.freeze(entry, expect, event.clone(), replaceable).await?;
        self.0.freeze(entry, expect, event, replaceable).await
    }
    async fn told(&self, entry: Entry<'_>, sealed: Option<&Bytes>) -> Result<(), LedgerError> {
        self.0.told(entry, sealed).await?;
        self.0.told(entry, sealed).await
    }
    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        self.0.meet_store(id).await?;
        self.0.meet_store(id).await
    }
    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        self.0.slow_down(pause, rate).await?;
        self.0.slow_down(pause, rate).await
    }
    async fn begin_count(&self) -> Result<(), LedgerError> {
        self.0.begin_count().await?;
        self.0.begin_count().await
    }
    async fn probe(&self) -> Result<(), LedgerError> {
        self.0.probe().await
    }
}
