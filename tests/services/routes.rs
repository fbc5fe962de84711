//! Each route of the table, played by the stand-in: a job in, its files stored and told, killed and resumed.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// An example of each route, and how many images, videos and sounds it makes.
pub fn examples() -> [(Value, [usize; 3]); 18] {
    macro_rules! job {
        ($name:literal) => {
            serde_json::from_str(include_str!(concat!("../fixtures/jobs/", $name, ".json"))).unwrap()
        };
    }
    [
        (job!("design"), [1, 0, 0]),
        (job!("generation"), [2, 0, 0]),
        (job!("generation-smallest"), [1, 0, 0]),
        (job!("omni"), [3, 0, 0]),
        (job!("try-on"), [1, 0, 0]),
        (job!("expansion"), [2, 0, 0]),
        (job!("text-to-video"), [0, 1, 0]),
        (job!("text-to-video-shots"), [0, 1, 0]),
        (job!("image-to-video"), [0, 1, 0]),
        (job!("multi-image-to-video"), [0, 1, 0]),
        (job!("omni-video"), [0, 1, 0]),
        (job!("video-effects"), [0, 1, 0]),
        (job!("avatar"), [0, 1, 0]),
        (job!("motion-control"), [0, 1, 0]),
        (job!("video-extension"), [0, 1, 0]),
        (job!("lip-sync"), [0, 1, 0]),
        (job!("text-to-audio"), [0, 0, 2]),
        (job!("video-to-audio"), [0, 1, 2]),
    ]
}

/// The file is in the store, and is what the event says.
fn is_stored(file: &Value, kind: &str) {
    let path = file["location"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert!(path.contains(&format!("/{kind}/")), "{path}");
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(file["bytes"], bytes.len(), "{file}");
    assert_eq!(file["sha256"], hex::encode(Sha256::digest(&bytes)), "{file}");
    if kind == "videos" {
        assert_eq!(file["content_type"], "video/mp4", "{file}");
        assert_eq!(file["duration_ms"], 5041, "{file}");
        assert!(file["width"].as_u64().is_some() && file["height"].as_u64().is_some(), "{file}");
    }
}

fn operation(job: &Value) -> &str {
    job["operation"].as_str().unwrap_or("multi_image_to_image")
}

#[tokio::test]
async fn a_job_of_each_route_is_killed_resumed_paid_once_and_stored() {
    Place::run("routes", async |place| {
        let sim = Sim::start(&["--durations", "fixed:4s"]).await;
        let mut worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let examples = examples();
        for (job, _) in &examples {
            broker.publish(place, job).await;
        }
        wait_for("all task ids in Redis", async || {
            let said = tool(&environment(place, &sim.url), &["status", "--json"]).await;
            (said.json()["jobs"]["generating"] == examples.len()).then_some(())
        })
        .await;
        worker.kill().await;
        let _next = Worker::start(place, &sim, &[]);
        let ends = broker.ends(place, examples.len()).await;
        for (job, made) in &examples {
            let event = ends[job["job_id"].as_str().unwrap()][0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{event}");
            assert_eq!(event["data"]["operation"], operation(job), "{event}");
            for (kind, number) in ["images", "videos", "audios"].into_iter().zip(made) {
                let none = Vec::new();
                let stored = event["data"][kind].as_array().unwrap_or(&none);
                assert_eq!(stored.len(), *number, "{kind}: {event}");
                stored.iter().for_each(|file| is_stored(file, kind));
            }
        }
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        assert_eq!(report.number("accepted"), 18);
        assert_eq!(report.number("charged_total"), 22, "the images, and one of each other task");
        assert_eq!(report.0["ignored_fields"], serde_json::json!({"scene_image": 1}), "of both spellings");
    })
    .await;
}

#[tokio::test]
async fn jobs_of_all_routes_mixed_with_faults_end_once_each_and_are_paid_once() {
    Place::run("mixed", async |place| {
        let sim = Sim::start(&["--durations", "uniform:200ms-1s", "--lookup", "--image-px", "64"]).await;
        sim.faults(serde_json::json!({
            "failed": 0.05, "content-policy": 0.05, "poll-error": 0.1, "image-error": 0.1, "reply-lost": 0.05,
            "server-error": 0.05, "busy": 0.05
        }))
        .await;
        let settings = [("GENERATION__QUIET_S", "3"), ("API__SUBMIT_TIMEOUT_S", "2")];
        let _workers = [Worker::start(place, &sim, &settings), Worker::start(place, &sim, &settings)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let examples = examples();
        let mut of_job = BTreeMap::new();
        for number in 0..100 {
            let (mut job, _) = examples[number % examples.len()].clone();
            let id = format!("m-{number}");
            job["job_id"] = id.clone().into();
            broker.publish(place, &job).await;
            of_job.insert(id, operation(&job).to_owned());
        }
        let mut ends = broker.ends(place, of_job.len()).await;
        broker.ready_is(&place.queue(), 0).await;
        broker.rest(place, &mut ends).await;
        for (id, copies) in &ends {
            let event = copies[0].json();
            assert_eq!(event["data"]["operation"], of_job[id], "{event}");
            assert!(copies.iter().all(|copy| copy.json()["id"] == event["id"]), "{id}");
        }
        let succeeded =
            ends.values().filter(|copies| copies[0].json()["type"] == "comet.job.succeeded").count();
        assert!(succeeded > 60, "{succeeded}");
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn the_routes_are_listed_with_what_they_need() {
    Place::run("routelist", async |place| {
        let environment = environment(place, "http://127.0.0.1:1");
        let listed = tool(&environment, &["routes"]).await;
        assert_eq!(listed.code, Some(0), "{listed:?}");
        assert!(
            listed.data.contains("omni_image") && listed.data.contains("Needs human_image, cloth_image.")
        );
        let lines = tool(&environment, &["routes", "--json"]).await;
        let routes: Vec<Value> = lines.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(routes[0]["name"], "multi_image_to_image");
        assert!(routes.iter().all(|route| route["submit_path"].as_str().unwrap().starts_with('/')));
    })
    .await;
}
