//! CometAPI: submits one generation, queries one task.
//!
//! [`wire`], which is pure, decides what a reply means. There is one answer for each thing that a life does
//! differently.

mod forbidden;
mod foreign;
pub mod http;
mod models;
pub mod wire;

use async_trait::async_trait;

use crate::job::answers::{AccountFault, Lookup, SubmitOutcome, TaskStatus};
use crate::job::route::Route;
use crate::job::submission::Submission;
use crate::job::{SentUnder, TaskId};

/// The provider, as a life sees it.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Posts one paid generation. It ends within `api.submit_timeout_s`, and sends the body at most once.
    async fn submit(&self, submission: &Submission) -> SubmitOutcome;

    /// Queries the status of a task of this route. It is free, and may be repeated.
    async fn query(&self, route: &Route, task: &TaskId) -> TaskStatus;

    /// Looks a task of this route up by our own id. It is free, and may be repeated. A miss proves nothing by itself. A task that
    /// can't be the one that was submitted counts as a miss.
    async fn lookup(&self, route: &Route, under: &SentUnder) -> Lookup;

    /// The provider's time in Unix milliseconds, or a little earlier. `None` if it is unknown.
    async fn clock_ms(&self) -> Option<i64>;

    /// Sends a harmless GET that shows whether the provider can be reached and accepts our key.
    ///
    /// # Errors
    ///
    /// The fault that persists.
    async fn probe(&self) -> Result<(), AccountFault>;
}

/// The id of a task that can't exist.
pub const NO_TASK: &str = "comet-worker-probe";
