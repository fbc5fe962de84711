//! What a dead letter is, for people: why it is there, since when, and which job it was to be.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::queue::consume::Message;
use crate::queue::message::{AT, DETAIL, REASON, deliveries, header_text, header_value, replays};

/// The longest body that is parsed to find its job's id; beyond it there is the `message_id`.
const PARSED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many hexadecimal digits a key has.
const KEY_DIGITS: usize = 16;

/// One dead letter, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// What other commands take. It stays the same while the message lies there; messages that are equal in all that
    /// counts have the same.
    pub key: String,
    /// `None` if no id can be read.
    pub job_id: Option<String>,
    /// Ours (`x-comet-reason`), or RabbitMQ's own: `expired`, `delivery_limit`, `maxlen`, `rejected`. `None` if the
    /// message says nothing.
    pub reason: Option<String>,
    pub detail: Option<String>,
    /// When it became a dead letter, RFC 3339; `None` if the message doesn't say.
    pub at: Option<String>,
    pub bytes: usize,
    /// How often it was looked at and put back, as far as the broker counts.
    pub returns: u64,
    /// How often it was replayed before.
    pub replays: u64,
}

/// The broker's own note of why it has moved a message: the latest entry of `x-death`.
struct BrokersWord {
    reason: String,
    queue: String,
    at: Option<Timestamp>,
}

impl Letter {
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let properties = &message.properties;
        let broker = brokers_word(properties);
        let ours = header_text(properties, REASON);
        let detail = header_text(properties, DETAIL).or_else(|| {
            let word = broker.as_ref().filter(|_| ours.is_none())?;
            Some(format!("RabbitMQ has moved it here from {}", word.queue))
        });
        let at = header_text(properties, AT).or_else(|| {
            let at = broker.as_ref().filter(|_| ours.is_none())?.at?;
            Some(format!("{at:.3}"))
        });
        Self {
            key: key(message),
            job_id: job_id(message),
            reason: ours.or(broker.map(|word| word.reason)),
            detail,
            at,
            bytes: message.body.len(),
            returns: deliveries(properties),
            replays: replays(properties),
        }
    }
}

/// The body and what of the properties doesn't change while the message lies in the queue.
fn key(message: &Message) -> String {
    let properties = &message.properties;
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    };
    add(&message.body);
    for text in [properties.message_id(), properties.correlation_id(), properties.reply_to()] {
        add(text.as_ref().map_or("", |text| text.as_str()).as_bytes());
    }
    for header in [REASON, DETAIL, AT] {
        add(header_text(properties, header).unwrap_or_default().as_bytes());
    }
    add(&replays(properties).to_be_bytes());
    let broker = brokers_word(properties);
    let at = broker.as_ref().and_then(|word| word.at).map(Timestamp::as_second).unwrap_or_default();
    add(broker.map(|word| word.reason).unwrap_or_default().as_bytes());
    add(&at.to_be_bytes());
    hex::encode(hash.finalize()).chars().take(KEY_DIGITS).collect()
}

fn job_id(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        job_id: String,
    }
    let short = (message.body.len() <= PARSED_BYTES_MAX).then_some(&message.body);
    let named = short.and_then(|body| serde_json::from_slice::<Named>(body).ok()).map(|named| named.job_id);
    let by_message = || message.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
    named.or_else(by_message).filter(|id| !id.is_empty())
}

fn brokers_word(properties: &BasicProperties) -> Option<BrokersWord> {
    let deaths = header_value(properties, "x-death")?.as_array()?.as_slice();
    let AMQPValue::FieldTable(latest) = deaths.first()? else { return None };
    let text = |name: &str| field(latest, name)?.as_long_string().map(ToString::to_string);
    let at = field(latest, "time").and_then(AMQPValue::as_timestamp);
    Some(BrokersWord {
        reason: text("reason")?,
        queue: text("queue").unwrap_or_default(),
        at: at.and_then(|at| Timestamp::from_second(i64::try_from(at).ok()?).ok()),
    })
}

fn field<'a>(table: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    table.inner().get(name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::FieldArray;

    use super::*;
    use crate::queue::message::dead_properties;

    fn message(body: &'static [u8], properties: BasicProperties) -> Message {
        Message { body: Bytes::from_static(body), properties, redelivered: false }
    }

    fn moved_by_the_broker() -> BasicProperties {
        let mut death = FieldTable::default();
        death.insert("reason".into(), AMQPValue::LongString("delivery_limit".into()));
        death.insert("queue".into(), AMQPValue::LongString("comet.jobs".into()));
        death.insert("time".into(), AMQPValue::Timestamp(1_795_850_000));
        let mut headers = FieldTable::default();
        headers.insert(
            "x-death".into(),
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])),
        );
        BasicProperties::default().with_headers(headers)
    }

    #[test]
    fn a_letter_of_ours_says_its_reason_and_its_time() {
        let properties = BasicProperties::default().with_message_id("m-1".into());
        let dead = dead_properties(&properties, "not_json", "no object", "2026-11-28T07:00:00.000Z");
        let letter = Letter::of(&message(b"hello", dead.clone()));
        assert_eq!(letter.reason.as_deref(), Some("not_json"));
        assert_eq!(letter.detail.as_deref(), Some("no object"));
        assert_eq!(letter.at.as_deref(), Some("2026-11-28T07:00:00.000Z"));
        assert_eq!((letter.job_id.as_deref(), letter.bytes, letter.key.len()), (Some("m-1"), 5, 16));
        let named = Letter::of(&message(br#"{"job_id": "a", "input": 1}"#, dead));
        assert_eq!(named.job_id.as_deref(), Some("a"));
        assert_ne!(named.key, letter.key);
    }

    #[test]
    fn a_letter_that_rabbitmq_wrote_says_why_and_from_where() {
        let letter = Letter::of(&message(b"{}", moved_by_the_broker()));
        assert_eq!(letter.reason.as_deref(), Some("delivery_limit"));
        assert_eq!(letter.detail.as_deref(), Some("RabbitMQ has moved it here from comet.jobs"));
        assert_eq!(letter.at.as_deref(), Some("2026-11-28T07:13:20.000Z"));
        assert_eq!(letter.job_id, None);
    }

    #[test]
    fn a_key_stays_the_same_however_often_the_letter_is_looked_at() {
        let looked_at = |times: i64| {
            let mut properties = moved_by_the_broker();
            let mut headers = properties.headers().clone().unwrap_or_default();
            headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(times));
            properties = properties.with_headers(headers);
            Letter::of(&message(b"{}", properties))
        };
        let (once, often) = (looked_at(1), looked_at(30));
        assert_eq!(once.key, often.key);
        assert_eq!((once.returns, often.returns), (1, 30));
    }
}
