//! One job in one ledger, as the suite asks for it, and the values that it asks with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::step::{Basis, Expect, Frozen, Moved, Over};
use comet_worker::job::{Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::record::{Known, Nonce, Record, Stage};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{Entry, Ledger};

/// One job in one ledger.
pub struct Bench {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) job: JobId,
    pub(super) digest: Digest,
}

impl Bench {
    pub fn new(ledger: Arc<dyn Ledger>, job: &str) -> Self {
        Self { ledger, job: job.parse().unwrap(), digest: Digest::new("digest".to_owned()) }
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            job: &self.job,
            digest: &self.digest,
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots: Slots::NONE,
        }
    }

    pub(super) async fn read(&self) -> Option<Record> {
        self.known().await.record
    }

    pub(super) async fn known(&self) -> Known {
        self.ledger.read(&self.job, Slots::NONE).await.unwrap()
    }

    pub(super) async fn begin(&self, attempt: u32, ask: &str) -> Moved {
        self.ledger.begin(self.entry(), attempt, &nonce(ask), &Basis::Read).await.unwrap()
    }

    pub(super) async fn reopen(&self, ask: &str) -> Moved {
        self.ledger.reopen(&self.job, 1, Some(&nonce(ask))).await.unwrap()
    }

    pub(super) async fn restore(&self, open: Option<u32>, stage: Stage) -> Stage {
        let over = open.map_or(Over::Nothing, Over::Open);
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

    pub(super) async fn freeze(&self, expect: Expect, event: &'static str) -> Frozen {
        self.ledger.freeze(self.entry(), &expect, Bytes::from_static(event.as_bytes()), false).await.unwrap()
    }

    pub(super) async fn replaceable(&self, event: &'static str) {
        let event = Bytes::from_static(event.as_bytes());
        self.ledger.freeze(self.entry(), &Expect::Unposted, event, true).await.unwrap();
    }
}

pub(super) const YES: Moved = Moved::Yes { cancelled: false };

pub(super) fn nonce(text: &str) -> Nonce {
    Nonce::new(text.to_owned())
}

pub(super) fn task(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

pub(super) fn event(text: &'static str) -> Frozen {
    Frozen::Event(Bytes::from_static(text.as_bytes()))
}

pub(super) fn stage(record: Option<Record>) -> Stage {
    record.expect("a record").stage
}
