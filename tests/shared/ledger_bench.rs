//! One job in one ledger, as the suite uses it, and the values of the suite.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Nonce, Record, Snapshot, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use comet_worker::job::{Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger};

/// One job in one ledger.
pub struct Bench {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) job: JobId,
    pub(super) digest: Digest,
    /// Another one than a record without a route would have.
    pub(super) route: RouteName,
}

impl Bench {
    pub fn new(ledger: Arc<dyn Ledger>, job: &str) -> Self {
        Self {
            ledger,
            job: job.parse().unwrap(),
            digest: Digest::new("digest".to_owned()),
            route: RouteName::new("dance").unwrap(),
        }
    }

    pub(super) fn entry(&self) -> JobRef<'_> {
        JobRef {
            job: &self.job,
            digest: &self.digest,
            route: &self.route,
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots: Slots::NONE,
        }
    }

    pub(super) async fn read(&self) -> Option<Box<Record>> {
        self.known().await.record
    }

    pub(super) async fn known(&self) -> Snapshot {
        self.ledger.read(&self.job, Slots::NONE).await.unwrap()
    }

    pub(super) async fn begin(&self, attempt: u32, ask: &str) -> MoveResult {
        self.ledger.begin(self.entry(), attempt, &nonce(ask), &BeginPrecondition::Read).await.unwrap()
    }

    pub(super) async fn reopen(&self, ask: &str) -> MoveResult {
        self.ledger.reopen(&self.job, 1, Some(&nonce(ask))).await.unwrap()
    }

    pub(super) async fn restore(&self, open: Option<u32>, stage: Stage) -> Stage {
        let over = open.map_or(RestorePrecondition::Nothing, RestorePrecondition::Open);
        let known = self.ledger.restore(self.entry(), over, &stage, None).await.unwrap();
        let mut stage = known.record.expect("a record").stage;
        if let Stage::Generating { age, .. } = &mut stage {
            *age = Duration::ZERO;
        }
        stage
    }

    pub(super) async fn accept(&self, id: &str) -> Stage {
        self.ledger.accept(self.entry(), 1, &task(id)).await.unwrap()
    }

    pub(super) async fn freeze(&self, expect: FreezePrecondition, event: &'static str) -> FreezeResult {
        self.ledger.freeze(self.entry(), &expect, Bytes::from_static(event.as_bytes()), false).await.unwrap()
    }

    pub(super) async fn replaceable(&self, event: &'static str) {
        let event = Bytes::from_static(event.as_bytes());
        self.ledger.freeze(self.entry(), &FreezePrecondition::Unposted, event, true).await.unwrap();
    }
}

pub(super) const YES: MoveResult = MoveResult::Yes { cancelled: false };

pub(super) fn nonce(text: &str) -> Nonce {
    Nonce::new(text.to_owned())
}

pub(super) fn task(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

pub(super) fn event(text: &'static str) -> FreezeResult {
    FreezeResult::Event(Bytes::from_static(text.as_bytes()))
}

pub(super) fn stage(record: Option<Box<Record>>) -> Stage {
    record.expect("a record").stage
}
