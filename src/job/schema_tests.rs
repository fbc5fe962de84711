//! Keeps `schemas/` correct: the schemas describe exactly what we accept and send.
//!
//! The checker here knows only the keywords of our schemas and fails on any other, so that no keyword is used without
//! a check. A complete validator would need thirty crates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::request::{DEPTH_MAX, METADATA_BYTES_MAX, Properties, Rules, TIMEOUT_S_MAX};
use super::{ExternalTaskId, JobId, TaskId, event, request};
use crate::job::operation::{Check, Field, MULTI_IMAGE_TO_IMAGE};

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Collects what is wrong with an instance, as places and keywords.
fn check(root: &Value, schema: &Value, instance: &Value, place: &str, wrong: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "examples" | "default" => true,
            "$ref" => {
                let target = rule.as_str().unwrap().trim_start_matches('#');
                check(root, root.pointer(target).expect("a $ref leads somewhere"), instance, place, wrong);
                true
            }
            "allOf" => {
                for part in rule.as_array().unwrap() {
                    check(root, part, instance, place, wrong);
                }
                true
            }
            "if" => {
                let mut against = Vec::new();
                check(root, rule, instance, place, &mut against);
                if against.is_empty() {
                    check(root, &schema["then"], instance, place, wrong);
                }
                true
            }
            "then" => schema.get("if").is_some(),
            "type" => match rule.as_array() {
                None => is_type(instance, rule.as_str().unwrap()),
                Some(names) => names.iter().any(|name| is_type(instance, name.as_str().unwrap())),
            },
            "const" => instance == rule,
            "enum" => rule.as_array().unwrap().contains(instance),
            "required" => instance.as_object().is_none_or(|members| {
                rule.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, part) in rule.as_object().unwrap() {
                    if let Some(value) = instance.get(name) {
                        check(root, part, value, &format!("{place}/{name}"), wrong);
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, &json!(false));
                let known = schema["properties"].as_object().unwrap();
                instance.as_object().is_none_or(|members| members.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                for (index, item) in instance.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{place}/{index}"), wrong);
                }
                true
            }
            "minItems" => instance.as_array().is_none_or(|items| items.len() >= number(rule)),
            "maxItems" => instance.as_array().is_none_or(|items| items.len() <= number(rule)),
            "minLength" => instance.as_str().is_none_or(|text| text.chars().count() >= number(rule)),
            "maxLength" => instance.as_str().is_none_or(|text| text.chars().count() <= number(rule)),
            "minimum" => instance.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "maximum" => instance.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap()),
            "pattern" => instance.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            other => panic!("{place}: the keyword {other} is not checked"),
        };
        if !holds {
            wrong.push(format!("{place} {keyword}"));
        }
    }
}

fn is_type(instance: &Value, name: &str) -> bool {
    match name {
        "object" => instance.is_object(),
        "array" => instance.is_array(),
        "string" => instance.is_string(),
        "integer" => instance.is_i64() || instance.is_u64(),
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        other => panic!("unknown type {other}"),
    }
}

fn number(rule: &Value) -> usize {
    usize::try_from(rule.as_u64().unwrap()).unwrap()
}

