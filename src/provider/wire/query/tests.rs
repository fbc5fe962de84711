use super::*;

fn reply<'a>(status: u16, body: &'a str) -> Reply<'a> {
    let content_type = Some(if body.starts_with('<') { "text/html" } else { "application/json" });
    Reply { status, content_type, retry_after: None, asked: "GET /q", body: body.as_bytes() }
}

fn view_of(status: u16, body: &str) -> View {
    query(&reply(status, body), &TaskId::new("mine").unwrap())
}

fn word(view: &View) -> &'static str {
    match view {
        View::Running => "running",
        View::Succeeded { .. } => "succeeded",
        View::Failed { content_policy: true, .. } => "policy",
        View::Failed { .. } => "failed",
        View::NotFound { .. } => "not found",
        View::Unavailable { fault: None, .. } => "unavailable",
        View::Unavailable { fault: Some(fault), .. } => match fault.kind {
            AccountFaultKind::Key => "key",
            AccountFaultKind::Money => "money",
            AccountFaultKind::Configuration => "configuration",
            AccountFaultKind::Unreachable => "unreachable",
        },
    }
}

#[rustfmt::skip] // One case a line.
#[test]
fn every_documented_reply_has_one_view() {
    for (status, body, expected) in [
        // Fact sheet, section 3.1
        (200, r#"{"code":0,"message":"SUCCEED","request_id":"9ab376fc-…","data":{"task_id":"878106242831892487","task_info":{},"created_at":1777385361501,"updated_at":1777385363321,"task_result":{},"task_status":"processing"}}"#, "running"),
        (200, r#"{"code":0,"message":"SUCCEED","request_id":"ace7625a-…","data":{"task_id":"833446756…","task_info":{},"created_at":1766737710125,"updated_at":1766737711775,"task_result":{},"task_status":"failed","task_status_msg":"Image pixel is invalid"}}"#, "failed"),
        (200, r#"{"code":0,"data":{"task_status":"failed","task_status_msg":"Failure to pass the risk control system"}}"#, "policy"),
        (200, r#"{"code":0,"data":{"task_status":"failed","task_status_msg":"Triggered content risk control"}}"#, "policy"),
        (200, r#"{"code":0,"message":"SUCCEED","data":{"task_status":"failed","task_status_msg":null}}"#, "failed"),
        // Section 3.2
        (200, r#"{"code":"success","message":"","data":{"task_id":"3d957031-…","action":"IMAGE_TO_VIDEO","status":"QUEUED","fail_reason":"","submit_time":1773366766,"start_time":0,"finish_time":0,"progress":"0%","data":{"id":"3d957031-…","status":"PENDING","createdAt":"2026-03-13T09:52:46+08:00"}}}"#, "running"),
        (200, r#"{"code":"success","message":"","data":{"task_id":"…","status":"FAILURE","progress":"100%","fail_reason":"task failed, reason: Failure to pass the risk control system","finish_time":1773366801,"data":null}}"#, "policy"),
        (200, r#"{"code":"success","data":{"status":"FAILURE","data":{"task_status":"processing","status":"IN_PROGRESS"}}}"#, "failed"),
        (200, r#"{"code":"success","data":{"status":"FAILURE","data":{"task_status":"succeed"}}}"#, "failed"),
        (200, r#"{"code":"success","data":{"status":"SUCCESS","data":{"task_status":"failed","task_status_msg":"x"}}}"#, "failed"),
        (200, r#"{"code":"success","data":{"status":"SUCCESS","data":{"task_status":"processing"}}}"#, "succeeded"),
        (200, r#"{"code":"success","data":{"status":"IN_PROGRESS","fail_reason":"https://x/a.png","data":{}}}"#, "running"),
        (200, r#"{"code":"success","data":{"status":"NOT_START","data":null}}"#, "running"),
        (200, r#"{"code":"success","data":{"status":"UNKNOWN","data":null}}"#, "running"),
        (200, r#"{"code":"success","data":{"status":"IN_PROGRESS","data":{"code":0,"data":{"task_status":"failed"}}}}"#, "failed"),
        // Section 3.3
        (200, r#"{"code":"success","message":"","data":{"error":null,"format":"png","metadata":null,"status":"succeeded","task_id":"…","url":"https://x/a"}}"#, "succeeded"),
        (200, r#"{"id":"…","object":"video","status":"completed","progress":100,"video_url":"https://x/a"}"#, "succeeded"),
        (200, r#"{"id":"…","object":"video","status":"failed","error":{"message":"m","code":"x"}}"#, "failed"),
        (200, r#"{"code":"success","data":null}"#, "not found"),
        (200, r#"{"code":null,"message":"404"}"#, "configuration"),
        // The word table
        (200, r#"{"code":0,"data":{"task_status":" Succeeded "}}"#, "succeeded"),
        (200, r#"{"code":0,"data":{"task_status":"CANCELLED"}}"#, "failed"),
        (200, r#"{"code":0,"data":{"task_status":"Queueing"}}"#, "running"),
        (200, r#"{"code":0,"data":{"task_status":"what is this"}}"#, "running"),
        (200, r#"{"code":0,"data":{"task_status":""}}"#, "running"),
        (200, r#"{"code":0,"data":{"task_status":null}}"#, "running"),
        (200, r#"{"code":0,"data":{"task_status":7}}"#, "running"),
        (200, r#"{"code":0,"data":{}}"#, "running"),
        (200, r#"{"task_id":"t","task_status":"succeed","task_result":{"images":[]}}"#, "succeeded"),
        // A list: the element with our id
        (200, r#"{"code":0,"data":[{"task_id":"other","task_status":"failed"},{"task_id":"mine","task_status":"succeed"}]}"#, "succeeded"),
        (200, r#"{"code":0,"data":[{"task_id":"other","task_status":"failed"}]}"#, "not found"),
        (200, r#"{"code":0,"data":[]}"#, "not found"),
        // Unknown tasks, under every status (section 11, U16)
        (400, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#, "not found"),
        (404, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#, "not found"),
        (200, r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#, "not found"),
        (404, r#"{"code":1203,"message":"resource does not exist"}"#, "not found"),
        (200, r#"{"code":"1203","message":"task not found"}"#, "not found"),
        (404, r#"{"error":{"message":"Resource does not exist","code":""}}"#, "not found"),
        // Errors of the call: never the task's end
        (401, r#"{"error":{"message":"无效的令牌","code":""}}"#, "key"),
        (403, r#"{"error":{"message":"m","code":"insufficient_user_quota"}}"#, "money"),
        (200, r#"{"code":1102,"message":"Account balance not enough"}"#, "money"),
        (401, r#"{"code":1004,"message":"expired"}"#, "unreachable"),
        (404, r#"{"error":{"message":"Invalid URL (GET /x)","type":"invalid_request_error","code":""}}"#, "configuration"),
        (301, "<html>", "configuration"),
        (302, "", "configuration"),
        (521, "<html>", "unreachable"),
        (200, "<!doctype html>", "unavailable"),
        (404, "<html>", "unavailable"),
        (429, r#"{"error":{"message":"slow down"}}"#, "unavailable"),
        (400, r#"{"code":1301,"message":"policy"}"#, "unavailable"),
        (400, r#"{"code":1200,"message":"bad"}"#, "unavailable"),
        (500, "", "unavailable"),
        (502, "<html>", "unavailable"),
        (504, "{}", "unavailable"),
        (500, r#"{"code":"get_task_failed","message":"m","data":null}"#, "unavailable"),
        (200, r#"{"code":0,"data":{"task_sta"#, "unavailable"),
        (200, "", "unavailable"),
        (200, "{}", "unavailable"),
        (200, r#"{"error":{"message":"m"}}"#, "unavailable"),
        (500, r#"{"code":0,"data":{"task_status":"failed"}}"#, "unavailable"),
        (200, r#"{"code":5000,"data":{"task_status":"failed"}}"#, "unavailable"),
    ] {
        let view = view_of(status, body);
        assert_eq!(word(&view), expected, "HTTP {status} {body}: {view:?}");
    }
}

#[test]
fn units_are_told_verbatim() {
    let official = r#"{"code":0,"message":"SUCCEED","request_id":"…","data":{"task_id":"…","task_status":"succeed","task_status_msg":"",
        "task_info":{"external_task_id":"kw-…"},"watermark_info":{"enabled":false},"final_unit_deduction":"16",
        "final_balance_deduction":{"quota":"…","list_price":"…"},"created_at":1782450245512,"updated_at":1782450286078,
        "task_result":{"images":[{"index":0,"url":"https://x/a.png?Expires=1","watermark_url":"https://x/b"}]}}}"#;
    for (body, expected) in [
        (official, Some("16")),
        (r#"{"code":0,"data":{"task_status":"succeed","final_unit_deduction":8}}"#, Some("8")),
        (r#"{"code":0,"data":{"status":"SUCCESS","data":{"final_unit_deduction":"2"}}}"#, Some("2")),
        (r#"{"code":0,"data":{"task_status":"succeed","final_unit_deduction":null}}"#, None),
    ] {
        let View::Succeeded { units, .. } = view_of(200, body) else { panic!("{body}") };
        assert_eq!(units.as_deref(), expected);
    }
}

#[test]
fn a_failure_tells_its_reason_wherever_it_is() {
    for (body, expected) in [
        (r#"{"code":0,"message":"SUCCEED","data":{"task_status":"failed"}}"#, "the provider gave no reason"),
        (
            r#"{"code":0,"data":{"task_status":"failed","task_status_msg":"Image\npixel is invalid"}}"#,
            "Image pixel is invalid",
        ),
        (
            r#"{"code":"success","data":{"status":"FAILURE","fail_reason":"outer","data":{"task_status_msg":"inner"}}}"#,
            "inner",
        ),
        (r#"{"code":"success","data":{"status":"FAILURE","fail_reason":"outer"}}"#, "outer"),
        (r#"{"id":"i","status":"failed","error":{"message":"own"}}"#, "own"),
    ] {
        let View::Failed { message, .. } = view_of(200, body) else { panic!("{body}") };
        assert_eq!(message, expected);
    }
}

#[test]
fn a_lookup_finds_the_task_by_our_own_id() {
    let external = ExternalTaskId::new("cw-1").unwrap();
    let look = |status, body| lookup(&reply(status, body), &external);
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
        (200, r#"{"code":0,"data":{"task_id":"878","task_info":{"external_task_id":"cw-2"}}}"#),
        (200, r#"{"code":0,"data":[{"task_id":"1","task_info":{"external_task_id":"cw-2"}}]}"#),
    ] {
        assert!(matches!(look(status, body), Lookup::NotFound { .. }), "{body}");
    }
    for (status, body) in
        [(502, "<html>"), (401, "{}"), (200, "{"), (200, r#"{"code":0,"data":{"task_status":"succeed"}}"#)]
    {
        assert!(matches!(look(status, body), Lookup::Unavailable { .. }), "{body}");
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
