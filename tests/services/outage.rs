//! Services that go away and come back: polls go on, nothing new starts, and nothing is lost.

use crate::private::{PrivateRabbit, PrivateRedis};
use crate::support::jobs::{job, jobs};
use crate::support::{Broker, Place, Sim, Worker, amqp_url, redis_url, wait_for};

#[tokio::test]
async fn while_redis_is_gone_generations_are_polled_nothing_starts_and_all_is_told_after_it() {
    let mut redis = PrivateRedis::start().await;
    Place::run_on("redis", amqp_url(), redis.url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:12s"]).await;
        let worker = Worker::start(place, &sim, &[("REDIS__RESPONSE_TIMEOUT_MS", "500")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("r", 10) {
            broker.publish(place, &job).await;
        }
        wait_for("10 notes in Redis", async || {
            (worker.log().matches("submitted task_id").count() == 10).then_some(())
        })
        .await;
        redis.kill().await;
        let polls = sim.report().await.number("polls");
        wait_for("more polls", async || (sim.report().await.number("polls") > polls + 10).then_some(()))
            .await;
        broker.publish(place, &job("late")).await;
        wait_for("the pause", async || worker.admin("/readyz").await.1.contains("redis").then_some(())).await;
        assert_eq!(sim.report().await.number("submits"), 10);
        redis.start_again().await;
        let ends = broker.ends(place, 11).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        assert_eq!(sim.report().await.number("submits"), 11, "{}", worker.log());
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
    })
    .await;
    redis.stop().await;
}

#[tokio::test]
async fn a_restart_of_rabbitmq_costs_no_job_and_no_second_submit() {
    let mut rabbit = PrivateRabbit::start().await;
    Place::run_on("rabbit", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:5s"]).await;
        let worker = Worker::start(place, &sim, &[("AMQP__HEARTBEAT_S", "2")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("b", 10) {
            broker.publish(place, &job).await;
        }
        wait_for("10 tasks", async || (sim.report().await.number("accepted") == 10).then_some(())).await;
        drop(broker);
        rabbit.kill().await;
        worker.says("no session with RabbitMQ").await;
        assert_eq!(worker.admin("/readyz").await.0, 503);
        rabbit.start_again().await;
        let broker = Broker::connect(place).await;
        let ends = broker.ends(place, 10).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        assert_eq!(sim.report().await.number("submits"), 10, "{}", worker.log());
    })
    .await;
    rabbit.stop().await;
}
