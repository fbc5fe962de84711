//! The nouns of a job: its name, its outcome, and the reason of a failure.
//!
//! Everything here is pure: no clock, no I/O, no logging. [`request`] is the message that brings a job in, [`event`]
//! the events about its end, [`step`] every decision in between, and [`pace`] says when to look again.

pub mod answers;
pub mod callback;
pub mod event;
mod external;
mod failed_tasks;
pub mod format;
pub mod image;
pub mod operation;
pub mod pace;
pub mod receipt;
pub mod record;
pub mod request;
#[cfg(test)]
mod schema_tests;
pub mod step;
pub mod text;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::external::{Adopts, ExternalIds, ExternalTaskId, SentUnder};
pub use self::failed_tasks::FailedTasks;

/// The user's name for a job, which is also its idempotency key: 1–128 characters of `[A-Za-z0-9._:-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct JobId(String);

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

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

/// SHA-256, in hex, of the canonical JSON of a job's input. It distinguishes a repetition from another job with the
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

/// What a life needs to know of its job, besides the body for the provider, which is dropped once the task id is
/// known.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub digest: Digest,
    pub external_ids: ExternalIds,
    /// `n`: the number of images asked for, which is also the number of the account's slots that the job takes.
    pub images: u32,
    /// The model that makes the images, one of the known models.
    pub model: String,
    /// Whether the provider calls back at a URL of ours.
    pub calls_back: bool,
    /// Overrides `generation.timeout_s`.
    pub timeout_s: Option<u64>,
    /// Returned on every event.
    pub metadata: Option<Box<RawValue>>,
    pub envelope: Envelope,
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

/// One fault of a job, with its place in the message's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// A JSON pointer, for example `/input/subject_image_list/1/subject_image`.
    pub path: String,
    pub message: String,
}

/// Why a job failed: the closed list of docs/contract.md, "Reasons of a failure".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The job is known to be wrong before anything was paid.
    InvalidRequest,
    /// The provider has refused the job for good.
    Rejected,
    /// The provider has refused the job for its content.
    ContentPolicy,
    /// The provider accepted the job, and the generation failed.
    GenerationFailed,
    /// The task had not ended within the timeout, nor at one last query.
    TimedOut,
    /// It is unknown whether the provider accepted the job. No worker posts it again by itself.
    OutcomeUnknown,
    /// The provider has the images no longer.
    ResultExpired,
    /// What the provider returns as images can't be stored as images.
    ResultInvalid,
    /// The job made workers crash too often.
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

/// Whether the provider took money for a job without images, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    No,
    Yes,
    Unknown,
}

impl Charged {
    /// The charge for two tasks together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::No, Self::No) => Self::No,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
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

/// The stored images of a finished generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Success {
    pub task_id: TaskId,
    pub images: Vec<StoredImage>,
    /// What the provider deducted, as it says (`final_unit_deduction`).
    pub units: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct StoredImage {
    pub index: u32,
    /// A stable location: `scheme://bucket/key`, or `file:///absolute/path`.
    pub location: String,
    /// `None` if the store has no public base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Read from the bytes, and not from the header of the provider's server.
    pub content_type: String,
    pub bytes: u64,
    pub width: u32,
    pub height: u32,
    /// In hex.
    pub sha256: String,
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

/// How long the parts of a life took, in milliseconds, as far as this process has seen them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Timings {
    /// From the producer's publishing to the moment when the worker first sees the job, by the message's `timestamp`.
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
