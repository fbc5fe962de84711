//! The one table of errors: HTTP status and code → what they mean for the money and for the account.
//!
//! Its sources are docs/provider.md, "Errors of the gateway", "Kling's codes" and "Transport". A code says more than
//! a status and is checked first: not every 429 passes (1102 is an empty account), not every 500 is an accident
//! (`invalid_request`).
//!
//! In doubt about a paid POST, the answer is [`ReplyClass::Unknown`]: it costs a look-up and perhaps a person's time,
//! while a wrong "certainly not accepted" costs the money twice.

use super::envelope::{ApiError, Code};
use super::words;

/// The meaning of a reply. For a POST it has these consequences:
///
/// | meaning | accepted? | whose fault | then |
/// |---|---|---|---|
/// | `Fine` | with a task id yes, else perhaps | | poll, else look up |
/// | `Key`, `Money`, `Forbidden` | no | account | the intake stops, the job is requeued |
/// | `Configuration` | no | configuration | the same; the message names the path |
/// | `ProviderCredential`, `Down` | no | provider | the same |
/// | `Busy`, `NotTaken` | no | provider | later, after `Retry-After` or a growing pause |
/// | `NoChannel` | no | provider, or job | later, and this job only |
/// | `NoModel`, `NoSuchResource` | no | job, or configuration | the job ends, unpaid; or the intake stops |
/// | `Refused`, `Policy` | no | job | the job ends, unpaid |
/// | `NotFound` | no | configuration: the POST went to the path of a query | the intake stops |
/// | `Exists` | perhaps: an earlier POST was | | look up |
/// | `Unknown` | perhaps | | look up |
///
/// For any meaning, a reply that complains and yet names a task is "perhaps". If one job is `Forbidden` twice, it may
/// be that job's fault; and whose fault a missing model is depends on who chose the model (see `forbidden` and
/// `models` of [`provider`](crate::provider)). For a GET, none of them ends the task: it is queried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyClass {
    /// There is no complaint; the data decides.
    Fine,
    /// Our key is wrong, disabled or expired.
    Key,
    /// The provider's own credential for Kling is refused; only the provider can repair that, so the job waits.
    ProviderCredential,
    /// No money or no quota.
    Money,
    /// The path or the base URL leads to something else.
    Configuration,
    /// The key has no right to this (model, group, IP address).
    Forbidden,
    /// The provider's proxy can't reach the provider, so the request did not arrive there.
    Down,
    /// Too many requests or too many tasks; not accepted.
    Busy,
    /// No channel has this model now: an outage, or a model that is gone. Not accepted.
    NoChannel,
    /// The gateway failed before it forwarded anything.
    NotTaken,
    /// The request is wrong in its form; not accepted.
    Refused,
    /// The request is against the content policy; not accepted.
    Policy,
    /// A task with our external id exists: an earlier POST made it, ours or another client's.
    Exists,
    /// The model doesn't exist, or exists no longer; not accepted.
    NoModel,
    /// Kling's 1203: for a POST the model doesn't exist, for a GET the task.
    NoSuchResource,
    /// The task doesn't exist, or not yet.
    NotFound,
    /// The request may have been accepted.
    Unknown,
}

/// The meaning of a JSON reply.
pub(super) fn of(status: u16, complaint: &ApiError) -> ReplyClass {
    if complaint.route_is_dead {
        return ReplyClass::Configuration;
    }
    let meaning = match &complaint.code {
        Code::Number { value, .. } => by_number(*value, status, complaint.relayed),
        Code::Word { value, .. } => by_word(value, status, complaint.relayed),
        Code::Ok | Code::Absent if complaint.is_error && is_success(status) => ReplyClass::Unknown,
        Code::Ok | Code::Absent => by_status(status, complaint.relayed),
    };
    let said = complaint.message.as_deref().unwrap_or_default();
    match meaning {
        // What the gateway tried to forward may have arrived, whatever its message says.
        ReplyClass::Unknown if was_sent_on(&complaint.code) || gave_up(status) => ReplyClass::Unknown,
        ReplyClass::Unknown => words::refusal(said).unwrap_or(ReplyClass::Unknown),
        ReplyClass::NotTaken | ReplyClass::NoChannel if words::refusal(said) == Some(ReplyClass::Unknown) => {
            ReplyClass::Unknown
        }
        ReplyClass::Refused => refused(said),
        // It may be a word filter before the API, or a message for many account faults.
        ReplyClass::Forbidden if words::is_policy(said) => ReplyClass::Policy,
        ReplyClass::Key | ReplyClass::Forbidden if words::refusal(said) == Some(ReplyClass::Money) => {
            ReplyClass::Money
        }
        // The upstream's forwarded answer is about the gateway's own key.
        ReplyClass::Key if complaint.relayed => ReplyClass::ProviderCredential,
        ReplyClass::Fine
        | ReplyClass::Key
        | ReplyClass::ProviderCredential
        | ReplyClass::Money
        | ReplyClass::Configuration
        | ReplyClass::Forbidden
        | ReplyClass::Down
        | ReplyClass::Busy
        | ReplyClass::NoChannel
        | ReplyClass::NotTaken
        | ReplyClass::Policy
        | ReplyClass::Exists
        | ReplyClass::NoModel
        | ReplyClass::NoSuchResource
        | ReplyClass::NotFound => meaning,
    }
}

