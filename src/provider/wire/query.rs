//! The result of a GET: about a task, about a task looked up by our own id, about the account.

use serde_json::Value;

use super::envelope::{self, Body, Code, Object, ReplyEnvelope, id_of, text_of};
use super::meaning::{self, ReplyClass};
use super::{Reply, Understood, account_fault, files, shape, understand, words};
use crate::job::answers::{AccountFault, AccountFaultKind, Failed, Lookup, TaskStatus};
use crate::job::{FileKind, SentUnder, TaskId};
use crate::redact::{bounded, for_people};

/// How deep wrappers nest: the gateway's `data`, the inner `data`, or a complete Kling envelope with one more
/// (docs/provider.md, "The gateway's wrapper").
const LAYERS: usize = 3;

/// The most characters of a `final_unit_deduction` that are kept.
const UNITS_CHARS_MAX: usize = 64;

/// The most characters of an unknown status word that are kept.
const WORD_CHARS_MAX: usize = 40;

/// The meaning of a status word (docs/provider.md, "Status words"); other words give `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Succeeded,
    Failed,
}

/// What a reply to a query says.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub view: TaskStatus,
    /// The status word, if it is unknown to this version; empty if the reply has none at all. The view is then
    /// [`TaskStatus::Running`]: the task is queried again until the job's own deadline.
    pub foreign_word: Option<String>,
    /// The form of a success without a known image: its keys, without values.
    pub foreign_shape: Option<String>,
}

impl From<TaskStatus> for Seen {
    fn from(view: TaskStatus) -> Self {
        Self { view, foreign_word: None, foreign_shape: None }
    }
}

/// Reads the reply to a query of `task`, whose route makes this.
///
/// Only the status word decides: `message` is "SUCCEED" for a failed task too, and `code: 0` only says that the call
/// worked (docs/provider.md, "Replies to a query"). `Succeeded` may come without images; the caller then queries
/// again a limited number of times ("How a reply is read", step 8).
#[must_use]
pub fn query(reply: &Reply<'_>, task: &TaskId, makes: &[FileKind]) -> Seen {
    seen(reply, understand(reply), task.as_str(), makes)
}

/// `makes`: the kinds of files that the route makes; empty if they are not looked for.
fn seen(reply: &Reply<'_>, understood: Understood, id: &str, makes: &[FileKind]) -> Seen {
    if let Some(envelope) = told_of_a_task(reply, &understood)
        && let Some(seen) = of_task(envelope, id, makes)
    {
        return seen;
    }
    let message = understood.message(reply);
    let meaning = meaning::of_lookup(understood.meaning, understood.said.as_deref());
    // An occasional web page is a passing fault of a proxy or a firewall; the probe shows whether it is really a
    // wrong path or a missing right (docs/provider.md, "How a reply is read"). A redirect is never a passing fault.
    let is_hiccup = understood.envelope.is_none()
        && matches!(meaning, ReplyClass::Configuration | ReplyClass::Forbidden)
        && !(300..400).contains(&reply.status);
    let fault = account_fault(meaning, &message, reply.asked).filter(|_| !is_hiccup);
    let view = match meaning {
        ReplyClass::NotFound | ReplyClass::NoSuchResource => TaskStatus::NotFound { message },
        // The gateway's empty lookup: `{"code":"success","data":null}` (docs/provider.md, "Other shapes").
        ReplyClass::Fine if says_nothing(understood.envelope.as_ref()) => TaskStatus::NotFound { message },
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
        | ReplyClass::Unknown => TaskStatus::Unavailable { message, fault, after: reply.after() },
    };
    view.into()
}

