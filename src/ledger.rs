//! How far each job is: in Redis, for all workers, or in the memory of a single process.
//!
//! There is one method for each move of the record. In Redis it runs a script; in memory it changes a table. A timeout
//! doesn't show whether a script ran, so a move that is made twice has the same effect, and callers repeat what
//! failed. All times are by the ledger's clock, which is that of Redis; the clocks of two workers are never compared.

pub mod connection;
pub mod durations;
pub mod endpoint;
pub mod fleet;
mod greeting;
pub mod hints;
pub mod in_memory;
mod in_redis;
pub mod replays;
pub mod rights;
mod run;
mod scripts;
pub mod slots;
pub mod spend;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::job::record::{Nonce, Snapshot, Stage, Unreadable};
use crate::job::route::RouteName;
use crate::job::spend::SpendToday;
use crate::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use crate::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
pub use in_memory::InMemoryLedger;
pub use in_redis::RedisLedger;
use slots::Slots;

/// What a person can do where Redis gives no answer. Every view says it in these words.
pub const REMEDY: &str = "check redis.url and the server";

/// Why the ledger gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It is unknown whether the move happened; repeating it is safe.
    #[error("Redis: {0}")]
    Unavailable(String),
    /// Requeue the job; nothing was changed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A job's identity in the ledger.
#[derive(Debug, Clone, Copy)]
pub struct JobRef<'a> {
    pub job: &'a JobId,
    pub digest: &'a Digest,
    pub route: &'a RouteName,
    pub round: u32,
    /// The failed tasks of the generations before this one, for a record that is missing.
    pub failed: &'a FailedTasks,
    /// The external id of its attempt.
    pub under: Option<&'a SentUnder>,
    /// The slots that its task takes of the account.
    pub slots: Slots,
}

impl<'a> JobRef<'a> {
    /// The job's first input, of which no attempt is known, for a caller that takes no slots.
    #[must_use]
    pub fn new(job: &'a JobId, digest: &'a Digest, route: &'a RouteName) -> Self {
        let failed = FailedTasks::none();
        Self { job, digest, route, round: 1, failed, under: None, slots: Slots::NONE }
    }
}

impl JobRef<'_> {
    fn under(&self) -> String {
        self.under.map(SentUnder::to_words).unwrap_or_default()
    }
}

/// How far each job is, as a life sees it. All ledgers pass the same tests.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Reads the record. A caller that finds another life submitting the job gets a hint when the record moves on. If
    /// the job is generating, its slots are taken again, even if the count of them was lost.
    ///
    /// # Errors
    ///
    /// [`LedgerError`], as for every method here.
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError>;

    /// Asks for the right to post attempt `attempt`. After [`MoveResult::Yes`], no other ask gets it for that
    /// attempt, except one whose `basis` says that this ask never reached the gate of the receipts. The slots that
    /// the job needs are taken with it. After [`MoveResult::Full`], nothing has changed except that the slots are
    /// reserved for a caller that keeps asking; after [`MoveResult::Paced`] or [`MoveResult::Spent`], nothing has
    /// changed. A caller that takes no slots won't post, so it doesn't have to wait.
    async fn begin(
        &self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError>;

    /// Gives the attempt up as certainly not accepted. After [`MoveResult::Yes`], the next attempt is free for the
    /// first ask, and so are the slots. Without a nonce a receipt has closed the attempt; then it doesn't matter
    /// which ask was the last.
    async fn reopen(
        &self,
        job: &JobId,
        attempt: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError>;

    /// Writes what the receipts say over a record in the state `over`; returns the record that counts. `corrects` is
    /// the event of an unknown outcome that the job's end will correct. A task that runs, or may run, takes its slots
    /// even if they are not free.
    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError>;

    /// Notes the accepted task, unless another task or an outcome was noted before, or this task is noted as failed.
    /// Returns the job's stage afterwards.
    async fn accept(&self, entry: JobRef<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError>;

    /// Moves the record past attempt `attempt`, whose task has failed so that another generation may follow: the next
    /// attempt is free for the first ask. That task is the last one in `failed`.
    async fn follow(
        &self,
        job: &JobId,
        attempt: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError>;

    /// Freezes the outcome as the bytes of its event. After [`FreezeResult::Event`], every caller gets the same
    /// bytes. The slots are freed, unless the event says that the task may still run: see
    /// [`may_run_on`](crate::job::event::may_run_on).
    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError>;

    /// Counts a life that is about to store the job's images; `life` identifies it. Returns the record that counts.
    /// The task has ended, so its slots are freed.
    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError>;

    /// Removes that life from the count, since it has left alive. `life` is `""` for the life that submitted the job.
    /// `tried` is how long the images have been tried for in vain, if they have; the longest time that was reported
    /// counts.
    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError>;

    /// Notes that the user has cancelled the job, unless it has ended, and sends a hint to the worker with the job.
    /// Returns the record, and whether the job is cancelled now. A job that no worker has seen yet is remembered as
    /// cancelled as long as a finished one.
    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError>;

    /// Notes that the job's terminal event is confirmed; from now on the record is only remembered. If a receipt has
    /// the event (`sealed`), an unfinished record ends with this and keeps no copy of it; slots are then freed as in
    /// [`Self::freeze`].
    async fn mark_published(&self, entry: JobRef<'_>, event: &Bytes, sealed: bool)
    -> Result<(), LedgerError>;

    /// Asks the worker with the job to poll its task now. The hint may be lost.
    async fn hint_poll(&self, job: &JobId) -> Result<(), LedgerError>;

    /// Notes the id of the store that belongs to this Redis, unless an id was noted before. Returns the noted id.
    async fn meet_store(&self, id: &str) -> Result<String, LedgerError>;

    /// Notes that the provider has asked for a slower pace. No worker gets the right to post for `pause`; then all
    /// workers together post half as often as before, and gradually faster again. `rate` is the number of POSTs of
    /// this worker in 1000 seconds, measured lately.
    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError>;

    /// What was spent today: see [`SpendRules`](crate::job::spend::SpendRules).
    async fn spend_today(&self) -> Result<SpendToday, LedgerError>;

    /// Marks the count of the slots as complete, since nothing runs on this account yet; it has no effect if there is
    /// a count.
    async fn begin_count(&self) -> Result<(), LedgerError>;

    /// Checks whether the ledger accepts writes.
    async fn probe(&self) -> Result<(), LedgerError>;
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn unavailable(error: redis::RedisError) -> LedgerError {
    LedgerError::Unavailable(format!("{error}{}", rights::advice(&error)))
}
