//! The whole life of one job, from its record and its receipts: `comet-worker status JOB` and `GET /api/jobs/JOB`.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::fleet::UnfinishedJob;
use crate::job::JobId;
use crate::job::event::{EventView, FileView, JobEnd, rfc_3339};
use crate::job::receipt::ReceiptName;
use crate::job::record::{Snapshot, Stage};
use crate::job::stage::JobStage;

/// A receipt, with the time at which the store has written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedReceipt {
    pub name: ReceiptName,
    /// Unix milliseconds, by the store's clock.
    pub at_ms: i64,
    pub body: Bytes,
}

/// What is known of one job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobView {
    pub job_id: String,
    /// `None` once it has ended.
    pub stage: Option<JobStage>,
    /// Since when it has been at that stage.
    pub since: Option<String>,
    /// `succeeded`, `failed` or `cancelled`, once it has ended.
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub task_id: Option<String>,
    pub external_task_id: Option<String>,
    /// `no`, `yes` or `unknown`; `None` while it is not submitted, or runs.
    pub charged: Option<String>,
    /// Its user has cancelled it, and it has not ended yet.
    pub cancelled: bool,
    /// What happened, in the order of its times.
    pub history: Vec<Moment>,
    pub images: Vec<FileView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub videos: Vec<FileView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audios: Vec<FileView>,
}

/// Something that happened to the job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// RFC 3339. Receipts have the time of the store's clock, events that of a worker's.
    pub at: String,
    pub what: &'static str,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl JobView {
    /// Puts together what Redis knows (`record`, and `listed`, the job's place in the index) and what the store knows.
    /// `None` if neither knows the job.
    #[must_use]
    pub fn of(
        job: &JobId,
        record: &Snapshot,
        listed: Option<UnfinishedJob>,
        receipts: &[DatedReceipt],
    ) -> Option<Self> {
        if record.record.is_none() && !record.cancelled && listed.is_none() && receipts.is_empty() {
            return None;
        }
        let mut view = Self {
            job_id: job.to_string(),
            stage: None,
            since: None,
            outcome: None,
            reason: None,
            message: None,
            task_id: None,
            external_task_id: None,
            charged: None,
            cancelled: record.cancelled,
            history: receipts.iter().map(moment).collect(),
            images: Vec::new(),
            videos: Vec::new(),
            audios: Vec::new(),
        };
        view.external_task_id = view.last("external_task_id");
        view.task_id = view.last("task_id");
        let stage = record.record.as_ref().map(|record| &record.stage);
        if let Some(under) = record.record.as_ref().and_then(|record| record.under.as_ref()) {
            view.external_task_id = Some(under.id.as_str().to_owned());
        }
        if let Some(Stage::Generating { task, .. }) = stage {
            view.task_id = Some(task.as_str().to_owned());
        }
        view.stage = stage.and_then(unfinished);
        if let Some(listed) = listed.filter(|_| !matches!(stage, Some(Stage::Published { .. }))) {
            (view.stage, view.since) = (Some(listed.stage), Some(listed.since));
        }
        let of =
            |wanted| receipts.iter().find(|receipt| receipt.name == wanted).map(|found| found.body.clone());
        let frozen = match stage {
            Some(Stage::Done { event, .. }) => Some(event.clone()),
            Some(
                Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. }
                | Stage::Published { .. },
            )
            | None => None,
        };
        if let Some(event) = of(ReceiptName::Correction).or(frozen).or_else(|| of(ReceiptName::Result)) {
            view.end(&event);
        }
        view.history.sort_by(|one, other| one.at.cmp(&other.at));
        Some(view)
    }

    fn end(&mut self, event: &Bytes) {
        let Ok(seen) = EventView::parse(event) else { return };
        let Some(end) = JobEnd::of(event) else { return };
        self.outcome = Some(end.outcome);
        self.reason = end.reason;
        self.message = seen.message;
        self.charged = end.charged.or_else(|| Some("yes".to_owned()));
        self.task_id = end.task_id.or_else(|| self.task_id.take());
        self.external_task_id = seen.external_task_id.or_else(|| self.external_task_id.take());
        (self.images, self.videos, self.audios) = (seen.images, seen.videos, seen.audios);
    }

    /// The last text of this name in the history.
    fn last(&self, name: &str) -> Option<String> {
        let texts = self.history.iter().rev().filter_map(|moment| moment.details.get(name));
        texts.filter_map(Value::as_str).next().map(str::to_owned)
    }
}

/// The stage of a job that the index doesn't have. A record that keeps its event is in the index until the event is
/// published, and stays for a while after it.
fn unfinished(stage: &Stage) -> Option<JobStage> {
    match stage {
        Stage::New { .. } => Some(JobStage::Waiting),
        Stage::Submitting { .. } => Some(JobStage::Submitting),
        Stage::Generating { .. } => Some(JobStage::Generating),
        Stage::Done { .. } | Stage::Published { .. } => None,
    }
}

fn moment(receipt: &DatedReceipt) -> Moment {
    let DatedReceipt { name, at_ms, body } = receipt;
    let content: Value = serde_json::from_slice(body).unwrap_or_default();
    let is = |name: &str| content.get(name).and_then(Value::as_bool).unwrap_or_default();
    let (what, attempt, details): (_, _, &[&str]) = match *name {
        ReceiptName::Intent(attempt) if is("cancelled") => ("cancelled_before_submit", Some(attempt), &[]),
        ReceiptName::Intent(attempt) if is("shut") => ("given_up", Some(attempt), &[]),
        ReceiptName::Intent(attempt) => ("submitting", Some(attempt), &["external_task_id", "route"]),
        ReceiptName::Task(attempt) => ("accepted", Some(attempt), &["task_id"]),
        ReceiptName::Refused(attempt) => ("not_accepted", Some(attempt), &[]),
        ReceiptName::Failed(attempt) => ("task_failed", Some(attempt), &["task_id", "charged"]),
        ReceiptName::Decision(attempt) => ("decided", Some(attempt), &["decision"]),
        ReceiptName::Result => ("ended", None, &[]),
        ReceiptName::Correction => ("corrected", None, &[]),
    };
    let mut kept = Map::new();
    if let Some(attempt) = attempt {
        kept.insert("attempt".to_owned(), json!(attempt));
    }
    for detail in details {
        if let Some(value) = content.get(*detail) {
            kept.insert((*detail).to_owned(), value.clone());
        }
    }
    if let Some(end) = JobEnd::of(body) {
        kept.insert("outcome".to_owned(), json!(end.outcome));
        if let Some(reason) = end.reason {
            kept.insert("reason".to_owned(), json!(reason));
        }
    }
    Moment { at: rfc_3339(*at_ms), what, details: kept }
}

#[cfg(test)]
mod tests;
