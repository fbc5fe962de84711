//! An event as our own tools read it (`watch`, `submit --wait`).
//!
//! Written like any good consumer: what it doesn't know it passes over, what is missing it does
//! without, so that a tool of today reads the events of a newer worker.

use serde::{Deserialize, Deserializer};

use super::EventKind;
use crate::job::{Fault, Reason};

/// What a reader wants of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    pub id: String,
    /// CloudEvents' `type`, verbatim; [`EventView::kind`] is ours of it.
    pub event_type: String,
    /// RFC 3339; empty where there is none.
    pub time: String,
    pub job_id: String,
    pub task_id: Option<String>,
    pub external_task_id: Option<String>,
    /// In the order of the event.
    pub images: Vec<ImageView>,
    /// A text, since a newer worker may know more reasons than [`crate::job::Reason`] here.
    pub reason: Option<String>,
    pub message: Option<String>,
    pub provider_code: Option<String>,
    /// `no`, `yes` or `unknown`.
    pub charged: Option<String>,
    pub faults: Vec<Fault>,
    /// The id of the event that this one corrects.
    pub supersedes: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageView {
    #[serde(default)]
    pub index: u32,
    pub location: String,
    #[serde(default)]
    pub url: Option<String>,
}

/// The bytes are not an event about a job. For a person.
#[derive(Debug, thiserror::Error)]
#[error("not an event of comet-worker: {0}")]
pub struct NotAnEvent(#[from] serde_json::Error);

impl EventView {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// Not JSON, or without `id`, `type` or `data.job_id`.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAnEvent> {
        let StoredEnvelope { id, event_type, time, data, supersedes } = serde_json::from_slice(bytes)?;
        Ok(Self {
            id,
            event_type,
            time,
            job_id: data.job_id,
            task_id: data.task_id,
            external_task_id: data.external_task_id,
            images: data.images,
            reason: data.reason,
            message: data.message,
            provider_code: data.provider_code,
            charged: data.charged,
            faults: data.faults,
            supersedes: supersedes.or(data.supersedes),
        })
    }

    /// `None` for a kind that this version doesn't know.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        EventKind::from_event_type(&self.event_type)
    }
}

/// Whether the event says that nobody knows what became of the job.
#[must_use]
pub fn says_unknown(event: &[u8]) -> bool {
    EventView::parse(event)
        .is_ok_and(|event| event.reason.as_deref() == Some(Reason::OutcomeUnknown.as_str()))
}

/// Whether another event may take this one's place: nobody knew what became of the job, or its task was
/// accepted and its images are not stored, and a person has had them fetched.
#[must_use]
pub fn may_be_corrected(event: &[u8]) -> bool {
    EventView::parse(event).is_ok_and(|event| {
        let said = |reason: Reason| event.reason.as_deref() == Some(reason.as_str());
        said(Reason::OutcomeUnknown) || (event.task_id.is_some() && Reason::UNSTORED.into_iter().any(said))
    })
}

/// Whether the job's task may go on at the provider behind the event: it was given up, and not ended.
#[must_use]
pub fn may_run_on(event: &[u8]) -> bool {
    let given_up = [Reason::TimedOut, Reason::OutcomeUnknown].map(Reason::as_str);
    EventView::parse(event).is_ok_and(|event| {
        let cancelled = event.kind() == Some(EventKind::Cancelled) && event.charged.as_deref() != Some("no");
        cancelled || event.reason.as_deref().is_some_and(|reason| given_up.contains(&reason))
    })
}

#[derive(Deserialize)]
struct StoredEnvelope {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default, deserialize_with = "or_default")]
    time: String,
    data: Data,
    #[serde(default)]
    supersedes: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    job_id: String,
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    external_task_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    images: Vec<ImageView>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    provider_code: Option<String>,
    #[serde(default)]
    charged: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    faults: Vec<Fault>,
    #[serde(default)]
    supersedes: Option<String>,
}

/// `null` is as good as absent.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
