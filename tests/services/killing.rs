//! Workers killed, stopped and frozen at random points: every job one outcome, nothing submitted again.

use std::time::Duration;

use redis::AsyncCommands;

use crate::support::jobs::{external, job, jobs};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const QUICK: &[(&str, &str)] = &[("GENERATION__QUIET_S", "3"), ("AMQP__HEARTBEAT_S", "2")];

/// Random enough for a test, and printed with it.
struct Dice(u64);

impl Dice {
    fn new(name: &str) -> Self {
        let seed = std::env::var("COMET_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
        println!("{name}: COMET_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

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

#[tokio::test]
async fn a_hundred_jobs_survive_workers_killed_stopped_and_frozen_at_random() {
    Place::run("random", async |place| {
        let mut dice = Dice::new("a_hundred_jobs");
        let sim = Sim::start(&["--durations", "uniform:500ms-4s", "--submit-latency", "100ms"]).await;
        let mut workers = [Worker::start(place, &sim, QUICK), Worker::start(place, &sim, QUICK)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("j", 100) {
            broker.publish(place, &job).await;
        }
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100 + dice.below(700))).await;
            let victim = &mut workers[usize::try_from(dice.below(2)).unwrap()];
            match dice.below(4) {
                0 | 1 => {
                    victim.kill().await;
                    *victim = Worker::start(place, &sim, QUICK);
                }
                2 => {
                    victim.says("comet-worker runs").await;
                    assert!(victim.stop().await.success(), "{}", victim.log());
                    *victim = Worker::start(place, &sim, QUICK);
                }
                _ => {
                    // Longer than two heartbeats: the broker gives its jobs to the other one.
                    victim.signal("-STOP").await;
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    victim.signal("-CONT").await;
                }
            }
        }
        let mut ends = broker.ends(place, 100).await;
        broker.ready_is(&place.queue(), 0).await;
        for worker in &mut workers {
            assert!(worker.stop().await.success(), "{}", worker.log());
        }
        broker.ready_is(&place.queue(), 0).await;
        broker.rest(place, &mut ends).await;
        // Of jobs that nobody could know the outcome of, and of nothing else.
        let mut parked = 0;
        while let Some(letter) = broker.take(&place.dead_queue()).await {
            assert_eq!(letter.header("x-comet-reason").as_deref(), Some("outcome_unknown"));
            parked += 1;
        }

        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        let tasks = report.tasks();
        let mut unknown = 0;
        for (name, copies) in &ends {
            let first = &copies[0];
            assert!(copies.iter().all(|copy| copy.body == first.body), "{name}: copies differ");
            let event = first.json();
            let task = tasks.get(&external(&place.images(), &job(name))).map(|tasks| tasks[0].as_str());
            match event["type"].as_str().unwrap() {
                "comet.job.succeeded" => assert_eq!(event["data"]["task_id"].as_str(), task, "{event}"),
                // Killed between the POST and the note of its answer.
                _ => {
                    assert_eq!(event["data"]["reason"], "outcome_unknown", "{event}");
                    unknown += 1;
                }
            }
        }
        assert!(unknown <= parked, "{unknown} unknown outcomes, and {parked} copies for a person");
    })
    .await;
}

/// The id in the record, once it is there.
async fn task_in_redis(place: &Place, job: &str) -> Option<String> {
    let client = redis::Client::open(place.redis_url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis.hget(format!("{{{}}}:job:{job}", place.prefix), "task").await.unwrap()
}
