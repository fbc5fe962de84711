//! For any input: no panic, one verdict, one digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::tests::{posted, read, read_json, with_input};
use super::*;
use crate::mutated::{corpus, mutated};

/// JSON of any shape, with the names that the checks look for among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let names = "job_id|input|metadata|timeout_s|model_name|prompt|subject_image_list|\
                 subject_image|scene_image|scence_image|style_image|n|aspect_ratio|callback_url|\
                 external_task_id|watermark_info|enabled|operation|image|image_list|image_reference|image_fidelity|\
                 result_type|series_amount|resolution|human_image|cloth_image|[a-z~/ü]{0,3}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..10).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,4}|https?://.{0,8}|data:.{0,20}|/9j/[A-Za-z0-9+/]{0,64}|iVBORw0KGgo[A-Za-z0-9+/=]{0,64}"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The same JSON with its members in reverse order, and with whitespace wherever it is allowed.
fn spread_out(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(spread_out).collect();
            format!("[\n{} ]", items.join(" ,\t"))
        }
        Value::Object(members) => {
            let members = members.iter().rev();
            let members: Vec<_> =
                members.map(|(name, value)| format!("{} : {}", json!(name), spread_out(value))).collect();
            format!("{{\r\n{} }}", members.join(" , "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Values that may replace a job's values.
const WORDS: &[&str] = &[
    "16:9",
    "kling-v2",
    "https://example.com/a.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "order-1",
    "image_generation",
    "omni_image",
    "virtual_try_on",
    "series",
    "auto",
    "a/b",
];

/// The part of a PNG that contains its dimensions.
fn header_of_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// The part of a JPEG of 640 x 480 that contains its dimensions, after an application segment.
const JPEG: &[u8] =
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xc0\0\x0b\x08\x01\xe0\x02\x80\x01\x01\x11\0\xff\xd9";

proptest! {
    #[test]
    fn a_spoilt_job_is_judged_or_a_dead_letter(body in mutated(corpus("jobs"), WORDS)) {
        match read(&body) {
            Ok(Request { submission: Ok(submission), .. }) => {
                prop_assert!(serde_json::from_str::<Value>(&posted(&submission)).unwrap().is_object());
            }
            Ok(Request { submission: Err(faults), .. }) => {
                prop_assert!((1..=FAULTS_MAX).contains(&faults.len()));
            }
            Err(dead) => prop_assert!(dead.detail.chars().count() <= 1_000, "{dead}"),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&body);
    }

    #[test]
    fn no_text_of_json_like_characters_makes_it_panic(
        body in r#"([\[\]{}:,"\\ 0-9.eE+-]|job_id|input|null|true|\\u[0-9a-f]{4}){0,60}"#
    ) {
        let _ = read(body.as_bytes());
    }

    #[test]
    fn no_image_makes_it_panic(head in 0..2_usize, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let head = [b"\x89PNG\r\n\x1a\n".as_slice(), b"\xff\xd8\xff"][head];
        let _ = with_input(&json!({"style_image": STANDARD.encode([head, &bytes].concat())}));
    }

    #[test]
    fn no_text_in_the_place_of_an_image_makes_it_panic(
        start in "(https?:|file:|data:|data:image/[a-zü]{0,3};base64,|ü)?", text: String
    ) {
        let request = with_input(&json!({"style_image": format!("{start}{text}")}));
        prop_assert!(!start.starts_with("file:") || request.submission.is_err());
    }

    #[test]
    fn a_damaged_image_makes_it_no_panic(cut in 0..200_usize, at in 0..200_usize, byte: u8, is_png: bool) {
        let mut image = if is_png { header_of_png(640, 480) } else { JPEG.to_vec() };
        if let Some(hit) = image.get_mut(at) {
            *hit = byte;
        }
        image.truncate(cut);
        let _ = with_input(&json!({"style_image": STANDARD.encode(image)}));
    }

    #[test]
    fn an_image_is_taken_exactly_when_its_sides_allow_it(
        width in prop_oneof![295..305_u32, 740..760_u32, any::<u32>()],
        height in prop_oneof![295..305_u32, 740..760_u32, any::<u32>()],
    ) {
        let request = with_input(&json!({"style_image": STANDARD.encode(header_of_png(width, height))}));
        let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
        prop_assert_eq!(request.submission.is_ok(), short >= 300 && long * 2 <= short * 5);
    }

    #[test]
    fn any_input_is_judged_with_faults_or_a_body(
        input in any_json(), metadata in any_json(), timeout_s in any_json()
    ) {
        let request = read_json(&json!({
            "job_id": "j", "input": input, "metadata": metadata, "timeout_s": timeout_s,
        }));
        match request.submission {
            Ok(submission) => prop_assert!(serde_json::from_str::<Value>(&posted(&submission)).unwrap().is_object()),
            Err(faults) => prop_assert!((1..=FAULTS_MAX).contains(&faults.len())),
        }
    }

    #[test]
    fn a_digest_ignores_the_order_of_keys_and_whitespace(input in any_json()) {
        let plain = read_json(&json!({"job_id": "j", "input": input}));
        let spread = format!(r#"{{ "input" : {} , "job_id":"j" }}"#, spread_out(&input));
        let spread = read(spread.as_bytes()).unwrap();
        prop_assert_eq!(plain.job.digest, spread.job.digest);
        prop_assert_eq!(plain.submission, spread.submission);
    }

    #[test]
    fn another_input_has_another_digest(one in any_json(), other in any_json()) {
        prop_assume!(one != other);
        let digest = |input| read_json(&json!({"job_id": "j", "input": input})).job.digest;
        prop_assert_ne!(digest(one), digest(other));
    }
}
