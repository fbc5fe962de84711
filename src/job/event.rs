//! The outgoing contract: CloudEvents 1.0 in JSON. The same facts give the same bytes.
//!
//! The first worker that ends a job freezes the bytes of its terminal event in a receipt, and every published copy
//! has those bytes ([`Event::from_stored`] only reads the name from them). So this is a stored format: fields are
//! only ever added, and `tests/fixtures/events/` has an event of every version.
//!
//! An event's id is a function of the job and its end, so that a consumer recognizes copies by it: see
//! [`Event::terminal`].

pub(super) mod data;
mod end;
#[cfg(test)]
mod tests;
mod view;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::data::{Cancelled, CloudEvent, Failed, Submitted, Succeeded};
pub use self::end::{EndNote, JobEnd};
pub use self::view::{EventView, FileView, NotAnEvent, may_be_corrected, may_run_on, says_unknown};

use super::{
    Cancellation, ExternalTaskId, FailedTasks, Failure, Job, Outcome, Reason, Success, TaskId, Timings,
};

/// The media type of [`Event::body`], for the message's `content_type`.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An event about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// All copies of an event have the same id; different events have different ids.
    pub id: String,
    pub kind: EventKind,
    /// The whole CloudEvent.
    pub body: Bytes,
}

/// What an event says about its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The provider has accepted the job. This event is off by default, and no worker waits for its confirmation.
    Submitted,
    Succeeded,
    Failed,
    Cancelled,
}

impl EventKind {
    pub const ALL: [Self; 4] = [Self::Submitted, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The routing key at the events' exchange.
    #[must_use]
    pub fn routing_key(self) -> &'static str {
        match self {
            Self::Submitted => "job.submitted",
            Self::Succeeded => "job.succeeded",
            Self::Failed => "job.failed",
            Self::Cancelled => "job.cancelled",
        }
    }

    /// CloudEvents' `type`.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Submitted => "comet.job.submitted",
            Self::Succeeded => "comet.job.succeeded",
            Self::Failed => "comet.job.failed",
            Self::Cancelled => "comet.job.cancelled",
        }
    }

    /// `None` for a type that this version doesn't know.
    #[must_use]
    pub fn from_event_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.event_type() == text)
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Submitted => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The word for the end in an event's id.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an event says besides the job and its outcome.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// CloudEvents' `source`: a URI reference, `/comet-worker` by default.
    pub source: &'a str,
    /// The current Unix time in milliseconds.
    pub time_ms: i64,
    /// Which input of this job id: 1, plus one for each corrected input that replaced an unpaid `invalid_request`.
    pub round: u32,
    pub timings: Timings,
    /// How often the task was queried.
    pub polls: u32,
    /// The external id of the generation that counts.
    pub external: &'a ExternalTaskId,
    /// The failed tasks of the job's generations before the one that counts.
    pub failed: &'a FailedTasks,
    /// The id of the event that this one corrects, which said that the outcome is unknown or that there are no
    /// images. The id of a correction is `<job_id>/resolved`.
    pub supersedes: Option<&'a str>,
}

impl Event {
    /// The end of a job. Its id is `<job_id>/<end>`, and from the second round on `<job_id>/<end>/<round>`. The end
    /// of a corrected input is a different event; with the id of the first one, every consumer that drops copies
    /// would drop it.
    ///
    /// No receipt has an `invalid_request`. If Redis forgets it, it is published again, with other bytes. So its id
    /// ends with a hash of them: `<job_id>/failed/<hash>`.
    #[must_use]
    pub fn terminal(job: &Job, outcome: &Outcome, context: &Context<'_>) -> Self {
        match outcome {
            Outcome::Succeeded(success) => Self::succeeded(job, success, context),
            Outcome::Failed(failure) => Self::failed(job, failure, context),
            Outcome::Cancelled(cancellation) => Self::cancelled(job, cancellation, context),
        }
    }

    /// The provider has accepted the job.
    #[must_use]
    pub fn submitted(job: &Job, task: &TaskId, context: &Context<'_>) -> Self {
        let data = Submitted {
            job_id: &job.id,
            operation: job.operation.as_ref(),
            task_id: task,
            external_task_id: context.external,
            timings_ms: context.timings,
            metadata: job.metadata.as_deref(),
        };
        Self::new(EventKind::Submitted, job, context, &data)
    }

