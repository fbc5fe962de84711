//! The schemas describe exactly what the worker accepts and publishes.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::job::Reason;
use crate::job::request::{self, Properties, Rules};

/// A compiled schema.
struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// The places where the instance breaks the schema.
    fn violations(&self, instance: &Value) -> Vec<String> {
        fn leaves(error: &boon::ValidationError<'_, '_>, places: &mut Vec<String>) {
            if error.causes.is_empty() {
                places.push(error.instance_location.to_string());
            }
            error.causes.iter().for_each(|cause| leaves(cause, places));
        }
        let mut places = Vec::new();
        if let Err(error) = self.schemas.validate(instance, self.index) {
            leaves(&error, &mut places);
        }
        places
    }

    fn takes(&self, instance: &Value) -> bool {
        self.violations(instance).is_empty()
    }
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

#[test]
fn the_files_are_what_the_program_prints() {
    for (name, schema) in [("job", super::job()), ("event", super::event())] {
        let path = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(file == schema, "schemas/{name}.schema.json is another one: run make schemas");
    }
}

/// Jobs that we refuse although a schema can't express it: `1.0` is an integer to a schema, and the last two are
/// refused by one profile only.
const BEYOND_A_SCHEMA: [&str; 7] = [
    "bad-avatar-sound-of-the-disk.json",
    "bad-motion-control-video-is-no-url.json",
    "bad-n-is-no-integer.json",
    "bad-base64.json",
    "bad-two-scenes.json",
    "bad-one-subject-image.json",
    "bad-model-of-current.json",
];

#[test]
fn a_job_that_the_schema_takes_is_taken_and_one_that_it_refuses_is_refused() {
    let schema = super::job();
    let job = Validator::new(schema.clone());
    for (name, body) in fixtures("jobs", "bad-") {
        let wrong = job.violations(&serde_json::from_slice(&body).unwrap());
        assert_eq!(wrong.is_empty(), BEYOND_A_SCHEMA.contains(&name.as_str()), "{name}: {wrong:?}");
    }
    for name in
        ["dead-job-id-with-slash", "dead-job-id-of-129", "dead-job-id-is-a-number", "dead-not-an-object"]
    {
        let (_, body) = fixtures("jobs", name).remove(0);
        assert!(!job.takes(&serde_json::from_slice(&body).unwrap()), "{name}");
    }
    for example in schema["examples"].as_array().unwrap() {
        assert_eq!(job.violations(example), [""; 0]);
        for rules in [Rules::page(), Rules::current()] {
            let parsed = request::parse(example.to_string().as_bytes(), &Properties::default(), &rules);
            assert!(parsed.unwrap().submission.is_ok(), "{example}");
        }
    }
    for name in ["design.json", "smallest.json", "current.json"] {
        let (_, body) = fixtures("jobs", name).remove(0);
        assert_eq!(job.violations(&serde_json::from_slice(&body).unwrap()), [""; 0]);
    }
}

#[test]
fn an_operation_is_one_of_the_routes_and_may_be_absent() {
    let job = Validator::new(super::job());
    let smallest: Value = serde_json::from_slice(&fixtures("jobs", "smallest.json").remove(0).1).unwrap();
    let with = |operation: Value| {
        let mut job = smallest.clone();
        job["operation"] = operation;
        job
    };
    assert!(job.takes(&with(json!("multi_image_to_image"))) && job.takes(&smallest));
    assert_eq!(job.violations(&with(json!("dance"))), ["/operation"]);
    // The route's own rules hold with its name and without it.
    for mut wrong in [with(json!("multi_image_to_image")), smallest.clone()] {
        wrong["input"]["n"] = json!(10);
        assert_eq!(job.violations(&wrong), ["/input/n"]);
    }
}

#[test]
fn every_event_that_there_ever_was_is_as_its_schema_says_with_no_member_unmentioned() {
    let schema = super::event();
    let validator = Validator::new(schema.clone());
    for (name, body) in fixtures("events", "") {
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(validator.violations(&event), [""; 0], "{name}");

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
        assert_eq!(validator.violations(example), [""; 0]);
    }
    let reasons = schema.pointer("/$defs/reason/enum").unwrap();
    assert_eq!(*reasons, json!(Reason::ALL));
}

#[test]
fn an_event_that_is_wrong_is_refused_at_its_place() {
    let validator = Validator::new(super::event());
    let event: Value = serde_json::from_slice(&fixtures("events", "failed.v2")[0].1).unwrap();
    for (pointer, value, place) in [
        ("/type", json!("comet.job.exploded"), "/type"),
        ("/specversion", json!("0.3"), "/specversion"),
        ("/time", json!("yesterday"), "/time"),
        ("/data/charged", json!("perhaps"), "/data/charged"),
        ("/data/reason", json!("tired"), "/data/reason"),
        ("/data/polls", json!(-1), "/data/polls"),
        ("/data/provider_code", json!(1301), "/data/provider_code"),
        ("/data/task_id", Value::Null, "/data/task_id"),
        ("/data/units", Value::Null, "/data/units"),
        ("/data/timings_ms/submit", Value::Null, "/data/timings_ms/submit"),
        ("/data/job_id", json!("a/b"), "/data/job_id"),
        ("/data/job_id", json!("x".repeat(129)), "/data/job_id"),
        ("/data", json!({"job_id": "a"}), "/data"),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = value.clone();
        let wrong = validator.violations(&event);
        assert!(!wrong.is_empty() && wrong.iter().all(|one| one == place), "{pointer} {value}: {wrong:?}");
    }
}
