//! What the provider's answers mean: the outcome of a POST, the status of a task, the result of a look-up. There is
//! one case for each thing that the worker does differently.

use std::time::Duration;

use url::Url;

use super::{FileKind, TaskId};

/// The outcome of a POST.
#[derive(Debug, Clone, PartialEq)]
pub enum SubmitOutcome {
    /// The provider has accepted the job; the task is ours.
    Accepted(TaskId),
    /// Certainly not accepted, and not because of the job: it can be tried again later.
    Later(Later),
    /// Certainly not accepted, for a reason that stops every job: the intake stops.
    Account(AccountFault),
    /// Certainly not accepted, because of the job itself.
    Refused(Refusal),
    /// It is unknown whether the job was accepted, so no worker may post it again on a guess.
    Unknown {
        message: String,
        provider_code: Option<String>,
        /// The provider says that it has a task under our external id: from an earlier POST, or another job's.
        exists: bool,
    },
}

impl SubmitOutcome {
    /// The labels of the cases.
    pub const LABELS: [&'static str; 5] = ["accepted", "later", "account", "refused", "unknown"];

    /// For metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let [accepted, later, account, refused, unknown] = Self::LABELS;
        match self {
            Self::Accepted(_) => accepted,
            Self::Later(_) => later,
            Self::Account(_) => account,
            Self::Refused(_) => refused,
            Self::Unknown { .. } => unknown,
        }
    }
}

/// The provider has no capacity at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    pub message: String,
    pub provider_code: Option<String>,
    /// From the `Retry-After` header, at most an hour. If no channel has the model, it grows with each try.
    pub after: Option<Duration>,
    /// The answer is about this job's model and says nothing about other jobs, so only this job waits.
    pub this_job_only: bool,
}

/// The provider will never take this job.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Whether the reason is the job's content, and not its form.
    pub content_policy: bool,
    /// Whether the model doesn't exist, or exists no longer.
    pub no_model: bool,
    pub message: String,
    pub provider_code: Option<String>,
}

/// A fault that is not caused by a job and that stops all jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountFault {
    pub kind: AccountFaultKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountFaultKind {
    /// The key is wrong, disabled or expired.
    Key,
    /// No money, no quota, or the account is closed.
    Money,
    /// The base URL or the path leads to something other than the API, or the API doesn't have `api.model`.
    Configuration,
    /// The key has no right to this: because of its models, its group, our IP address, or a firewall before the API.
    Forbidden,
    /// There is no connection, or an answer says that the service is down.
    Unreachable,
}

/// What a query has found.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskStatus {
    /// Submitted or running, and also every status word that we don't know (docs/provider.md, "Status words").
    Running,
    Succeeded {
        /// What the route makes.
        files: Vec<ResultFile>,
        units: Option<String>,
    },
    Failed {
        message: String,
        why: Failed,
        units: Option<String>,
    },
    /// The provider doesn't know the task, or not yet, which is common in a task's first seconds.
    NotFound {
        message: String,
    },
    /// The provider gave no answer about the task. Query again; `fault` says whether the intake should stop too.
    Unavailable {
        message: String,
        fault: Option<AccountFault>,
        after: Option<Duration>,
    },
}

impl TaskStatus {
    /// The labels of the cases.
    pub const LABELS: [&'static str; 5] = ["running", "succeeded", "failed", "not_found", "unavailable"];

    /// For metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let [running, succeeded, failed, not_found, unavailable] = Self::LABELS;
        match self {
            Self::Running => running,
            Self::Succeeded { .. } => succeeded,
            Self::Failed { .. } => failed,
            Self::NotFound { .. } => not_found,
            Self::Unavailable { .. } => unavailable,
        }
    }
}

/// Why a task failed, as far as the provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failed {
    /// Because of its content: another generation would fail too.
    Policy,
    /// Because of a fault of the provider, by its own words: another generation may succeed.
    Technical,
    /// Because of anything else, or for no reason given. In doubt, no other generation follows.
    Unsaid,
}

/// The result of a look-up of a task by our own external id. A miss proves nothing, since the gateway may know only
/// its own ids (docs/provider.md, "External task ids").
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// The task exists; this is its id.
    Found(TaskId),
    NotFound {
        message: String,
    },
    /// The answer is a task that isn't known to be this job's, with that external id or without it. It may hide this
    /// job's task.
    Another {
        message: String,
    },
    /// The provider gave no answer about the task. Look it up again; `fault` says whether the intake should stop too.
    Unavailable {
        message: String,
        fault: Option<AccountFault>,
        after: Option<Duration>,
    },
}

/// One file of a result at the provider. Its URL is signed and expires, and it is never logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResultFile {
    pub kind: FileKind,
    /// Its place among the files of its kind.
    pub index: u32,
    pub url: Url,
}
