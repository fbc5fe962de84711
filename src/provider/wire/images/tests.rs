use crate::job::TaskId;
use crate::provider::View;
use crate::provider::wire::{Reply, query};

/// `index=url` of every image.
fn images_of(body: &str) -> Vec<String> {
    match view_of(body) {
        View::Succeeded { images, .. } => {
            images.iter().map(|image| format!("{}={}", image.index, image.url)).collect()
        }
        other @ (View::Running | View::Failed { .. } | View::NotFound { .. } | View::Unavailable { .. }) => {
            panic!("{body}: {other:?}")
        }
    }
}

fn view_of(body: &str) -> View {
    let body = body.as_bytes();
    let reply = Reply { status: 200, content_type: None, retry_after: None, asked: "GET /q", body };
    query(&reply, &TaskId::new("mine").unwrap())
}

#[test]
fn images_of_every_shape_are_found_and_put_in_order() {
    let listed = |images: &str| {
        images_of(&format!(
            r#"{{"code":0,"data":{{"task_status":"succeed","task_result":{{"images":{images}}}}}}}"#
        ))
    };
    let (a, b, c) = ("https://x/a", "https://x/b", "https://x/c");
    let json = |text: &str| text.replace('A', a).replace('B', b).replace('C', c);
    for (images, expected) in [
        (r#"[{"index":0,"url":"A","watermark_url":"B"}]"#, vec!["0=A"]),
        (r#"[{"url":"A"},{"url":"B"}]"#, vec!["0=A", "1=B"]),
        (r#"[{"id":"","url":"A"}]"#, vec!["0=A"]),
        (r#"[{"index":"1","url":"B"},{"index":"0","url":"A"}]"#, vec!["0=A", "1=B"]),
        (r#"[{"index":2,"url":"C"},{"index":0,"url":"A"},{"index":1,"url":"B"}]"#, vec!["0=A", "1=B", "2=C"]),
        (r#"[{"index":0,"url":"A"},{"index":0,"url":"B"}]"#, vec!["0=A", "1=B"]),
        (r#"[{"index":0,"url":"A"},{"index":0,"url":"A"},{"index":1,"url":"B"}]"#, vec!["0=A", "1=B"]),
        (r#"[{"index":1,"url":"A"},{"url":"B"}]"#, vec!["0=A", "1=B"]),
        (
            r#"[{"index":-1,"url":"A"},{"index":1.5,"url":"B"},{"index":null,"url":"C"}]"#,
            vec!["0=A", "1=B", "2=C"],
        ),
        (r#"["A","B"]"#, vec!["0=A", "1=B"]),
        (
            r#"[{"index":0,"url":""},{"index":1,"url":"B"},null,7,{"url":"not a url"},{"url":"file:///x"}]"#,
            vec!["1=B"],
        ),
        ("[]", vec![]),
        ("null", vec![]),
        ("{}", vec![]),
        (r#"[{"url":null}]"#, vec![]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(json).collect();
        assert_eq!(listed(&json(images)), expected, "{images}");
    }
    for (body, expected) in [
        // Section 3.1, gateway sample with a text as id
        (
            r#"{"code":0,"data":{"task_id":"CjMT7WdSwWcAAAAAALvB3g","created_at":1733851336696,"updated_at":1733851344553,"task_result":{"images":[{"id":"","url":"https://x/a"}]},"task_status":"succeed","task_status_msg":""},"message":"SUCCEED","request_id":"CjNTkGdSwxYAAAAAALud5A"}"#,
            vec!["0=https://x/a"],
        ),
        // Section 3.2: inner data, and a complete inner envelope
        (
            r#"{"code":"success","message":"","data":{"task_id":"…","action":"IMAGE_GENERATIONS","status":"SUCCESS","fail_reason":"","submit_time":1773366766,"start_time":1773366768,"finish_time":1773366801,"progress":"100%","data":{"task_id":"…","task_status":"succeed","task_result":{"images":[{"index":0,"url":"https://x/a"}]}}}}"#,
            vec!["0=https://x/a"],
        ),
        (
            r#"{"code":"success","data":{"status":"SUCCESS","data":{"code":0,"message":"SUCCEED","data":{"task_status":"succeed","task_result":{"images":[{"url":"https://x/a"}]}}}}}"#,
            vec!["0=https://x/a"],
        ),
        (
            r#"{"code":"success","data":{"status":"SUCCESS","task_result":{"images":[]},"data":{"task_result":{"images":["https://x/a"]}}}}"#,
            vec!["0=https://x/a"],
        ),
        // Section 3.2: the URL in `fail_reason`; 3.3: `url`
        (
            r#"{"code":"success","data":{"status":"SUCCESS","fail_reason":"https://x/a","data":null}}"#,
            vec!["0=https://x/a"],
        ),
        (r#"{"code":"success","data":{"status":"SUCCESS","fail_reason":"none","data":null}}"#, vec![]),
        (r#"{"code":"success","data":{"status":"succeeded","url":"https://x/a"}}"#, vec!["0=https://x/a"]),
        (
            r#"{"code":"success","data":{"status":"SUCCESS","result_url":"https://x/a"}}"#,
            vec!["0=https://x/a"],
        ),
        (
            r#"{"code":"success","data":{"status":"SUCCESS","data":{"url":"https://x/a"}}}"#,
            vec!["0=https://x/a"],
        ),
        (r#"{"code":0,"data":{"task_status":"succeed","task_result":null}}"#, vec![]),
    ] {
        assert_eq!(images_of(body), expected, "{body}");
    }
}
