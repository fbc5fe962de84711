//! How a job ended, in short, as the list of the latest ends has it.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::EventKind;
use crate::job::Charged;
use crate::job::spend::SpendNote;

/// The longest message, in characters; the event has all of it.
const MESSAGE_CHARS_MAX: usize = 200;
/// The longest value of a label, in characters; a longer one is cut.
const LABEL_CHARS_MAX: usize = 64;

/// The end of a job. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub job_id: String,
    /// `succeeded`, `failed` or `cancelled`.
    pub outcome: String,
    /// Why it failed.
    pub reason: Option<String>,
    pub message: Option<String>,
    /// The time of its event, RFC 3339.
    pub at: String,
    /// `no`, `yes` or `unknown`; not for a success, which is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What the provider deducted, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// Where its first image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where its first video is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<String>,
    /// Where its first sound is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// The id of the event that it corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// What of an event the list has, as it stands there.
#[derive(Deserialize)]
struct Stored<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    time: &'a RawValue,
    #[serde(default)]
    supersedes: Option<&'a RawValue>,
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    job_id: &'a RawValue,
    #[serde(default)]
    reason: Option<&'a RawValue>,
    #[serde(default)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    charged: Option<&'a RawValue>,
    #[serde(default)]
    task_id: Option<&'a RawValue>,
    #[serde(default)]
    units: Option<&'a RawValue>,
    #[serde(default)]
    images: Option<Vec<File<'a>>>,
    #[serde(default)]
    videos: Option<Vec<File<'a>>>,
    #[serde(default)]
    audios: Option<Vec<File<'a>>>,
    #[serde(default)]
    timings_ms: Option<Waited>,
    #[serde(default)]
    metadata: Option<&'a RawValue>,
    #[serde(default)]
    failed_task_ids: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Waited {
    #[serde(default)]
    queued: Option<u64>,
}

/// What is noted of a job's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndNote {
    /// A [`JobEnd`] in JSON.
    pub json: String,
    pub kind: EventKind,
    /// Whether it corrects an earlier end.
    pub corrects: bool,
    /// How long it was queued, if the producer's message said when it was sent.
    pub queued_ms: Option<u64>,
    pub spend: SpendNote,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    location: &'a RawValue,
}

