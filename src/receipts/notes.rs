//! The receipts as they are stored: JSON, versioned, fields only ever added.

use serde::{Deserialize, Serialize};

use super::Of;
use crate::job::{Charged, TaskId};

/// The version of the receipts that this worker writes.
const VERSION: u32 = 1;

/// `intent-n`: somebody is going to post attempt n, or has, or nobody will any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    pub(super) version: u32,
    pub job_id: String,
    pub digest: String,
    pub round: u32,
    pub nonce: String,
    /// For a person who looks for the task at the provider.
    pub external_task_id: String,
    /// So many generations the job may have, one after the other, as long as their tasks fail. What the
    /// first intent says of it holds, however the workers are configured that come later.
    #[serde(default = "one")]
    pub max_attempts: u32,
    /// The gate was shut by a worker that gave the job up, or cancelled it: nobody posts this attempt.
    #[serde(default)]
    pub shut: bool,
    /// It was shut for a user who wanted the job no more, when nothing was under way.
    #[serde(default)]
    pub cancelled: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskNote {
    version: u32,
    pub(super) task_id: String,
}

/// `failed-n`: the task of attempt n has failed, and another generation follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailureNote {
    version: u32,
    pub(super) task_id: String,
    pub(super) charged: Charged,
}

/// `resolve-n`: what a person has decided about a job that was given up and whose gate n is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing was accepted, by this person's word: there is an attempt after this gate.
    SubmitAgain,
    /// Whatever was accepted, nobody waits for it any more.
    GiveUp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DecisionNote {
    version: u32,
    pub(super) decision: Decision,
}

impl Intent {
    pub(super) fn of(of: Of<'_>, nonce: &str) -> Self {
        Self {
            version: VERSION,
            job_id: of.job.to_string(),
            digest: of.digest.as_str().to_owned(),
            round: of.round,
            nonce: nonce.to_owned(),
            external_task_id: of.external.as_str().to_owned(),
            max_attempts: of.max_attempts,
            shut: false,
            cancelled: false,
        }
    }
}

fn one() -> u32 {
    1
}

impl TaskNote {
    pub(super) fn of(task: &TaskId) -> Self {
        Self { version: VERSION, task_id: task.as_str().to_owned() }
    }
}

impl FailureNote {
    pub(super) fn of(task: &TaskId, charged: Charged) -> Self {
        Self { version: VERSION, task_id: task.as_str().to_owned(), charged }
    }
}

impl DecisionNote {
    pub(super) fn of(decision: Decision) -> Self {
        Self { version: VERSION, decision }
    }
}
