//! What the provider's answers say: what became of a POST, how a task is doing, what a look-up found. There is a case for each thing that the
//! worker does differently.

use std::time::Duration;

use url::Url;

use super::TaskId;

/// What a POST came to.
#[derive(Debug, Clone, PartialEq)]
pub enum SubmitOutcome {
    /// The task exists and is ours.
    Accepted(TaskId),
    /// Surely not accepted, and not the job's fault: it can be tried again later.
    Later(Later),
    /// Surely not accepted, for something that stops every job: intake stops.
    Account(AccountFault),
    /// Surely not accepted, for what the job is.
    Refused(Refusal),
    /// May or may not have been accepted: nobody may post it again on a guess.
    Unknown {
        message: String,
        provider_code: Option<String>,
        /// The provider says that it has a task under our external id: an earlier POST's, or another's.
        exists: bool,
    },
}

/// The provider has no room just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    pub message: String,
    pub provider_code: Option<String>,
    /// From the `Retry-After` header, at most an hour; longer with each try where no channel has the
    /// model.
    pub after: Option<Duration>,
    /// It is about this job's model and says nothing about other jobs: this one waits by itself.
    pub this_job_only: bool,
}

/// The provider will never take this job.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// For what it shows or says, rather than for its form.
    pub content_policy: bool,
    /// Its model doesn't exist, or not any more.
    pub no_model: bool,
    pub message: String,
    pub provider_code: Option<String>,
}

/// Something that no job is to blame for, and that stops them all.
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
    /// The base URL or the path leads to something that is not the API, or `api.model` isn't there.
    Configuration,
    /// The key may not do this: its models, its group, our IP address, or a firewall before the API.
    Forbidden,
    /// No connection, or an answer that says that the service is down.
    Unreachable,
}

/// What a query saw.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskStatus {
    /// Submitted or running; also every word that we don't know (docs/provider.md, "Status words").
    Running,
    Succeeded {
        images: Vec<ResultImage>,
        units: Option<String>,
    },
    Failed {
        message: String,
        why: Failed,
        units: Option<String>,
    },
    /// The provider doesn't know the task, or not yet: common in a task's first seconds.
    NotFound {
        message: String,
    },
    /// No answer about the task. Look again; `fault` says whether intake should stop as well.
    Unavailable {
        message: String,
        fault: Option<AccountFault>,
        after: Option<Duration>,
    },
}

/// Why a task failed, as far as the provider says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failed {
    /// For what it shows or says: another generation would fail, too.
    Policy,
    /// For a fault of the provider's own, by its words: another generation may succeed.
    Technical,
    /// For anything else, or nothing was said. In doubt no other generation follows.
    Unsaid,
}

/// What looking a task up by our own external id came to. A miss proves nothing: the gateway may
/// know its own ids only (docs/provider.md, "External task ids").
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// The task exists, under this id.
    Found(TaskId),
    NotFound {
        message: String,
    },
    /// A task that isn't known to be this job's has that external id, or is answered with all the same. It may hide one that is.
    Another {
        message: String,
    },
    /// No answer about the task. Look again; `fault` says whether intake should stop as well.
    Unavailable {
        message: String,
        fault: Option<AccountFault>,
        after: Option<Duration>,
    },
}

/// One image at the provider. The URL is signed and expires; it is never logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResultImage {
    pub index: u32,
    pub url: Url,
}
