//! The incoming contract: the bytes of a delivery become a [`Request`], or a refusal with its reason.
//!
//! A message is parsed once, here, into types that are valid by construction; no later code looks at the user's JSON
//! again. There are two kinds of refusals, for two kinds of readers:
//!
//! - A message that can't be *named* (no JSON, no id) is a [`DeadLetter`]. No consumer can wait for the event of a job
//!   without a name, so a person finds the message in the dead-letter queue.
//! - A job that can be named but is wrong is a [`Request`] whose body is the list of all its faults. It ends with an event
//!   that has all of them at once, since a producer that learns one fault per round trip gives up.
//!
//! The user's input is checked against [`Rules`], which are data, so that another route, or another edition of the
//! provider's contract, is another set of values and not another code path.
//!
//! If a JSON object has the same key twice, the last one counts.

mod canonical;
mod checks;
#[cfg(test)]
mod edition_tests;
mod faults;
#[cfg(test)]
mod input_tests;
mod odd;
#[cfg(test)]
mod odd_tests;
mod picture;
mod plain;
#[cfg(test)]
mod property_tests;
mod rules;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::rules::{Rules, StoreName};

use self::faults::{Faults, clip, found, member};
use self::odd::Parsable;
use super::route::{Route, RouteName};
use super::submission::Submission;
use super::{Envelope, ExternalIds, Fault, Job, JobId};

/// The limit for `metadata`, in bytes of its JSON without whitespace.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The limit for `timeout_s`: a day.
pub const TIMEOUT_S_MAX: u64 = 86_400;

/// How deep a message may nest, counting the message itself. It is half of what `serde_json` accepts, for two
/// reasons: metadata is one level deeper on an event, and common readers of events (.NET's) stop at 64.
pub const DEPTH_MAX: usize = 63;

/// How many names of members that a job doesn't have are examined.
const FOREIGN_MAX: usize = 1000;

/// How many faults one event lists; the last entry says how many more there are.
pub const FAULTS_MAX: usize = faults::FAULTS_MAX;

/// The AMQP properties of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The job's name if the body has none.
    pub message_id: Option<String>,
    pub envelope: Envelope,
    /// The properties that could not be read, and what is wrong with each. Their values here are not the producer's.
    pub unreadable: Vec<(String, String)>,
}

/// The properties that events carry on or are routed by: without them the event would not reach the consumer that
/// waits for it. `properties` means that the properties after some point are missing.
const NEEDED: [&str; 3] = ["correlation_id", "reply_to", "properties"];

impl Properties {
    fn readable(&self, needed: &[&str]) -> Result<(), DeadLetter> {
        let odd = self.unreadable.iter().find(|(name, _)| needed.contains(&name.as_str()));
        match odd {
            None => Ok(()),
            Some((name, words)) => Err(DeadLetter {
                reason: DeadReason::InvalidProperties,
                detail: format!(
                    "{name} {words}; AMQP's short strings are UTF-8 here. Publish the job again with one that is"
                ),
            }),
        }
    }
}

/// A job that can be named.
#[derive(Debug)]
pub struct Request {
    /// For a wrong job, the fields are filled as far as possible, with one slot.
    pub job: Job,
    /// What to post, or all faults of the job, which are never an empty list.
    pub submission: Result<Submission, Vec<Fault>>,
}

/// Why a message can't become a job, for the header `x-comet-reason` and the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct DeadLetter {
    pub reason: DeadReason,
    /// A message for a person. Its length is limited, and it quotes nothing from the message but an id.
    pub detail: String,
}

/// The closed list of the reasons of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The body is not UTF-8, is not JSON, is nested too deep, or is not an object.
    NotJson,
    /// There is neither a `job_id` nor an AMQP `message_id`.
    NoJobId,
    /// The id breaks the rules.
    InvalidJobId,
    /// A property that an event would carry on, or that names the job, is present but can't be read.
    InvalidProperties,
    /// The message is larger than `amqp.max_message_bytes`; the caller finds this before parsing.
    TooLarge,
    /// Another job with another input has the id; the caller finds this in the ledger.
    Conflict,
    /// A copy of a job that ended as unknown, for a person to clear up; the caller finds this.
    OutcomeUnknown,
    /// The job's event was published long ago, and its receipts are gone; the caller finds this.
    Forgotten,
    /// The worker panicked on this job repeatedly; the caller finds this.
    Quarantined,
}