    /// Takes bytes that [`Event::terminal`] has made, perhaps in another version, to publish them again unchanged.
    /// Returns `None` if they are not one of our events.
    #[must_use]
    pub fn from_stored(bytes: Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Name {
            id: String,
            r#type: String,
        }

        let name: Name = serde_json::from_slice(&bytes).ok()?;
        let kind = EventKind::from_event_type(&name.r#type)?;
        (!name.id.is_empty()).then_some(Self { id: name.id, kind, body: bytes })
    }

    fn succeeded(job: &Job, success: &Success, context: &Context<'_>) -> Self {
        let data = Succeeded {
            job_id: &job.id,
            operation: job.operation.as_ref(),
            task_id: &success.task_id,
            external_task_id: context.external,
            images: &success.made.images,
            videos: &success.made.videos,
            audios: &success.made.audios,
            units: success.units.as_deref(),
            failed_task_ids: context.failed.tasks(),
            timings_ms: context.timings,
            polls: context.polls,
            metadata: job.metadata.as_deref(),
        };
        Self::new(EventKind::Succeeded, job, context, &data)
    }

    fn failed(job: &Job, failure: &Failure, context: &Context<'_>) -> Self {
        let data = Failed {
            job_id: &job.id,
            operation: job.operation.as_ref(),
            task_id: failure.task_id.as_ref(),
            external_task_id: context.external,
            reason: failure.reason,
            message: &failure.message,
            provider_code: failure.provider_code.as_deref(),
            charged: failure.charged,
            faults: (failure.reason == Reason::InvalidRequest).then_some(failure.faults.as_slice()),
            units: failure.units.as_deref(),
            failed_task_ids: context.failed.tasks(),
            timings_ms: context.timings,
            polls: context.polls,
            metadata: job.metadata.as_deref(),
        };
        let event = Self::new(EventKind::Failed, job, context, &data);
        if failure.reason != Reason::InvalidRequest || context.supersedes.is_some() {
            return event;
        }
        let hash = Sha256::digest(&event.body);
        let id =
            format!("{}/{}/{}", job.id, event.kind.word(), hex::encode(hash.get(..8).unwrap_or_default()));
        Self::named(id, event.kind, job, context, &data)
    }

    fn cancelled(job: &Job, cancellation: &Cancellation, context: &Context<'_>) -> Self {
        let data = Cancelled {
            job_id: &job.id,
            operation: job.operation.as_ref(),
            task_id: cancellation.task_id.as_ref(),
            external_task_id: context.external,
            message: &cancellation.message,
            charged: cancellation.charged,
            failed_task_ids: context.failed.tasks(),
            timings_ms: context.timings,
            polls: context.polls,
            metadata: job.metadata.as_deref(),
        };
        Self::new(EventKind::Cancelled, job, context, &data)
    }

    fn new<D: Serialize>(kind: EventKind, job: &Job, context: &Context<'_>, data: &D) -> Self {
        let id = match context.round {
            _ if context.supersedes.is_some() => format!("{}/resolved", job.id),
            0 | 1 => format!("{}/{}", job.id, kind.word()),
            round => format!("{}/{}/{round}", job.id, kind.word()),
        };
        Self::named(id, kind, job, context, data)
    }

    fn named<D: Serialize>(id: String, kind: EventKind, job: &Job, context: &Context<'_>, data: &D) -> Self {
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: context.source,
            r#type: kind.event_type(),
            subject: job.id.as_str(),
            time: &rfc_3339(context.time_ms),
            datacontenttype: "application/json",
            supersedes: context.supersedes,
            data,
        };
        let body = serde_json::to_vec(&event).expect("an event's members are all JSON");
        Self { id, kind, body: body.into() }
    }
}

/// UTC, always with milliseconds. A clock before 1970, or beyond the years of RFC 3339, gives 1970: an event with a
/// wrong time is better than none.
pub(crate) fn rfc_3339(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms.max(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
