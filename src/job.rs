//! The nouns of a job: its name, its outcome, and the reason of a failure.
//!
//! Everything here is pure: no clock, no I/O, no logging. [`request`] is the message that brings a job in, [`event`]
//! the events about its end, [`step`] every decision in between, and [`pace`] says when to look again.

pub mod answers;
pub mod callback;
mod charged;
pub mod event;
mod external;
mod failed_tasks;
pub mod format;
pub mod image;
mod made;
pub mod media;
pub mod pace;
pub mod receipt;
pub mod record;
pub mod request;
pub mod route;
pub mod schema;
pub mod spend;
pub mod stage;
pub mod step;
pub mod submission;
pub mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::charged::Charged;
pub use self::external::{Adopts, ExternalIds, ExternalTaskId, SentUnder};
pub use self::failed_tasks::FailedTasks;
pub use self::made::{FileKind, Made, StoredFile, StoredImage, StoredMedia};
use self::route::{Route, RouteName};

/// The user's name for a job, which is also its idempotency key: 1–128 characters of `[A-Za-z0-9._:-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "job_id", description = "The job that this is about.")]
pub struct JobId(
    #[schemars(length(min = 1, max = JobId::MAX_LENGTH), regex(pattern = r"^[A-Za-z0-9._:-]+$"))] String,
);

/// Why a text is not a [`JobId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job_id is 1 to 128 characters of A-Z a-z 0-9 . _ : -")]
pub struct InvalidJobId;

impl JobId {
    pub const MAX_LENGTH: usize = 128;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidJobId)
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The provider's name for one generation. It is opaque and never treated as a number: 18 digits, a UUID or something
/// else (docs/provider.md, "Task ids").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "task_id", description = "The provider's id of the generation. Opaque.")]
pub struct TaskId(#[schemars(length(min = 1, max = TaskId::MAX_LENGTH))] String);

impl TaskId {
    /// A longer text is not taken for an id; none of the known ids has more than 64 characters.
    pub const MAX_LENGTH: usize = 256;

    /// `None` for a text that is empty, too long or unprintable.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let printable = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        ((1..=Self::MAX_LENGTH).contains(&text.len()) && printable).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256, in hex, of the canonical JSON of a job's input, and of its route if that is not the default one. It distinguishes a repetition from another job with the
/// same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    #[must_use]
    pub fn new(hex: String) -> Self {
        Self(hex)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a life needs to know of its job, besides the submission, which is dropped once the task id is known.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub digest: Digest,
    /// The name of its route, as the job says or by default; `None` if what it says can't be a name.
    pub operation: Option<RouteName>,
    /// `None` if this worker doesn't know the route.
    pub route: Option<Arc<Route>>,
    pub external_ids: ExternalIds,
    /// How many of the account's slots the job takes: the number of images asked for.
    pub slots: u32,
    /// The model that makes the result, one of the route's models.
    pub model: String,
    /// Whether the provider calls back at a URL of ours.
    pub calls_back: bool,
    /// Overrides `generation.timeout_s`.
    pub timeout_s: Option<u64>,
    /// Returned on every event.
    pub metadata: Option<Box<RawValue>>,
    pub envelope: Envelope,
}

impl Job {
    /// The name of its route; that of the default route if the job's own can't be a name.
    #[must_use]
    pub fn route_name(&self) -> &RouteName {
        self.operation.as_ref().unwrap_or(RouteName::default_route())
    }
}

/// The AMQP properties that events carry on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    pub reply_to: Option<String>,
    pub correlation_id: Option<String>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    /// When the producer published the message, by the producer's clock, in Unix seconds.
    pub timestamp_s: Option<u64>,
}

/// One thing that is wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "fault")]
pub struct Fault {
    /// A JSON pointer (RFC 6901) into the job; empty for the job as a whole.
    #[schemars(example = "/input/subject_image_list/1/subject_image")]
    pub path: String,
    /// What is expected, and what was found.
    pub message: String,
}

/// Why a job failed: the closed list of docs/contract.md, "Reasons of a failure".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "reason", description = "Why it failed.")]
pub enum Reason {
    /// Known to be wrong before anything was paid; correct it and send it under the same job_id.
    InvalidRequest,
    /// Refused by the provider for good.
    Rejected,
    /// Refused or failed for what it shows or says.
    ContentPolicy,
    /// Accepted by the provider, then failed.
    GenerationFailed,
    /// No end within the timeout, nor at one last query.
    TimedOut,
    /// It is unknown whether the provider accepted it. No worker posts it again by itself.
    OutcomeUnknown,
    /// The images can no longer be had.
    ResultExpired,
    /// What the provider returns as images can't be stored as images.
    ResultInvalid,
    /// It made workers crash too often.
    Quarantined,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::InvalidRequest,
        Self::Rejected,
        Self::ContentPolicy,
        Self::GenerationFailed,
        Self::TimedOut,
        Self::OutcomeUnknown,
        Self::ResultExpired,
        Self::ResultInvalid,
        Self::Quarantined,
    ];

    /// The reasons with an accepted task whose images are not stored; it may still be possible to fetch them.
    pub const UNSTORED: [Self; 4] =
        [Self::TimedOut, Self::ResultExpired, Self::ResultInvalid, Self::Quarantined];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Rejected => "rejected",
            Self::ContentPolicy => "content_policy",
            Self::GenerationFailed => "generation_failed",
            Self::TimedOut => "timed_out",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::ResultExpired => "result_expired",
            Self::ResultInvalid => "result_invalid",
            Self::Quarantined => "quarantined",
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    Succeeded(Success),
    Failed(Failure),
    Cancelled(Cancellation),
}

/// A finished generation whose result is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Success {
    pub task_id: TaskId,
    pub made: Made,
    /// What the provider deducted, as it says (`final_unit_deduction`).
    pub units: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    pub reason: Reason,
    /// A message for a person.
    pub message: String,
    /// The provider's own code, unchanged.
    pub provider_code: Option<String>,
    pub charged: Charged,
    /// Always given if there is a task, so that a paid task isn't lost.
    pub task_id: Option<TaskId>,
    pub units: Option<String>,
    /// Every fault of an `invalid_request`; otherwise empty.
    pub faults: Vec<Fault>,
}

/// A job whose result is not wanted any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cancellation {
    /// A message for a person.
    pub message: String,
    pub charged: Charged,
    /// The task that the provider had accepted by then, and that continues there.
    pub task_id: Option<TaskId>,
}

/// How long the parts of the job took, in milliseconds, as far as the worker that ended it has seen them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "timings_ms")]
pub struct Timings {
    /// From the publish to the worker's first look, by the message's timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// The accepted POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<u64>,
    /// From the accepted POST to the poll that saw the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<u64>,
    /// The download and the storing of all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_keeps_to_its_alphabet_and_length() {
        for good in ["a", "order-8812", "A.b_c:d-9", &"x".repeat(128)] {
            assert!(good.parse::<JobId>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a b", "ü", "a\n", "..\\", &"x".repeat(129)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_task_id_is_a_printable_word() {
        assert!(TaskId::new("878106242831892487").is_some());
        assert!(TaskId::new("CjMT7WdSwWcAAAAAALvB3g").is_some());
        assert!(TaskId::new("").is_none());
        assert!(TaskId::new("a b").is_none());
        assert!(TaskId::new(&"9".repeat(257)).is_none());
    }
}
