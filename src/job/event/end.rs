//! How a job ended, in short, as the list of the latest ends has it.

use serde::{Deserialize, Serialize};

use super::EventView;

/// The longest message, in characters; the event has all of it.
const MESSAGE_CHARS_MAX: usize = 200;

/// The end of a job. The same event gives the same text, so that a list of them has each once. Fields are only ever
/// added.
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
    /// Whether it corrects an earlier end of the job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub corrects: bool,
}

impl JobEnd {
    /// `None` if the bytes are no terminal event.
    #[must_use]
    pub fn of(event: &[u8]) -> Option<Self> {
        let view = EventView::parse(event).ok()?;
        let kind = view.kind().filter(|kind| kind.is_terminal())?;
        Some(Self {
            job_id: view.job_id,
            outcome: kind.word().to_owned(),
            reason: view.reason,
            message: view.message.map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect()),
            at: view.time,
            charged: view.charged,
            task_id: view.task_id,
            units: view.units,
            image: view.images.into_iter().next().map(|image| image.location),
            corrects: view.supersedes.is_some(),
        })
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        // This can't fail, since all members are texts.
        serde_json::to_string(self).unwrap_or_default()
    }
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
            end.to_json(),
            r#"{"job_id":"a","outcome":"failed","reason":"rejected","message":"no","at":"2026-11-28T07:00:00.000Z","charged":"no"}"#
        );
        assert_eq!(serde_json::from_str::<JobEnd>(&end.to_json()).unwrap(), end);
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
}