impl EndNote {
    /// `None` if the bytes are no terminal event of ours. `label` is the key of the metadata by which spend is counted, or
    /// empty. The same event gives the same text, so that a list of them has each once. Every job's end is written so, and hardly any is read: so the values are copied as they stand in the
    /// event.
    #[must_use]
    pub fn of(event: &[u8], label: &str) -> Option<Self> {
        let stored: Stored<'_> = serde_json::from_slice(event).ok()?;
        let kind = EventKind::from_event_type(stored.r#type).filter(|kind| kind.is_terminal())?;
        let data = &stored.data;
        let message = data.message.map(|message| bounded(message.get()));
        let mut json = format!(r#"{{"job_id":{},"outcome":"{}""#, data.job_id.get(), kind.word());
        let first = first_location;
        let null = Some("null");
        for (name, value) in [
            ("reason", data.reason.map(RawValue::get).or(null)),
            ("message", message.as_deref().or(null)),
            ("at", Some(stored.time.get())),
            ("charged", data.charged.map(RawValue::get)),
            ("task_id", data.task_id.map(RawValue::get)),
            ("units", data.units.map(RawValue::get)),
            ("image", first(&data.images)),
            ("video", first(&data.videos)),
            ("audio", first(&data.audios)),
            ("supersedes", stored.supersedes.map(RawValue::get)),
        ] {
            if let Some(value) = value {
                // Writing into a String can't fail.
                let _ = write!(json, r#","{name}":{value}"#);
            }
        }
        json.push('}');
        let spend = spend(&stored, kind, label);
        Some(Self {
            json,
            kind,
            corrects: stored.supersedes.is_some(),
            queued_ms: stored.data.timings_ms.and_then(|waited| waited.queued),
            spend,
        })
    }
}

impl JobEnd {
    /// `None` if the bytes are no terminal event.
    #[must_use]
    pub fn of(event: &[u8]) -> Option<Self> {
        serde_json::from_str(&EndNote::of(event, "")?.json).ok()
    }
}

fn first_location<'a>(files: &Option<Vec<File<'a>>>) -> Option<&'a str> {
    Some(files.as_ref()?.first()?.location.get())
}

/// A success is charged, whatever it says; another end says whether it is.
fn spend(stored: &Stored<'_>, kind: EventKind, label: &str) -> SpendNote {
    let data = &stored.data;
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    let at = text(stored.time).and_then(|time| time.parse::<Timestamp>().ok()).unwrap_or_default();
    let charged = match data.charged.and_then(text).as_deref() {
        Some("no") => Charged::No,
        Some("yes") => Charged::Yes,
        Some(_) => Charged::Unknown,
        None if kind == EventKind::Succeeded => Charged::Yes,
        None => Charged::No,
    };
    SpendNote {
        at_ms: at.as_millisecond(),
        units: data.units.and_then(text).and_then(|units| units.parse().ok()),
        charged,
        failed: u32::try_from(data.failed_task_ids.len()).unwrap_or(u32::MAX),
        label: data.metadata.filter(|_| !label.is_empty()).and_then(|metadata| labelled(metadata, label)),
    }
}

/// The value under `label`, if it is a text, a number or a truth value, and not empty.
fn labelled(metadata: &RawValue, label: &str) -> Option<String> {
    let metadata: Value = serde_json::from_str(metadata.get()).ok()?;
    let text = match metadata.get(label)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    Some(printable.take(LABEL_CHARS_MAX).collect::<String>()).filter(|text| !text.is_empty())
}

/// A text in JSON, cut where it is too long.
fn bounded(json: &str) -> std::borrow::Cow<'_, str> {
    if json.len() <= MESSAGE_CHARS_MAX {
        return json.into();
    }
    let text: String = serde_json::from_str(json).unwrap_or_default();
    let start: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    Value::from(start).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/events/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    }

    #[test]
    fn an_end_says_how_and_why_in_short() {
        let event = br#"{"id": "a/failed", "type": "comet.job.failed", "time": "2026-11-28T07:00:00.000Z",
            "data": {"job_id": "a", "reason": "rejected", "message": "no", "charged": "no"}}"#;
        let end = JobEnd::of(event).unwrap();
        assert_eq!(
            EndNote::of(event, "").unwrap().json,
            r#"{"job_id":"a","outcome":"failed","reason":"rejected","message":"no","at":"2026-11-28T07:00:00.000Z","charged":"no"}"#
        );
        assert_eq!(serde_json::to_string(&end).unwrap(), EndNote::of(event, "").unwrap().json);
        let long = String::from_utf8(event.to_vec())
            .unwrap()
            .replace("\"no\", \"charged", &format!("\"{}\", \"charged", "n".repeat(5000)));
        let shown = JobEnd::of(long.as_bytes()).unwrap().message.unwrap();
        assert!(shown.chars().count() <= MESSAGE_CHARS_MAX, "{}", shown.len());
    }

    #[test]
    fn a_success_names_its_first_image_and_an_event_that_ends_nothing_is_no_end() {
        let end = JobEnd::of(&fixture("succeeded.v2.json")).unwrap();
        assert_eq!((end.outcome.as_str(), end.reason), ("succeeded", None));
        assert!(end.image.is_some());
        assert_eq!(JobEnd::of(&fixture("submitted.v1.json")), None);
        assert_eq!(JobEnd::of(b"{}"), None);
    }

    #[test]
    fn an_end_says_what_it_has_cost_and_for_whom() {
        let event = |outcome: &str, data: &str| {
            format!(
                r#"{{"id": "a/x", "type": "comet.job.{outcome}", "time": "2026-11-28T07:00:00.001Z",
                "data": {{"job_id": "a", "metadata": {{"customer": 42, "note": {{}}}}{data}}}}}"#
            )
        };
        let spend = |outcome: &str, data: &str, label: &str| {
            EndNote::of(event(outcome, data).as_bytes(), label).unwrap().spend
        };
        let paid = spend("succeeded", r#", "units": "8.5""#, "customer");
        let units = "8.5".parse().ok();
        let label = Some("42".to_owned());
        assert_eq!(
            paid,
            SpendNote { at_ms: 1_795_849_200_001, units, charged: Charged::Yes, failed: 0, label }
        );
        let again = spend("succeeded", r#", "failed_task_ids": ["1", "2"]"#, "");
        assert_eq!(again.failed, 2);
        for (outcome, data, charged) in [
            ("succeeded", "", Charged::Yes),
            ("failed", r#", "charged": "no""#, Charged::No),
            ("failed", r#", "charged": "unknown""#, Charged::Unknown),
            ("cancelled", r#", "charged": "yes", "units": "some""#, Charged::Yes),
        ] {
            let note = spend(outcome, data, "");
            assert_eq!(note.counts(), charged != Charged::No);
            assert_eq!((note.charged, note.units, note.label), (charged, None, None), "{outcome} {data}");
        }
        assert_eq!(spend("succeeded", "", "note").label, None, "no plain value");
        assert_eq!(spend("succeeded", "", "other").label, None);
    }
}
