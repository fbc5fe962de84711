//! `comet-worker resolve --fetch`, as a process: the images of a task that ended after its job did.

use serde_json::json;

use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::tool::{Said, tool};
use crate::support::{Broker, Place, Sim, Worker};

async fn fetch(place: &Place, sim: &Sim, job: &str) -> Said {
    tool(&environment(place, &sim.url), &["resolve", job, "--fetch", "--json"]).await
}

#[tokio::test]
async fn the_late_picture_of_a_job_that_timed_out_is_fetched_and_told_as_a_correction() {
    Place::run("fetchlate", async |place| {
        let sim = Sim::start(&["--durations", "fixed:6s"]).await;
        let worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut late = job("late");
        (late["timeout_s"], late["metadata"]) = (json!(1), json!({"customer": 42}));
        broker.publish(place, &late).await;
        let first = broker.ends(place, 1).await["late"][0].json();
        assert_eq!(first["data"]["reason"], "timed_out");

        let unknown = fetch(place, &sim, "never").await;
        assert!(unknown.code == Some(1) && unknown.words.contains("has not ended"), "{unknown:?}");
        let decided = tool(&environment(place, &sim.url), &["resolve", "late", "--give-up"]).await;
        assert!(decided.words.contains("--fetch gets its images"), "{decided:?}");
        let said = loop {
            let said = fetch(place, &sim, "late").await;
            if said.code == Some(0) {
                break said;
            }
            assert!(said.words.contains("still runs"), "{said:?}");
        };
        let told = broker.ends(place, 1).await["late"][0].json();
        assert_eq!(said.json(), told);
        assert_eq!((&told["id"], &told["supersedes"]), (&json!("late/resolved"), &json!("late/failed")));
        assert_eq!(told["type"], "comet.job.succeeded");
        assert_eq!(told["data"]["metadata"], json!({"customer": 42}));
        assert_eq!(told["data"]["task_id"], first["data"]["task_id"]);
        assert_eq!(told["data"]["external_task_id"], first["data"]["external_task_id"]);
        let location = told["data"]["images"][0]["location"].as_str().unwrap();
        let path = location.strip_prefix("file://").unwrap();
        assert!(std::fs::metadata(path).unwrap().len() > 0);

        // A second run publishes the same words again, and so does a further copy of the job.
        assert_eq!(fetch(place, &sim, "late").await.code, Some(0));
        broker.publish(place, &late).await;
        for _ in 0..2 {
            assert_eq!(broker.ends(place, 1).await["late"][0].json(), told);
        }
        assert_eq!(sim.report().await.number("accepted"), 1);
        // Both are ends, and each is one however often it was published.
        let seen = tool(&environment(place, &sim.url), &["status", "--json"]).await.json();
        let ends: Vec<_> = seen["recent"].as_array().unwrap().iter().map(|end| &end["outcome"]).collect();
        assert_eq!(ends, ["succeeded", "failed"], "{seen}");
        assert_eq!(seen["recent"][0]["supersedes"], "late/failed");
        assert_eq!(seen["jobs"]["publishing"], 0, "{seen}");
    })
    .await;
}

#[tokio::test]
async fn jobs_whose_tasks_fail_are_generated_again_as_often_as_is_allowed() {
    Place::run("again", async |place| {
        let sim = Sim::start(&["--durations", "fixed:1s", "--fault", "failed-internal=0.5"]).await;
        let worker = Worker::start(place, &sim, &[("GENERATION__MAX_ATTEMPTS", "3")]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..30 {
            broker.publish(place, &job(&format!("g-{number}"))).await;
        }
        let ends = broker.ends(place, 30).await;
        let mut generations = 0;
        for (job, copies) in &ends {
            let told = copies[0].json();
            let failed = told["data"]["failed_task_ids"].as_array().map_or(0, Vec::len);
            generations += 1 + failed;
            match told["type"].as_str() {
                Some("comet.job.succeeded") => assert!(failed <= 2, "{job}: {told}"),
                _ => {
                    assert_eq!((failed, &told["data"]["reason"]), (2, &json!("generation_failed")), "{job}");
                }
            }
        }
        let report = sim.report().await;
        assert_eq!(report.number("accepted"), u64::try_from(generations).unwrap());
        assert!(generations > 30, "no task failed");
        // Each generation has an external id of its own.
        report.nothing_was_paid_for_twice();
    })
    .await;
}
