//! What a POST came to.

use super::meaning::Meaning;
use super::{Envelope, Reply, account_fault, understand};
use crate::provider::{Answer, Later, Refusal};
use crate::redact::for_people;

/// The reply to a POST that was sent.
///
/// `Accepted` needs a status of 2xx, no complaint, and a task id. A reply that complains and yet
/// names a task contradicts itself, and is `Unknown`.
#[must_use]
pub fn submit(reply: &Reply<'_>) -> Answer {
    let understood = understand(reply);
    let meaning = understood.meaning;
    let message = if meaning == Meaning::Fine { String::new() } else { understood.message(reply) };
    let provider_code = understood.provider_code;
    let envelope = understood.envelope.as_ref();
    if meaning == Meaning::Fine {
        return match envelope.and_then(Envelope::task_id) {
            Some(task) => Answer::Accepted(task),
            None => {
                let message = format!("HTTP {} without a task id", reply.status);
                Answer::Unknown { message, provider_code, exists: false }
            }
        };
    }
    if let Some(task) = envelope.and_then(Envelope::any_task_id) {
        return Answer::Unknown {
            message: for_people(&format!("a refusal that names task {task}: {message}")),
            provider_code,
            exists: meaning == Meaning::Exists,
        };
    }
    // A POST that is answered like a lookup went to the wrong path.
    let meaning = if meaning == Meaning::NotFound { Meaning::Configuration } else { meaning };
    if let Some(fault) = account_fault(meaning, &message, reply.asked) {
        return Answer::Account(fault);
    }
    let later = |this_job_only, message, provider_code| {
        Answer::Later(Later { message, provider_code, after: reply.after(), this_job_only })
    };
    let refused = |content_policy, no_model, message, provider_code| {
        Answer::Refused(Refusal { content_policy, no_model, message, provider_code })
    };
    match meaning {
        Meaning::Busy | Meaning::NotTaken => later(false, message, provider_code),
        Meaning::NoChannel => later(true, message, provider_code),
        Meaning::Policy => refused(true, false, message, provider_code),
        Meaning::Refused => refused(false, false, message, provider_code),
        Meaning::NoModel | Meaning::NoSuchResource => refused(false, true, message, provider_code),
        Meaning::Exists => Answer::Unknown {
            message: for_people(&format!("a task with this external id exists: {message}")),
            provider_code,
            exists: true,
        },
        Meaning::Fine
        | Meaning::Key
        | Meaning::ProviderCredential
        | Meaning::Money
        | Meaning::Configuration
        | Meaning::Forbidden
        | Meaning::Down
        | Meaning::NotFound
        | Meaning::Unknown => Answer::Unknown { message, provider_code, exists: false },
    }
}

#[cfg(test)]
mod tests;