/// A job's refusal is decided by its message, since 1201 is both "wrong parameter" and "this external id exists"
/// (docs/provider.md, "Kling's codes").
fn refused(said: &str) -> ReplyClass {
    let lower = said.to_lowercase();
    if says_exists(&lower) {
        ReplyClass::Exists
    } else if says_no_model(&lower) {
        ReplyClass::NoModel
    } else if words::is_policy(said) {
        ReplyClass::Policy
    } else {
        words::refusal(said).unwrap_or(ReplyClass::Refused)
    }
}

/// Whether the message says that a task with this external id exists. A refusal that is mistaken for it costs a
/// look-up; in the opposite case a paid task would be lost.
fn says_exists(said: &str) -> bool {
    said.contains("already exist")
        || said.contains("已存在")
        || (said.contains("external_task_id")
            && ["duplicate", "repeated", "already", "unique", "重复", "唯一", "被使用"]
                .iter()
                .any(|word| said.contains(word)))
}

/// With these codes the gateway has forwarded something (docs/provider.md, "Errors of the gateway", and
/// `types/error.go` of new-api).
fn was_sent_on(code: &Code) -> bool {
    match code {
        Code::Word { value, .. } => matches!(
            value.as_str(),
            "do_request_failed"
                | "read_response_body_failed"
                | "unmarshal_response_failed"
                | "bad_response"
                | "bad_response_body"
                | "empty_response"
                | "channel:response_time_exceeded"
        ),
        Code::Number { value, .. } => (5000..=5999).contains(value),
        Code::Ok | Code::Absent => false,
    }
}

/// A proxy or the gateway stopped waiting for the answer to what it had forwarded.
fn gave_up(status: u16) -> bool {
    matches!(status, 408 | 499 | 504 | 524)
}

/// The words of Kling and of the gateway for a missing model (docs/provider.md, "Models that are not there"). Their
/// codes stand for many other faults too.
fn says_no_model(said: &str) -> bool {
    said.contains("invalid model name") || (said.contains("model") && said.contains("been discontinued"))
}

/// For a GET, a refusal or a 404 with such a message is about the task and not about the path: unknown tasks come
/// with several statuses (docs/provider.md, "Tasks that are not there").
pub(super) fn of_lookup(meaning: ReplyClass, said: Option<&str>) -> ReplyClass {
    let said = said.unwrap_or_default().to_lowercase();
    let is_missing = ["task_not_exist", "task not exist", "task not found", "resource does not exist"]
        .into_iter()
        .any(|words| said.contains(words));
    match meaning {
        ReplyClass::Refused | ReplyClass::Configuration if is_missing => ReplyClass::NotFound,
        ReplyClass::Fine
        | ReplyClass::Key
        | ReplyClass::ProviderCredential
        | ReplyClass::Money
        | ReplyClass::Configuration
        | ReplyClass::Forbidden
        | ReplyClass::Down
        | ReplyClass::Busy
        | ReplyClass::NoChannel
        | ReplyClass::NotTaken
        | ReplyClass::Refused
        | ReplyClass::Policy
        | ReplyClass::Exists
        | ReplyClass::NoModel
        | ReplyClass::NoSuchResource
        | ReplyClass::NotFound
        | ReplyClass::Unknown => meaning,
    }
}

/// The meaning of a web page where JSON was due.
pub(super) fn of_html(status: u16) -> ReplyClass {
    match status {
        // 400 too: a proxy sends it, for example for plain HTTP on a TLS port. A 400 of the API is JSON.
        200..=299 | 400 => ReplyClass::Configuration,
        _ => by_status(status, false),
    }
}

