//! The receipts as they are stored: JSON with a version; fields are only ever added.

use serde::{Deserialize, Serialize};

use super::IntentFacts;
use crate::job::route::RouteName;
use crate::job::{Adopts, Charged, ExternalTaskId, SentUnder, TaskId};

/// The version of the receipts that this worker writes.
const VERSION: u32 = 1;

/// `intent-n`: a life will post attempt n or has posted it, or no life posts it any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    pub(crate) version: u32,
    pub job_id: String,
    pub digest: String,
    /// The name of the route at which attempt n is posted, and its task polled. The first intents had no such field,
    /// since there was one route.
    #[serde(default = "default_route")]
    pub route: String,
    pub round: u32,
    pub nonce: String,
    /// The external id of the POST. Look-ups use this id, even if the rule for ids has changed since.
    pub external_task_id: String,
    /// Whether the producer chose the id.
    #[serde(default)]
    pub own_id: bool,
    /// If the producer chose the id, only a task that was made at this time or later is this job's, by the provider's
    /// clock in Unix milliseconds; absent if that clock was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from_ms: Option<i64>,
    /// How many generations the job may have, one after the other, as long as their tasks fail. The number in the
    /// first intent counts, however later workers are configured.
    #[serde(default = "one")]
    pub max_attempts: u32,
    /// Whether the gate was shut by a worker that gave the job up or cancelled it: no life posts this attempt.
    #[serde(default)]
    pub shut: bool,
    /// Whether it was shut because the user had cancelled the job while no submit was under way.
    #[serde(default)]
    pub cancelled: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskNote {
    version: u32,
    pub(crate) task_id: String,
}

/// `failed-n`: the task of attempt n has failed, and another generation follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailureNote {
    version: u32,
    pub(crate) task_id: String,
    pub(crate) charged: Charged,
}

/// `resolve-n`: a person's decision about a job that was given up and whose gate n is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing was accepted, this person says: an attempt follows this gate.
    SubmitAgain,
    /// The result is not wanted any more, whether or not a task was accepted.
    GiveUp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DecisionNote {
    version: u32,
    pub(crate) decision: Decision,
}

impl Intent {
    pub(crate) fn of(of: IntentFacts<'_>, nonce: &str) -> Self {
        Self {
            version: VERSION,
            job_id: of.job.to_string(),
            digest: of.digest.as_str().to_owned(),
            route: of.route.as_str().to_owned(),
            round: of.round,
            nonce: nonce.to_owned(),
            external_task_id: of.under.id.as_str().to_owned(),
            own_id: of.under.is_own(),
            made_from_ms: match of.under.adopts {
                Adopts::MadeFrom(from_ms) => Some(from_ms),
                Adopts::Any | Adopts::None => None,
            },
            max_attempts: of.max_attempts,
            shut: false,
            cancelled: false,
        }
    }

    pub(crate) fn sent_under(&self) -> Option<SentUnder> {
        let adopts = match (self.own_id, self.made_from_ms) {
            (false, _) => Adopts::Any,
            (true, Some(from_ms)) => Adopts::MadeFrom(from_ms),
            (true, None) => Adopts::None,
        };
        Some(SentUnder { id: ExternalTaskId::new(&self.external_task_id)?, adopts })
    }
}

fn default_route() -> String {
    RouteName::default_route().as_str().to_owned()
}

fn one() -> u32 {
    1
}

impl TaskNote {
    pub(crate) fn of(task: &TaskId) -> Self {
        Self { version: VERSION, task_id: task.as_str().to_owned() }
    }
}

impl FailureNote {
    pub(crate) fn of(task: &TaskId, charged: Charged) -> Self {
        Self { version: VERSION, task_id: task.as_str().to_owned(), charged }
    }
}

impl DecisionNote {
    pub(crate) fn of(decision: Decision) -> Self {
        Self { version: VERSION, decision }
    }
}
