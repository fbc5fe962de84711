//! Any reply gets an answer within moments, and a paid task is never taken for an unpaid one.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::Value;

use super::tests::{fixtures, reply};
use super::*;
use crate::job::FileKind;
use crate::job::answers::{Later, Refusal, SubmitOutcome, TaskStatus};
use crate::job::{SentUnder, TaskId};
use crate::mutated::mutated;
use crate::provider::http::REPLY_BYTES_MAX;
use crate::redact::TEXT_CHARS_MAX;

const WORDS: &[&str] = &[
    "success",
    "succeed",
    "SUCCESS",
    "FAILURE",
    "failed",
    "processing",
    "brewing",
    "task_not_exist",
    "fail_to_fetch_task",
    "task_failed",
    "invalid_request",
    "do_request_failed",
    "model_not_found",
    "insufficient_user_quota",
    "access_denied",
    "already exists",
    "404",
    "mine",
    "878106242831892487",
    "https://cdn.klingai.com/a.png",
    "ftp://127.0.0.1/",
];

fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    mutated(fixtures().into_iter().map(|fixture| fixture.body).collect(), WORDS)
}

fn any_status() -> impl Strategy<Value = u16> {
    let usual = prop::sample::select(
        &[200_u16, 201, 202, 301, 400, 401, 402, 403, 404, 408, 413, 429, 500, 501, 502, 503, 504, 522, 524]
            [..],
    );
    prop_oneof![3 => Just(200), 6 => usual, 1 => 100_u16..1_000]
}

/// Reads the order of docs/provider.md, "Task ids", again and in another way than the code.
fn task_id_in(body: &[u8]) -> Option<String> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii();
    let root: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    let root = Value::Object(root);
    ["/data/task_id", "/data", "/task_id", "/data/id", "/id"].into_iter().find_map(|place| {
        match root.pointer(place)? {
            Value::String(text) => {
                let text = text.trim();
                let is_id = (1..=256).contains(&text.len())
                    && !text.contains(|c: char| c.is_whitespace() || c.is_control());
                is_id.then(|| text.to_owned())
            }
            // A number that is `data` itself may be anything.
            Value::Number(number) if place != "/data" => {
                number.as_u64().filter(|id| *id > 0).map(|id| id.to_string())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    })
}

fn is_for_people(text: &str) -> bool {
    text.chars().count() <= TEXT_CHARS_MAX && !text.contains(char::is_control)
}

proptest! {
    #[test]
    fn a_reply_that_names_a_task_is_never_surely_not_accepted(status in any_status(), body in spoilt()) {
        let answer = submit(&Reply { body: &body, ..reply(status, "") });
        let id = task_id_in(&body);
        match &answer {
            SubmitOutcome::Accepted(task) => {
                prop_assert!((200..300).contains(&status));
                prop_assert_eq!(Some(task.as_str()), id.as_deref());
            }
            SubmitOutcome::Unknown { message, .. } => prop_assert!(is_for_people(message), "{message}"),
            SubmitOutcome::Later(Later { message, .. })
            | SubmitOutcome::Account(AccountFault { message, .. })
            | SubmitOutcome::Refused(Refusal { message, .. }) => {
                prop_assert!(is_for_people(message), "{message}");
                prop_assert!(id.is_none(), "{answer:?}");
            }
        }
    }

    #[test]
    fn only_a_good_status_ends_a_task(status in any_status(), body in spoilt()) {
        let reply = Reply { body: &body, ..reply(status, "") };
        let seen = query(&reply, &TaskId::new("mine").unwrap(), &[FileKind::Image]);
        match &seen.view {
            TaskStatus::Succeeded { files, .. } => {
                prop_assert!((200..300).contains(&status));
                prop_assert!(files.len() <= 64);
                prop_assert!(files.iter().all(|image| matches!(image.url.scheme(), "http" | "https" | "data")));
                prop_assert!(files.windows(2).all(|pair| pair[0].index < pair[1].index), "{files:?}");
            }
            TaskStatus::Failed { message, .. } => {
                prop_assert!((200..300).contains(&status));
                prop_assert!(is_for_people(message), "{message}");
            }
            TaskStatus::Running => prop_assert!((200..300).contains(&status)),
            TaskStatus::NotFound { message } | TaskStatus::Unavailable { message, .. } => {
                prop_assert!(is_for_people(message), "{message}");
            }
        }
        if let Some(word) = &seen.foreign_word {
            prop_assert_eq!(&seen.view, &TaskStatus::Running);
            prop_assert!(word.chars().count() <= 40 && is_for_people(word), "{word}");
        }
        let _ = lookup(&reply, &SentUnder::from_words("mine 1").unwrap());
        let _ = probe(&reply);
    }

    #[test]
    fn any_bytes_and_headers_give_an_answer(
        status: u16, body: Vec<u8>, content_type: Option<String>, retry_after: Option<String>, date: Option<String>
    ) {
        let (content_type, retry_after, date) =
            (content_type.as_deref(), retry_after.as_deref(), date.as_deref());
        let request_id = date;
        let reply = Reply { status, content_type, retry_after, date, request_id, asked: "POST /", body: &body };
        if let SubmitOutcome::Later(Later { after: Some(after), .. }) = submit(&reply) {
            prop_assert!(after <= RETRY_AFTER_MAX);
        }
        let _ = query(&reply, &TaskId::new("mine").unwrap(), &[FileKind::Image]);
    }
}

/// Ten times the time that they need, and a small part of the time of a step that reads everything again for each
/// item.
#[test]
fn the_largest_replies_are_read_in_moments() {
    let filled = |start: &str, with: &str, end: &str| {
        let count = (REPLY_BYTES_MAX - start.len() - end.len()) / with.len();
        format!("{start}{}{end}", with.repeat(count))
    };
    for body in [
        filled("", "[", ""),
        filled("", r#"{"data":"#, ""),
        filled(r#"{"code":1,"message":""#, "already exist ", r#""}"#),
        filled(r#"{"code":"fail_to_fetch_task","message":""#, r#"{\"message\":"#, r#""}"#),
        filled(r#"{"code":0,"data":{"task_status":""#, "\\u0007", r#""}}"#),
        filled(
            r#"{"code":0,"data":{"task_status":"succeed","task_result":{"images":["#,
            r#""https://x/","#,
            r#""https://x/"]}}}"#,
        ),
        filled(r#"{"code":0,"data":["#, r#"{"task_id":"other"},"#, "{}]}"),
        filled(r#"{"code":0,"data":{"task_status":"failed","task_status_msg":""#, "https://", r#""}}"#),
        filled("<", "<", ">"),
    ] {
        let started = Instant::now();
        let _ = submit(&reply(200, &body));
        let _ = query(&reply(200, &body), &TaskId::new("mine").unwrap(), &[FileKind::Image]);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}: {}…", &body[..60]);
    }
}
