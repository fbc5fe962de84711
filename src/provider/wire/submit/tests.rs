use super::*;
use crate::provider::wire::tests::reply;

#[test]
fn a_message_keeps_the_words_and_loses_the_secrets() {
    let body = serde_json::json!({"error": {"code": "invalid_request", "message": format!(
        "can't fetch https://cdn.x/a.png?sig=SECRET\u{7}\n{}", "x".repeat(2000))}})
    .to_string();
    let SubmitOutcome::Refused(refusal) = submit(&reply(400, &body)) else { panic!("not refused") };
    assert!(refusal.message.starts_with("HTTP 400: can't fetch https://cdn.x/a.png?… xxx"));
    assert!(refusal.message.chars().count() <= 500);
    assert_eq!(refusal.provider_code.as_deref(), Some("invalid_request"));

    let SubmitOutcome::Account(fault) = submit(&reply(404, "<html>")) else { panic!("no account fault") };
    assert!(fault.message.contains("POST /kling/v1/images/generations"), "{}", fault.message);

    let exists = r#"{"code":"1201","message":"external_task_id already exists"}"#;
    let SubmitOutcome::Unknown { message, provider_code, exists: true } = submit(&reply(400, exists)) else {
        panic!("not unknown")
    };
    assert!(message.contains("already exists"));
    assert_eq!(provider_code.as_deref(), Some("1201"));
}

#[test]
fn a_message_names_the_request_once_for_the_providers_support() {
    let told = |request_id, body| match submit(&Reply { request_id, ..reply(500, body) }) {
        SubmitOutcome::Unknown { message, .. } => message,
        other @ (SubmitOutcome::Accepted(_)
        | SubmitOutcome::Later(_)
        | SubmitOutcome::Account(_)
        | SubmitOutcome::Refused(_)) => {
            panic!("{other:?}")
        }
    };
    assert_eq!(told(None, r#"{"message":"m"}"#), "HTTP 500: m");
    assert_eq!(told(Some("R1"), r#"{"message":"m"}"#), "HTTP 500: m (request id: R1)");
    assert_eq!(
        told(Some("R1"), r#"{"code":5000,"message":"m","request_id":"R2"}"#),
        "HTTP 500: m (request id: R2)"
    );
    assert_eq!(told(Some("R1"), r#"{"message":"m (request id: R3)"}"#), "HTTP 500: m (request id: R3)");
    assert_eq!(told(Some("R1"), "<html>"), "HTTP 500: a web page instead of JSON (request id: R1)");
}

#[test]
fn only_parsed_fields_decide() {
    let echoed =
        r#"{"error":{"message":"prompt: 'a quota of 429 risk control systems'","code":"invalid_request"}}"#;
    let answer = submit(&reply(400, echoed));
    assert!(matches!(answer, SubmitOutcome::Refused(Refusal { content_policy: false, .. })), "{answer:?}");
}

#[test]
fn retry_after_is_seconds_or_a_date_and_bounded() {
    let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
    let after = |retry_after, status, body| match submit(&Reply { retry_after, date, ..reply(status, body) })
    {
        SubmitOutcome::Later(later) => later.after.map(|after| after.as_secs()),
        other @ (SubmitOutcome::Accepted(_)
        | SubmitOutcome::Account(_)
        | SubmitOutcome::Refused(_)
        | SubmitOutcome::Unknown { .. }) => {
            panic!("{other:?}")
        }
    };
    for (text, seconds) in [
        (" 7 ", Some(7)),
        ("0", Some(0)),
        ("99999999999", Some(3600)),
        ("Wed, 21 Oct 2026 07:28:30 GMT", Some(30)),
        ("Thu, 22 Oct 2026 07:28:30 GMT", Some(3600)),
        ("Wed, 21 Oct 2026 07:27:00 GMT", Some(0)),
        ("Wed, 21 Oct 2026 25:27:00 GMT", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(after(Some(text), 429, ""), seconds, "{text}");
    }
    assert_eq!(after(None, 429, ""), None);
    let no_channel = r#"{"error":{"code":"model_not_found","message":"no available channel"}}"#;
    assert_eq!(after(None, 503, no_channel), None);
    assert_eq!(after(Some("90"), 503, no_channel), Some(90));
    // Two clocks need not agree: without the sender's own time, a date is ignored.
    let lone = Reply { retry_after: date, ..reply(429, "") };
    assert!(matches!(submit(&lone), SubmitOutcome::Later(Later { after: None, .. })));
}
