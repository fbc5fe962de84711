//! One dead letter, whole.

use std::fmt::Write as _;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};

use super::{QueueAccess, line};
use crate::cli::output::Output;
use crate::queue::consume::Message;
use crate::queue::dead::Letter;
use crate::redact;

/// A longer body is shown as text up to here. `--json` has all of it.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The letter's key, as list prints it
    #[arg(value_name = "KEY")]
    key: String,
    /// One JSON object: that of list, with properties, headers, and body, or body_base64 if it is no UTF-8
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(access: &QueueAccess, arguments: &Arguments) -> anyhow::Result<()> {
    let mut output = Output::plain();
    let mut letters = access.letters().await?;
    let mut found = None;
    while let Some(taken) = letters.next().await? {
        let letter = Letter::of(&taken.message);
        if letter.key == arguments.key && found.is_none() {
            found = Some((letter, taken.message.clone()));
        }
        letters.put_back(taken).await?;
    }
    letters.close().await?;
    let Some((letter, message)) = found else {
        bail!("no dead letter has the key {}: see comet-worker dead list", arguments.key);
    };
    output.data(&if arguments.json { json(&letter, &message)? } else { text(&letter, &message) });
    output.check()
}

fn json(letter: &Letter, message: &Message) -> anyhow::Result<String> {
    let mut shown = serde_json::to_value(letter)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("properties".to_owned(), Value::Object(properties(&message.properties)));
        members.insert("headers".to_owned(), headers(&message.properties));
        match std::str::from_utf8(&message.body) {
            Ok(body) => members.insert("body".to_owned(), json!(body)),
            Err(_) => members.insert("body_base64".to_owned(), json!(STANDARD.encode(&message.body))),
        };
    }
    Ok(shown.to_string())
}

fn text(letter: &Letter, message: &Message) -> String {
    let mut text = format!("{}\n", line(letter));
    let headers = headers(&message.properties);
    let named = properties(&message.properties).into_iter();
    for (name, value) in named.chain(headers.as_object().cloned().unwrap_or_default()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // Writing into a String can't fail.
        let _ = writeln!(text, "{}: {}", redact::spaced(&name), redact::spaced(&value));
    }
    let start = message.body.get(..SHOWN_BYTES_MAX).unwrap_or(&message.body);
    let body = String::from_utf8_lossy(start);
    let lines: Vec<String> = body.split('\n').map(redact::spaced).collect();
    let _ = write!(text, "\n{}", lines.join("\n"));
    if start.len() < message.body.len() {
        let _ = write!(text, "\n… and {} bytes more: --json has all of it", message.body.len() - start.len());
    }
    text
}

fn properties(properties: &BasicProperties) -> Map<String, Value> {
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
        ("cluster_id", properties.cluster_id()),
    ];
    let mut shown: Map<String, Value> = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?.as_str()))))
        .collect();
    let numbers = [
        ("priority", properties.priority().map(u64::from)),
        ("delivery_mode", properties.delivery_mode().map(u64::from)),
        ("timestamp", *properties.timestamp()),
    ];
    let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?))));
    shown.extend(numbers);
    shown
}

fn headers(properties: &BasicProperties) -> Value {
    properties.headers().as_ref().map_or_else(|| json!({}), table)
}

fn table(fields: &FieldTable) -> Value {
    fields.inner().iter().map(|(name, field)| (name.to_string(), value(field))).collect::<Map<_, _>>().into()
}

fn value(field: &AMQPValue) -> Value {
    match field {
        AMQPValue::Boolean(is) => json!(is),
        AMQPValue::ShortShortInt(number) => json!(number),
        AMQPValue::ShortShortUInt(number) => json!(number),
        AMQPValue::ShortInt(number) => json!(number),
        AMQPValue::ShortUInt(number) => json!(number),
        AMQPValue::LongInt(number) => json!(number),
        AMQPValue::LongUInt(number) => json!(number),
        AMQPValue::LongLongInt(number) => json!(number),
        AMQPValue::Float(number) => json!(number),
        AMQPValue::Double(number) => json!(number),
        AMQPValue::DecimalValue(decimal) => json!(format!("{}e-{}", decimal.value, decimal.scale)),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(value).collect(),
        AMQPValue::Timestamp(seconds) => json!(seconds),
        AMQPValue::FieldTable(fields) => table(fields),
        AMQPValue::ByteArray(bytes) => json!(STANDARD.encode(bytes.as_slice())),
        AMQPValue::Void => Value::Null,
    }
}
