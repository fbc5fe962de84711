//! Redis: how far each job is.
//!
//! One method per script, one script per move of the record. A timeout says nothing about whether a
//! script ran, so every script may run twice with the same effect, and callers repeat what failed.
//! Times are Redis's own; two workers' clocks never meet.

pub mod connection;
pub mod durations;
pub mod endpoint;
mod greeting;
pub mod hints;
mod in_redis;
pub mod rights;
mod run;
mod scripts;
pub mod slots;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::job::record::{Nonce, Snapshot, Stage, Unreadable};
use crate::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use crate::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
pub use in_redis::RedisLedger;
use slots::Slots;

/// Why the ledger gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Whether the move happened is unknown; repeating it is safe.
    #[error("Redis: {0}")]
    Unavailable(String),
    /// Hand the job back; nothing was changed.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A job's identity in the ledger.
#[derive(Debug, Clone, Copy)]
pub struct JobRef<'a> {
    pub job: &'a JobId,
    pub digest: &'a Digest,
    pub round: u32,
    /// Those of the generations before this one, for a record that is missing.
    pub failed: &'a FailedTasks,
    /// What its attempt goes out under, or has.
    pub under: Option<&'a SentUnder>,
    /// What its task takes of the account.
    pub slots: Slots,
}

impl JobRef<'_> {
    fn under(&self) -> String {
        self.under.map(SentUnder::to_words).unwrap_or_default()
    }
}

/// How far each job is, as the life of a job sees it. A double of it passes the same suite as Redis.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whoever reads that another hand is submitting gets a hint when that moves on. Whoever reads that
    /// it is generating holds its slots, also where they were forgotten.
    ///
    /// # Errors
    ///
    /// [`LedgerError`], as for every method here.
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError>;

    /// Asks for the right to post attempt `attempt`. Once this has returned [`MoveResult::Yes`] nobody
    /// else gets it for that attempt, but for one whose `basis` is that this ask never reached the gate of
    /// the receipts. The account's slots that the job needs are taken with it;
    /// after [`MoveResult::Full`] nothing has changed, but that they are reserved for who goes on asking, and
    /// nothing after [`MoveResult::Paced`]. Who takes no slots won't post, and is not held up.
    async fn begin(
        &self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError>;

    /// Gives the attempt up as surely not accepted. Once this has returned [`MoveResult::Yes`] the next
    /// attempt is free for whoever asks first. Without a nonce, on the word of a receipt, it does so
    /// whoever has asked last. Its slots are free.
    async fn reopen(
        &self,
        job: &JobId,
        attempt: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError>;

    /// Writes what the receipts say over a record that is what `over` says; the one that counts is
    /// returned. `corrects` is the event of an unknown outcome that the job's end will correct. A task that
    /// runs, or may, takes its slots, whether or not they are free.
    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError>;

    /// Notes the accepted task, unless another task or an outcome was noted before, or this task as one
    /// that failed; how far the job is then is returned.
    async fn accept(&self, entry: JobRef<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError>;

    /// The task of attempt `attempt` has failed, and another generation may follow: the next attempt is
    /// free for whoever asks first. `failed` has that task as its last.
    async fn follow(
        &self,
        job: &JobId,
        attempt: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError>;

    /// Freezes the outcome as the bytes of its event. Once this has returned [`FreezeResult::Event`] every
    /// caller gets those same bytes. Slots are free, unless by these bytes the task may run on: see
    /// [`may_run_on`](crate::job::event::may_run_on).
    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError>;

    /// Counts one more life that is about to store the job's images, by a word of its own; the record
    /// that counts is returned. The task has ended, and its slots are free.
    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError>;

    /// Takes the count of that life back: it has left alive. `""` for the life that submitted the job. `tried`: for how
    /// long the images have been tried for in vain, where they have; the longest that was told counts.
    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError>;

    /// Notes that the user wants the job no more, unless it has ended, and hints its holder. What was
    /// known is returned. A job that was not seen yet is remembered as cancelled for as long as a
    /// finished one is.
    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError>;

    /// The event is confirmed: from now on the record is only remembered. Where that event is `sealed`, in a
    /// receipt, an unfinished record ends with this, and keeps no copy of it; slots are then free as by
    /// [`Self::freeze`].
    async fn told(&self, entry: JobRef<'_>, sealed: Option<&Bytes>) -> Result<(), LedgerError>;

    /// Notes the id of the store that goes with this Redis, unless one is noted; the noted one is
    /// returned.
    async fn meet_store(&self, id: &str) -> Result<String, LedgerError>;

    /// The provider has asked for a slower pace: no worker gets the right to post for `pause`, and then all
    /// of them together half as often as before, and more and more again. `rate`: how many POSTs this worker
    /// has made of late in 1000 seconds.
    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError>;

    /// Nothing runs on this account yet, so that the count of its slots is whole; unless there is a count.
    async fn begin_count(&self) -> Result<(), LedgerError>;

    /// Whether Redis takes writes.
    async fn probe(&self) -> Result<(), LedgerError>;
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn unavailable(error: redis::RedisError) -> LedgerError {
    LedgerError::Unavailable(format!("{error}{}", rights::advice(&error)))
}
