//! The nouns of a job: what it is called, what became of it, who is to blame.
//!
//! Everything here is pure: no clock, no I/O, no logging. The message that brings a job in is
//! [`request`], the events that tell its end are [`event`], every decision in between is [`step`],
//! and when to look again is [`pace`].

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

/// The user's name for a job and its idempotency key: 1–128 characters of `[A-Za-z0-9._:-]`.
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

/// The provider's name for one generation. Opaque: 18 digits, a UUID or something else
/// (docs/provider.md, "Task ids"); never a number to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// Longer ids are not believed; none of the known ones passes 64.
    pub const MAX_LENGTH: usize = 256;

    /// `None` for an empty, an overlong, or an unprintable text.
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

/// SHA-256, in hex, of the canonical JSON of a job's input: tells a repetition from another job
/// under the same id.
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

/// What the life of a job needs to know of it, besides the body that goes to the provider (which
/// is dropped once the task id is known).
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub digest: Digest,
    pub external_ids: ExternalIds,
    /// `n`: images asked for, which is also the number of the account's slots that it takes.
    pub images: u32,
    /// The model that makes them: one of those that are known.
    pub model: String,
    /// The provider calls back at a URL of ours.
    pub calls_back: bool,
    /// Overrides `generation.timeout_s`.
    pub timeout_s: Option<u64>,
    /// Given back on every event.
    pub metadata: Option<Box<RawValue>>,
    pub envelope: Envelope,
}

/// What AMQP's properties said, and the events carry on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    pub reply_to: Option<String>,
    pub correlation_id: Option<String>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    /// When the producer published it, by its clock: Unix seconds.
    pub timestamp_s: Option<u64>,
}

/// One thing wrong with a job, by its place in the message's JSON.
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
    /// Known to be wrong before anything was paid.
    InvalidRequest,
    /// The provider refused it for good.
    Rejected,
    /// The provider refused it for what it shows or says.
    ContentPolicy,
    /// The provider accepted it, and the generation failed.
    GenerationFailed,
    /// No end within the timeout, one last look included.
    TimedOut,
    /// Nobody can say whether the provider accepted it. Never posted again by itself.
    OutcomeUnknown,
    /// The images are no longer to be had at the provider.
    ResultExpired,
    /// What the provider calls its images can't be stored as images.
    ResultInvalid,
    /// It took the worker down too often.
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

    /// Of a task that was accepted, and whose images are not stored: perhaps they are still to be had.
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

/// Whether the provider took money for a job without images, as far as anybody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    No,
    Yes,
    Unknown,
}

impl Charged {
    /// For both of two tasks.
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

/// The images of a finished generation, stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Success {
    pub task_id: TaskId,
    pub images: Vec<StoredImage>,
    /// What the provider deducted, verbatim (`final_unit_deduction`).
    pub units: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct StoredImage {
    pub index: u32,
    /// Stable: `scheme://bucket/key`, or `file:///absolute/path`.
    pub location: String,
    /// Where the store has a public base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// By the bytes, never by what the provider's server called it.
    pub content_type: String,
    pub bytes: u64,
    pub width: u32,
    pub height: u32,
    /// Hex.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    pub reason: Reason,
    /// For a person.
    pub message: String,
    /// The provider's own code, verbatim.
    pub provider_code: Option<String>,
    pub charged: Charged,
    /// A paid task is never forgotten.
    pub task_id: Option<TaskId>,
    pub units: Option<String>,
    /// Everything that is wrong, for `invalid_request`; else empty.
    pub faults: Vec<Fault>,
}

/// Nobody waits for it any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cancellation {
    /// For a person.
    pub message: String,
    pub charged: Charged,
    /// What the provider had accepted by then, and goes on with.
    pub task_id: Option<TaskId>,
}

/// How long the parts of a life took, in milliseconds, as far as this process saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Timings {
    /// From the producer's publish to the worker's first look, by the `timestamp` of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// The POST that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<u64>,
    /// From the accepted POST to the poll that saw the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<u64>,
    /// Downloading and storing all images.
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