/// Reads the reply to a query by our own `external_task_id`, which Kling allows and CometAPI may or may not forward
/// (docs/provider.md, "External task ids"). A miss proves nothing. A hit is proof if no other job has this id. If a
/// producer chose the id, the task must have been made after this job's intent.
#[must_use]
pub fn lookup(reply: &Reply<'_>, under: &SentUnder) -> Lookup {
    let external = &under.id;
    let understood = understand(reply);
    if let Some(envelope) = told_of_a_task(reply, &understood)
        && let Some(data) = task_object(envelope, external.as_str())
        && let Some(task) = [data.get("task_id"), data.get("id")].into_iter().flatten().find_map(id_of)
    {
        let info = data.get("task_info").and_then(Value::as_object);
        let named = text_of(info.and_then(|info| info.get("external_task_id")));
        return match named.or_else(|| text_of(data.get("external_id"))) {
            Some(other) if other != external.as_str() => {
                Lookup::Another { message: "the provider answered with another task".to_owned() }
            }
            Some(_) | None if under.takes(made_ms(data)) => Lookup::Found(task),
            Some(_) | None => {
                let message = format!(
                    "task {task} has the external_task_id that this job names, and isn't known to be younger than the job"
                );
                Lookup::Another { message }
            }
        };
    }
    let others =
        |envelope: &ReplyEnvelope| matches!(envelope.data(), Some(Value::Array(list)) if !list.is_empty());
    if understood.envelope.as_ref().is_some_and(others) {
        return Lookup::Another { message: "the provider answered with a list of other tasks".to_owned() };
    }
    match seen(reply, understood, external.as_str(), &[]).view {
        TaskStatus::NotFound { message } => Lookup::NotFound { message },
        TaskStatus::Unavailable { message, fault, after } => Lookup::Unavailable { message, fault, after },
        TaskStatus::Running | TaskStatus::Succeeded { .. } | TaskStatus::Failed { .. } => {
            Lookup::Unavailable {
                message: "the provider tells of a task without naming it".to_owned(),
                fault: None,
                after: reply.after(),
            }
        }
    }
}

/// Reads the reply to a query of a task that can't exist: any JSON that isn't an account fault shows that the API is
/// there and accepts our key.
///
/// # Errors
///
/// The fault that persists; a 5xx of the proxies before the API is `Unreachable`.
pub fn probe(reply: &Reply<'_>) -> Result<(), AccountFault> {
    let understood = understand(reply);
    let message = understood.message(reply);
    let meaning = meaning::of_lookup(understood.meaning, understood.said.as_deref());
    if let Some(fault) = account_fault(meaning, &message, reply.asked) {
        return Err(fault);
    }
    match (reply.status, understood.envelope) {
        (502..=504 | 520..=599, _) | (_, None) => {
            Err(AccountFault { kind: AccountFaultKind::Unreachable, message })
        }
        (_, Some(_)) => Ok(()),
    }
}

/// Whether a callback's body says that its task is still running, so that a query would show nothing new. No other
/// body is believed, whatever it contains.
#[must_use]
pub fn tells_of_a_running_task(body: &[u8]) -> bool {
    let (content_type, retry_after, date, request_id) = (None, None, None, None);
    let asked = "a callback";
    let reply = Reply { status: 200, content_type, retry_after, date, request_id, asked, body };
    let Body::Json(envelope) = envelope::read(&reply) else { return false };
    of_task(&envelope, "", &[]).is_some_and(|seen| seen == Seen::from(TaskStatus::Running))
}

/// The envelope, if this reply is about a task and not about the call: 2xx and no code that complains. An `error`
/// beside a status word belongs to the task (OpenAI's video shape).
fn told_of_a_task<'a>(reply: &Reply<'_>, understood: &'a Understood) -> Option<&'a ReplyEnvelope> {
    let envelope = understood.envelope.as_ref()?;
    let complains = match envelope.code() {
        Code::Ok | Code::Absent => false,
        Code::Number { .. } | Code::Word { .. } => true,
    };
    ((200..300).contains(&reply.status) && !complains).then_some(envelope)
}

