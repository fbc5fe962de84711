//! Workers are killed and stopped at the points that matter: every job has one outcome, and nothing is submitted
//! again. Chaos kills, stops and freezes them at random.

use redis::AsyncCommands;

use crate::support::jobs::{job, jobs};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const QUICK: &[(&str, &str)] = &[("GENERATION__QUIET_S", "3"), ("AMQP__HEARTBEAT_S", "2")];

#[tokio::test]
async fn after_a_sigkill_the_next_worker_resumes_the_known_task_and_submits_nothing() {
    Place::run("resume", async |place| {
        let sim = Sim::start(&["--durations", "fixed:3s"]).await;
        let mut first = Worker::start(place, &sim, QUICK);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        wait_for("the task id in Redis", async || task_in_redis(place, "a").await).await;
        first.kill().await;
        let _second = Worker::start(place, &sim, QUICK);
        let ends = broker.ends(place, 1).await;
        let event = ends["a"][0].json();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}");
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 1, "{}", report.0);
        report.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn after_a_sigterm_the_next_worker_resumes_at_once() {
    Place::run("term", async |place| {
        let sim = Sim::start(&["--durations", "fixed:3s"]).await;
        let mut first = Worker::start(place, &sim, QUICK);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("t", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("20 tasks", async || (sim.report().await.number("accepted") == 20).then_some(())).await;
        assert!(first.stop().await.success(), "{}", first.log());
        broker.ready_is(&place.queue(), 20).await;
        let _second = Worker::start(place, &sim, QUICK);
        let ends = broker.ends(place, 20).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 20);
        report.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_kill_within_the_post_ends_as_outcome_unknown_and_is_never_posted_again() {
    Place::run("unknown", async |place| {
        let sim = Sim::start(&["--submit-latency", "20s", "--durations", "fixed:1s"]).await;
        let mut first = Worker::start(place, &sim, QUICK);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        wait_for("the POST", async || (sim.report().await.number("accepted") == 1).then_some(())).await;
        first.kill().await;
        let _second = Worker::start(place, &sim, QUICK);
        let ends = broker.ends(place, 1).await;
        let event = ends["a"][0].json();
        assert_eq!(event["data"]["reason"], "outcome_unknown", "{event}");
        assert_eq!(event["data"]["charged"], "unknown", "{event}");
        assert_eq!(sim.report().await.number("submits"), 1);
    })
    .await;
}

/// The task id in the record, once it is there.
async fn task_in_redis(place: &Place, job: &str) -> Option<String> {
    let client = redis::Client::open(place.redis_url.as_str()).unwrap();
    let mut redis = crate::support::connected(&client).await.unwrap();
    redis.hget(format!("{{{}}}:job:{job}", place.prefix), "task").await.unwrap()
}
