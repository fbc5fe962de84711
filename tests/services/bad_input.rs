//! Every fault of a message is found before anything is paid for, and published.

use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::jobs::job;
use crate::support::{Broker, Place, Sim, Worker};

/// A job with a fault at `pointer`.
fn wrong(id: &str, pointer: &str, value: Value) -> Value {
    let mut job = job(id);
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    job.pointer_mut(parent).unwrap()[member] = value;
    job
}

#[tokio::test]
async fn a_wrong_job_that_can_be_named_fails_with_every_fault_by_its_path() {
    Place::run("wrong", async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let image = json!({"subject_image": "https://pictures.example/a.png"});
        let cases = [
            ("one", "/input/subject_image_list", json!([image])),
            ("five", "/input/subject_image_list", json!([image, image, image, image, image])),
            ("none", "/input/subject_image_list", json!(null)),
            ("long", "/input/prompt", json!("x".repeat(2501))),
            ("zero", "/input/n", json!(0)),
            ("ratio", "/input/aspect_ratio", json!("16:10")),
            ("type", "/input/prompt", json!(7)),
            ("base64", "/input/style_image", json!("not%base64")),
            ("foreign", "/priority", json!(1)),
        ];
        for (id, pointer, value) in &cases {
            broker.publish(place, &wrong(id, pointer, value.clone())).await;
        }
        let ends = broker.ends(place, cases.len()).await;
        for (id, pointer, _) in &cases {
            let event = ends[*id][0].json();
            assert_eq!(event["data"]["reason"], "invalid_request", "{event}");
            assert_eq!(event["data"]["charged"], "no");
            assert_eq!(event["data"]["metadata"], json!({"of": id}));
            let faults = event["data"]["faults"].as_array().unwrap();
            let named = faults.iter().any(|fault| fault["path"].as_str().unwrap().starts_with(pointer));
            assert!(named, "{pointer} is not named in {faults:?}");
        }
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(broker.ready(&place.dead_queue()).await, 0, "a wrong job is no dead letter");
        assert_eq!(sim.report().await.number("submits"), 0, "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_message_that_can_not_be_named_is_a_dead_letter_that_says_why() {
    Place::run("unnamed", async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut nameless = job("x");
        nameless.as_object_mut().unwrap().remove("job_id");
        let mut huge = job("huge");
        huge["metadata"] = json!("x".repeat(12 * 1024 * 1024));
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("not_json", b"this is no JSON".to_vec()),
            ("not_json", vec![0xff, 0xfe, 0x00]),
            ("not_json", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes()),
            (
                "not_json",
                format!("{{\"job_id\":\"deep\",\"input\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000))
                    .into_bytes(),
            ),
            ("not_json", b"[1, 2]".to_vec()),
            ("no_job_id", nameless.to_string().into_bytes()),
            ("invalid_job_id", job("a/b").to_string().into_bytes()),
            ("invalid_job_id", job(&"x".repeat(129)).to_string().into_bytes()),
            ("too_large", huge.to_string().into_bytes()),
        ];
        for (reason, body) in &cases {
            broker
                .publish_raw(place, body, BasicProperties::default().with_app_id("the producer".into()))
                .await;
            let letter = broker.next(&place.dead_queue()).await;
            assert_eq!(letter.header("x-comet-reason").as_deref(), Some(*reason), "{letter:?}");
            assert!(letter.header("x-comet-detail").is_some_and(|detail| !detail.is_empty()));
            assert_eq!(letter.body, *body, "{reason}");
            assert_eq!(letter.properties.app_id().as_ref().map(|id| id.as_str()), Some("the producer"));
        }
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(sim.report().await.number("submits"), 0, "{}", worker.log());
        // The worker goes on.
        let named = BasicProperties::default().with_message_id("by-the-message-id".into());
        broker.publish_raw(place, nameless.to_string().as_bytes(), named).await;
        let ends = broker.ends(place, 1).await;
        assert_eq!(ends["by-the-message-id"][0].json()["type"], "comet.job.succeeded");
    })
    .await;
}

#[tokio::test]
async fn the_same_id_again_is_told_again_and_with_another_input_is_a_conflict() {
    Place::run("again", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        let first = broker.ends(place, 1).await;
        broker.publish(place, &job("a")).await;
        let again = broker.ends(place, 1).await;
        assert_eq!(first["a"][0].body, again["a"][0].body);
        broker.publish(place, &wrong("a", "/input/prompt", json!("something else"))).await;
        let letter = broker.next(&place.dead_queue()).await;
        assert_eq!(letter.header("x-comet-reason").as_deref(), Some("conflict"));
        assert_eq!(sim.report().await.number("submits"), 1);

        broker.publish(place, &wrong("b", "/input/n", json!(0))).await;
        let id = broker.ends(place, 1).await["b"][0].json()["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("b/failed/"), "{id}");
        broker.publish(place, &job("b")).await;
        assert_eq!(broker.ends(place, 1).await["b"][0].json()["type"], "comet.job.succeeded");
    })
    .await;
}