fn says_nothing(envelope: Option<&ReplyEnvelope>) -> bool {
    envelope.is_some_and(|envelope| match envelope.data() {
        Some(Value::Null) => true,
        Some(Value::Array(_)) => true,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => false,
    })
}

/// The object in a reply's `data`; if that is a list, the element with our id or nothing. A reply without `data` is
/// the object itself (OpenAI's video shape, and Kling's callback).
fn task_object<'a>(envelope: &'a ReplyEnvelope, id: &str) -> Option<&'a Object> {
    let is_ours = |object: &Object| {
        let info = object.get("task_info").and_then(Value::as_object);
        let own = [object.get("task_id"), object.get("id")].into_iter().flatten().find_map(id_of);
        own.is_some_and(|own| own.as_str() == id)
            || text_of(info.and_then(|info| info.get("external_task_id"))) == Some(id)
            || text_of(object.get("external_id")) == Some(id)
    };
    match envelope.data() {
        Some(Value::Object(data)) => Some(data),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_object).find(|object| is_ours(object)),
        None => Some(envelope.root()),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => None,
    }
}

fn of_task(envelope: &ReplyEnvelope, id: &str, makes: &[FileKind]) -> Option<Seen> {
    let empty = Object::new();
    let outer = match envelope.data() {
        // A value that can't have a status is read like an empty object (docs/provider.md, "How a reply is read",
        // step 4).
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => &empty,
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => task_object(envelope, id)?,
    };
    let mut layers = vec![outer];
    while let Some(inner) = layers.last().and_then(|last| last.get("data")).and_then(Value::as_object)
        && layers.len() < LAYERS
    {
        layers.push(inner);
    }
    let units = layers.iter().find_map(|layer| units_of(layer));
    let view = match progress(envelope, &layers) {
        Some(Progress::Running) => TaskStatus::Running,
        Some(Progress::Succeeded) => TaskStatus::Succeeded { files: files::files(&layers, makes), units },
        Some(Progress::Failed) => {
            let message = failure_message(envelope, &layers);
            let said = format!("{message} {}", failure_codes(&layers));
            let why = if words::is_policy(&said) {
                Failed::Policy
            } else if words::is_technical(&said) {
                Failed::Technical
            } else {
                Failed::Unsaid
            };
            TaskStatus::Failed { message, why, units }
        }
        // There is no known status, so the task is queried again. Without a `data` or a member for a status, the
        // reply may not even be about a task.
        None => {
            let root = envelope.root();
            let has_place = ["status", "task_status"].into_iter().any(|key| root.contains_key(key));
            let is_about_a_task = envelope.data().is_some() || (has_place && !envelope.complains());
            let word = bounded(first_word(envelope, &layers), WORD_CHARS_MAX);
            return is_about_a_task
                .then_some(Seen { foreign_word: Some(word), ..TaskStatus::Running.into() });
        }
    };
    let is_empty = matches!(&view, TaskStatus::Succeeded { files, .. } if files.is_empty());
    let foreign_shape = is_empty.then(|| shape::of(envelope.root()));
    Some(Seen { foreign_shape, ..view.into() })
}

