//! Reads a job's AMQP properties, and writes the properties of an event.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::fit::ROUTING;
use super::wire::{APPENDED, UNREADABLE, WITHHELD};
use crate::job::request::Properties;
use crate::job::{Envelope, Job};
use crate::redact;

/// The longest `tracestate` that events carry on. W3C's Trace Context asks for at least 512 characters, and each
/// consumer of an event has to accept it in one frame.
pub const TRACESTATE_MAX: usize = 2048;
/// The longest `traceparent`. Version 00 has 55 characters; later versions may have some more.
const TRACEPARENT_MAX: usize = 256;
/// The longest [`DETAIL`], in characters.
const DETAIL_CHARS_MAX: usize = 500;

/// Restores a message as the producer sent it from what lapin returns: [`super::wire`] puts properties that are too
/// long for lapin behind the body.
#[must_use]
pub fn whole(data: Vec<u8>, properties: BasicProperties) -> (Bytes, BasicProperties) {
    let appended = properties.headers().as_ref().and_then(|headers| headers.inner().get(APPENDED));
    let length =
        appended.and_then(AMQPValue::as_long_long_int).and_then(|length| usize::try_from(length).ok());
    let mut body = Bytes::from(data);
    let Some(start) = length.and_then(|length| body.len().checked_sub(length)) else {
        return (body, properties);
    };
    let appended = body.split_off(start);
    // The wire filter has written these bytes, so they can be read.
    let whole = parse_properties(appended.as_ref()).map(|(_, whole)| whole);
    (body, whole.unwrap_or(properties))
}

/// Whether this is not the message itself, but a note that a large message has no permit for now.
#[must_use]
pub fn is_withheld(properties: &BasicProperties) -> bool {
    header_value(properties, WITHHELD).is_some()
}

/// The properties of a job's message, as far as the contract uses them.
#[must_use]
pub fn properties(properties: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let header = |name, longest| header_text(properties, name).filter(|text: &String| text.len() <= longest);
    Properties {
        message_id: text(properties.message_id()),
        envelope: Envelope {
            reply_to: text(properties.reply_to()).filter(|queue| !queue.is_empty()),
            correlation_id: text(properties.correlation_id()),
            traceparent: header("traceparent", TRACEPARENT_MAX),
            tracestate: header("tracestate", TRACESTATE_MAX),
            timestamp_s: *properties.timestamp(),
        },
        unreadable: unreadable(properties),
    }
}

/// Whether there is a `tracestate` that is too long for events to carry on.
#[must_use]
pub fn drops_tracestate(properties: &BasicProperties) -> bool {
    header_text(properties, "tracestate").is_some_and(|text| text.len() > TRACESTATE_MAX)
}

/// The properties that [`super::wire`] could not read, each with what is wrong with it.
fn unreadable(properties: &BasicProperties) -> Vec<(String, String)> {
    let Some(AMQPValue::FieldTable(odd)) = header_value(properties, UNREADABLE) else { return Vec::new() };
    let words = |value: &AMQPValue| value.as_long_string().map(ToString::to_string).unwrap_or_default();
    odd.inner().iter().map(|(name, value)| (name.to_string(), words(value))).collect()
}

/// The properties of an event about `job`: persistent, with what the job's envelope asks to carry on.
#[must_use]
pub fn event_properties(job: &Job, id: &str, event_type: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in
        [("traceparent", &job.envelope.traceparent), ("tracestate", &job.envelope.tracestate)]
    {
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
        }
    }
    let mut properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_delivery_mode(2)
        .with_message_id(short(id))
        .with_type(short(event_type))
        .with_app_id("comet-worker".into())
        .with_headers(headers);
    if let Some(correlation_id) = &job.envelope.correlation_id {
        properties = properties.with_correlation_id(short(correlation_id));
    }
    properties
}

/// How often the broker has delivered this message before, if it counts (quorum queues).
#[must_use]
pub fn deliveries(properties: &BasicProperties) -> u64 {
    header_number(properties, DELIVERY_COUNT)
}

/// How often we have republished this message to its own queue.
#[must_use]
pub fn handed_on(properties: &BasicProperties) -> u64 {
    header_number(properties, HANDED_ON)
}