impl DeadReason {
    pub const ALL: [Self; 9] = [
        Self::NotJson,
        Self::NoJobId,
        Self::InvalidJobId,
        Self::InvalidProperties,
        Self::TooLarge,
        Self::Conflict,
        Self::OutcomeUnknown,
        Self::Forgotten,
        Self::Quarantined,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NoJobId => "no_job_id",
            Self::InvalidJobId => "invalid_job_id",
            Self::InvalidProperties => "invalid_properties",
            Self::TooLarge => "too_large",
            Self::Conflict => "conflict",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Forgotten => "forgotten",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a message. The caller limits its size; its depth is limited here.
///
/// # Errors
///
/// The message can't be named, so it belongs in the dead-letter queue.
pub fn parse(body: &[u8], properties: &Properties, rules: &Rules) -> Result<Request, DeadLetter> {
    properties.readable(&NEEDED)?;
    let text = Parsable::new(text(body)?);
    let message = read(&text.text)?;
    let own_id =
        message.job_id.map(|raw| plain::read(raw.get())).transpose().map_err(|error| DeadLetter {
            reason: DeadReason::InvalidJobId,
            detail: format!("job_id: {}", clip(&error.to_string())),
        })?;
    if matches!(own_id, None | Some(Value::Null)) {
        properties.readable(&["message_id"])?;
    }
    let id = job_id(own_id.as_ref(), properties.message_id.as_deref())?;

    let mut faults = Faults::default();
    for name in &message.foreign {
        let name = text.settle_text("", name, &mut faults);
        faults.add(
            member("", &name),
            "is not a member of a job; those are job_id, operation, input, metadata and timeout_s",
        );
    }
    let timeout = message.timeout_s.and_then(|raw| value(&text, "/timeout_s", raw, &mut faults));
    let timeout_s = timeout_s(timeout.as_ref(), &mut faults);
    let metadata = message.metadata.and_then(|raw| metadata(&text, raw, &mut faults));
    let operation = message.operation.and_then(|raw| value(&text, "/operation", raw, &mut faults));
    let route = route(operation.as_ref(), rules, &mut faults);
    let input = message.input.and_then(|raw| value(&text, "/input", raw, &mut faults));
    let asked_for = match (&input, message.input) {
        (Some(input), _) => input,
        (None, None) => &Value::Null,
        // An input that can't be parsed still gets a digest, so that it differs from another.
        (None, Some(raw)) => &Value::from(raw.get()),
    };
    let is_default = route.is_some_and(|route| Arc::ptr_eq(route, rules.routes.default_route()));
    let digest = canonical::digest(asked_for, operation.as_ref().filter(|_| !is_default));
    let checked = match (&route, input, message.input) {
        // One fault is enough: the fields that it therefore lacks are not reported.
        (None, _, _) | (Some(_), None, Some(_)) => checks::Checked::default(),
        (Some(route), input, _) => checks::check(input, &id, &digest, route, rules, &mut faults),
    };

    let external_ids = match checked.external_ids {
        Some(ids) => ids,
        None => ExternalIds::new(None, rules.store.as_str(), &id, &digest),
    };
    let (slots, model, calls_back, submission) = match (checked.taken, faults.into_list()) {
        (Some(taken), None) => {
            (taken.slots, taken.submission.model.clone(), taken.calls_back, Ok(taken.submission))
        }
        (_, faults) => (1, String::new(), false, Err(faults.unwrap_or_default())),
    };
    let operation = match route {
        Some(route) => Some(route.name.clone()),
        None => operation.as_ref().and_then(Value::as_str).and_then(RouteName::new),
    };
    let (route, envelope) = (route.cloned(), properties.envelope.clone());
    let job = Job {
        id,
        digest,
        operation,
        route,
        external_ids,
        slots,
        model,
        calls_back,
        timeout_s,
        metadata,
        envelope,
    };
    Ok(Request { job, submission })
}

/// The route that a job names; `None`, and a fault, if there is no such route.
fn route<'r>(operation: Option<&Value>, rules: &'r Rules, faults: &mut Faults) -> Option<&'r Arc<Route>> {
    let Some(operation) = operation.filter(|operation| !operation.is_null()) else {
        return Some(rules.routes.default_route());
    };
    let route = operation.as_str().and_then(|name| rules.routes.get(name));
    if route.is_none() {
        let names: Vec<_> = rules.routes.iter().map(|route| route.data.name).collect();
        let expected = checks::choice(&names);
        faults.add("/operation", format!("expected {expected}, found {}", found(operation)));
    }
    route
}