/// The first status word, if no place has a known one.
fn first_word<'a>(envelope: &'a ReplyEnvelope, layers: &[&'a Object]) -> &'a str {
    let mut places = layers.iter().copied().chain([envelope.root()]);
    places
        .find_map(|place| text_of(place.get("task_status")).or_else(|| text_of(place.get("status"))))
        .unwrap_or_default()
}

/// docs/provider.md, "How a reply is read", step 5. An outer end counts more than an old inner state (tasks swept by
/// the gateway), and an inner failure more than an outer success.
fn progress(envelope: &ReplyEnvelope, layers: &[&Object]) -> Option<Progress> {
    let word = |object: &Object, key| text_of(object.get(key)).and_then(progress_of);
    let outer = layers.first().and_then(|layer| word(layer, "status"));
    let mut inner = layers.iter().filter_map(|layer| word(layer, "task_status"));
    match outer {
        Some(Progress::Failed) => Some(Progress::Failed),
        Some(Progress::Succeeded) if inner.any(|progress| progress == Progress::Failed) => {
            Some(Progress::Failed)
        }
        Some(Progress::Succeeded) => Some(Progress::Succeeded),
        Some(Progress::Running) | None => inner
            .next()
            .or(outer)
            .or_else(|| layers.iter().find_map(|layer| word(layer, "status")))
            .or_else(|| word(envelope.root(), "status"))
            .or_else(|| word(envelope.root(), "task_status")),
    }
}

fn progress_of(word: &str) -> Option<Progress> {
    match word.to_ascii_lowercase().as_str() {
        "submitted" | "not_start" | "queued" | "queueing" | "pending" | "waiting" | "created"
        | "processing" | "in_progress" | "running" | "generating" => Some(Progress::Running),
        "succeed" | "succeeded" | "success" | "completed" | "complete" | "done" | "finished" => {
            Some(Progress::Succeeded)
        }
        "failed" | "fail" | "failure" | "error" | "cancelled" | "canceled" | "rejected" | "expired"
        | "timeout" => Some(Progress::Failed),
        _ => None,
    }
}

/// Free text, which may be missing everywhere (docs/provider.md, "Replies to a query").
fn failure_message(envelope: &ReplyEnvelope, layers: &[&Object]) -> String {
    let in_layers = |key| layers.iter().find_map(|layer| text_of(layer.get(key)));
    let in_error = layers.iter().find_map(|layer| match layer.get("error")? {
        Value::Object(error) => text_of(error.get("message")),
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    });
    // This message is about the call and not about the task.
    let is_fine = |text: &&str| ["succeed", "success", "ok"].contains(&text.to_ascii_lowercase().as_str());
    let own = text_of(envelope.root().get("message")).filter(|text| !is_fine(text));
    let message = in_layers("task_status_msg")
        .or_else(|| in_layers("fail_reason"))
        .or_else(|| in_layers("message").filter(|text| !is_fine(text)))
        .or(in_error)
        .or(own)
        .unwrap_or("the provider gave no reason");
    for_people(message)
}

/// The codes beside the message, as words: `content_policy_violation` may come with an empty message.
fn failure_codes(layers: &[&Object]) -> String {
    let in_layer = |layer: &&Object| {
        let error = layer.get("error").and_then(Value::as_object);
        let inside = ["code", "type"].map(|key| error.and_then(|error| text_of(error.get(key))));
        let beside = ["error_code", "task_status_code"].map(|key| text_of(layer.get(key)));
        inside.into_iter().chain(beside).flatten().map(|code| code.replace('_', " ")).collect::<Vec<_>>()
    };
    layers.iter().flat_map(in_layer).collect::<Vec<_>>().join(" ")
}

/// The latest time at which a task can have been made, in Unix milliseconds. Times are in milliseconds or in seconds
/// (docs/provider.md, "How a reply is read", step 7).
fn made_ms(task: &Object) -> Option<i64> {
    let times = ["created_at", "create_time", "submit_time"].into_iter();
    let number = times.filter_map(|key| task.get(key)?.as_i64()).find(|number| *number > 0)?;
    Some(if number < 100_000_000_000 { number.saturating_mul(1000).saturating_add(999) } else { number })
}

/// `final_unit_deduction` as it is written, a text or a number. In Kling's newer form, the amount of a `billing` in
/// units.
fn units_of(layer: &Object) -> Option<String> {
    let in_units = |bill: &&Object| text_of(bill.get("charge_type")) == Some("unit");
    let bills =
        layer.get("billing").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let billed = bills.filter(in_units).find_map(|bill| bill.get("amount"));
    match layer.get("final_unit_deduction").or(billed)? {
        Value::String(text) if !text.trim().is_empty() => Some(bounded(text, UNITS_CHARS_MAX)),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
