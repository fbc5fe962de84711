//! The result of a POST.

use super::meaning::ReplyClass;
use super::{Reply, ReplyEnvelope, account_fault, understand};
use crate::job::answers::{Later, Refusal, SubmitOutcome};
use crate::redact::for_people;

/// Reads the reply to a POST that was sent.
///
/// `Accepted` needs a status of 2xx, no complaint, and a task id. A reply that complains and yet names a task
/// contradicts itself, so it is `Unknown`.
#[must_use]
pub fn submit(reply: &Reply<'_>) -> SubmitOutcome {
    let understood = understand(reply);
    let meaning = understood.meaning;
    let message = if meaning == ReplyClass::Fine { String::new() } else { understood.message(reply) };
    let provider_code = understood.provider_code;
    let envelope = understood.envelope.as_ref();
    if meaning == ReplyClass::Fine {
        return match envelope.and_then(ReplyEnvelope::task_id) {
            Some(task) => SubmitOutcome::Accepted(task),
            None => {
                let message = format!("HTTP {} without a task id", reply.status);
                SubmitOutcome::Unknown { message, provider_code, exists: false }
            }
        };
    }
    if let Some(task) = envelope.and_then(ReplyEnvelope::any_task_id) {
        return SubmitOutcome::Unknown {
            message: for_people(&format!("a refusal that names task {task}: {message}")),
            provider_code,
            exists: meaning == ReplyClass::Exists,
        };
    }
    // A POST that is answered like a look-up went to the wrong path.
    let meaning = if meaning == ReplyClass::NotFound { ReplyClass::Configuration } else { meaning };
    if let Some(fault) = account_fault(meaning, &message, reply.asked) {
        return SubmitOutcome::Account(fault);
    }
    let later = |this_job_only, message, provider_code| {
        SubmitOutcome::Later(Later { message, provider_code, after: reply.after(), this_job_only })
    };
    let refused = |content_policy, no_model, message, provider_code| {
        SubmitOutcome::Refused(Refusal { content_policy, no_model, message, provider_code })
    };
    match meaning {
        ReplyClass::Busy | ReplyClass::NotTaken => later(false, message, provider_code),
        ReplyClass::NoChannel => later(true, message, provider_code),
        ReplyClass::Policy => refused(true, false, message, provider_code),
        ReplyClass::Refused => refused(false, false, message, provider_code),
        ReplyClass::NoModel | ReplyClass::NoSuchResource => refused(false, true, message, provider_code),
        ReplyClass::Exists => SubmitOutcome::Unknown {
            message: for_people(&format!("a task with this external id exists: {message}")),
            provider_code,
            exists: true,
        },
        ReplyClass::Fine
        | ReplyClass::Key
        | ReplyClass::ProviderCredential
        | ReplyClass::Money
        | ReplyClass::Configuration
        | ReplyClass::Forbidden
        | ReplyClass::Down
        | ReplyClass::NotFound
        | ReplyClass::Unknown => SubmitOutcome::Unknown { message, provider_code, exists: false },
    }
}

#[cfg(test)]
mod tests;