/// A message's own members, of any type, as they are written. A member that can't be parsed must not hide the others,
/// and the spelling of a number in the metadata belongs to the user and is returned unchanged.
#[derive(Default)]
struct Message<'t> {
    job_id: Option<&'t RawValue>,
    operation: Option<&'t RawValue>,
    input: Option<&'t RawValue>,
    timeout_s: Option<&'t RawValue>,
    metadata: Option<&'t RawValue>,
    /// The names of the other members, at most as many as can be reported.
    foreign: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for Message<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Message<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message<'de>, A::Error> {
                let mut message = Message::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "job_id" => message.job_id = Some(map.next_value()?),
                        "operation" => message.operation = Some(map.next_value()?),
                        "input" => message.input = Some(map.next_value()?),
                        "timeout_s" => message.timeout_s = Some(map.next_value()?),
                        "metadata" => message.metadata = Some(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            if message.foreign.len() < FOREIGN_MAX {
                                message.foreign.insert(name);
                            }
                        }
                    }
                }
                Ok(message)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn not_json(detail: String) -> DeadLetter {
    DeadLetter { reason: DeadReason::NotJson, detail }
}

/// The text of a message, with a depth that all later code accepts.
fn text(body: &[u8]) -> Result<&str, DeadLetter> {
    let text = std::str::from_utf8(body)
        .map_err(|error| not_json(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    // RFC 8259 lets a reader ignore a byte order mark; .NET's writers send one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // This check precedes the parser, so that the answer doesn't depend on which member is too deep.
    if canonical::depth(text) > DEPTH_MAX {
        return Err(not_json(format!("nested deeper than {DEPTH_MAX} levels")));
    }
    // This check precedes the parser too, whose message about a wrong type quotes the value at any length.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(not_json("not a JSON object".to_owned()));
    }
    Ok(text)
}

fn read(text: &str) -> Result<Message<'_>, DeadLetter> {
    serde_json::from_str(text).map_err(|error| not_json(clip(&error.to_string())))
}

/// A member's value; `None`, and a fault, if it can't be parsed.
fn value(text: &Parsable<'_>, path: &str, raw: &RawValue, faults: &mut Faults) -> Option<Value> {
    match plain::read(raw.get()) {
        Ok(mut value) => {
            text.settle(path, &mut value, faults);
            Some(value)
        }
        Err(error) => {
            faults.add(path, format!("can't be read: {}", clip(&error.to_string())));
            None
        }
    }
}

/// The `message_id` never replaces a present but wrong id, since the producer meant that id and would look for its
/// event.
fn job_id(own: Option<&Value>, message_id: Option<&str>) -> Result<JobId, DeadLetter> {
    let (place, text) = match (own, message_id) {
        (Some(Value::String(text)), _) => ("job_id", text.as_str()),
        (None | Some(Value::Null), Some(text)) if !text.is_empty() => ("message_id", text),
        (None | Some(Value::Null), _) => {
            return Err(DeadLetter {
                reason: DeadReason::NoJobId,
                detail: "the message has neither a job_id nor an AMQP message_id".to_owned(),
            });
        }
        (Some(other), _) => {
            return Err(DeadLetter {
                reason: DeadReason::InvalidJobId,
                detail: format!("job_id: expected a string, found {}", found(other)),
            });
        }
    };
    text.parse().map_err(|error: super::InvalidJobId| DeadLetter {
        reason: DeadReason::InvalidJobId,
        detail: format!("{place}: {error}; found {:?}", clip(text)),
    })
}

fn timeout_s(value: Option<&Value>, faults: &mut Faults) -> Option<u64> {
    let value = value.filter(|value| !value.is_null())?;
    let seconds = value.as_u64().filter(|seconds| (1..=TIMEOUT_S_MAX).contains(seconds));
    if seconds.is_none() {
        let found = found(value);
        faults.add("/timeout_s", format!("expected an integer from 1 to {TIMEOUT_S_MAX}, found {found}"));
    }
    seconds
}

fn metadata(text: &Parsable<'_>, raw: &RawValue, faults: &mut Faults) -> Option<Box<RawValue>> {
    let compact = canonical::compact(&text.settle_text("/metadata", raw.get(), faults));
    let bytes = compact.len();
    if bytes > METADATA_BYTES_MAX {
        faults
            .add("/metadata", format!("expected at most {METADATA_BYTES_MAX} bytes of JSON, found {bytes}"));
        return None;
    }
    // Only whitespace between tokens was removed, so this is still JSON.
    RawValue::from_string(compact).ok()
}
