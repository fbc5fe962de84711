use std::collections::HashMap;

use super::*;

const FAILED: &str = r#"{"id": "a/failed", "type": "comet.job.failed", "time": "2026-11-28T07:00:09.000Z", "data": {"job_id": "a",
    "task_id": "t-1", "external_task_id": "e-1", "reason": "outcome_unknown", "message": "m", "charged": "unknown"}}"#;
const RESOLVED: &str = r#"{"id": "a/resolved", "type": "comet.job.succeeded", "time": "2026-11-28T08:00:00.000Z", "supersedes": "a/failed",
    "data": {"job_id": "a", "task_id": "t-1", "images": [{"index": 0, "location": "s3://b/0.png"}]}}"#;

fn job() -> JobId {
    "a".parse().unwrap()
}

fn record(fields: &[(&str, &str)]) -> Snapshot {
    let common = [("version", "1"), ("digest", "d"), ("round", "1"), ("attempt", "1"), ("since_ms", "0")];
    let fields: HashMap<String, Bytes> = common
        .iter()
        .chain(fields)
        .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect();
    Snapshot::from_fields(&fields, 0).unwrap()
}

fn listed(stage: JobStage) -> Option<UnfinishedJob> {
    Some(UnfinishedJob { job_id: "a".to_owned(), stage, since: "2026-11-28T07:00:00.000Z".to_owned() })
}

fn receipt(name: ReceiptName, at_ms: i64, body: &str) -> DatedReceipt {
    DatedReceipt { name, at_ms, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn posted() -> Vec<DatedReceipt> {
    let intent =
        r#"{"version": 1, "external_task_id": "e-1", "route": "multi_image_to_image", "nonce": "secret"}"#;
    vec![
        // The store's clock may say that the later one came first.
        receipt(ReceiptName::Task(1), 2000, r#"{"version": 1, "task_id": "t-1"}"#),
        receipt(ReceiptName::Intent(1), 1000, intent),
    ]
}

#[test]
fn a_job_that_neither_redis_nor_the_store_knows_is_none() {
    assert_eq!(JobView::of(&job(), &Snapshot::default(), None, &[]), None);
}

#[test]
fn a_running_job_is_where_the_index_says_and_its_history_is_in_the_order_of_time() {
    let generating = record(&[("stage", "generating"), ("task", "t-1"), ("under", "e-1")]);
    let view = JobView::of(&job(), &generating, listed(JobStage::Storing), &posted()).unwrap();
    assert_eq!((view.stage, view.outcome.as_deref()), (Some(JobStage::Storing), None));
    assert_eq!((view.task_id.as_deref(), view.external_task_id.as_deref()), (Some("t-1"), Some("e-1")));
    assert_eq!((view.charged.as_deref(), view.since.as_deref()), (None, Some("2026-11-28T07:00:00.000Z")));
    let what: Vec<&str> = view.history.iter().map(|moment| moment.what).collect();
    assert_eq!(what, ["submitting", "accepted"]);
    let shown = serde_json::to_string(&view).unwrap();
    assert!(!shown.contains("secret") && shown.contains(r#""attempt":1"#), "{shown}");
}

#[test]
fn without_the_index_the_record_says_the_stage() {
    for (fields, stage) in [
        (&[("stage", "new")][..], JobStage::Waiting),
        (&[("stage", "submitting"), ("nonce", "n")], JobStage::Submitting),
        (&[("stage", "generating"), ("task", "t-1")], JobStage::Generating),
    ] {
        let view = JobView::of(&job(), &record(fields), None, &[]).unwrap();
        assert_eq!(view.stage, Some(stage), "{fields:?}");
    }
}

#[test]
fn a_record_with_its_event_is_being_published_while_the_index_has_it_and_has_ended_then() {
    let done = record(&[("stage", "done"), ("event", FAILED)]);
    for (listed, stage) in [(listed(JobStage::Publishing), Some(JobStage::Publishing)), (None, None)] {
        let view = JobView::of(&job(), &done, listed, &[]).unwrap();
        assert_eq!((view.stage, view.outcome.as_deref()), (stage, Some("failed")));
    }
}

#[test]
fn a_job_that_has_ended_has_no_stage_even_if_the_index_lags_behind() {
    let told = record(&[("stage", "told"), ("event_id", "a/failed")]);
    let receipts = [posted(), vec![receipt(ReceiptName::Result, 9000, FAILED)]].concat();
    let view = JobView::of(&job(), &told, listed(JobStage::Generating), &receipts).unwrap();
    assert_eq!((view.stage, view.since), (None, None));
    assert_eq!((view.outcome.as_deref(), view.reason.as_deref()), (Some("failed"), Some("outcome_unknown")));
    assert_eq!((view.charged.as_deref(), view.message.as_deref()), (Some("unknown"), Some("m")));
    let end = view.history.last().unwrap();
    assert_eq!((end.what, &end.details["reason"]), ("ended", &json!("outcome_unknown")));
}

#[test]
fn a_correction_is_the_last_word() {
    let receipts = [
        posted(),
        vec![receipt(ReceiptName::Result, 9000, FAILED), receipt(ReceiptName::Correction, 9500, RESOLVED)],
    ]
    .concat();
    let view = JobView::of(&job(), &Snapshot::default(), None, &receipts).unwrap();
    assert_eq!((view.outcome.as_deref(), view.charged.as_deref()), (Some("succeeded"), Some("yes")));
    assert_eq!((view.reason, view.images.len()), (None, 1));
    assert_eq!(
        view.external_task_id.as_deref(),
        Some("e-1"),
        "the event doesn't say it, and the intent does"
    );
}

#[test]
fn a_job_that_was_cancelled_before_it_was_seen_is_known() {
    let cancelled = Snapshot { record: None, cancelled: true };
    let view = JobView::of(&job(), &cancelled, None, &[]).unwrap();
    assert!(view.cancelled && view.stage.is_none() && view.outcome.is_none());
}

#[test]
fn each_receipt_is_a_moment_in_words() {
    for (name, body, what) in [
        (ReceiptName::Intent(2), r#"{"shut": true}"#, "given_up"),
        (ReceiptName::Intent(2), r#"{"shut": true, "cancelled": true}"#, "cancelled_before_submit"),
        (ReceiptName::Intent(2), "not readable", "submitting"),
        (ReceiptName::Refused(1), "{}", "not_accepted"),
        (ReceiptName::Failed(1), r#"{"task_id": "t", "charged": "no"}"#, "task_failed"),
        (ReceiptName::Decision(2), r#"{"decision": "give_up"}"#, "decided"),
    ] {
        assert_eq!(moment(&receipt(name, 0, body)).what, what, "{body}");
    }
}
