//! Each shape beside the transparent one that it is made from.

use super::*;
use crate::{picture::Format, shape, task::Link};

const ID: &str = "178000000000000001";
const SUCCEED: Status = Status::Succeed;

fn task(status: Status) -> TaskView {
    let link = |index| Link { index, format: Format::Png, expires_s: 60, key: 255 };
    TaskView {
        task_id: ID.parse().unwrap(),
        external_task_id: Some("cw-1".into()),
        status,
        created_ms: 1_777_385_361_501,
        updated_ms: 1_777_385_363_321,
        units: 16,
        links: if status == SUCCEED { vec![link(0), link(1)] } else { Vec::new() },
        is_series: false,
        look: None,
        looks: 3,
    }
}

fn look_of(fault: Fault, task: &TaskView) -> Value {
    dress(LOOKS, Some(fault), shape::queried(task, "r", "http://sim"), task)
}

fn look(fault: Fault, status: Status) -> Value {
    look_of(fault, &task(status))
}

fn reply(fault: Fault) -> Value {
    let task = task(Status::Submitted);
    dress(SUBMITS, Some(fault), shape::submitted(&task, "r"), &task)
}

/// The files that images lead to: `0.png`.
fn files(images: &Value) -> Vec<&str> {
    images.as_array().unwrap().iter().map(|image| file_of(&image["url"])).collect()
}

fn file_of(url: &Value) -> &str {
    let url = url.as_str().unwrap();
    url.rsplit_once('/').unwrap().1.split_once('?').unwrap().0
}

#[test]
fn an_accepted_post_names_its_task_in_each_familys_place() {
    let a2 = reply(Fault::ReplyA2);
    assert_eq!((a2.get("request_id"), &a2["data"]["task_info"]), (None, &json!({"external_task_id": null})));
    assert_eq!(a2["data"]["task_id"], ID);
    let a3 = reply(Fault::ReplyA3);
    assert_eq!(a3["data"]["task_result"], Value::Null);
    assert!(a3["data"].as_object().unwrap().contains_key("task_status_msg"));
    assert_eq!(reply(Fault::ReplyBText), json!({"code": "success", "message": "", "data": ID}));
    assert_eq!(reply(Fault::ReplyBObject)["data"], json!({"task_id": ID}));
    let video = reply(Fault::ReplyC);
    assert_eq!((&video["id"], &video["task_id"], video.get("data")), (&json!(ID), &json!(ID), None));
    assert_eq!(video["created_at"], 1_777_385_361, "seconds");
    assert_eq!(reply(Fault::ReplyNumberId)["data"]["task_id"], 178_000_000_000_000_001_u64);
}

#[test]
fn a_wrapper_has_a_status_of_its_own_around_the_task_or_around_the_whole_reply() {
    for (status, word) in [
        (Status::Submitted, "QUEUED"),
        (Status::Processing, "IN_PROGRESS"),
        (SUCCEED, "SUCCESS"),
        (Status::Failed(Some("words")), "FAILURE"),
    ] {
        let wrapped = look(Fault::LookWrapper, status);
        assert_eq!((&wrapped["code"], &wrapped["data"]["status"]), (&json!("success"), &json!(word)));
        assert_eq!(wrapped["data"]["data"]["task_status"], status.name());
        let envelope = look(Fault::LookWrapperEnvelope, status);
        assert_eq!(envelope["data"]["data"]["data"]["task_status"], status.name());
    }
    let misplaced = look(Fault::LookUrlInFailReason, SUCCEED);
    assert_eq!(file_of(&misplaced["data"]["fail_reason"]), "0.png");
}

#[test]
fn a_swept_task_has_failed_outside_and_runs_on_inside() {
    let swept = look(Fault::LookSwept, SUCCEED);
    assert_eq!(
        (&swept["data"]["status"], &swept["data"]["fail_reason"]),
        (&json!("FAILURE"), &json!("timeout"))
    );
    assert_eq!(swept["data"]["data"]["task_status"], "processing");
    assert_eq!(swept["data"]["data"]["task_result"], json!({}));
    assert_eq!(look(Fault::LookSwept, Status::Processing)["data"]["status"], "IN_PROGRESS");
}

