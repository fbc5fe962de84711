//! What an event looks like. The order of the fields is the order in the bytes; the descriptions are those of the schema
//! (`comet-worker schema event`), which is made from these types.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::EventKind;
use crate::job::route::RouteName;
use crate::job::{Charged, ExternalTaskId, Fault, JobId, Reason, StoredImage, StoredMedia, TaskId, Timings};

/// A CloudEvent 1.0 in JSON on the exchange comet.events. Routing keys: job.submitted, job.succeeded, job.failed,
/// job.cancelled; the last three are terminal. Copies of an event can arrive; they have the same id and the same bytes.
/// Fields may be added: ignore what you don't know.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "comet-worker: an event")]
pub(in crate::job) struct CloudEvent<'a, D> {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: &'a str,
    /// The same for all copies of one event: <job_id>/submitted, <job_id>/succeeded, <job_id>/failed or
    /// <job_id>/cancelled. With reason invalid_request a hash of the event follows, <job_id>/failed/<16 hex digits>,
    /// since Redis may forget it and another wrong input come under the same job_id. Where a corrected input replaced
    /// one that was refused unpaid, /2 follows, then /3 and so on. <job_id>/resolved: a correction (see supersedes).
    #[schemars(
        length(min = 1),
        example = "order-8812/succeeded",
        example = "order-8812/succeeded/2",
        example = "order-8812/failed/730bc14acdad8bfb"
    )]
    pub id: &'a str,
    /// The fleet that did the job.
    #[schemars(length(min = 1), example = "/comet-worker")]
    pub source: &'a str,
    /// What happened.
    #[schemars(extend("enum" = EventKind::ALL.map(EventKind::event_type)))]
    pub r#type: &'a str,
    /// The job_id.
    #[schemars(length(min = 1))]
    pub subject: &'a str,
    /// When it happened: RFC 3339 in UTC with milliseconds.
    #[schemars(length(equal = 24), example = "2026-11-23T05:12:09.114Z")]
    pub time: &'a str,
    /// The media type of data.
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: &'a str,
    /// On a correction only: the id of the event that this one replaces. That one said outcome_unknown, or that a task
    /// which was accepted has no images. A correction's own id is <job_id>/resolved.
    // Our extension attribute of CloudEvents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub supersedes: Option<&'a str>,
    /// About the job; by type.
    #[schemars(extend("type" = "object", "required" = ["job_id"]))]
    pub data: &'a D,
}

/// The provider accepted the job. Only with events.submitted = true; may be missing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "submitted")]
pub(in crate::job) struct Submitted<'a> {
    pub job_id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'a RouteName>,
    pub task_id: &'a TaskId,
    pub external_task_id: &'a ExternalTaskId,
    pub timings_ms: Timings,
    /// The job's metadata, as it was written. Absent where the job had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub metadata: Option<&'a RawValue>,
}

/// The result is stored.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "succeeded")]
pub(in crate::job) struct Succeeded<'a> {
    pub job_id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'a RouteName>,
    pub task_id: &'a TaskId,
    pub external_task_id: &'a ExternalTaskId,
    /// In the provider's order. Only of a route that makes images.
    #[serde(skip_serializing_if = "<[StoredImage]>::is_empty")]
    #[schemars(length(min = 1))]
    pub images: &'a [StoredImage],
    /// In the provider's order. Only of a route that makes videos.
    #[serde(skip_serializing_if = "<[StoredMedia]>::is_empty")]
    #[schemars(length(min = 1))]
    pub videos: &'a [StoredMedia],
    /// In the provider's order. Only of a route that makes sounds.
    #[serde(skip_serializing_if = "<[StoredMedia]>::is_empty")]
    #[schemars(length(min = 1))]
    pub audios: &'a [StoredMedia],
    /// What the provider deducted, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<&'a str>,
    /// The tasks of this job that failed before the one that counts, in their order. Only where
    /// generation.max_attempts is above 1.
    #[serde(skip_serializing_if = "<[TaskId]>::is_empty")]
    #[schemars(length(min = 1))]
    pub failed_task_ids: &'a [TaskId],
    pub timings_ms: Timings,
    /// How often the task was queried.
    pub polls: u32,
    /// The job's metadata, as it was written. Absent where the job had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub metadata: Option<&'a RawValue>,
}

/// The job ended without a result.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "failed")]
pub(in crate::job) struct Failed<'a> {
    pub job_id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'a RouteName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<&'a TaskId>,
    pub external_task_id: &'a ExternalTaskId,
    pub reason: Reason,
    /// For a person.
    pub message: &'a str,
    /// The provider's own code, verbatim; null where there is none.
    pub provider_code: Option<&'a str>,
    pub charged: Charged,
    /// Everything that is wrong with the job; only with reason invalid_request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::job::request::FAULTS_MAX))]
    pub faults: Option<&'a [Fault]>,
    /// What the provider deducted, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<&'a str>,
    /// The tasks of this job that failed before the one that counts, in their order. Only where
    /// generation.max_attempts is above 1. charged is over all of them.
    #[serde(skip_serializing_if = "<[TaskId]>::is_empty")]
    #[schemars(length(min = 1))]
    pub failed_task_ids: &'a [TaskId],
    pub timings_ms: Timings,
    /// How often the task was queried.
    pub polls: u32,
    /// The job's metadata, as it was written. Absent where the job had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub metadata: Option<&'a RawValue>,
}

/// A job that is not waited for any more: its user cancelled it, or a person gave it up after its outcome was unknown.
/// In place of a result, what it cost.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "cancelled")]
pub(in crate::job) struct Cancelled<'a> {
    pub job_id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'a RouteName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<&'a TaskId>,
    pub external_task_id: &'a ExternalTaskId,
    /// For a person.
    pub message: &'a str,
    pub charged: Charged,
    /// The tasks of this job that failed before the one that counts, in their order. Only where
    /// generation.max_attempts is above 1. charged is over all of them.
    #[serde(skip_serializing_if = "<[TaskId]>::is_empty")]
    #[schemars(length(min = 1))]
    pub failed_task_ids: &'a [TaskId],
    pub timings_ms: Timings,
    /// How often the task was queried.
    pub polls: u32,
    /// The job's metadata, as it was written. Absent where the job had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub metadata: Option<&'a RawValue>,
}