/// The meaning of a body that is neither JSON nor a web page: cut off, empty, plain text.
pub(super) fn of_unreadable(status: u16) -> ReplyClass {
    if is_success(status) { ReplyClass::Unknown } else { by_status(status, false) }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Kling's codes (docs/provider.md, "Kling's codes"), with any status.
fn by_number(code: i64, status: u16, relayed: bool) -> ReplyClass {
    match code {
        // Some gateways put the HTTP status into the body and send 200.
        400..=599 if is_success(status) => by_status(u16::try_from(code).unwrap_or(status), relayed),
        1000..=1004 => ReplyClass::ProviderCredential,
        1100..=1102 => ReplyClass::Money,
        1103 | 1304 => ReplyClass::Forbidden,
        1200 | 1201 => ReplyClass::Refused,
        1202 => ReplyClass::Configuration,
        1203 => ReplyClass::NoSuchResource,
        1300 | 1301 => ReplyClass::Policy,
        1302 | 1303 => ReplyClass::Busy,
        5000..=5999 => ReplyClass::Unknown,
        // A code other than 0 under HTTP 200 is a refusal (docs/provider.md, "Replies to a submit").
        _ if is_success(status) => ReplyClass::Refused,
        _ => by_status(status, relayed),
    }
}

/// The gateway's codes (docs/provider.md, "Errors of the gateway").
fn by_word(code: &str, status: u16, relayed: bool) -> ReplyClass {
    match (code, status) {
        ("insufficient_user_quota" | "pre_consume_token_quota_failed" | "local_quota_not_enough", _) => {
            ReplyClass::Money
        }
        (word, _) if word.starts_with("entitlement_") => ReplyClass::Money,
        (
            "sensitive_words_detected" | "prompt_blocked" | "content_policy_violation" | "content_filter",
            _,
        ) => ReplyClass::Policy,
        (word, _) if word.starts_with("violation_fee") => ReplyClass::Policy,
        ("token_concurrency_limit_reached" | "rate_limit_exceeded", _) => ReplyClass::Busy,
        ("task_not_exist", _) => ReplyClass::NotFound,
        ("access_denied", _) => ReplyClass::Forbidden,
        ("api_not_implemented", _) => ReplyClass::Configuration,
        ("do_request_failed" | "read_response_body_failed" | "unmarshal_response_failed", _) => {
            ReplyClass::Unknown
        }
        // These come before anything is forwarded.
        (
            "get_task_failed"
            | "get_channel_failed"
            | "get_user_quota_failed"
            | "decrease_user_quota_failed"
            | "gen_relay_info_failed"
            | "count_token_failed",
            _,
        ) => ReplyClass::NotTaken,
        ("model_not_found", 503) | ("model_price_error", _) => ReplyClass::NoChannel,
        // Also with 500: it is a client's error, seen live.
        ("invalid_request", 200..=299 | 400 | 404 | 422 | 500) => ReplyClass::Refused,
        ("model_not_found", 200..=299 | 400 | 404) => ReplyClass::NoModel,
        ("build_request_failed" | "task_failed", 200..=299 | 400 | 404) => ReplyClass::Refused,
        // No reply of CometAPI's about money is documented (docs/provider.md, "What is not known").
        (word, 200..=299 | 400..=499) if word.contains("quota") || word.contains("balance") => {
            ReplyClass::Money
        }
        (_, 200..=299) => ReplyClass::Unknown,
        _ => by_status(status, relayed),
    }
}

/// The status alone. `relayed` means that it is the upstream's, forwarded by the gateway.
fn by_status(status: u16, relayed: bool) -> ReplyClass {
    match status {
        200..=299 => ReplyClass::Fine,
        // A redirect is never followed: a wrong path gives 301 (docs/provider.md, "Errors of the gateway").
        300..=399 => ReplyClass::Configuration,
        401 if relayed => ReplyClass::ProviderCredential,
        401 => ReplyClass::Key,
        402 => ReplyClass::Money,
        403 => ReplyClass::Forbidden,
        404 | 405 => ReplyClass::Configuration,
        // A server stopped waiting, or something conflicts with the request.
        408 | 409 | 425 | 499 => ReplyClass::Unknown,
        429 => ReplyClass::Busy,
        400..=499 => ReplyClass::Refused,
        501 => ReplyClass::Configuration,
        // Cloudflare could not connect to the origin, or TLS with it failed. (522 is also sent if TCP did not
        // acknowledge a request for 90 s; that request did not arrive either.)
        521 | 522 | 523 | 525 | 526 => ReplyClass::Down,
        _ => ReplyClass::Unknown,
    }
}

#[cfg(test)]
mod tests;