/// The properties of a message that is republished to the end of its own queue. The broker counts its deliveries
/// anew, and we count how often it was republished.
#[must_use]
pub fn handed_on_properties(original: &BasicProperties) -> BasicProperties {
    let mut headers = carried_headers(original);
    let count = i64::try_from(handed_on(original).saturating_add(1)).unwrap_or(i64::MAX);
    headers.insert(HANDED_ON.into(), AMQPValue::LongLongInt(count));
    let properties = kept(original).with_headers(headers).with_delivery_mode(2);
    match original.expiration() {
        Some(expiration) => properties.with_expiration(expiration.clone()),
        None => properties,
    }
}

/// The properties of a dead letter that becomes a job again. What was noted about its death is gone, and it counts how
/// often that has happened.
#[must_use]
pub fn sent_back_properties(dead: &BasicProperties) -> BasicProperties {
    let properties = handed_on_properties(dead);
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if ![REASON, DETAIL, AT].contains(&name.as_str()) && !BROKERS_NOTES.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let count = i64::try_from(replays(dead).saturating_add(1)).unwrap_or(i64::MAX);
    headers.insert(REPLAYS.into(), AMQPValue::LongLongInt(count));
    properties.with_headers(headers)
}

/// How often this message was a dead letter and became a job again.
#[must_use]
pub fn replays(properties: &BasicProperties) -> u64 {
    header_number(properties, REPLAYS)
}

/// Why the message is a dead letter, if it is one of ours.
#[must_use]
pub fn dead_reason(properties: &BasicProperties) -> Option<String> {
    header_text(properties, REASON)
}

pub(crate) const REASON: &str = "x-comet-reason";
pub(crate) const DETAIL: &str = "x-comet-detail";
/// When the message became a dead letter.
pub(super) const AT: &str = "x-comet-at";
const REPLAYS: &str = "x-comet-replays";
/// What RabbitMQ notes of a message that it has moved itself.
const BROKERS_NOTES: [&str; 7] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
];
const DELIVERY_COUNT: &str = "x-delivery-count";
pub(super) const HANDED_ON: &str = "x-comet-handed-on";

/// The headers of a message that is published again. They don't include the broker's count of deliveries, which would
/// never begin anew, routing headers, or the notes of [`super::wire`].
fn carried_headers(original: &BasicProperties) -> FieldTable {
    let dropped =
        |name: &str| [DELIVERY_COUNT, UNREADABLE, APPENDED].contains(&name) || ROUTING.contains(&name);
    let headers = original.headers().iter().flat_map(FieldTable::inner);
    let kept = headers.filter(|(name, _)| !dropped(name.as_str()));
    FieldTable::from(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>())
}

pub(super) fn header_value<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

pub(super) fn header_text(properties: &BasicProperties, name: &str) -> Option<String> {
    let value = header_value(properties, name)?;
    if let AMQPValue::LongString(value) = value {
        String::from_utf8(value.as_bytes().to_vec()).ok()
    } else {
        None
    }
}

fn header_number(properties: &BasicProperties, name: &str) -> u64 {
    let number = || {
        let value = header_value(properties, name)?;
        // The integer's width differs by client and broker.
        value.as_long_long_int().or_else(|| value.as_long_int().map(i64::from))
    };
    number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// The properties of a dead letter: the message's own properties, the reason, and when (RFC 3339).
#[must_use]
pub fn dead_properties(original: &BasicProperties, reason: &str, detail: &str, at: &str) -> BasicProperties {
    let mut headers = carried_headers(original);
    let detail = redact::bounded(detail, DETAIL_CHARS_MAX);
    headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
    headers.insert(DETAIL.into(), AMQPValue::LongString(detail.into()));
    headers.insert(AT.into(), AMQPValue::LongString(at.into()));
    kept(original).with_headers(headers).with_delivery_mode(2)
}

/// All properties except the expiration, which would make the dead letter vanish, and the user id, which the broker
/// compares with ours.
fn kept(original: &BasicProperties) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Set); 8] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.reply_to(), BasicProperties::with_reply_to),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
        (original.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let mut properties = BasicProperties::default();
    for (value, set) in texts {
        if let Some(value) = value {
            properties = set(properties, value.clone());
        }
    }
    if let Some(priority) = original.priority() {
        properties = properties.with_priority(*priority);
    }
    if let Some(timestamp) = original.timestamp() {
        properties = properties.with_timestamp(*timestamp);
    }
    properties
}

/// AMQP's short strings end at 255 bytes; what is passed here is bounded well below that.
fn short(text: &str) -> ShortString {
    let end = (0..=text.len().min(255)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().into()
}
