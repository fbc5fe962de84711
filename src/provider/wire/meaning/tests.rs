use crate::job::answers::{AccountFault, AccountFaultKind, Refusal, SubmitOutcome};
use crate::provider::wire::submit;
use crate::provider::wire::tests::reply;

/// One word for each thing that a life does differently.
fn kind(answer: &SubmitOutcome) -> &'static str {
    match answer {
        SubmitOutcome::Accepted(_) => "accepted",
        SubmitOutcome::Later(_) => "later",
        SubmitOutcome::Account(AccountFault { kind, .. }) => match kind {
            AccountFaultKind::Key => "key",
            AccountFaultKind::Money => "money",
            AccountFaultKind::Configuration => "configuration",
            AccountFaultKind::Forbidden => "forbidden",
            AccountFaultKind::Unreachable => "unreachable",
        },
        SubmitOutcome::Refused(Refusal { content_policy: true, .. }) => "policy",
        SubmitOutcome::Refused(_) => "refused",
        SubmitOutcome::Unknown { .. } => "unknown",
    }
}

/// The words around such a code say nothing here, so only the code tells.
#[test]
fn each_of_the_gateways_codes_for_content_is_a_policy_refusal_under_any_status() {
    for code in [
        "sensitive_words_detected",
        "prompt_blocked",
        "content_policy_violation",
        "content_filter",
        "violation_fee.grok.csam",
    ] {
        for status in [200, 400, 403, 500, 503] {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"see the code","type":"x"}}}}"#);
            assert_eq!(kind(&submit(&reply(status, &body))), "policy", "HTTP {status} {code}");
        }
    }
}

#[test]
fn a_code_of_klings_means_the_same_in_every_wrapping() {
    let kling = |code| format!(r#"{{"code":{code},"message":"words","request_id":"uuid"}}"#);
    let mut table: Vec<(u16, String, &str)> = Vec::new();
    // docs/provider.md, "Kling's codes": with Kling's own status, with 200, as a text, as an `error`, and forwarded.
    for (status, code, meaning) in [
        (401, 1000, "unreachable"),
        (401, 1001, "unreachable"),
        (401, 1002, "unreachable"),
        (401, 1003, "unreachable"),
        (401, 1004, "unreachable"),
        (429, 1100, "money"),
        (429, 1101, "money"),
        (429, 1102, "money"),
        (403, 1103, "forbidden"),
        (400, 1200, "refused"),
        (400, 1201, "refused"),
        (404, 1202, "configuration"),
        (404, 1203, "refused"),
        (400, 1300, "policy"),
        (400, 1301, "policy"),
        (429, 1302, "later"),
        (429, 1303, "later"),
        (429, 1304, "forbidden"),
        (500, 5000, "unknown"),
        (503, 5001, "unknown"),
        (504, 5002, "unknown"),
    ] {
        let body = kling(code.to_string());
        table.push((status, body.clone(), meaning));
        table.push((200, body.clone(), meaning));
        table.push((200, kling(format!("\"{code}\"")), meaning));
        table.push((status, format!(r#"{{"error":{{"message":"m","code":{code}}}}}"#), meaning));
        let relayed =
            |outer: &str| serde_json::json!({"code": outer, "message": body, "data": null}).to_string();
        table.push((status, relayed("fail_to_fetch_task"), meaning));
        table.push((400, relayed("task_failed"), meaning));
    }
    for (status, body, meaning) in table {
        let answer = submit(&reply(status, &body));
        assert_eq!(kind(&answer), meaning, "HTTP {status} {body}: {answer:?}");
    }
}
