//! An event as our own tools read it (`watch`, `submit --wait`).
//!
//! They read it like any good consumer: they skip what they don't know and accept that fields are missing, so that an
//! older tool can read the events of a newer worker.

use serde::{Deserialize, Deserializer, Serialize};

use super::EventKind;
use crate::job::{Fault, FileKind, Reason};

/// The parts of an event that a reader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    pub id: String,
    /// CloudEvents' `type`, unchanged; [`EventView::kind`] is the same as an [`EventKind`].
    pub event_type: String,
    /// RFC 3339; empty if the event has none.
    pub time: String,
    pub job_id: String,
    pub task_id: Option<String>,
    pub external_task_id: Option<String>,
    /// In the order of the event, as the following two.
    pub images: Vec<FileView>,
    pub videos: Vec<FileView>,
    pub audios: Vec<FileView>,
    /// A text, since a newer worker may know more reasons than [`crate::job::Reason`] here.
    pub reason: Option<String>,
    pub message: Option<String>,
    pub provider_code: Option<String>,
    /// `no`, `yes` or `unknown`.
    pub charged: Option<String>,
    pub faults: Vec<Fault>,
    /// What the provider deducted, verbatim.
    pub units: Option<String>,
    /// The id of the event that this one corrects.
    pub supersedes: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    #[serde(default)]
    pub index: u32,
    pub location: String,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub bytes: u64,
}

/// Why bytes are not an event about a job. The message is for a person.
#[derive(Debug, thiserror::Error)]
#[error("not an event of comet-worker: {0}")]
pub struct NotAnEvent(#[from] serde_json::Error);

impl EventView {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// The bytes are not JSON, or lack `id`, `type` or `data.job_id`.
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
            videos: data.videos,
            audios: data.audios,
            reason: data.reason,
            message: data.message,
            provider_code: data.provider_code,
            charged: data.charged,
            faults: data.faults,
            units: data.units,
            supersedes: supersedes.or(data.supersedes),
        })
    }

    /// All its files, each with its kind.
    pub fn files(&self) -> impl Iterator<Item = (FileKind, &FileView)> {
        FileKind::ALL.into_iter().flat_map(|kind| {
            let files = match kind {
                FileKind::Image => &self.images,
                FileKind::Video => &self.videos,
                FileKind::Audio => &self.audios,
            };
            files.iter().map(move |file| (kind, file))
        })
    }

    /// `None` for a kind that this version doesn't know.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        EventKind::from_event_type(&self.event_type)
    }
}

/// Whether the event says that the outcome of the job is unknown.
#[must_use]
pub fn says_unknown(event: &[u8]) -> bool {
    EventView::parse(event)
        .is_ok_and(|event| event.reason.as_deref() == Some(Reason::OutcomeUnknown.as_str()))
}

/// Whether another event may correct this one: the outcome was unknown, or the task was accepted and its images are
/// not stored, so that a person may have had them fetched.
#[must_use]
pub fn may_be_corrected(event: &[u8]) -> bool {
    EventView::parse(event).is_ok_and(|event| {
        let said = |reason: Reason| event.reason.as_deref() == Some(reason.as_str());
        said(Reason::OutcomeUnknown) || (event.task_id.is_some() && Reason::UNSTORED.into_iter().any(said))
    })
}

/// Whether the job's task may still run at the provider after the event, since the job was given up before the task
/// ended.
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
    images: Vec<FileView>,
    #[serde(default, deserialize_with = "or_default")]
    videos: Vec<FileView>,
    #[serde(default, deserialize_with = "or_default")]
    audios: Vec<FileView>,
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
    units: Option<String>,
    #[serde(default)]
    supersedes: Option<String>,
}

/// `null` has the same meaning as a missing field.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
