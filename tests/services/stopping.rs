//! A worker's stop is quick, whatever runs, and loses nothing.

use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn a_post_under_way_is_finished_and_recorded_before_the_exit() {
    Place::run("post", async |place| {
        let sim = Sim::start(&["--submit-latency", "3s", "--durations", "fixed:1s"]).await;
        let mut worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("p", 5) {
            broker.publish(place, &job).await;
        }
        wait_for("5 POSTs", async || (sim.report().await.number("submits") == 5).then_some(())).await;
        assert!(worker.stop().await.success(), "{}", worker.log());
        let _next = Worker::start(place, &sim, &[]);
        let ends = broker.ends(place, 5).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"), "{ends:?}");
        assert_eq!(sim.report().await.number("submits"), 5);
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    Place::run("second", async |place| {
        let sim = Sim::start(&["--submit-latency", "50s"]).await;
        let mut worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &jobs("s", 1)[0]).await;
        wait_for("the POST", async || (sim.report().await.number("submits") == 1).then_some(())).await;
        worker.signal("-INT").await;
        worker.says("stopping").await;
        assert!(worker.runs(), "it didn't wait for its POST");
        worker.signal("-INT").await;
        assert_eq!(worker.exit().await.code(), Some(1), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn livez_notices_and_readyz_tells_what_is_missing() {
    Place::run("health", async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[]);
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        assert_eq!(worker.admin("/livez").await.0, 200);
        let (status, metrics) = worker.admin("/metrics").await;
        assert_eq!(status, 200);
        for name in [
            "comet_jobs_finished_total",
            "comet_jobs_held",
            "comet_paused",
            "comet_submits_total",
            "comet_polls_total",
        ] {
            assert!(metrics.contains(name), "{name} is missing from\n{metrics}");
        }
        let without_redis = Worker::start(place, &sim, &[("REDIS__URL", "redis://127.0.0.1:1")]);
        wait_for("the reason", async || {
            without_redis.admin("/readyz").await.1.contains("redis.url").then_some(())
        })
        .await;
        assert_eq!(without_redis.admin("/livez").await.0, 200, "waiting for Redis is no standstill");
        let nowhere = Worker::start(place, &sim, &[("AMQP__URL", "amqp://127.0.0.1:1/%2f")]);
        wait_for("what is in the way", async || {
            let (status, text) = nowhere.admin("/readyz").await;
            (status == 503 && text.contains("amqp.url")).then_some(())
        })
        .await;
        assert_eq!(nowhere.admin("/livez").await.0, 200, "waiting for a broker is no standstill");
    })
    .await;
}
