//! Bounds what we publish to what a broker accepts.
//!
//! If a content header is longer than the broker's frames, RabbitMQ closes the connection, with all that is published
//! over it. What we add to a message's properties can make them too long. So everything that goes out passes here: no
//! routing header is carried on, and headers that don't fit are dropped, the longest first, and named.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::message::{DETAIL, HANDED_ON, REASON};
use crate::redact;

/// With these headers every exchange, even the default one, routes to further queues, so a producer could publish
/// with our rights.
pub(super) const ROUTING: [&str; 2] = ["CC", "BCC"];
/// Names the dropped headers, if there is no [`DETAIL`] to do so.
pub(super) const DROPPED: &str = "x-comet-dropped";

/// The fixed bytes of a header frame: type, channel, length and end (8 bytes), class, weight and the body's size
/// (12), and the flags (2).
const FRAME: usize = 8 + 12 + 2;
/// The most characters that the names of dropped headers may take.
const NAMES_CHARS_MAX: usize = 300;
/// Room for the note about the dropped headers.
const NOTE_BYTES: usize = 4 * NAMES_CHARS_MAX + 100;

/// Dropped before all others.
const FIRST: &str = "tracestate";
/// Dropped after all others if they are as short as ours, because a producer may give its own headers these names.
const LAST: [&str; 4] = [REASON, DETAIL, HANDED_ON, "traceparent"];
const SHORT: usize = 1024;

/// Returns the properties, reduced so that their frame is no longer than `frame_max`.
#[must_use]
pub fn fitted(mut properties: BasicProperties, frame_max: u32) -> BasicProperties {
    let frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX);
    let Some(headers) = properties.headers() else { return properties };
    let routes = ROUTING.iter().any(|name| headers.contains_key(name));
    let size = FRAME.saturating_add(size(&properties));
    if !routes && size <= frame_max {
        return properties;
    }
    let mut kept = headers.inner().clone();
    for name in ROUTING {
        kept.remove(name);
    }
    let others = size.saturating_sub(table_size(headers));
    let mut left = others.saturating_add(kept.iter().map(entry_size).sum());
    let mut dropped = Vec::new();
    if left > frame_max {
        let mut by_size: Vec<_> = kept
            .iter()
            .map(|entry| {
                let (name, size) = (entry.0.as_str(), entry_size(entry));
                let keep = LAST.contains(&name) && size <= SHORT;
                (!keep, name == FIRST, size, entry.0.clone())
            })
            .collect();
        by_size.sort_unstable_by(|one, other| other.cmp(one));
        for (_, _, size, name) in by_size {
            if left.saturating_add(NOTE_BYTES) <= frame_max {
                break;
            }
            left = left.saturating_sub(size);
            kept.remove(name.as_str());
            dropped.push(format!("{name} ({size} bytes)"));
        }
    }
    if !dropped.is_empty() {
        let names = redact::bounded(&dropped.join(", "), NAMES_CHARS_MAX);
        tracing::info!("headers that the broker's frames have no room for are dropped: {names}");
        let (name, text) = match kept.get(DETAIL) {
            Some(AMQPValue::LongString(detail)) => {
                (DETAIL, format!("{detail}; dropped, since the broker's frames have no room: {names}"))
            }
            Some(_) | None => (DROPPED, names),
        };
        kept.insert(name.into(), AMQPValue::LongString(text.into()));
    }
    properties = properties.with_headers(kept.into());
    properties
}

/// The bytes of the properties in a frame, without their flags.
fn size(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    // Delivery mode, priority and timestamp, whether they are present or not.
    let fixed = 1 + 1 + 8;
    let texts: usize = texts.into_iter().flatten().map(short_size).sum();
    let headers = properties.headers().as_ref().map_or(0, |table| table_size(table).saturating_add(4));
    fixed + texts + headers
}

fn short_size(text: &ShortString) -> usize {
    text.as_str().len().saturating_add(1)
}

fn table_size(table: &FieldTable) -> usize {
    table.inner().iter().map(entry_size).sum()
}

fn entry_size((name, value): (&ShortString, &AMQPValue)) -> usize {
    short_size(name).saturating_add(value_size(value))
}

