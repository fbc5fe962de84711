//! What AMQP's properties say about a job, and what ours say about an event.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::job::request::Properties;
use crate::job::{Envelope, Job};

/// The properties of a job's message, as far as the contract reads them.
#[must_use]
pub fn properties(properties: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let header = |name| header_text(properties, name);
    Properties {
        message_id: text(properties.message_id()),
        envelope: Envelope {
            reply_to: text(properties.reply_to()).filter(|queue| !queue.is_empty()),
            correlation_id: text(properties.correlation_id()),
            traceparent: header("traceparent"),
            tracestate: header("tracestate"),
            timestamp_s: *properties.timestamp(),
        },
    }
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

/// How often the broker has delivered this message before, where it counts (quorum queues).
#[must_use]
pub fn deliveries(properties: &BasicProperties) -> u64 {
    header_number(properties, DELIVERY_COUNT)
}

/// How often we have published this message afresh to its own queue.
#[must_use]
pub fn handed_on(properties: &BasicProperties) -> u64 {
    header_number(properties, HANDED_ON)
}

/// The properties of a message that goes to the end of its own queue: the broker counts its
/// deliveries afresh, and we how often that was done.
#[must_use]
pub fn handed_on_properties(original: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(FieldTable::inner) {
        // The broker adds its count to what it delivers; carried on, it would never begin anew.
        if name.as_str() != DELIVERY_COUNT {
            headers.insert(name.clone(), value.clone());
        }
    }
    let count = i64::try_from(handed_on(original).saturating_add(1)).unwrap_or(i64::MAX);
    headers.insert(HANDED_ON.into(), AMQPValue::LongLongInt(count));
    let properties = kept(original).with_headers(headers).with_delivery_mode(2);
    match original.expiration() {
        Some(expiration) => properties.with_expiration(expiration.clone()),
        None => properties,
    }
}

/// The properties of a dead letter that becomes a job again.
#[must_use]
pub fn sent_back_properties(dead: &BasicProperties) -> BasicProperties {
    let properties = handed_on_properties(dead);
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if ![REASON, DETAIL].contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties.with_headers(headers)
}

/// Why it is a dead letter, where it is one of ours.
#[must_use]
pub fn dead_reason(properties: &BasicProperties) -> Option<String> {
    header_text(properties, REASON)
}

const REASON: &str = "x-comet-reason";
const DETAIL: &str = "x-comet-detail";
const DELIVERY_COUNT: &str = "x-delivery-count";
const HANDED_ON: &str = "x-comet-handed-on";

fn header_text(properties: &BasicProperties, name: &str) -> Option<String> {
    let value = properties.headers().as_ref()?.inner().get(name)?;
    if let AMQPValue::LongString(value) = value {
        String::from_utf8(value.as_bytes().to_vec()).ok()
    } else {
        None
    }
}

fn header_number(properties: &BasicProperties, name: &str) -> u64 {
    let number = || {
        let value = properties.headers().as_ref()?.inner().get(name)?;
        // Which width it comes in differs by client and broker.
        value.as_long_long_int().or_else(|| value.as_long_int().map(i64::from))
    };
    number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// The properties of a dead letter: the message's own, and why.
#[must_use]
pub fn dead_properties(original: &BasicProperties, reason: &str, detail: &str) -> BasicProperties {
    let mut headers = original.headers().clone().unwrap_or_default();
    headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
    headers.insert(DETAIL.into(), AMQPValue::LongString(detail.into()));
    kept(original).with_headers(headers).with_delivery_mode(2)
}

/// All but the expiration, by which the dead letter would vanish, and the user id, which the broker
/// holds against ours.
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

/// AMQP's short strings end at 255 bytes; what comes here is bounded well below.
fn short(text: &str) -> ShortString {
    let end = (0..=text.len().min(255)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().into()
}
