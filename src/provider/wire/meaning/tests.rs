//! The table of errors, by what a POST makes of it: that is where the money is.

use crate::provider::wire::{Reply, submit};
use crate::provider::{AccountFault, AccountFaultKind, Answer, Refusal};

fn reply<'a>(status: u16, body: &'a str) -> Reply<'a> {
    let content_type = Some(if body.starts_with('<') { "text/html" } else { "application/json" });
    let asked = "POST /kling/v1/images/generations";
    Reply { status, content_type, retry_after: None, asked, body: body.as_bytes() }
}

/// One word for what the life of a job does differently.
fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted(_) => "accepted",
        Answer::Later(_) => "later",
        Answer::Account(AccountFault { kind, .. }) => match kind {
            AccountFaultKind::Key => "key",
            AccountFaultKind::Money => "money",
            AccountFaultKind::Configuration => "configuration",
            AccountFaultKind::Unreachable => "unreachable",
        },
        Answer::Refused(Refusal { content_policy: true, .. }) => "policy",
        Answer::Refused(_) => "refused",
        Answer::Unknown { .. } => "unknown",
    }
}

#[test]
fn every_documented_error_has_one_meaning() {
    let kling = |code| format!(r#"{{"code":{code},"message":"words","request_id":"uuid"}}"#);
    let mut table: Vec<(u16, String, &str)> = Vec::new();
    // Fact sheet, section 4.2: under Kling's own status, under 200, as a text, and relayed.
    for (status, code, meaning) in [
        (401, 1000, "unreachable"),
        (401, 1001, "unreachable"),
        (401, 1002, "unreachable"),
        (401, 1003, "unreachable"),
        (401, 1004, "unreachable"),
        (429, 1100, "money"),
        (429, 1101, "money"),
        (429, 1102, "money"),
        (403, 1103, "configuration"),
        (400, 1200, "refused"),
        (400, 1201, "refused"),
        (404, 1202, "configuration"),
        (404, 1203, "refused"),
        (400, 1300, "policy"),
        (400, 1301, "policy"),
        (429, 1302, "later"),
        (429, 1303, "later"),
        (429, 1304, "configuration"),
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
    // Fact sheet, section 4.1, in its order.
    for (status, body, meaning) in [
        (
            400,
            r#"{"error":{"code":"","message":"model name is required (request id: …)","type":"comet_api_error"}}"#,
            "refused",
        ),
        (
            400,
            r#"{"error":{"message":"… (request id: …)","type":"comet_api_error","param":"","code":"invalid_request"}}"#,
            "refused",
        ),
        (400, r#"{"code":"invalid_request","message":"m","data":null}"#, "refused"),
        (400, r#"{"code":"task_failed","message":"m","data":null}"#, "refused"),
        (400, r#"{"code":"build_request_failed","message":"m","data":null}"#, "refused"),
        (401, r#"{"error":{"message":"无效的令牌 (request id: …)","type":"…","code":""}}"#, "key"),
        (401, r#"{"error":"unauthorized"}"#, "key"),
        (
            403,
            r#"{"error":{"message":"user [1] quota [5] preConsumedQuota [9] is not enough","localized_message":"Insufficient user quota","type":"shell_api_error","param":"","code":"insufficient_user_quota"}}"#,
            "money",
        ),
        (402, r#"{"error":{"message":"pay"}}"#, "money"),
        (403, r#"{"code":"pre_consume_token_quota_failed","message":"m"}"#, "money"),
        (429, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#, "money"),
        (403, r#"{"error":{"message":"balance","code":"account_balance_low"}}"#, "money"),
        (403, r#"{"error":{"message":"…","code":"access_denied"}}"#, "configuration"),
        (403, r#"{"error":{"message":"…","code":""}}"#, "configuration"),
        (
            404,
            r#"{"error":{"message":"Invalid URL (POST /x)","type":"invalid_request_error","param":"","code":""}}"#,
            "configuration",
        ),
        (301, "<!doctype html><h1>Moved</h1>", "configuration"),
        (302, "", "configuration"),
        (307, "", "configuration"),
        (308, "", "configuration"),
        (200, "<!doctype html><title>CometAPI</title>", "configuration"),
        (404, "<!doctype html>", "configuration"),
        (400, "<html>The plain HTTP request was sent to HTTPS port</html>", "configuration"),
        (200, r#"{"code":null,"message":"404"}"#, "configuration"),
        (404, r#"{"code":null,"message":"404"}"#, "configuration"),
        (408, r#"{"error":{"message":"timeout"}}"#, "unknown"),
        (413, "<html>413 Request Entity Too Large</html>", "refused"),
        (413, r#"{"error":{"message":"too large"}}"#, "refused"),
        (415, "{}", "refused"),
        (422, r#"{"message":"m"}"#, "refused"),
        (
            429,
            r#"{"error":{"message":"您已达到请求数限制：1分钟内最多请求60次 (request id: …)","type":"new_api_error","code":""}}"#,
            "later",
        ),
        (
            429,
            r#"{"code":"fail_to_fetch_task","message":"当前分组上游负载已饱和，请稍后再试","data":null}"#,
            "later",
        ),
        (429, "<html>", "later"),
        (429, "", "later"),
        (500, r#"{"error":{"message":"…","type":"comet_api_error","code":"invalid_request"}}"#, "refused"),
        (500, r#"{"code":"do_request_failed","message":"…","data":null}"#, "unknown"),
        (500, r#"{"code":"read_response_body_failed","message":"…"}"#, "unknown"),
        (500, r#"{"code":"unmarshal_response_failed","message":"…"}"#, "unknown"),
        (500, r#"{"code":"get_channel_failed","message":"…","data":null}"#, "later"),
        (500, r#"{"code":"get_task_failed","message":"…","data":null}"#, "later"),
        (500, "", "unknown"),
        (500, r#"{"error":{"message":"?","code":"other"}}"#, "unknown"),
        (501, r#"{"error":{"message":"API not implemented","code":"api_not_implemented"}}"#, "configuration"),
        (502, "<html>502 Bad Gateway</html>", "unknown"),
        (
            503,
            r#"{"error":{"code":"model_not_found","message":"no available channel for group default and model kling-v2 (distributor) (request id: …)","type":"comet_api_error"}}"#,
            "later",
        ),
        (503, r#"{"error":{"message":"overloaded"}}"#, "unknown"),
        (504, "<html>", "unknown"),
        (524, "<html>", "unknown"),
        (520, "<html>", "unknown"),
        (521, "<html>", "unreachable"),
        (522, "<html>", "unreachable"),
        (523, "", "unreachable"),
        (525, "<html>", "unreachable"),
        (526, "{}", "unreachable"),
        (530, "<html>", "unknown"),
        (401, r#"{"code":"fail_to_fetch_task","message":"unauthorized","data":null}"#, "unreachable"),
        (500, r#"{"code":"fail_to_fetch_task","message":"请求上游地址失败","data":null}"#, "unknown"),
        (400, r#"{"code":"fail_to_fetch_task","message":"bad","data":null}"#, "refused"),
        (200, r#"{"code":1,"message":"invalid model name"}"#, "refused"),
        (
            400,
            r#"{"code":1201,"message":"The model 'kling-v2' has been discontinued and is no longer available."}"#,
            "refused",
        ),
        // Somebody's earlier POST.
        (400, r#"{"code":1201,"message":"external_task_id Already Exists"}"#, "unknown"),
        (200, r#"{"code":1201,"message":"already exists","data":{"task_id":"7"}}"#, "unknown"),
        (400, r#"{"code":"task_failed","message":"external_task_id already exists","data":null}"#, "unknown"),
        // A POST answered like a lookup, and a refusal that only sounds like one.
        (404, r#"{"error":{"message":"resource does not exist","code":""}}"#, "configuration"),
        (400, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#, "configuration"),
        (400, r#"{"code":1201,"message":"the image resource does not exist"}"#, "refused"),
        // The HTTP status in the body.
        (200, r#"{"code":401,"message":"m"}"#, "key"),
        (200, r#"{"code":"429","message":"m"}"#, "later"),
        (200, r#"{"code":502,"message":"m"}"#, "unknown"),
        // 2xx that says nothing of a task, or contradicts itself.
        (200, "", "unknown"),
        (200, "null", "unknown"),
        (200, "[]", "unknown"),
        (200, "\"ok\"", "unknown"),
        (200, "{}", "unknown"),
        (200, r#"{"code":0,"message":"SUCCEED","data":null}"#, "unknown"),
        (200, r#"{"code":0,"message":"SUCCEED","data":{"task_id":"8781"#, "unknown"),
        (200, r#"{"code":0,"data":{"task_id":8.78106242831892487e17}}"#, "unknown"),
        (200, r#"{"code":0,"data":{"task_id":99999999999999999999}}"#, "unknown"),
        (200, r#"{"code":0,"data":{"task_id":true,"id":{}}}"#, "unknown"),
        (200, r#"{"error":{"message":"m"},"id":"req-1"}"#, "unknown"),
        (200, r#"{"code":"some_new_word","message":"m"}"#, "unknown"),
        (200, r#"{"code":1303,"message":"m","data":{"task_id":"7"}}"#, "unknown"),
        (500, r#"{"code":0,"data":{"task_id":"7"}}"#, "unknown"),
        (400, r#"{"code":0,"data":{"task_id":"7"}}"#, "unknown"),
    ] {
        table.push((status, body.to_owned(), meaning));
    }
    for (status, body, meaning) in table {
        let answer = submit(&reply(status, &body));
        assert_eq!(kind(&answer), meaning, "HTTP {status} {body}: {answer:?}");
    }
}
