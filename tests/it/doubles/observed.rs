//! The ledger as one process sees it: each call is an effect of it, and calls of one kind can be
//! made to fail.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::step::{Basis, Expect, Frozen, Moved, Over};
use comet_worker::job::{FailedTasks, JobId, TaskId};
use comet_worker::ledger::record::{Known, Nonce, Stage};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{Entry, Ledger, LedgerError};

use super::effects::Effects;
use super::ledger::{MemoryLedger, Trouble};

#[derive(Debug)]
pub struct ObservedLedger {
    ledger: MemoryLedger,
    effects: Effects,
    troubles: Mutex<Vec<(&'static str, Trouble)>>,
}

impl ObservedLedger {
    pub fn new(ledger: MemoryLedger, effects: Effects) -> Self {
        Self { ledger, effects, troubles: Mutex::default() }
    }

    /// The next calls of that name fail so, one after the other.
    pub fn trouble(&self, name: &'static str, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().extend(troubles.iter().map(|trouble| (name, *trouble)));
    }

    /// What was to fail doesn't any more.
    pub fn untroubled(&self) {
        self.troubles.lock().unwrap().clear();
    }

    async fn call<T>(&self, name: &'static str, call: impl Future<Output = T>) -> T {
        let acting = async {
            let trouble = {
                let mut troubles = self.troubles.lock().unwrap();
                let at = troubles.iter().position(|(troubled, _)| *troubled == name);
                at.map(|at| troubles.remove(at).1)
            };
            self.ledger.trouble(trouble.as_slice());
            call.await
        };
        self.effects.act(name, acting).await
    }
}

#[async_trait]
impl Ledger for ObservedLedger {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Known, LedgerError> {
        self.call("read", self.ledger.read(job, slots)).await
    }

    async fn begin(
        &self,
        entry: Entry<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &Basis,
    ) -> Result<Moved, LedgerError> {
        self.call("begin", self.ledger.begin(entry, attempt, nonce, basis)).await
    }

    async fn restore(
        &self,
        entry: Entry<'_>,
        over: Over,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Known, LedgerError> {
        self.call("restore", self.ledger.restore(entry, over, stage, corrects)).await
    }

    async fn reopen(&self, job: &JobId, attempt: u32, nonce: Option<&Nonce>) -> Result<Moved, LedgerError> {
        self.call("reopen", self.ledger.reopen(job, attempt, nonce)).await
    }

    async fn accept(&self, entry: Entry<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        self.call("accept", self.ledger.accept(entry, attempt, task)).await
    }

    async fn follow(&self, job: &JobId, attempt: u32, failed: &FailedTasks) -> Result<Moved, LedgerError> {
        self.call("follow", self.ledger.follow(job, attempt, failed)).await
    }

    async fn freeze(
        &self,
        entry: Entry<'_>,
        expect: &Expect,
        event: Bytes,
        replaceable: bool,
    ) -> Result<Frozen, LedgerError> {
        self.call("freeze", self.ledger.freeze(entry, expect, event, replaceable)).await
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Known, LedgerError> {
        self.call("enter", self.ledger.enter(job, life)).await
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        self.call("leave", self.ledger.leave(job, life, tried)).await
    }

    async fn cancel(&self, job: &JobId) -> Result<Known, LedgerError> {
        self.ledger.cancel(job).await
    }

    async fn told(&self, entry: Entry<'_>, sealed: Option<&Bytes>) -> Result<(), LedgerError> {
        self.call("told", self.ledger.told(entry, sealed)).await
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        self.call("meet_store", self.ledger.meet_store(id)).await
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        self.call("slow_down", self.ledger.slow_down(pause, rate)).await
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        self.call("begin_count", self.ledger.begin_count()).await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        self.ledger.probe().await
    }
}
