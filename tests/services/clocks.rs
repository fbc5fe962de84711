//! Redis's wall clock jumps, and the gate answers after the time in which a POST may leave.

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use redis::AsyncCommands;
use sha2::{Digest, Sha256};
use url::Url;

use crate::support::jobs::job;
use crate::support::proxy::Proxy;
use crate::support::{Broker, Place, Sim, Worker, redis_url, wait_for};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn a_jump_of_redis_wall_clock_by_an_hour_during_a_restart_ends_no_running_generation() {
    Place::run("jump", async |place| {
        let sim = Sim::start(&["--durations", "fixed:6s"]).await;
        // A fourth of it is more than the tasks need; an hour is much more than the whole.
        let settings = [("GENERATION__TIMEOUT_S", "120")];
        let mut first = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for id in ["ahead", "back"] {
            broker.publish(place, &job(id)).await;
        }
        first_polls(&sim).await;
        first.kill().await;
        // The time that a record was written at is earlier by as much as the clock has jumped ahead.
        shift(place, "ahead", -HOUR_MS).await;
        shift(place, "back", HOUR_MS).await;
        let second = Worker::start(place, &sim, &settings);
        let ends = broker.ends(place, 2).await;
        for (job, copies) in &ends {
            let event = copies[0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{job}: {event}\n{}", second.log());
        }
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 2);
        report.nothing_was_paid_for_twice();
    })
    .await;
}

async fn first_polls(sim: &Sim) {
    wait_for("polls of two tasks", async || {
        let report = sim.report().await;
        (report.number("accepted") == 2 && report.number("polls") >= 4).then_some(())
    })
    .await;
}

async fn shift(place: &Place, job: &str, by_ms: i64) {
    let client = redis::Client::open(redis_url()).unwrap();
    let mut redis = crate::support::connected(&client).await.unwrap();
    let key = format!("{{{}}}:job:{job}", place.prefix);
    let stage: String = redis.hget(&key, "stage").await.unwrap();
    assert_eq!(stage, "generating", "{job}");
    let _: i64 = redis.hincr(&key, "since_ms", by_ms).await.unwrap();
}

#[tokio::test]
async fn a_gate_that_answers_after_gate_s_is_followed_by_no_post_of_that_attempt() {
    Place::run("gate", async |place| {
        let endpoint = std::env::var("COMET_TEST_S3_ENDPOINT")
            .expect("COMET_TEST_S3_ENDPOINT is missing: run through make test");
        let endpoint: Url = endpoint.parse().unwrap();
        let made = reqwest::Client::new().put(endpoint.join(&place.prefix).unwrap()).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        let bucket = object_store::aws::AmazonS3Builder::from_env()
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_bucket_name(&place.prefix)
            .with_region("us-east-1")
            .with_allow_http(true)
            .build()
            .unwrap();
        let has = async |kind: &str| bucket.head(&receipt("a", kind)).await.is_ok();

        let way = Proxy::to(endpoint.port().unwrap()).await;
        let sim = Sim::start(&["--durations", "fixed:500ms"]).await;
        let storage = format!("s3://{}", place.prefix);
        let settings = [
            ("GENERATION__GATE_S", "1"),
            ("STORAGE__URL", storage.as_str()),
            ("STORAGE__ENDPOINT", &way.through(endpoint.as_str())),
            ("STORAGE__REGION", "us-east-1"),
            ("STORAGE__PATH_STYLE", "true"),
        ];
        let worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        worker.says("taking jobs").await;
        // A round trip takes longer than the POST may, so nothing passes the gate in time.
        way.slow_down(Duration::from_millis(900));
        broker.publish(place, &job("a")).await;
        wait_for("the first attempt's end", async || has("refused-1").await.then_some(())).await;
        assert_eq!(sim.report().await.number("submits"), 0, "{}", worker.log());
        way.open();
        let ends = broker.ends(place, 1).await;
        assert_eq!(ends["a"][0].json()["type"], "comet.job.succeeded", "{}", worker.log());
        assert!(has("intent-1").await && has("intent-2").await);
        assert!(!has("task-1").await);
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 1);
        report.nothing_was_paid_for_twice();
    })
    .await;
}

/// The key that the receipts' module documents.
fn receipt(job: &str, kind: &str) -> Path {
    let folder = Sha256::digest(job.as_bytes())[0];
    Path::from(format!("receipts/{folder:02x}/{job}.{kind}"))
}