/// Our two patterns, in Rust.
fn matches(pattern: &str, text: &str) -> bool {
    let more = match pattern {
        "^[A-Za-z0-9._:-]+$" => "._:-",
        "^[A-Za-z0-9_-]+$" => "_-",
        other => panic!("unknown pattern {other}"),
    };
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn violations(text: &str, instance: &Value) -> Vec<String> {
    let schema = schema(text);
    let mut wrong = Vec::new();
    check(&schema, &schema, instance, "", &mut wrong);
    wrong
}

fn fixtures(folder: &str, start: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/tests/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with(start))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Jobs that we refuse although a schema can't express it; the last two are refused by one profile only.
const BEYOND_A_SCHEMA: [&str; 4] =
    ["bad-base64.json", "bad-two-scenes.json", "bad-one-subject-image.json", "bad-model-of-current.json"];

#[test]
fn a_job_that_the_schema_takes_is_taken_and_one_that_it_refuses_is_refused() {
    for (name, body) in fixtures("jobs", "bad-") {
        let wrong = violations(request::SCHEMA, &serde_json::from_slice(&body).unwrap());
        assert_eq!(wrong.is_empty(), BEYOND_A_SCHEMA.contains(&name.as_str()), "{name}: {wrong:?}");
    }
    for name in
        ["dead-job-id-with-slash", "dead-job-id-of-129", "dead-job-id-is-a-number", "dead-not-an-object"]
    {
        let (_, body) = fixtures("jobs", name).remove(0);
        assert!(!violations(request::SCHEMA, &serde_json::from_slice(&body).unwrap()).is_empty(), "{name}");
    }
    let examples = schema(request::SCHEMA)["examples"].clone();
    for job in examples.as_array().unwrap() {
        assert_eq!(violations(request::SCHEMA, job), [""; 0]);
        for rules in [Rules::page(), Rules::current()] {
            let parsed = request::parse(job.to_string().as_bytes(), &Properties::default(), &rules);
            assert!(parsed.unwrap().body.is_ok(), "{job}");
        }
    }
    for name in ["design.json", "smallest.json", "current.json"] {
        let (_, body) = fixtures("jobs", name).remove(0);
        assert_eq!(violations(request::SCHEMA, &serde_json::from_slice(&body).unwrap()), [""; 0]);
    }
}

#[test]
fn the_schema_of_a_job_has_the_numbers_and_lists_of_the_rules() {
    let schema = schema(request::SCHEMA);
    let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).clone();

    assert_eq!(at("/properties/job_id/maxLength"), json!(JobId::MAX_LENGTH));
    assert_eq!(at("/properties/timeout_s/maximum"), json!(TIMEOUT_S_MAX));
    assert_eq!(METADATA_BYTES_MAX, 16 * 1024);
    let words = at("/description");
    assert!(words.as_str().unwrap().contains(&format!("{DEPTH_MAX} levels")));

    let operation = &MULTI_IMAGE_TO_IMAGE;
    let fields = at("/$defs/input/properties");
    let mut unmentioned: BTreeSet<_> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    for Field { name, check } in operation.fields {
        let says = |keyword: &str| at(&format!("/$defs/input/properties/{name}/{keyword}"));
        let image = json!("#/$defs/image");
        match check {
            // The limits that all editions have in common.
            Check::Pictures { member } => {
                let counts = || operation.editions.iter().map(|edition| &edition.subject_images);
                assert_eq!(says("minItems"), json!(counts().map(|count| count.start()).min()));
                assert_eq!(says("maxItems"), json!(counts().map(|count| count.end()).max()));
                assert_eq!(says(&format!("items/properties/{member}/$ref")), image);
            }
            Check::Model => {
                let models: BTreeSet<_> =
                    operation.editions.iter().flat_map(|edition| edition.models).collect();
                assert_eq!(says("enum"), json!(models));
            }
            Check::Picture => assert_eq!(says("$ref"), image),
            Check::Scene => {
                for other in operation.scene_names {
                    assert_eq!(fields[other]["$ref"], image);
                    unmentioned.remove(other);
                }
            }
            Check::OneOf(choices) => assert_eq!(says("enum"), json!(choices)),
            Check::Text { chars_max } => assert_eq!(says("maxLength"), json!(chars_max)),
            Check::Images(range) => {
                assert_eq!((says("minimum"), says("maximum")), (json!(range.start()), json!(range.end())));
            }
            Check::Switch => assert_eq!(says("properties/enabled/type"), "boolean"),
            Check::Url => assert_eq!(says("maxLength"), json!(operation.picture.url_bytes_max)),
            Check::ExternalTaskId => assert_eq!(says("maxLength"), json!(ExternalTaskId::MAX_LENGTH)),
        }
        unmentioned.remove(name);
    }
    assert!(unmentioned.is_empty(), "{unmentioned:?} are in the schema, and are not checked");
}

#[test]
fn every_event_that_there_ever_was_is_as_its_schema_says_with_no_member_unmentioned() {
    let schema = schema(event::SCHEMA);
    for (name, body) in fixtures("events", "") {
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(violations(event::SCHEMA, &event), [""; 0], "{name}");

        let kind = event["type"].as_str().unwrap().trim_start_matches("comet.job.");
        let mentioned = |instance: &Value, schema: &Value| {
            for member in instance.as_object().unwrap().keys() {
                assert!(schema["properties"].get(member).is_some(), "{name}: {member}");
            }
        };
        mentioned(&event, &schema);
        mentioned(&event["data"], &schema["$defs"][kind]);
        mentioned(&event["data"]["timings_ms"], &schema["$defs"]["timings_ms"]);
        for image in event["data"]["images"].as_array().into_iter().flatten() {
            mentioned(image, &schema["$defs"]["image"]);
        }
        for fault in event["data"]["faults"].as_array().into_iter().flatten() {
            mentioned(fault, &schema["$defs"]["fault"]);
        }
    }
    for example in schema["examples"].as_array().unwrap() {
        assert_eq!(violations(event::SCHEMA, example), [""; 0]);
    }
}

#[test]
fn the_schema_of_an_event_has_our_lists() {
    let schema = schema(event::SCHEMA);
    let kinds: Vec<_> = event::EventKind::ALL.iter().map(|kind| kind.event_type()).collect();
    assert_eq!(schema["properties"]["type"]["enum"], json!(kinds));
    assert_eq!(schema["$defs"]["task_id"]["maxLength"], json!(TaskId::MAX_LENGTH));
    let failed = &schema["$defs"]["failed"]["properties"];
    assert_eq!(failed["faults"]["maxItems"], json!(request::FAULTS_MAX));
    assert_eq!(failed["reason"]["enum"], json!(super::Reason::ALL));
    for reason in super::Reason::ALL {
        let words = failed["reason"]["description"].as_str().unwrap();
        assert!(words.contains(&format!("{}:", reason.as_str())));
    }
}

#[test]
fn the_checker_refuses_what_is_wrong() {
    let event: Value = serde_json::from_slice(&fixtures("events", "failed")[0].1).unwrap();
    for (pointer, value, words) in [
        ("/type", json!("comet.job.exploded"), "/type enum"),
        ("/specversion", json!("0.3"), "/specversion const"),
        ("/data/charged", json!("perhaps"), "/data/charged enum"),
        ("/data/polls", json!(-1), "/data/polls minimum"),
        ("/data/provider_code", json!(1301), "/data/provider_code type"),
        ("/data/job_id", json!("a/b"), "/data/job_id pattern"),
        ("/data/job_id", json!("x".repeat(129)), "/data/job_id maxLength"),
        ("/data", json!({"job_id": "a"}), "/data required"),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        assert_eq!(violations(event::SCHEMA, &event), [words]);
    }
}
