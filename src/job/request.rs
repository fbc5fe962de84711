//! The message contract in: bytes of a delivery become a [`Request`], or a refusal that says why.
//!
//! A message is parsed once, here, into types that can't be wrong; nothing behind this module looks
//! at the user's JSON again. Refusals are of two kinds, since two different readers need them:
//!
//! - a message that can't be *named* (no JSON, no id) is a [`DeadLetter`]: nobody waits for an event
//!   of a job without a name, so a person finds it in the dead-letter queue;
//! - a job that can be named and is wrong is a [`Request`] whose body is the list of everything
//!   that is wrong with it. It ends as an event, with all its faults at once: a producer that is
//!   told one fault a round trip gives up.
//!
//! What the user wrote is judged by [`Rules`], which are data, so that another edition of the
//! provider's contract is another set of values and not another code path.
//!
//! Where a JSON object has the same key twice, the last one counts.

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

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::rules::{Rules, StoreName};

use self::faults::{Faults, clip, found, member};
use self::odd::Parsable;
use super::{Envelope, ExternalIds, ExternalTaskId, Fault, Job, JobId};

/// JSON Schema (2020-12) of a job, for producers and for `comet-worker schema`.
pub const SCHEMA: &str = include_str!("../../schemas/job.schema.json");

/// Bound of `metadata`, in bytes of its JSON without whitespace.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Bound of `timeout_s`: a day.
pub const TIMEOUT_S_MAX: u64 = 86_400;

/// How deep a message may nest, itself included. Half of what `serde_json` takes, for two reasons:
/// metadata comes back one level deeper on an event, and common readers of events (.NET's) stop at
/// 64.
pub const DEPTH_MAX: usize = 63;

/// So many names of members that a job doesn't have are looked at.
const FOREIGN_MAX: usize = 1000;

/// How many faults one event names; the last one says how many more there are.
pub const FAULTS_MAX: usize = faults::FAULTS_MAX;

/// What AMQP says of a message, beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The job's name where the body has none.
    pub message_id: Option<String>,
    pub envelope: Envelope,
    /// The properties that could not be read, and what is wrong with each. What stands in their place is not the producer's.
    pub unreadable: Vec<(String, String)>,
}

/// Those that events carry on or go by: without them a job's end would not reach the consumer that waits for it. And `properties`: what
/// follows is missing.
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
    /// For a wrong job: filled as far as it can be, with one image.
    pub job: Job,
    /// The JSON to POST to the provider, or all that is wrong with the job: never an empty list.
    pub body: Result<Bytes, Vec<Fault>>,
}

/// Why a message becomes no job at all. For the header `x-comet-reason` and the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct DeadLetter {
    pub reason: DeadReason,
    /// For a person. Bounded, and never more of the message than an id.
    pub detail: String,
}

/// The closed list of dead letters' reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// Not UTF-8, not JSON, nested too deep, or not an object.
    NotJson,
    /// Neither a `job_id` nor an AMQP `message_id`.
    NoJobId,
    /// There is an id, and it is none by the rules.
    InvalidJobId,
    /// A property that an event would carry on, or that names the job, is there and can't be read.
    InvalidProperties,
    /// Over `amqp.max_message_bytes`; found by the caller, before parsing.
    TooLarge,
    /// The id of another job with another input; found by the caller, in the ledger.
    Conflict,
    /// A copy of a job that ended as such, for a person to clear up; found by the caller.
    OutcomeUnknown,
    /// The job has ended and was told long ago, and its receipts are gone; found by the caller.
    Forgotten,
    /// The worker panicked over this job again and again; found by the caller.
    Quarantined,
}

impl DeadReason {
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

/// Reads a message. Its size is bounded by the caller; its depth is bounded here.
///
/// # Errors
///
/// The message can't be named: it belongs into the dead-letter queue.
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
            "is not a member of a job; those are job_id, input, metadata and timeout_s",
        );
    }
    let timeout = message.timeout_s.and_then(|raw| value(&text, "/timeout_s", raw, &mut faults));
    let timeout_s = timeout_s(timeout.as_ref(), &mut faults);
    let metadata = message.metadata.and_then(|raw| metadata(&text, raw, &mut faults));
    let input = message.input.and_then(|raw| value(&text, "/input", raw, &mut faults));
    let digest = match (&input, message.input) {
        (Some(input), _) => canonical::digest(input),
        (None, None) => canonical::digest(&Value::Null),
        // What can't be held can still be told from another.
        (None, Some(raw)) => canonical::digest(&Value::from(raw.get())),
    };
    let checked = match (input, message.input) {
        // One fault, and not one more for each field that it doesn't have.
        (None, Some(_)) => checks::Checked::default(),
        (input, _) => checks::check(input, &id, &digest, rules, &mut faults),
    };

    let external_ids = match checked.external_ids {
        Some(ids) => ids,
        None => ExternalIds::new(None, rules.store.as_str(), &id, &digest),
    };
    let calls_back = checked.calls_back;
    let (images, model, body) = match faults.into_list() {
        None => (checked.images, checked.model, Ok(checked.body)),
        Some(list) => (1, rules.default_model.clone(), Err(list)),
    };
    let envelope = properties.envelope.clone();
    let job = Job { id, digest, external_ids, images, model, calls_back, timeout_s, metadata, envelope };
    Ok(Request { job, body })
}

/// The body of another generation of the same job: the same but for its `external_task_id`.
#[must_use]
pub fn under_id(body: &Bytes, external: &ExternalTaskId) -> Bytes {
    let members: Result<BTreeMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_slice(body);
    let id = serde_json::value::to_raw_value(external);
    let (Ok(mut members), Ok(id)) = (members, id) else { return body.clone() };
    members.insert(Cow::Borrowed("external_task_id"), &id);
    serde_json::to_vec(&members).map_or_else(|_| body.clone(), Bytes::from)
}

/// A message's own members, of any type, as they are written: one that can't be held must not hide the others, and what a number in
/// the metadata looks like is the user's business and comes back unchanged.
#[derive(Default)]
struct Message<'t> {
    job_id: Option<&'t RawValue>,
    input: Option<&'t RawValue>,
    timeout_s: Option<&'t RawValue>,
    metadata: Option<&'t RawValue>,
    /// The names of the others, no more of them than can be told.
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

/// The text of a message, of a depth that everything after this can take.
fn text(body: &[u8]) -> Result<&str, DeadLetter> {
    let text = std::str::from_utf8(body)
        .map_err(|error| not_json(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    // RFC 8259 lets a reader ignore a byte order mark; .NET's writers send one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Before the parser, so that the answer doesn't depend on which member is too deep.
    if canonical::depth(text) > DEPTH_MAX {
        return Err(not_json(format!("nested deeper than {DEPTH_MAX} levels")));
    }
    // Before the parser too: its words on a wrong type quote the value, however long.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(not_json("not a JSON object".to_owned()));
    }
    Ok(text)
}

fn read(text: &str) -> Result<Message<'_>, DeadLetter> {
    serde_json::from_str(text).map_err(|error| not_json(clip(&error.to_string())))
}

/// A member's value; `None`, and a fault, for one that can't be held.
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

/// A present but wrong id is never replaced by the `message_id`: the producer meant that id, and
/// would look for its event.
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
    // Whitespace between tokens is all that went, so this is JSON as it was before.
    RawValue::from_string(compact).ok()
}
