//! A ledger's account under test, and the questions that a test asks it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Nonce, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{BeginPrecondition, FreezePrecondition, MoveResult, RestorePrecondition};
use comet_worker::job::{Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger};

pub const LONG: Duration = Duration::from_secs(600);
pub const SHORT: Duration = Duration::from_millis(200);

/// A ledger whose account has 4 slots, and whose count is new.
pub struct Account {
    pub ledger: Arc<dyn Ledger>,
    digest: Digest,
}

/// The event of a job that was given up while it runs; the other is of a job that has ended.
pub const GIVEN_UP: &[u8] =
    br#"{"id":"x","type":"comet.job.failed","data":{"job_id":"x","reason":"timed_out"}}"#;
pub const ENDED: &[u8] = br#"{"id":"x","type":"comet.job.failed","data":{"job_id":"x","reason":"rejected"}}"#;

pub fn id(name: &str) -> JobId {
    name.parse().unwrap()
}

pub fn nonce(text: &str) -> Nonce {
    Nonce::new(text.to_owned())
}

pub fn task(name: &str) -> TaskId {
    TaskId::new(&format!("task-{name}")).unwrap()
}

pub fn slots(count: u32, keep: Duration) -> Slots {
    Slots { count, keep }
}

impl Account {
    pub async fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, digest: Digest::new("digest".to_owned()) }
    }

    pub async fn open(self) -> Self {
        self.ledger.begin_count().await.unwrap();
        self
    }

    pub fn entry<'a>(&'a self, job: &'a JobId, slots: Slots) -> JobRef<'a> {
        JobRef {
            job,
            digest: &self.digest,
            route: RouteName::default_route(),
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots,
        }
    }

    pub async fn ask(&self, job: &str, attempt: u32, slots: Slots) -> MoveResult {
        let job = id(job);
        self.ledger
            .begin(self.entry(&job, slots), attempt, &nonce("n"), &BeginPrecondition::Read)
            .await
            .unwrap()
    }

    /// Whether the job may be submitted.
    pub async fn begins(&self, job: &str, count: u32) -> bool {
        match self.ask(job, 1, slots(count, LONG)).await {
            MoveResult::Yes { .. } => true,
            MoveResult::Full => false,
            moved @ (MoveResult::No(_) | MoveResult::Paced { .. } | MoveResult::Spent(_)) => {
                panic!("{job}: {moved:?}")
            }
        }
    }

    /// Asks until the job may be submitted.
    pub async fn begins_at_last(&self, job: &str, count: u32) {
        for _ in 0..1500 {
            if self.begins(job, count).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{job} never begins");
    }

    /// For how long the job is held up by the pace, if it is.
    pub async fn held_up(&self, job: &str) -> Option<Duration> {
        match self.ask(job, 1, slots(1, LONG)).await {
            MoveResult::Yes { .. } => None,
            MoveResult::Paced { wait } => Some(wait),
            moved @ (MoveResult::No(_) | MoveResult::Full | MoveResult::Spent(_)) => {
                panic!("{job}: {moved:?}")
            }
        }
    }

    pub async fn held_up_no_more(&self, job: &str) {
        while let Some(wait) = self.held_up(job).await {
            tokio::time::sleep(wait).await;
        }
    }

    pub async fn accept(&self, job: &str, slots: Slots) {
        let id = id(job);
        self.ledger.accept(self.entry(&id, slots), 1, &task(job)).await.unwrap();
    }

    pub async fn end(&self, job: &str, event: &[u8]) {
        let (job, event) = (id(job), Bytes::copy_from_slice(event));
        let entry = self.entry(&job, slots(1, LONG));
        self.ledger.freeze(entry, &FreezePrecondition::Unfinished, event, false).await.unwrap();
    }

    pub async fn reopen(&self, job: &str, attempt: u32) {
        self.ledger.reopen(&id(job), attempt, None).await.unwrap();
    }

    pub async fn restore(&self, job: &str, stage: &Stage, count: u32) {
        let id = id(job);
        let entry = self.entry(&id, slots(count, LONG));
        self.ledger.restore(entry, RestorePrecondition::Nothing, stage, None).await.unwrap();
    }
}
