//! Each route of the table, played by the stand-in: a job in, its images stored and told, killed and resumed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// An example of each route, and how many images it makes.
fn examples() -> [(Value, usize); 5] {
    macro_rules! job {
        ($name:literal) => {
            serde_json::from_str(include_str!(concat!("../fixtures/jobs/", $name, ".json"))).unwrap()
        };
    }
    [
        (job!("design"), 1),
        (job!("generation"), 2),
        (job!("generation-smallest"), 1),
        (job!("omni"), 3),
        (job!("try-on"), 1),
    ]
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
        wait_for("five task ids in Redis", async || {
            let said = tool(&environment(place, &sim.url), &["status", "--json"]).await;
            (said.json()["jobs"]["generating"] == 5).then_some(())
        })
        .await;
        worker.kill().await;
        let _next = Worker::start(place, &sim, &[]);
        let ends = broker.ends(place, examples.len()).await;
        for (job, images) in &examples {
            let event = ends[job["job_id"].as_str().unwrap()][0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{event}");
            assert_eq!(event["data"]["operation"], operation(job), "{event}");
            let stored = event["data"]["images"].as_array().unwrap();
            assert_eq!(stored.len(), *images, "{event}");
            for image in stored {
                let path = image["location"].as_str().unwrap().strip_prefix("file://").unwrap();
                assert!(std::fs::metadata(path).is_ok_and(|file| file.len() > 0), "{path}");
            }
        }
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        assert_eq!(report.number("accepted"), 5);
        assert_eq!(report.number("charged_total"), 8, "an image of each");
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
