//! How the provider accepts: the JSON of an accepted submit and of a query.
//!
//! This is the transparent Kling shape (form A of docs/provider.md, "Replies to a submit"). `message` is "SUCCEED"
//! for a failed task too; only `task_status` says how it ended. Times are in milliseconds.

use serde_json::{Value, json};

use crate::{
    media::VIDEO_MS,
    picture::Format,
    task::{Link, Status, TaskView},
};

/// The answer to an accepted POST.
pub(crate) fn submitted(task: &TaskView, request_id: &str) -> Value {
    json!({
        "code": 0,
        "message": "SUCCEED",
        "request_id": request_id,
        "data": {
            "task_id": task.task_id.to_string(),
            "task_status": "submitted",
            "created_at": task.created_ms,
            "updated_at": task.created_ms,
        },
    })
}

/// The answer to a GET of a task.
pub(crate) fn queried(task: &TaskView, request_id: &str, public_base: &str) -> Value {
    json!({"code": 0, "message": "SUCCEED", "request_id": request_id, "data": told(task, public_base)})
}

/// What is reported of a task. A callback is only this object.
pub(crate) fn told(task: &TaskView, public_base: &str) -> Value {
    let info = match &task.external_task_id {
        Some(id) => json!({"external_task_id": &**id}),
        None => json!({}),
    };
    let mut data = vec![
        ("task_id", json!(task.task_id.to_string())),
        ("task_info", info),
        ("created_at", json!(task.created_ms)),
        ("updated_at", json!(task.updated_ms)),
        ("task_status", json!(task.status.name())),
    ];
    match task.status {
        Status::Submitted | Status::Processing => data.push(("task_result", json!({}))),
        Status::Succeed => data.extend([
            ("task_status_msg", json!("")),
            ("final_unit_deduction", json!(task.units.to_string())),
            ("task_result", result(task, public_base)),
        ]),
        Status::Failed(message) => {
            data.extend([("task_status_msg", json!(message)), ("task_result", json!({}))])
        }
    }
    data.into_iter().collect()
}

/// A series is told under another name.
fn result(task: &TaskView, public_base: &str) -> Value {
    let url = |link: &Link| url(task, link, public_base);
    let of = |format: Format| task.links.iter().find(|link| link.format == format).map(url);
    let seconds = format!("{:.3}", VIDEO_MS as f64 / 1000.0);
    let video =
        of(Format::Mp4).map(|url| json!({"id": task.task_id.to_string(), "url": url, "duration": seconds}));
    let sound = of(Format::Mp3).zip(of(Format::Wav)).map(|(mp3, wav)| {
        json!({
            "id": task.task_id.to_string(), "url_mp3": mp3, "url_wav": wav,
            "duration_mp3": "1.045", "duration_wav": "1.0",
        })
    });
    match (video, sound) {
        (Some(video), Some(sound)) => json!({"videos": [video], "audios": [sound]}),
        (Some(video), None) => json!({"images": null, "videos": [video]}),
        (None, Some(sound)) => json!({"audios": [sound]}),
        (None, None) => {
            let image = |link: &Link| json!({"index": link.index, "url": url(link)});
            let images: Vec<_> = task.links.iter().map(image).collect();
            if task.is_series {
                json!({"result_type": "series", "series_images": images})
            } else {
                json!({"images": images})
            }
        }
    }
}

fn url(task: &TaskView, link: &Link, public_base: &str) -> String {
    format!(
        "{public_base}/cdn/{}/{}.{}?x-kcdn-pid=112757&Expires={}&pkey={:016x}",
        task.task_id,
        link.index,
        link.format.extension(),
        link.expires_s,
        link.key
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Format;

    fn task(status: Status) -> TaskView {
        TaskView {
            task_id: 178_000_000_000_000_001,
            external_task_id: Some("cw-1".into()),
            status,
            created_ms: 1_000,
            updated_ms: 2_000,
            units: 8,
            is_series: false,
            links: vec![Link { index: 0, format: Format::Png, expires_s: 60, key: 255 }],
            look: None,
            looks: 0,
        }
    }

    fn query(status: Status) -> Value {
        queried(&task(status), "r", "http://sim")
    }

    #[test]
    fn an_accepted_submit_is_what_the_page_shows() {
        let expected = json!({"code": 0, "message": "SUCCEED", "request_id": "r", "data": {
            "task_id": "178000000000000001", "task_status": "submitted", "created_at": 1000, "updated_at": 1000
        }});
        assert_eq!(submitted(&task(Status::Submitted), "r"), expected);
    }

    #[test]
    fn a_running_task_has_an_empty_result_and_no_message() {
        let expected = json!({"code": 0, "message": "SUCCEED", "request_id": "r", "data": {
            "task_id": "178000000000000001", "task_info": {"external_task_id": "cw-1"}, "task_status": "processing",
            "task_result": {}, "created_at": 1000, "updated_at": 2000
        }});
        assert_eq!(query(Status::Processing), expected);
    }

    #[test]
    fn a_success_has_its_images_and_its_price() {
        let data = &query(Status::Succeed)["data"];
        assert_eq!(data["task_status"], "succeed");
        assert_eq!(data["final_unit_deduction"], "8");
        let url =
            "http://sim/cdn/178000000000000001/0.png?x-kcdn-pid=112757&Expires=60&pkey=00000000000000ff";
        assert_eq!(data["task_result"]["images"], json!([{"index": 0, "url": url}]));
    }

    #[test]
    fn a_failure_says_succeed_all_the_same() {
        let body = query(Status::Failed(Some("Internal generation error")));
        assert_eq!((&body["code"], &body["message"]), (&json!(0), &json!("SUCCEED")));
        assert_eq!(body["data"]["task_status_msg"], "Internal generation error");
        assert_eq!(body["data"]["task_result"], json!({}));
    }
}
