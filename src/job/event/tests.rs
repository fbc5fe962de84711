use std::sync::LazyLock;

use proptest::prelude::*;

use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::job::route::{Route, RouteName};
use crate::job::{Charged, Fault, StoredImage};
use crate::job::{Digest, Envelope, ExternalIds, ExternalTaskId};
use crate::job::{FileKind, Made, StoredFile, StoredMedia};

const SUCCEEDED: &[u8] = include_bytes!("../../../tests/fixtures/events/succeeded.v2.json");
const MEDIA: &[u8] = include_bytes!("../../../tests/fixtures/events/media.v2.json");
const FAILED: &[u8] = include_bytes!("../../../tests/fixtures/events/failed.v2.json");
const CANCELLED: &[u8] = include_bytes!("../../../tests/fixtures/events/cancelled.v2.json");
const INVALID: &[u8] = include_bytes!("../../../tests/fixtures/events/invalid.v2.json");
const SUBMITTED: &[u8] = include_bytes!("../../../tests/fixtures/events/submitted.v2.json");

fn job(metadata: Option<&str>) -> Job {
    let id: crate::job::JobId = "order-8812".parse().unwrap();
    Job {
        external_ids: ExternalIds::new(None, "", &id, &Digest::new("00".repeat(32))),
        id,
        digest: Digest::new("00".repeat(32)),
        operation: Some(RouteName::default_route().clone()),
        route: Some(Arc::new(Route::page())),
        slots: 1,
        model: "kling-v2".to_owned(),
        calls_back: false,
        timeout_s: None,
        metadata: metadata.map(|text| RawValue::from_string(text.to_owned()).unwrap()),
        envelope: Envelope::default(),
    }
}

fn context(time_ms: i64, round: u32, timings: Timings, polls: u32) -> Context<'static> {
    static EXTERNAL: LazyLock<ExternalTaskId> =
        LazyLock::new(|| ExternalTaskId::new("cw-9f3a1c0e5b7d48260a1f2e3d4c5b6a7980f1e2d3").unwrap());
    Context {
        external: &EXTERNAL,
        source: "/comet-worker",
        time_ms,
        round,
        timings,
        polls,
        failed: FailedTasks::none(),
        supersedes: None,
    }
}

fn task() -> TaskId {
    TaskId::new("878106242831892487").unwrap()
}

fn success() -> Outcome {
    let first = StoredImage {
        index: 0,
        location: "s3://bucket/images/order-8812/0-1f0ce2.png".to_owned(),
        url: Some("https://images.example.com/order-8812/0-1f0ce2.png".to_owned()),
        content_type: "image/png".to_owned(),
        bytes: 1_482_113,
        width: 1360,
        height: 768,
        sha256: format!("1f0c{}00e2", "0".repeat(56)),
    };
    let second = StoredImage {
        index: 1,
        location: "file:///srv/images/order-8812/1-1f0ce2.jpg".to_owned(),
        url: None,
        content_type: "image/jpeg".to_owned(),
        bytes: 9001,
        width: 300,
        height: 300,
        ..first.clone()
    };
    Outcome::Succeeded(Success {
        task_id: task(),
        made: Made::of([first, second].map(StoredFile::Image)),
        units: Some("8".to_owned()),
    })
}

fn invalid(faults: Vec<Fault>) -> Outcome {
    Outcome::Failed(Failure {
        reason: Reason::InvalidRequest,
        message: "1 fault in the job".to_owned(),
        provider_code: None,
        charged: Charged::No,
        task_id: None,
        units: None,
        faults,
    })
}

fn text(event: &Event) -> &str {
    std::str::from_utf8(&event.body).unwrap()
}

#[track_caller]
fn assert_is(event: &Event, kind: EventKind, id: &str, expected: &[u8]) {
    assert_eq!(text(event), std::str::from_utf8(expected).unwrap());
    assert_eq!((event.kind, event.id.as_str()), (kind, id));
    assert_eq!(Event::from_stored(event.body.clone()).as_ref(), Some(event));
}

