//! CometAPI: one generation submitted, one task queried.
//!
//! What a reply means is decided in [`wire`], which is pure. An answer exists for each thing that
//! the life of a job does differently.

mod forbidden;
mod foreign;
pub mod http;
mod models;
pub mod wire;

use async_trait::async_trait;
use bytes::Bytes;

use crate::job::answers::{AccountFault, Lookup, SubmitOutcome, TaskStatus};
use crate::job::{SentUnder, TaskId};

/// The provider, as the life of a job sees it.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Posts one paid generation. Ends within `api.submit_timeout_s`, and sends the body at most
    /// once.
    async fn submit(&self, body: Bytes) -> SubmitOutcome;

    /// Asks how a task is doing. Free, and may be repeated.
    async fn query(&self, task: &TaskId) -> TaskStatus;

    /// Asks for a task by our own id. Free, and may be repeated. A miss proves nothing by itself, and a task that can't be the one
    /// that went out is a miss.
    async fn lookup(&self, under: &SentUnder) -> Lookup;

    /// The provider's clock, Unix milliseconds: it is at least so late there. `None` where it can't be told.
    async fn clock_ms(&self) -> Option<i64>;

    /// A harmless GET that tells whether the provider can be reached and takes our key.
    ///
    /// # Errors
    ///
    /// The fault that still stands.
    async fn probe(&self) -> Result<(), AccountFault>;
}

/// The id of a task that can't exist.
pub const NOBODYS_TASK: &str = "comet-worker-probe";
