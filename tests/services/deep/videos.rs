//! Videos in numbers: ten large ones at once in little memory, and all routes with all faults.

use std::collections::BTreeMap;

use crate::support::{Broker, Place, Sim, Worker, wait_for};
use crate::videos::{files, video};

const BYTES: &str = "200000000";
/// 64 MiB, of the whole process, its code included.
const MEMORY_MB_MAX: u64 = 67;

#[tokio::test]
async fn ten_videos_of_200_mb_at_once_pass_through_little_memory() {
    Place::run("tenvideos", async |place| {
        let sim = Sim::start(&["--durations", "fixed:2s", "--video-bytes", BYTES]).await;
        let worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..10 {
            broker.publish(place, &video(&format!("v-{number}"))).await;
        }
        let ends = broker.ends(place, 10).await;
        for (id, copies) in &ends {
            let event = copies[0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{id}: {event}");
            assert!(event["data"]["videos"][0]["bytes"].as_u64().unwrap() > 200_000_000, "{event}");
        }
        let most = worker.memory_peak_mb();
        println!("ten videos of 200 MB at once: {most} MB at most");
        assert!(most < MEMORY_MB_MAX, "{most} MB");
    })
    .await;
}

#[tokio::test]
async fn five_hundred_jobs_of_all_routes_with_all_scenarios_end_once_each() {
    Place::run("allroutes", async |place| {
        let sim = Sim::start(&["--durations", "uniform:200ms-2s", "--lookup", "--image-px", "64", "--slow-for", "3s"]).await;
        sim.faults(serde_json::json!({
            "failed": 0.03, "content-policy": 0.03, "poll-error": 0.05, "image-error": 0.05, "reply-lost": 0.03,
            "server-error": 0.03, "busy": 0.03, "image-expired-once": 0.05, "file-slow": 0.05, "file-trailing": 0.05,
            "file-redirects": 0.05, "file-partial": 0.05, "look-wrapper": 0.05, "look-outputs": 0.05,
            "look-succeeded": 0.05, "look-null-result": 0, "look-no-index": 0.05, "poll-drips": 0.02
        }))
        .await;
        let settings = [("GENERATION__QUIET_S", "3"), ("API__SUBMIT_TIMEOUT_S", "2")];
        let mut workers = [Worker::start(place, &sim, &settings), Worker::start(place, &sim, &settings)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let examples = crate::routes::examples();
        let mut of_job = BTreeMap::new();
        for number in 0..500 {
            let (mut job, made) = examples[number % examples.len()].clone();
            let id = format!("m-{number}");
            job["job_id"] = id.clone().into();
            broker.publish(place, &job).await;
            of_job.insert(id, made);
        }
        for kill in 1..=4 {
            wait_for("so many tasks", async || {
                (sim.report().await.number("accepted") >= kill * 90).then_some(())
            })
            .await;
            let worker = &mut workers[usize::try_from(kill).unwrap() % 2];
            worker.kill().await;
            *worker = Worker::start(place, &sim, &settings);
        }
        let ends = broker.ends(place, of_job.len()).await;
        let mut succeeded = 0;
        for (id, copies) in &ends {
            let event = copies[0].json();
            assert!(copies.iter().all(|copy| copy.json()["id"] == event["id"]), "{id}");
            if event["type"] == "comet.job.succeeded" {
                succeeded += 1;
                for (kind, number) in ["images", "videos", "audios"].into_iter().zip(of_job[id]) {
                    assert_eq!(event["data"][kind].as_array().map_or(0, Vec::len), number, "{kind}: {event}");
                }
            }
        }
        assert!(succeeded > 400, "{succeeded}");
        sim.report().await.nothing_was_paid_for_twice();
        println!("500 jobs of all routes, 4 kills: {succeeded} succeeded, none paid for twice");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_video_is_refused_and_never_stored() {
    Place::run("novideo", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms", "--fault", "file-gif"]).await;
        let _worker = Worker::start(place, &sim, &[("POLL__MAX_MS", "500")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &video("a")).await;
        let event = broker.ends(place, 1).await["a"][0].json();
        assert_eq!(event["data"]["reason"], "result_invalid", "{event}");
        let message = event["data"]["message"].as_str().unwrap();
        assert!(message.contains("image/gif instead of an MP4 or QuickTime video"), "{message}");
        let stored = files(&place.images().join("videos"));
        assert!(stored.is_empty(), "{stored:?}");
    })
    .await;
}