#[test]
fn shapes_with_room_for_one_image_have_the_first() {
    let flat = look(Fault::LookFlat, SUCCEED);
    assert_eq!((&flat["data"]["status"], file_of(&flat["data"]["url"])), (&json!("succeed"), "0.png"));
    assert_eq!(look(Fault::LookFlat, Status::Processing)["data"]["url"], Value::Null);
    let video = look(Fault::LookCompleted, SUCCEED);
    assert_eq!((&video["id"], &video["status"], video.get("data")), (&json!(ID), &json!("completed"), None));
    assert_eq!(file_of(&video["video_url"]), "0.png");
    assert_eq!(look(Fault::LookCompleted, Status::Processing)["status"], "in_progress");
    assert_eq!(look(Fault::LookCompleted, Status::Failed(None))["status"], "failed");
}

#[test]
fn images_come_without_indices_as_texts_backwards_twice_or_too_few() {
    let images = |fault| look(fault, SUCCEED)["data"]["task_result"]["images"].clone();
    assert!(images(Fault::LookNoIndex).as_array().unwrap().iter().all(|image| image.get("index").is_none()));
    assert_eq!(images(Fault::LookTextIndex)[1]["index"], "1");
    assert_eq!(files(&images(Fault::LookOutOfOrder)), ["1.png", "0.png"]);
    assert_eq!(files(&images(Fault::LookDuplicates)), ["0.png", "1.png", "0.png", "1.png"]);
    assert_eq!(files(&images(Fault::LookFewer)), ["0.png"]);
    assert_eq!(look(Fault::LookNullResult, SUCCEED)["data"]["task_result"], Value::Null);
}

#[test]
fn words_and_times_are_spelt_otherwise() {
    let word = |fault, status| look(fault, status)["data"]["task_status"].clone();
    assert_eq!(word(Fault::LookSucceeded, SUCCEED), "succeeded");
    assert_eq!(word(Fault::LookSucceeded, Status::Processing), "processing");
    assert_eq!(word(Fault::LookUppercase, Status::Processing), "PROCESSING");
    for (fault, unclear) in [(Fault::LookEmptyStatus, ""), (Fault::LookUnknownStatus, "reticulating")] {
        assert_eq!(word(fault, Status::Submitted), unclear);
        assert_eq!(word(fault, SUCCEED), "succeed");
    }
    let seconds = look(Fault::LookSeconds, SUCCEED);
    assert_eq!(
        (&seconds["data"]["created_at"], &seconds["data"]["updated_at"]),
        (&json!(1_777_385_361), &json!(1_777_385_363))
    );
}

#[test]
fn a_success_is_first_told_without_its_images_or_taken_back() {
    let at = |fault, looks| look_of(fault, &TaskView { looks, ..task(SUCCEED) })["data"].clone();
    for (looks, count) in [(1, 0), (2, 0), (3, 2)] {
        let images = at(Fault::LookFilledLate, looks)["task_result"]["images"].clone();
        assert_eq!(images.as_array().unwrap().len(), count, "look {looks}");
    }
    let words: Vec<_> = (1..=3).map(|looks| at(Fault::LookRegress, looks)["task_status"].clone()).collect();
    assert_eq!(words, ["succeed", "processing", "succeed"]);
    assert_eq!(at(Fault::LookRegress, 1)["task_result"]["images"], json!([]));
}

#[test]
fn a_failure_has_words_an_empty_text_or_null_and_other_shapes_leave_it_alone() {
    for (message, told) in [(Some("words"), json!("words")), (Some(""), json!("")), (None, Value::Null)] {
        let failed = look(Fault::LookOutOfOrder, Status::Failed(message));
        assert_eq!(
            (&failed["data"]["task_status"], &failed["data"]["task_status_msg"]),
            (&json!("failed"), &told)
        );
        assert_eq!(failed["data"]["task_result"], json!({}));
    }
}

#[test]
fn without_a_fault_the_reply_stays_as_it_is() {
    let task = task(SUCCEED);
    let reply = shape::queried(&task, "r", "http://sim");
    assert_eq!(dress(LOOKS, None, reply.clone(), &task), reply);
}
