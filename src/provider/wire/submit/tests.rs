use super::*;
use crate::job::TaskId;

fn reply<'a>(status: u16, body: &'a str) -> Reply<'a> {
    let content_type = Some(if body.starts_with('<') { "text/html" } else { "application/json" });
    let asked = "POST /kling/v1/images/generations";
    Reply { status, content_type, retry_after: None, asked, body: body.as_bytes() }
}

fn accepted(status: u16, body: &str) -> Option<String> {
    match submit(&reply(status, body)) {
        Answer::Accepted(task) => Some(task.as_str().to_owned()),
        Answer::Later(_) | Answer::Account(_) | Answer::Refused(_) | Answer::Unknown { .. } => None,
    }
}

#[test]
fn every_documented_shape_of_success_gives_its_task_id() {
    for (body, id) in [
        // A: the page's own, A2: omni-image, A3: nulls everywhere (fact sheet, section 2.2)
        (
            r#"{"code":0,"message":"SUCCEED","request_id":"9ab376fc-9059-487f-9e2a-c9c89f1a344f",
                "data":{"task_id":"878106242831892487","task_status":"submitted","created_at":1777385361501,"updated_at":1777385361501}}"#,
            "878106242831892487",
        ),
        (
            r#"{"code":0,"message":"SUCCEED","data":{"task_id":"893…","task_info":{"external_task_id":null},
                "task_status":"submitted","created_at":1782436687105,"updated_at":1782436687105}}"#,
            "893…",
        ),
        (
            r#"{"code":0,"data":{"created_at":1777385361501,"task_id":"7","task_info":{"external_task_id":null},
                "task_result":null,"task_status":"submitted","task_status_msg":null,"updated_at":1777385361501},"message":"SUCCEED"}"#,
            "7",
        ),
        // B: the gateway's wrapper, C: the gateway's video shape
        (r#"{"code":"success","message":"","data":"task_3d957031"}"#, "task_3d957031"),
        (r#"{"code":"success","message":"","data":{"task_id":"3d957031-aa"}}"#, "3d957031-aa"),
        (
            r#"{"id":"task_a","task_id":"task_b","object":"video","model":"kling-v2","status":"","progress":0,"created_at":1766737710}"#,
            "task_b",
        ),
        // Ids as numbers stay exact; the order of lookup; other spellings of "ok".
        (r#"{"code":0,"data":{"task_id":878106242831892487}}"#, "878106242831892487"),
        (r#"{"code":0,"data":{"task_id":18446744073709551615}}"#, "18446744073709551615"),
        (r#"{"code":0,"data":{"task_id":"","id":"d"},"task_id":"t","id":"i"}"#, "t"),
        (r#"{"code":0,"data":{"id":"d"},"id":"i"}"#, "d"),
        (r#"{"code":0,"data":"","id":"i"}"#, "i"),
        (r#"{"code":"0","data":{"task_id":"t"}}"#, "t"),
        (r#"{"code":0.0,"data":{"task_id":"t"}}"#, "t"),
        (r#"{"code":200,"data":{"task_id":"t"}}"#, "t"),
        (r#"{"code":"SUCCESS","data":{"task_id":"t"}}"#, "t"),
        (r#"{"code":null,"error":null,"data":{"task_id":"t"}}"#, "t"),
        (r#"{"data":{"task_id":"CjMT7WdSwWcAAAAAALvB3g"}}"#, "CjMT7WdSwWcAAAAAALvB3g"),
        ("\u{feff} {\"code\":0,\"data\":{\"task_id\":\"t\"}}\n", "t"),
        // A task that failed at once is still a task: the poll tells.
        (r#"{"code":0,"message":"SUCCEED","data":{"task_id":"t","task_status":"failed"}}"#, "t"),
    ] {
        assert_eq!(accepted(200, body).as_deref(), Some(id), "{body}");
        assert_eq!(accepted(202, body).as_deref(), Some(id), "{body}");
    }
}

#[test]
fn only_parsed_fields_decide() {
    let body = r#"{"code":0,"message":"429 1301 risk control 401","request_id":"429",
        "data":{"task_id":"4291303","task_status":"submitted"}}"#;
    assert_eq!(accepted(200, body).as_deref(), Some("4291303"));
    let echoed =
        r#"{"error":{"message":"prompt: 'a quota of 429 risk control systems'","code":"invalid_request"}}"#;
    let answer = submit(&reply(400, echoed));
    assert!(matches!(answer, Answer::Refused(Refusal { content_policy: false, .. })), "{answer:?}");
}

#[test]
fn a_message_keeps_the_words_and_loses_the_secrets() {
    let body = serde_json::json!({"error": {"code": "invalid_request", "message": format!(
        "can't fetch https://cdn.x/a.png?sig=SECRET\u{7}\n{}", "x".repeat(2000))}})
    .to_string();
    let Answer::Refused(refusal) = submit(&reply(400, &body)) else { panic!("not refused") };
    assert!(refusal.message.starts_with("HTTP 400: can't fetch https://cdn.x/a.png?… xxx"));
    assert!(refusal.message.chars().count() <= 500);
    assert_eq!(refusal.provider_code.as_deref(), Some("invalid_request"));

    let Answer::Account(fault) = submit(&reply(404, "<html>")) else { panic!("no account fault") };
    assert!(fault.message.contains("POST /kling/v1/images/generations"), "{}", fault.message);

    let exists = r#"{"code":"1201","message":"external_task_id already exists"}"#;
    let Answer::Unknown { message, provider_code } = submit(&reply(400, exists)) else {
        panic!("not unknown")
    };
    assert!(message.contains("already exists"));
    assert_eq!(provider_code.as_deref(), Some("1201"));
}

#[test]
fn retry_after_is_seconds_and_bounded() {
    let after = |retry_after, status, body| match submit(&Reply { retry_after, ..reply(status, body) }) {
        Answer::Later(later) => later.after.map(|after| after.as_secs()),
        other @ (Answer::Accepted(_) | Answer::Account(_) | Answer::Refused(_) | Answer::Unknown { .. }) => {
            panic!("{other:?}")
        }
    };
    assert_eq!(after(None, 429, ""), None);
    assert_eq!(after(Some(" 7 "), 429, ""), Some(7));
    assert_eq!(after(Some("0"), 429, ""), Some(0));
    assert_eq!(after(Some("99999999999"), 429, ""), Some(3600));
    for odd in ["-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", ""] {
        assert_eq!(after(Some(odd), 429, ""), None);
    }
    let no_channel = r#"{"error":{"code":"model_not_found","message":"no available channel"}}"#;
    assert_eq!(after(None, 503, no_channel), Some(60));
    assert_eq!(after(Some("90"), 503, no_channel), Some(90));
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_an_answer(status in 100_u16..1000, body: Vec<u8>, prefix in 0_usize..4) {
        let prefixes: [&[u8]; 4] = [b"", b"{\"code\":", b"{\"data\":{\"task_id\":", b"<"];
        let body = [prefixes[prefix], &body].concat();
        let reply = Reply { status, content_type: None, retry_after: None, asked: "POST /", body: &body };
        let _ = submit(&reply);
        let _ = crate::provider::wire::query(&reply, &TaskId::new("t").unwrap());
        let _ = crate::provider::wire::probe(&reply);
    }
}
