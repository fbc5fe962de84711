//! The wording of each end, and whether it cost money.

use crate::job::answers::Refusal;
use crate::job::{Cancellation, Charged, Failure, Fault, Outcome, Reason, TaskId};

pub(super) fn invalid(faults: Vec<Fault>) -> Outcome {
    let places: Vec<_> = faults.iter().take(3).map(|fault| fault.path.as_str()).collect();
    let more = if faults.len() > places.len() { ", …" } else { "" };
    let message = format!("the job is invalid at {}{more}; nothing was submitted", places.join(", "));
    Outcome::Failed(Failure { faults, ..failure(Reason::InvalidRequest, message, Charged::No) })
}

pub(super) fn refused(refusal: Refusal) -> Outcome {
    let reason = if refusal.content_policy { Reason::ContentPolicy } else { Reason::Rejected };
    let failure = failure(reason, refusal.message, Charged::No);
    Outcome::Failed(Failure { provider_code: refusal.provider_code, ..failure })
}

/// This life's own POST got no conclusive answer.
pub(super) fn unknown(message: String, provider_code: Option<String>) -> Outcome {
    let message = format!("whether the provider accepted the generation is unknown: {message}");
    Outcome::Failed(Failure { provider_code, ..failure(Reason::OutcomeUnknown, message, Charged::Unknown) })
}

/// Another life's POST was never resolved.
pub(super) fn left_open() -> Outcome {
    let message = "whether the provider accepted the generation is unknown: the worker that was submitting it \
                   ended before it noted the answer";
    Outcome::Failed(failure(Reason::OutcomeUnknown, message.to_owned(), Charged::Unknown))
}

pub(super) fn timed_out(task: TaskId) -> Outcome {
    let message =
        "the generation had not ended within its timeout; it may still end and be charged".to_owned();
    of_task(task, Reason::TimedOut, message, Charged::Unknown, None)
}

pub(super) fn never_answered(task: TaskId, message: &str) -> Outcome {
    let message = format!(
        "the provider had no answer about this task up to its timeout and beyond, while it answered about others: \
         {message}"
    );
    of_task(task, Reason::TimedOut, message, Charged::Unknown, None)
}

pub(super) fn failed(task: TaskId, message: String, content_policy: bool, units: Option<String>) -> Outcome {
    let reason = if content_policy { Reason::ContentPolicy } else { Reason::GenerationFailed };
    let charged = charged(units.as_deref());
    of_task(task, reason, message, charged, units)
}

/// No document says whether a failed task is charged (docs/provider.md, "Money"), but its units do.
pub(super) fn charged(units: Option<&str>) -> Charged {
    match units.map(str::parse::<f64>) {
        Some(Ok(0.0)) => Charged::No,
        Some(Ok(_)) => Charged::Yes,
        Some(Err(_)) | None => Charged::Unknown,
    }
}

pub(super) fn without_images(task: TaskId, units: Option<String>) -> Outcome {
    let message = "the provider calls it a success, and its reply has no image where this version looks for one; if CometAPI \
                   shows one, `comet-worker resolve JOB --fetch` of a later version gets it"
        .to_owned();
    of_task(task, Reason::ResultInvalid, message, Charged::Yes, units)
}

pub(super) fn invalid_result(task: TaskId, message: String, units: Option<String>) -> Outcome {
    of_task(task, Reason::ResultInvalid, message, Charged::Yes, units)
}

pub(super) fn expired(task: TaskId, message: String, units: Option<String>) -> Outcome {
    of_task(task, Reason::ResultExpired, message, Charged::Yes, units)
}

pub(super) fn quarantined(task: TaskId, entries: u32, units: Option<String>) -> Outcome {
    let message = format!(
        "{entries} workers in a row have died while they stored its images, or just before; the generation \
         was paid for, and it is not tried again by itself"
    );
    of_task(task, Reason::Quarantined, message, Charged::Yes, units)
}

/// `task` is what the provider accepted before the user cancelled.
pub(super) fn cancelled(charged: Charged, task: Option<TaskId>) -> Outcome {
    let message = match charged {
        Charged::No => "cancelled before anything was accepted by the provider",
        Charged::Yes => {
            "cancelled after the provider had accepted it: the generation goes on there, and is charged unless it fails"
        }
        Charged::Unknown => "cancelled while it was unknown whether the provider had accepted it",
    };
    Outcome::Cancelled(Cancellation { message: message.to_owned(), charged, task_id: task })
}

/// A person has given up a job whose outcome was unknown.
pub(super) fn abandoned() -> Outcome {
    let message = "given up by a person; whether the provider accepted it stays unknown".to_owned();
    Outcome::Cancelled(Cancellation { message, charged: Charged::Unknown, task_id: None })
}

fn of_task(
    task: TaskId,
    reason: Reason,
    message: String,
    charged: Charged,
    units: Option<String>,
) -> Outcome {
    Outcome::Failed(Failure { task_id: Some(task), units, ..failure(reason, message, charged) })
}

fn failure(reason: Reason, message: String, charged: Charged) -> Failure {
    Failure { reason, message, provider_code: None, charged, task_id: None, units: None, faults: Vec::new() }
}
