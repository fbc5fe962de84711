use std::path::Path;

use serde_json::json;

use super::*;
use crate::job::route::table::ROUTES;

pub(super) const DESIGN: &[u8] = include_bytes!("../../../tests/fixtures/jobs/design.json");

pub(super) fn read(body: &[u8]) -> Result<Request, DeadLetter> {
    parse(body, &Properties::default(), &Rules::page())
}

pub(super) fn read_json(value: &Value) -> Request {
    read(value.to_string().as_bytes()).unwrap()
}

/// A job with these changes to the smallest input.
pub(super) fn with_input(changes: &Value) -> Request {
    let mut input = json!({"subject_image_list": [
        {"subject_image": "https://example.com/a.png"},
        {"subject_image": "https://example.com/b.png"},
    ]});
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    read_json(&json!({"job_id": "job", "input": input}))
}

/// Parses a job under other rules than those of the page.
pub(super) fn under(rules: &Rules, input: &Value) -> Request {
    let message = json!({"job_id": "job", "input": input}).to_string();
    parse(message.as_bytes(), &Properties::default(), rules).unwrap()
}

/// The body of the POST.
pub(super) fn posted(submission: &Submission) -> String {
    String::from_utf8(submission.body().concat()).unwrap()
}

pub(super) fn sent(request: Request) -> Value {
    serde_json::from_str(&posted(&request.submission.expect("no fault"))).unwrap()
}

pub(super) fn paths(request: &Request) -> Vec<&str> {
    request.submission.as_ref().unwrap_err().iter().map(|fault| fault.path.as_str()).collect()
}

pub(super) fn only_fault(request: &Request) -> &Fault {
    let faults = request.submission.as_ref().unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    &faults[0]
}

#[test]
fn a_job_becomes_exactly_the_body_that_is_posted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jobs");
    let mut routes = BTreeSet::new();
    for body in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let Some(name) = body.to_str().unwrap().strip_suffix(".body.json").map(str::to_owned) else {
            continue;
        };
        // This one is for the current edition.
        let rules = if name.ends_with("/current") { Rules::current() } else { Rules::page() };
        let job = std::fs::read(format!("{name}.json")).unwrap();
        let request = parse(&job, &Properties::default(), &rules).unwrap();
        let submission = request.submission.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(posted(&submission), std::fs::read_to_string(&body).unwrap().trim_end(), "{name}");
        routes.insert(submission.route.data.name);
    }
    assert_eq!(routes, ROUTES.iter().map(|route| route.name).collect(), "each route has an example");
}

