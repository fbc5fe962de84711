use super::*;
use crate::provider::wire::tests::reply;

#[test]
fn a_lookup_finds_the_task_by_our_own_id() {
    let under = SentUnder::from_words("cw-1").unwrap();
    let look = |status, body| lookup(&reply(status, body), &under);
    let found = || Lookup::Found(TaskId::new("878").unwrap());
    for body in [
        r#"{"code":0,"data":{"task_id":"878","task_info":{"external_task_id":"cw-1"},"task_status":"processing"}}"#,
        r#"{"code":0,"data":{"task_id":878,"task_info":{}}}"#,
        r#"{"code":0,"data":[{"task_id":"1","task_info":{}},{"task_id":"878","task_info":{"external_task_id":"cw-1"}}]}"#,
    ] {
        assert_eq!(look(200, body), found(), "{body}");
    }
    for (status, body) in [
        (400, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#),
        (200, r#"{"code":"success","data":null}"#),
        (200, r#"{"code":0,"data":[]}"#),
    ] {
        assert!(matches!(look(status, body), Lookup::NotFound { .. }), "{body}");
    }
    // The requested task may be among those that aren't shown.
    for body in [
        r#"{"code":0,"data":{"task_id":"878","task_info":{"external_task_id":"cw-2"}}}"#,
        r#"{"code":0,"data":{"task_id":"1","external_id":"cw-2"}}"#,
        r#"{"code":0,"data":[{"task_id":"1","task_info":{"external_task_id":"cw-2"}}]}"#,
    ] {
        assert!(matches!(look(200, body), Lookup::Another { .. }), "{body}");
    }
    for (status, body) in
        [(502, "<html>"), (401, "{}"), (200, "{"), (200, r#"{"code":0,"data":{"task_status":"succeed"}}"#)]
    {
        assert!(matches!(look(status, body), Lookup::Unavailable { .. }), "{body}");
    }
}

#[test]
fn a_task_under_a_producers_own_id_is_found_only_if_it_was_made_behind_the_intent() {
    let look = |under, data: &str| {
        let body = format!(r#"{{"code":0,"data":{{"task_id":"878","task_status":"processing",{data}}}}}"#);
        let under = SentUnder::from_words(under).unwrap();
        matches!(lookup(&reply(200, &body), &under), Lookup::Found(_))
    };
    let info = r#""task_info":{"external_task_id":"mine"}"#;
    for (under, made, found) in [
        ("mine", r#""created_at":1"#, true),
        ("mine", "", true),
        ("mine 1777385361501", r#""created_at":1777385361501"#, true),
        ("mine 1777385361501", r#""created_at":1777385361500"#, false),
        // The time is in seconds: the task was made at any time within that second.
        ("mine 1777385361501", r#""created_at":1777385361"#, true),
        ("mine 1777385361501", r#""created_at":1777385360"#, false),
        ("mine 1777385361501", r#""submit_time":1777385300"#, false),
        ("mine 1777385361501", r#""created_at":0"#, false),
        ("mine 1777385361501", r#""created_at":"1777385361501""#, false),
        ("mine 1777385361501", "", false),
        ("mine -", r#""created_at":1777385361501"#, false),
    ] {
        let made = if made.is_empty() { String::new() } else { format!("{made},") };
        assert_eq!(look(under, &format!("{made}{info}")), found, "{under} {made}");
    }
}

#[test]
fn the_probe_takes_any_json_that_is_no_account_fault() {
    let kind = |status, body| probe(&reply(status, body)).err().map(|fault| fault.kind);
    for (status, body) in [
        (400, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#),
        (404, r#"{"code":1203,"message":"resource does not exist"}"#),
        (200, r#"{"code":"success","data":null}"#),
        (400, r#"{"code":1200,"message":"bad id"}"#),
        (429, r#"{"error":{"message":"slow"}}"#),
        (500, r#"{"code":"get_task_failed","message":"m"}"#),
    ] {
        assert_eq!(kind(status, body), None, "{body}");
    }
    for (status, body, fault) in [
        (401, "{}", AccountFaultKind::Key),
        (403, r#"{"error":{"code":"insufficient_user_quota"}}"#, AccountFaultKind::Money),
        (404, "<html>", AccountFaultKind::Configuration),
        (200, "<html>", AccountFaultKind::Configuration),
        (301, "", AccountFaultKind::Configuration),
        (200, r#"{"code":null,"message":"404"}"#, AccountFaultKind::Configuration),
        (502, "<html>", AccountFaultKind::Unreachable),
        (503, "{}", AccountFaultKind::Unreachable),
        (521, "{}", AccountFaultKind::Unreachable),
        (200, "", AccountFaultKind::Unreachable),
    ] {
        assert_eq!(kind(status, body), Some(fault), "HTTP {status} {body}");
    }
}
