//! Retries: a life waits for our own services, and their faults never become a job's outcome.

use std::time::Duration;

use futures_util::{FutureExt, TryFutureExt};

use super::Actor;
use super::interrupts::First;
use crate::job::pace::{Seed, backoff};
use crate::job::record::Unreadable;
use crate::job::step::RequeueReason;
use crate::ledger::LedgerError;
use crate::storage::StoreError;
use crate::worker::breaker::{Cause, FaultWords};

/// The first pause between two tries at one of our own services.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// After a stop, a service that is away gets this much time.
const LAST_MOVE: Duration = Duration::from_secs(2);

impl Actor<'_> {
    /// Repeats a move of the ledger until its outcome is known; every script may run twice. A worker that stops while
    /// Redis is away doesn't wait for it.
    pub(super) fn until_known<T, F>(
        &self,
        mut ask: impl FnMut() -> F + Send,
    ) -> impl Future<Output = Result<Result<T, Unreadable>, RequeueReason>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, LedgerError>> + Send,
    {
        self.or_stop_late(self.repeated(Cause::Redis, move || {
            ask().map(|answer| match answer {
                Ok(value) => Ok(Ok(value)),
                Err(LedgerError::Unreadable(unreadable)) => Ok(Err(unreadable)),
                Err(error @ LedgerError::Unavailable(_)) => Err(FaultWords::from(&error)),
            })
        }))
    }

    /// Repeats a move in the store until its outcome is known; every move may be made twice.
    pub(super) fn until_stored<T, F>(
        &self,
        mut ask: impl FnMut() -> F + Send,
    ) -> impl Future<Output = Result<T, RequeueReason>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.or_stop_late(
            self.repeated(Cause::Storage, move || ask().map_err(|error| FaultWords::from(&error))),
        )
    }

    /// Repeats a call to one of our own services until it has answered. Each failure is a fault of `cause`.
    async fn repeated<T, F>(&self, cause: Cause, mut call: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, FaultWords>>,
    {
        let mut failures = 0;
        loop {
            match call().await {
                Ok(value) => return value,
                Err(words) => self.shared.breaker.fault(cause, words),
            }
            failures += 1;
            self.rest(failures).await;
        }
    }

    /// Runs `future` until [`LAST_MOVE`] after an interrupt.
    pub(super) fn or_a_little_later<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, RequeueReason>> {
        let patience = async {
            let why = self.interrupts.any().await;
            tokio::time::sleep(LAST_MOVE).await;
            Err(why)
        };
        First::of(future.map(Ok), patience)
    }

    /// Runs `future` until [`LAST_MOVE`] after the stop.
    fn or_stop_late<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, RequeueReason>> {
        let patience = async {
            // Most often no interrupt comes, and this wait is cheap.
            self.interrupts.any().await;
            self.interrupts.stop.cancelled().await;
            tokio::time::sleep(LAST_MOVE).await;
            Err(RequeueReason::Stopping)
        };
        First::of(future.map(Ok), patience)
    }

    pub(super) async fn rest(&self, failures: u32) {
        tokio::time::sleep(backoff(failures, FIRST_RETRY, LAST_RETRY, Seed::of(&self.job.id))).await;
    }
}