#[test]
fn a_success_has_exactly_these_bytes() {
    let timings = Timings { queued: Some(12), submit: Some(240), generate: Some(24_100), store: Some(310) };
    let context = context(1_795_410_729_114, 1, timings, 3);
    let event = Event::terminal(&job(Some(r#"{"customer":42}"#)), &success(), &context);
    assert_is(&event, EventKind::Succeeded, "order-8812/succeeded", SUCCEEDED);
}

#[test]
fn a_video_and_a_sound_have_exactly_these_bytes_and_no_images() {
    let video = StoredMedia {
        index: 0,
        location: "s3://bucket/videos/order-8812/0-5ac1f2.mp4".to_owned(),
        url: Some("https://media.example.com/order-8812/0-5ac1f2.mp4".to_owned()),
        content_type: "video/mp4".to_owned(),
        bytes: 13_096_952,
        width: Some(1280),
        height: Some(720),
        duration_ms: Some(5041),
        sha256: format!("5ac1{}00f2", "0".repeat(56)),
    };
    let sound = StoredMedia {
        location: "s3://bucket/audios/order-8812/0-5ac1f2.mp3".to_owned(),
        url: None,
        content_type: "audio/mpeg".to_owned(),
        bytes: 80_666,
        width: None,
        height: None,
        duration_ms: None,
        ..video.clone()
    };
    let made = Made::of([StoredFile::Video(video), StoredFile::Audio(sound)]);
    assert_eq!(made.count(), 2);
    let success = Outcome::Succeeded(Success { task_id: task(), made, units: Some("8".to_owned()) });
    let timings = Timings { queued: Some(12), submit: Some(240), generate: Some(24_100), store: Some(310) };
    let event = Event::terminal(&job(None), &success, &context(1_795_410_729_114, 1, timings, 3));
    assert_is(&event, EventKind::Succeeded, "order-8812/succeeded", MEDIA);
    let view = EventView::parse(&event.body).unwrap();
    let files: Vec<_> = view.files().map(|(kind, file)| (kind, file.bytes)).collect();
    assert_eq!(files, [(FileKind::Video, 13_096_952), (FileKind::Audio, 80_666)]);
    let end = JobEnd::of(&event.body).unwrap();
    let found = (end.image.as_deref(), end.video.as_deref(), end.audio.as_deref());
    let (video, sound) =
        ("s3://bucket/videos/order-8812/0-5ac1f2.mp4", "s3://bucket/audios/order-8812/0-5ac1f2.mp3");
    assert_eq!(found, (None, Some(video), Some(sound)));
}

#[test]
fn a_failure_has_exactly_these_bytes_and_its_task() {
    let failure = Outcome::Failed(Failure {
        reason: Reason::ContentPolicy,
        message: "Failure to pass the risk control system".to_owned(),
        provider_code: Some("1301".to_owned()),
        charged: Charged::Unknown,
        task_id: Some(task()),
        units: Some("0".to_owned()),
        faults: Vec::new(),
    });
    let timings = Timings { submit: Some(240), generate: Some(2000), ..Timings::default() };
    let context = context(1_795_410_729_000, 1, timings, 1);
    let event = Event::terminal(&job(Some(r#"{"customer":42}"#)), &failure, &context);
    assert_is(&event, EventKind::Failed, "order-8812/failed", FAILED);
}

#[test]
fn a_cancelled_job_has_exactly_these_bytes_and_what_it_cost() {
    let cancelled = Outcome::Cancelled(Cancellation {
        message: "cancelled after the provider had accepted it".to_owned(),
        charged: Charged::Yes,
        task_id: Some(task()),
    });
    let timings = Timings { submit: Some(240), ..Timings::default() };
    let context = context(1_795_410_729_000, 1, timings, 1);
    let event = Event::terminal(&job(Some(r#"{"customer":42}"#)), &cancelled, &context);
    assert_is(&event, EventKind::Cancelled, "order-8812/cancelled", CANCELLED);
}

#[test]
fn a_wrong_job_hears_of_all_its_faults() {
    let faults = vec![Fault {
        path: "/input/n".to_owned(),
        message: "expected an integer from 1 to 9, found 0".to_owned(),
    }];
    let context = context(1_795_410_729_114, 2, Timings::default(), 0);
    let event = Event::terminal(&job(None), &invalid(faults), &context);
    assert_is(&event, EventKind::Failed, "order-8812/failed/94871ef6cdb5b35b", INVALID);
}

#[test]
fn an_accepted_job_has_exactly_these_bytes() {
    let timings = Timings { queued: Some(12), submit: Some(240), ..Timings::default() };
    let context = context(1_795_410_729_114, 1, timings, 0);
    let event = Event::submitted(&job(Some(r#"{"customer":42}"#)), &task(), &context);
    assert_is(&event, EventKind::Submitted, "order-8812/submitted", SUBMITTED);
}

#[test]
fn metadata_comes_back_as_it_was_written() {
    let context = context(0, 1, Timings::default(), 0);
    for metadata in [r#"{"b":1,"a":1.10}"#, "null", "12345678901234567890123", "\"\u{1f600}\""] {
        let event = Event::terminal(&job(Some(metadata)), &success(), &context);
        assert!(text(&event).ends_with(&format!(r#","metadata":{metadata}}}}}"#)));
    }
    let event = Event::terminal(&job(None), &success(), &context);
    assert!(!text(&event).contains("metadata"));
}

#[test]
fn every_round_has_ids_of_its_own() {
    let id = |round, outcome: &Outcome| {
        Event::terminal(&job(None), outcome, &context(0, round, Timings::default(), 0)).id
    };
    let first = id(1, &invalid(Vec::new()));
    assert!(first.starts_with("order-8812/failed/") && first.len() == "order-8812/failed/".len() + 16);
    assert_eq!(first, id(1, &invalid(Vec::new())));
    assert_ne!(first, id(1, &invalid(vec![Fault { path: "/input".to_owned(), message: "x".to_owned() }])));
    assert_eq!(id(2, &success()), "order-8812/succeeded/2");
}

#[test]
fn a_correction_names_what_it_supersedes_and_has_an_id_of_its_own() {
    let context = Context { supersedes: Some("order-8812/failed"), ..context(0, 1, Timings::default(), 0) };
    let event = Event::terminal(&job(None), &success(), &context);
    assert_eq!((event.kind, event.id.as_str()), (EventKind::Succeeded, "order-8812/resolved"));
    let view = EventView::parse(&event.body).unwrap();
    assert_eq!(
        (view.id.as_str(), view.supersedes.as_deref()),
        ("order-8812/resolved", Some("order-8812/failed"))
    );
}

#[test]
fn a_time_has_milliseconds_and_is_never_out_of_reach() {
    assert_eq!(rfc_3339(1_795_410_729_100), "2026-11-23T05:12:09.100Z");
    assert_eq!(rfc_3339(253_402_000_000_000), "9999-12-28T12:26:40.000Z");
    for out_of_reach in [-1, 253_402_300_800_000, i64::MAX, i64::MIN] {
        assert_eq!(rfc_3339(out_of_reach), "1970-01-01T00:00:00.000Z");
    }
}

#[test]
fn stored_bytes_come_back_untouched_or_not_at_all() {
    // The spelling, order and fields of another version.
    let other = Bytes::from_static(
        br#"{ "type": "comet.job.cancelled", "new": [1], "id": "a/cancelled", "data": {} }"#,
    );
    let event = Event::from_stored(other.clone()).unwrap();
    assert_eq!((event.kind, event.id.as_str()), (EventKind::Cancelled, "a/cancelled"));
    assert_eq!(event.body, other);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"id":"a","type":"comet.job.unheard_of"}"#,
        r#"{"id":"","type":"comet.job.failed"}"#,
        r#"{"id":"a/failed","type":"comet.job.failed""#,
    ] {
        assert_eq!(Event::from_stored(Bytes::from(bad)), None, "{bad}");
    }
}

#[test]
fn kinds_are_known_by_their_type_and_only_one_of_them_is_not_the_end() {
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_event_type(kind.event_type()), Some(kind));
        assert_eq!(kind.event_type(), format!("comet.{}", kind.routing_key()));
        assert_eq!(kind.routing_key(), format!("job.{}", kind.word()));
        assert_eq!(kind.is_terminal(), kind != EventKind::Submitted);
    }
}

#[test]
fn our_own_tools_read_every_event_that_there_ever_was() {
    let view = EventView::parse(SUCCEEDED).unwrap();
    assert_eq!(view.kind(), Some(EventKind::Succeeded));
    assert_eq!((view.id.as_str(), view.job_id.as_str()), ("order-8812/succeeded", "order-8812"));
    assert_eq!(view.time, "2026-11-23T05:12:09.114Z");
    assert_eq!(view.task_id.as_deref(), Some("878106242831892487"));
    assert_eq!(view.images.len(), 2);
    assert_eq!(view.images[1].location, "file:///srv/images/order-8812/1-1f0ce2.jpg");
    assert_eq!((view.images[1].index, view.images[1].url.as_ref()), (1, None));

    let view = EventView::parse(FAILED).unwrap();
    assert_eq!(view.reason.as_deref(), Some("content_policy"));
    assert_eq!(view.charged.as_deref(), Some("unknown"));
    assert_eq!(view.provider_code.as_deref(), Some("1301"));

    let view = EventView::parse(INVALID).unwrap();
    assert_eq!(view.faults[0].path, "/input/n");
    assert_eq!(view.task_id, None);

    let view = EventView::parse(SUBMITTED).unwrap();
    assert_eq!(view.kind(), Some(EventKind::Submitted));
}

#[test]
fn a_reader_of_today_reads_the_events_of_tomorrow() {
    let view = EventView::parse(
        br#"{"id":"a/resolved","type":"comet.job.unheard_of","new":{},"time":null,"data":
            {"job_id":"a","reason":"new_reason","images":null,"faults":null,"supersedes":"a/failed"}}"#,
    )
    .unwrap();
    assert_eq!(view.kind(), None);
    assert_eq!(view.reason.as_deref(), Some("new_reason"));
    assert_eq!(view.supersedes.as_deref(), Some("a/failed"));
    for bad in ["", "7", "{}", r#"{"id":"a","type":"t","data":{}}"#] {
        assert!(EventView::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = EventView::parse(&bytes);
        let _ = Event::from_stored(bytes.into());
    }
}