/// The size with the byte for the type. [`super::wire`] limits how deep a table nests.
fn value_size(value: &AMQPValue) -> usize {
    let size = match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => short_size(text),
        AMQPValue::LongString(text) => text.as_bytes().len().saturating_add(4),
        AMQPValue::ByteArray(bytes) => bytes.len().saturating_add(4),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(value_size).sum::<usize>() + 4,
        AMQPValue::FieldTable(table) => table_size(table).saturating_add(4),
    };
    size.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default().with_message_id("m".into()).with_headers(table)
    }

    fn text(length: usize) -> AMQPValue {
        AMQPValue::LongString("x".repeat(length).into())
    }

    fn names(properties: &BasicProperties) -> Vec<&str> {
        properties.headers().as_ref().unwrap().inner().keys().map(ShortString::as_str).collect()
    }

    fn says(properties: &BasicProperties, name: &str) -> String {
        properties.headers().as_ref().unwrap().inner()[name].as_long_string().unwrap().to_string()
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let properties = with(&[("a", text(3000)), ("traceparent", text(55))]);
        assert_eq!(fitted(properties.clone(), 4096), properties);
        assert_eq!(fitted(BasicProperties::default(), 4096), BasicProperties::default());
    }

    #[test]
    fn headers_that_route_go_whatever_they_hold() {
        for value in [AMQPValue::FieldArray(vec![text(4)].into()), text(4), AMQPValue::Void] {
            let properties = with(&[("CC", value.clone()), ("BCC", value), ("cc", text(1))]);
            assert_eq!(names(&fitted(properties, 131_072)), ["cc"]);
        }
    }

    #[test]
    fn trace_state_goes_first_then_the_longest_and_what_went_is_named() {
        let properties = with(&[
            ("tracestate", text(1000)),
            ("a", text(2000)),
            ("b", text(100)),
            ("x-comet-reason", text(9)),
        ]);
        let few = fitted(properties.clone(), 4096);
        assert_eq!(names(&few), ["a", "b", "tracestate", "x-comet-reason"]);
        let bigger =
            with(&[("tracestate", text(1000)), ("a", text(2500)), ("b", text(1000)), ("c", text(1))]);
        let fewer = fitted(bigger, 4096);
        assert_eq!(names(&fewer), ["b", "c", DROPPED]);
        assert_eq!(says(&fewer, DROPPED), "tracestate (1016 bytes), a (2507 bytes)");
        let dead = fitted(with(&[("a", text(5000)), (DETAIL, text(3))]), 4096);
        assert_eq!(
            says(&dead, DETAIL),
            "xxx; dropped, since the broker's frames have no room: a (5007 bytes)"
        );
    }

    #[test]
    fn thousands_of_headers_come_to_fit_and_are_named_within_bounds() {
        let many: Vec<(String, AMQPValue)> = (0..5_000).map(|n| (format!("h{n}"), text(20))).collect();
        let many: Vec<(&str, AMQPValue)> =
            many.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let properties = fitted(with(&many), 4096);
        assert!(size(&properties) + FRAME <= 4096);
        assert!(says(&properties, DROPPED).len() < 1000);
    }

    #[test]
    fn a_producers_header_under_a_name_of_ours_is_dropped_when_it_is_long() {
        for name in [REASON, DETAIL, HANDED_ON, "traceparent", "x-comet-more"] {
            let properties = fitted(with(&[(name, text(200_000)), ("short", text(1))]), 131_072);
            assert_eq!(names(&properties), ["short", DROPPED], "{name}");
        }
        let many: Vec<(String, AMQPValue)> = (0..200).map(|n| (format!("x-comet-{n}"), text(900))).collect();
        let many: Vec<(&str, AMQPValue)> =
            many.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let properties = fitted(with(&many), 131_072);
        assert!(size(&properties) + FRAME <= 131_072);
    }

    #[test]
    fn the_size_is_what_the_client_library_writes() {
        let nested = FieldTable::from(
            with(&[("in", AMQPValue::FieldArray(vec![text(3), AMQPValue::Void].into()))])
                .headers()
                .clone()
                .unwrap()
                .inner()
                .clone(),
        );
        let properties = with(&[
            ("long", text(300)),
            ("table", AMQPValue::FieldTable(nested)),
            ("number", AMQPValue::LongLongInt(1)),
            ("bytes", AMQPValue::ByteArray(vec![1, 2, 3].into())),
            ("decimal", AMQPValue::DecimalValue(lapin::types::DecimalValue { scale: 255, value: 7 })),
        ])
        .with_priority(1)
        .with_timestamp(1)
        .with_delivery_mode(2);
        let written = lapin::protocol::basic::gen_properties(&properties)(Vec::new().into()).unwrap();
        assert_eq!(size(&properties) + 2, written.into_inner().0.len());
    }
}