#[test]
fn a_job_is_known_by_what_its_life_needs() {
    let properties = Properties {
        message_id: Some("not-this".to_owned()),
        envelope: Envelope { reply_to: Some("me".to_owned()), ..Envelope::default() },
        unreadable: Vec::new(),
    };
    let job = parse(DESIGN, &properties, &Rules::page()).unwrap().job;
    assert_eq!(job.id.as_str(), "order-8812");
    assert_eq!(job.slots, 1);
    assert_eq!(job.timeout_s, None);
    assert_eq!(job.metadata.unwrap().get(), r#"{"customer":42}"#);
    assert_eq!(job.external_ids, ExternalIds::new(None, "", &job.id, &job.digest));
    assert_eq!(job.envelope, properties.envelope);

    let everything = include_bytes!("../../../tests/fixtures/jobs/everything.json");
    let job = read(everything).unwrap().job;
    assert_eq!((job.slots, job.timeout_s), (9, Some(1200)));
    assert_eq!(job.external_ids.of_generation(1).as_str(), "my-own_ID-1");
    let metadata = r#"[null,1.10,"two words",{"id":12345678901234567890123}]"#;
    assert_eq!(job.metadata.unwrap().get(), metadata, "as it was written");
}

#[test]
fn a_digest_stays_what_it_was_in_every_version() {
    // sha256 of {"a":[1,2.5],"prompt":"x"}, and of null
    let request = read(br#"{"job_id":"j","input":{"prompt":"x", "a":[1, 2.50]}}"#).unwrap();
    let expected = "54e403dc16d65ef3c6cf35fb5c14b0d3e7c6d76fec8d89278b67e42fa5129610";
    assert_eq!(request.job.digest.as_str(), expected);
    let expected = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    assert_eq!(read(br#"{"job_id":"j"}"#).unwrap().job.digest.as_str(), expected);
}

#[test]
fn a_message_without_a_name_is_a_dead_letter() {
    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/fixtures/jobs/dead-", $name, ".json")).as_slice()
        };
    }
    for (body, reason) in [
        (b"".as_slice(), DeadReason::NotJson),
        (b"null", DeadReason::NotJson),
        (b"{}{}", DeadReason::NotJson),
        (fixture!("not-json"), DeadReason::NotJson),
        (fixture!("not-utf8"), DeadReason::NotJson),
        (fixture!("not-an-object"), DeadReason::NotJson),
        (fixture!("no-job-id"), DeadReason::NoJobId),
        (br#"{"job_id": null}"#, DeadReason::NoJobId),
        (br#"{"job_id": ""}"#, DeadReason::InvalidJobId),
        (fixture!("job-id-with-slash"), DeadReason::InvalidJobId),
        (fixture!("job-id-of-129"), DeadReason::InvalidJobId),
        (fixture!("job-id-is-a-number"), DeadReason::InvalidJobId),
    ] {
        let dead = read(body).unwrap_err();
        assert_eq!(dead.reason, reason, "{dead} for {}", String::from_utf8_lossy(body));
        assert!(dead.detail.len() < 400, "{dead}");
    }
}

#[test]
fn a_message_id_names_a_job_that_has_no_id_of_its_own_and_never_another() {
    let named = |body: &str, message_id: &str| {
        let message_id = Some(message_id.to_owned());
        let properties = Properties { message_id, ..Properties::default() };
        parse(body.as_bytes(), &properties, &Rules::page())
            .map(|request| request.job.id.to_string())
            .map_err(|dead| dead.reason)
    };
    assert_eq!(named("{}", "m-1"), Ok("m-1".to_owned()));
    assert_eq!(named(r#"{"job_id": null}"#, "m-1"), Ok("m-1".to_owned()));
    assert_eq!(named(r#"{"job_id": "j-1"}"#, "m-1"), Ok("j-1".to_owned()));
    assert_eq!(named(r#"{"job_id": "j/1"}"#, "m-1"), Err(DeadReason::InvalidJobId));
    assert_eq!(named(r#"{"job_id": 1}"#, "m-1"), Err(DeadReason::InvalidJobId));
    assert_eq!(named("{}", "m 1"), Err(DeadReason::InvalidJobId));
    assert_eq!(named("{}", ""), Err(DeadReason::NoJobId));
}

#[test]
fn nesting_is_bounded_wherever_it_is() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for body in [
        "[".repeat(10_000),
        "{\"a\":".repeat(10_000),
        deep(1_000_000),
        format!(r#"{{"job_id":"j","input":{{"a":{}}}}}"#, deep(10_000)),
        format!(r#"{{"job_id":"j","metadata":{}}}"#, deep(10_000)),
        format!(r#"{{"job_id":"j","metadata":{}}}"#, deep(DEPTH_MAX)),
        format!(r#"{{"job_id":"j","foreign":{}}}"#, deep(10_000)),
    ] {
        let dead = read(body.as_bytes()).unwrap_err();
        assert_eq!(dead.reason, DeadReason::NotJson);
        assert!(dead.detail.contains("deeper"), "{dead}");
    }
    let just = format!(r#"{{"job_id":"j","metadata":{}}}"#, deep(DEPTH_MAX - 1));
    assert!(read(just.as_bytes()).unwrap().job.metadata.is_some());
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(read(&[b"\xef\xbb\xbf", DESIGN].concat()).unwrap().submission.is_ok());
}

#[test]
fn every_fault_of_a_job_is_named_by_its_place() {
    macro_rules! check {
        ($name:literal, $paths:expr) => {
            let body = include_bytes!(concat!("../../../tests/fixtures/jobs/bad-", $name, ".json"));
            let request = read(body).unwrap();
            assert_eq!(paths(&request), $paths, $name);
            assert_eq!(request.job.slots, 1);
        };
    }
    check!("no-input", ["/input"]);
    check!("input-is-a-string", ["/input"]);
    check!("no-subject-images", ["/input/subject_image_list"]);
    check!("one-subject-image", ["/input/subject_image_list"]);
    check!("five-subject-images", ["/input/subject_image_list"]);
    check!("foreign-members", ["/a~1b", "/time_out"]);
    check!("n-of-0", ["/input/n"]);
    check!("n-is-no-integer", ["/input/n"]);
    check!("aspect-ratio", ["/input/aspect_ratio"]);
    check!("model", ["/input/model_name"]);
    check!("model-of-current", ["/input/model_name"]);
    check!("base64", ["/input/subject_image_list/1/subject_image"]);
    check!("two-scenes", ["/input/scene_image"]);
    check!("external-task-id", ["/input/external_task_id"]);
    check!("timeout-of-0", ["/timeout_s"]);
    check!("generation-without-prompt", ["/input/prompt"]);
    check!("generation-reference-without-image", ["/input/image_reference"]);
    check!("generation-fidelity", ["/input/image_fidelity"]);
    check!("generation-negative-with-image", ["/input/negative_prompt"]);
    check!("omni-series-of-one", ["/input/series_amount"]);
    check!("omni-eleven-images", ["/input/image_list"]);
    check!("omni-wrong-member", ["/input/image_list/0/image"]);
    check!("try-on-without-clothes", ["/input/cloth_image"]);
    check!("text-to-video-without-words", ["/input"]);
    check!("text-to-video-number-for-seconds", ["/input/duration"]);
    check!("text-to-video-mode", ["/input/mode"]);
    check!("text-to-video-shots-without-type", ["/input/multi_prompt"]);
    check!("text-to-video-flag", ["/input/multi_shot"]);
    check!("image-to-video-without-image", ["/input"]);
    check!("image-to-video-tail-and-camera", ["/input/image_tail"]);
    check!("multi-image-to-video-five", ["/input/image_list"]);
    check!("omni-video-two-videos", ["/input/video_list"]);
    check!("omni-video-wrong-member", ["/input/image_list/0/image_url"]);
    check!("effects-input-is-a-text", ["/input/input"]);
    check!("avatar-two-sounds", ["/input/sound_file"]);
    check!("avatar-without-sound", ["/input"]);
    check!("avatar-sound-of-the-disk", ["/input/sound_file"]);
    check!("motion-control-video-is-no-url", ["/input/video_url"]);
    check!("extension-without-task", ["/input/task_id"]);
    check!("lip-sync-without-faces", ["/input/face_choose"]);
    check!("lip-sync-face-is-a-text", ["/input/face_choose"]);
    check!("text-to-audio-too-long", ["/input/duration"]);
    check!("video-to-audio-of-two", ["/input/video_url"]);
    check!("expansion-two-names", ["/input/bottom_expansion_ratio"]);
    check!(
        "wrong-types",
        [
            "/timeout_s",
            "/input/subject_image_list/0",
            "/input/subject_image_list/1/subject_image",
            "/input/subject_image_list/2/subject_image",
            "/input/scene_image",
            "/input/style_image",
            "/input/model_name",
            "/input/aspect_ratio",
            "/input/prompt",
            "/input/negative_prompt",
            "/input/n",
            "/input/watermark_info",
            "/input/callback_url",
            "/input/external_task_id",
        ]
    );
}

#[test]
fn a_fault_says_what_is_expected_and_what_was_found() {
    let message = |changes: Value| only_fault(&with_input(&changes)).message.clone();
    assert_eq!(message(json!({"n": 0})), "expected an integer from 1 to 9, found 0");
    let other = |operation: &str, input: Value| {
        only_fault(&read_json(&json!({"job_id": "j", "operation": operation, "input": input})))
            .message
            .clone()
    };
    let generation = json!({"prompt": "x", "image": "https://example.com/a.png", "image_fidelity": -0.1});
    assert_eq!(other("image_generation", generation), "expected a number from 0 to 1, found -0.1");
    let both = json!({"prompt": "x", "image": "https://example.com/a.png", "negative_prompt": "y"});
    assert_eq!(other("image_generation", both), "can't be combined with image");
    assert_eq!(other("image_generation", json!({"prompt": "x", "image_reference": "face"})), "needs image");
    let series = json!({"prompt": "x", "series_amount": "many"});
    let words = "expected auto, or an integer from 2 to 9, found the string \"many\"";
    assert_eq!(other("omni_image", series), words);
    assert_eq!(message(json!({"n": "1"})), "expected an integer from 1 to 9, found the string \"1\"");
    assert_eq!(message(json!({"model_name": "x"})), "expected kling-v2, found the string \"x\"");
    assert_eq!(
        message(json!({"aspect_ratio": 2})),
        "expected one of 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9, found 2"
    );
    assert_eq!(
        message(json!({"subject_image_list": []})),
        "expected an array of 2 to 4 objects with a subject_image each, found 0"
    );
    assert_eq!(
        message(json!({"style_image": "iVBOR w0"})),
        "expected an http or https URL, or base64: ' ' at byte 5 is none of its characters"
    );
}

#[test]
fn a_series_takes_a_slot_for_each_of_its_images_and_another_job_of_its_route_for_each_of_n() {
    let slots = |changes: Value| {
        let mut input = json!({"prompt": "x", "n": 2});
        input.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let request = read_json(&json!({"job_id": "j", "operation": "omni_image", "input": input}));
        assert!(request.submission.is_ok(), "{:?}", request.submission);
        request.job.slots
    };
    assert_eq!(slots(json!({})), 2);
    assert_eq!(slots(json!({"series_amount": 7})), 2, "of no effect");
    assert_eq!(slots(json!({"result_type": "series"})), 4, "the provider's default");
    assert_eq!(slots(json!({"result_type": "series", "series_amount": 7})), 7);
    assert_eq!(slots(json!({"result_type": "series", "series_amount": "auto"})), 9);
    let few = Rules { slots: 3, ..Rules::page() };
    let body =
        json!({"job_id": "j", "operation": "omni_image", "input": {"prompt": "x", "result_type": "series"}});
    let request = parse(body.to_string().as_bytes(), &Properties::default(), &few).unwrap();
    assert_eq!(paths(&request), ["/input/series_amount"], "it could never run");
}

#[test]
fn a_model_that_no_version_knew_is_sent_by_the_routes_that_are_not_the_default() {
    let with = |operation: &str, model: Value| {
        let input = json!({"prompt": "x", "model_name": model});
        read_json(&json!({"job_id": "j", "operation": operation, "input": input}))
    };
    assert_eq!(sent(with("image_generation", json!("kling-v9.1")))["model_name"], "kling-v9.1");
    assert_eq!(sent(with("image_generation", json!("")))["model_name"], "kling-v3");
    assert_eq!(sent(with("omni_image", Value::Null))["model_name"], "kling-image-o1");
    for wrong in [json!("a b"), json!(1), json!("x".repeat(65))] {
        let request = with("image_generation", wrong);
        assert_eq!(only_fault(&request).path, "/input/model_name");
        assert!(only_fault(&request).message.contains("such as kling-v3"), "{:?}", only_fault(&request));
    }
}

#[test]
fn a_fault_never_quotes_much_and_never_an_image_or_a_prompt() {
    let long = "geheim".repeat(1000);
    let request = read_json(&json!({
        "job_id": "j", "timeout_s": long, (long.clone()): long, "metadata": null,
        "input": {
            "model_name": long, "prompt": long, "aspect_ratio": [long], "n": long,
            "callback_url": format!("https://user:{long}@example.com"), "external_task_id": long,
            "subject_image_list": [
                {"subject_image": "https://user:geheim@example.com/a.png"}, "https://geheim"
            ],
            "style_image": "geheim!", "scene_image": "ftp://geheim",
        },
    }));
    for fault in request.submission.unwrap_err() {
        let said = format!("{} {}", fault.path, fault.message);
        assert!(said.chars().count() < 300, "{said}");
        let place = fault.path.as_str();
        if place.contains("image") || place.contains("prompt") || place.contains("callback") {
            assert!(!said.contains("geheim"), "{said}");
        }
    }
    assert_eq!(request.job.metadata.unwrap().get(), "null");
}

#[test]
fn faults_are_bounded_and_the_rest_is_counted() {
    let entries: Vec<_> = (0..60).map(|_| json!({})).collect();
    let request = with_input(&json!({"subject_image_list": entries}));
    let faults = request.submission.unwrap_err();
    assert_eq!(faults.len(), FAULTS_MAX);
    // There are 61 faults: the number of entries, and each entry.
    assert_eq!(faults[FAULTS_MAX - 1].message, "and 12 more faults");
}

#[test]
fn metadata_is_bounded_and_the_rest_of_the_job_still_told() {
    let of =
        |bytes: usize| read_json(&json!({"job_id": "j", "metadata": "x".repeat(bytes - 2), "input": {}}));
    assert!(of(METADATA_BYTES_MAX).job.metadata.is_some());
    let request = of(METADATA_BYTES_MAX + 1);
    assert!(request.job.metadata.is_none());
    assert_eq!(paths(&request), ["/metadata", "/input/subject_image_list"]);
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let request = read(br#"{"job_id":"a","job_id":"b","metadata":1,"metadata":2}"#).unwrap();
    assert_eq!(request.job.id.as_str(), "b");
    assert_eq!(request.job.metadata.unwrap().get(), "2");
}
