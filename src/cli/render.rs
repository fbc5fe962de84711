//! Formats events as lines for people, and as JSON for programs.

use crate::job::FileKind;
use crate::job::event::{EventKind, EventView};
use crate::redact;

/// How many of a job's faults are printed on its line; the event has all of them.
const FAULTS_TOLD: usize = 3;

/// `order-1  succeeded  1 image  file:///…`, or `order-2  failed  rejected: message (charged: no)`.
pub(super) fn event(view: &EventView) -> String {
    let job = view.job_id.as_str();
    let text = match view.kind() {
        Some(EventKind::Submitted) => match &view.task_id {
            Some(task) => format!("{job}  submitted  task {task}"),
            None => format!("{job}  submitted"),
        },
        Some(EventKind::Succeeded) => {
            let locations: Vec<&str> = view.files().map(|(_, file)| file.location.as_str()).collect();
            format!("{job}  succeeded  {}  {}", files(view), locations.join(" "))
        }
        Some(EventKind::Failed) => {
            let reason = view.reason.as_deref().unwrap_or("no reason given");
            let message = view.message.as_deref().unwrap_or("no message");
            format!("{job}  failed  {reason}: {message}{} {}", faults(view), charged(view))
        }
        Some(EventKind::Cancelled) => format!("{job}  cancelled  {}", charged(view)),
        // The event type is from a newer worker.
        None => format!("{job}  {}", view.event_type),
    };
    let corrects = view.supersedes.as_ref().map(|id| format!("  (corrects {id})")).unwrap_or_default();
    one_line(&format!("{}{corrects}", text.trim_end()))
}

/// [`event`] after its time.
pub(super) fn event_with_time(view: &EventView) -> String {
    let time = if view.time.is_empty() { "(no time)" } else { view.time.as_str() };
    format!("{}  {}", one_line(time), event(view))
}

/// The event itself on one line. Line breaks in JSON are only between tokens.
pub(super) fn json(event: &[u8]) -> String {
    redact::printable_json(&String::from_utf8_lossy(event))
}

/// `1 image`, `2 images`, `no images`.
pub(super) fn count(number: impl TryInto<u64>, what: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// The terminal gets one line, whatever a text from outside contains.
pub(super) fn one_line(text: &str) -> String {
    redact::spaced(text)
}

/// `2 images`, `1 video, 2 sounds`.
fn files(view: &EventView) -> String {
    let of = |kind| view.files().filter(|(of, _)| *of == kind).count();
    let kinds = [(FileKind::Image, "image"), (FileKind::Video, "video"), (FileKind::Audio, "sound")];
    let some = kinds.map(|(kind, word)| (of(kind), word)).into_iter().filter(|(number, _)| *number > 0);
    let words: Vec<String> = some.map(|(number, word)| count(number, word)).collect();
    if words.is_empty() { "no files".to_owned() } else { words.join(", ") }
}

fn faults(view: &EventView) -> String {
    let told = view.faults.iter().take(FAULTS_TOLD);
    let told: String = told.map(|fault| format!("; {} {}", fault.path, fault.message)).collect();
    match view.faults.len().saturating_sub(FAULTS_TOLD) {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

/// Names a task that may have been paid for together with the charge.
fn charged(view: &EventView) -> String {
    let charged = view.charged.as_deref().unwrap_or("unknown");
    match &view.task_id {
        Some(task) if charged != "no" => format!("(charged: {charged}, task {task})"),
        _ => format!("(charged: {charged})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(event_type: &str, data: &str) -> EventView {
        let text = format!(
            r#"{{"id": "x/1", "type": "{event_type}", "time": "2026-11-23T05:12:09.114Z", "data": {data}}}"#
        );
        EventView::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_success_is_a_line_with_every_location() {
        let one = view(
            "comet.job.succeeded",
            r#"{"job_id": "a", "task_id": "7", "images": [{"location": "s3://b/0"}]}"#,
        );
        assert_eq!(event(&one), "a  succeeded  1 image  s3://b/0");
        assert_eq!(event_with_time(&one), "2026-11-23T05:12:09.114Z  a  succeeded  1 image  s3://b/0");
        let two = view(
            "comet.job.succeeded",
            r#"{"job_id": "a", "images": [{"location": "s3://b/0"}, {"location": "s3://b/1"}]}"#,
        );
        assert_eq!(event(&two), "a  succeeded  2 images  s3://b/0 s3://b/1");
    }

    #[test]
    fn a_failure_says_why_and_what_it_cost() {
        let unpaid = view(
            "comet.job.failed",
            r#"{"job_id": "b", "reason": "rejected", "message": "no\nthank you", "charged": "no", "task_id": null}"#,
        );
        assert_eq!(event(&unpaid), "b  failed  rejected: no thank you (charged: no)");
        let paid = view(
            "comet.job.failed",
            r#"{"job_id": "b", "reason": "timed_out", "message": "m", "charged": "yes", "task_id": "7"}"#,
        );
        assert_eq!(event(&paid), "b  failed  timed_out: m (charged: yes, task 7)");
        assert_eq!(
            event(&view("comet.job.cancelled", r#"{"job_id": "c", "charged": "no"}"#)),
            "c  cancelled  (charged: no)"
        );
        let bare = view("comet.job.failed", r#"{"job_id": "b"}"#);
        assert_eq!(event(&bare), "b  failed  no reason given: no message (charged: unknown)");
    }

    #[test]
    fn of_many_faults_a_few_are_told() {
        let fault = r#"{"path": "/input/n", "message": "is wrong"}"#;
        let data = format!(
            r#"{{"job_id": "b", "reason": "invalid_request", "message": "m", "charged": "no", "faults": [{}]}}"#,
            [fault; 5].join(",")
        );
        let line = event(&view("comet.job.failed", &data));
        assert!(line.ends_with("; /input/n is wrong; and 2 more (charged: no)"), "{line}");
    }

    #[test]
    fn unknown_kinds_and_corrections_are_shown_as_what_they_are() {
        let new = view("comet.job.paused", r#"{"job_id": "d", "supersedes": "d/failed"}"#);
        assert_eq!(event(&new), "d  comet.job.paused  (corrects d/failed)");
    }

    #[test]
    fn json_is_one_line() {
        assert_eq!(json(b"{\n \"a\": \"x\\ny\"\r\n}"), r#"{  "a": "x\ny"  }"#);
    }
}
