//! The account's slots: counted over all workers, through their deaths and through a loss of Redis.

use std::time::Duration;

use serde_json::Value;

use crate::private::PrivateRedis;
use crate::support::jobs::{external, job};
use crate::support::{Broker, Place, Sim, Worker, amqp_url, wait_for};

const QUICK: &[(&str, &str)] =
    &[("GENERATION__QUIET_S", "3"), ("GENERATION__TIMEOUT_S", "20"), ("AMQP__HEARTBEAT_S", "2")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [QUICK, more].concat()
}

fn job_of(id: &str, images: u64) -> Value {
    let mut job = job(id);
    job["input"]["n"] = images.into();
    job
}

/// Of the provider, at one moment.
struct Moment {
    running: u64,
    accepted: u64,
}

async fn look(sim: &Sim) -> Moment {
    let report = sim.report().await;
    Moment { running: report.number("running"), accepted: report.number("accepted") }
}

#[tokio::test]
async fn the_limit_is_kept_and_made_use_of_while_workers_are_killed() {
    const CAP: u64 = 20;
    const JOBS: u64 = 110;
    const KILLS: usize = 10;
    Place::run("slots", async |place| {
        let sim = Sim::start(&["--lookup", "--durations", "uniform:2s-5s"]).await;
        let settings = with(&[("GENERATION__MAX_RUNNING", "20")]);
        let start = || Worker::start(place, &sim, &settings);
        let mut workers = [start(), start(), start(), start()];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut dice = 1_u64;
        for number in 0..JOBS {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            broker.publish(place, &job_of(&format!("s{number}"), 1 + (dice >> 33) % 4)).await;
        }
        wait_for("a task", async || (look(&sim).await.accepted > 0).then_some(())).await;
        let mut samples = Vec::new();
        let mut kills = 0;
        let mut next_kill = tokio::time::Instant::now() + Duration::from_secs(2);
        loop {
            let Moment { running, accepted } = look(&sim).await;
            // As long as there are jobs that have never run.
            if accepted + CAP >= JOBS {
                break;
            }
            samples.push(running);
            if kills < KILLS && tokio::time::Instant::now() >= next_kill {
                next_kill += Duration::from_secs(2);
                let victim = &mut workers[kills % 4];
                victim.kill().await;
                *victim = start();
                kills += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        broker.ends(place, usize::try_from(JOBS).unwrap()).await;
        let report = sim.report().await;
        let mean = samples.iter().sum::<u64>() as f64 / samples.len() as f64;
        let max = report.number("running_max");
        println!(
            "slots: {mean:.1} of {CAP} taken on average while jobs waited, {max} at most, {kills} kills"
        );
        assert_eq!(kills, KILLS, "the jobs were over too soon");
        assert!(max <= CAP, "{max} ran at a time");
        assert!(mean > 8.0, "the slots stand empty");
        report.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_flush_while_slots_are_taken_lets_nothing_above_the_limit_run() {
    const CAP: u64 = 6;
    const JOBS: usize = 10;
    let redis = PrivateRedis::start().await;
    Place::run_on("slots-flush", amqp_url(), redis.url(), async |place| {
        // Longer than a count that was lost is not trusted: max(gate + submit, twice the heartbeat) + 10 s.
        let sim = Sim::start(&["--durations", "fixed:22s"]).await;
        let settings = with(&[
            ("GENERATION__MAX_RUNNING", "6"),
            ("GENERATION__GATE_S", "1"),
            ("GENERATION__TIMEOUT_S", "60"),
            ("API__SUBMIT_TIMEOUT_S", "2"),
        ]);
        let mut workers = [Worker::start(place, &sim, &settings), Worker::start(place, &sim, &settings)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..JOBS {
            broker.publish(place, &job_of(&format!("f{number}"), 1)).await;
        }
        wait_for("full slots", async || (look(&sim).await.running == CAP).then_some(())).await;
        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
        // The one that dies behind it can say nothing; its jobs come to the other.
        workers[0].kill().await;
        broker.ends(place, JOBS).await;
        let report = sim.report().await;
        assert_eq!(report.number("running_max"), CAP, "the count was lost with Redis");
        assert_eq!(report.number("submits"), JOBS as u64);
        report.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_large_job_among_small_ones_has_its_turn() {
    Place::run("slots-large", async |place| {
        let sim = Sim::start(&["--durations", "uniform:300ms-600ms"]).await;
        let settings = with(&[("GENERATION__MAX_RUNNING", "4")]);
        let _workers = [Worker::start(place, &sim, &settings), Worker::start(place, &sim, &settings)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..60 {
            if number == 10 {
                broker.publish(place, &job_of("large", 4)).await;
            }
            broker.publish(place, &job_of(&format!("l{number}"), 1)).await;
        }
        broker.ends(place, 61).await;
        let report = sim.report().await;
        assert!(report.number("running_max") <= 4);
        let external = external(&place.images(), &job_of("large", 4));
        let tasks = report.0["tasks"].as_array().unwrap();
        let turn = tasks.iter().position(|task| task["external_task_id"] == external).unwrap();
        assert!(turn < 40, "{turn} small ones went before it");
    })
    .await;
}

#[tokio::test]
async fn refusals_that_one_worker_gets_slow_the_other() {
    Place::run("pace", async |place| {
        let refusing = Sim::start(&["--durations", "fixed:100ms", "--fault", "busy"]).await;
        let healthy = Sim::start(&["--durations", "fixed:100ms"]).await;
        let settings = with(&[("WORKER__MAX_IN_FLIGHT", "2")]);
        let _refused = Worker::start(place, &refusing, &settings);
        let other = Worker::start(place, &healthy, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..30 {
            broker.publish(place, &job_of(&format!("p{number}"), 1)).await;
        }
        let pace = async || {
            let (_, page) = other.admin("/metrics").await;
            let line = page.lines().find_map(|line| line.strip_prefix("comet_submit_pace "))?;
            line.parse::<f64>().ok().filter(|pace| *pace > 0.0)
        };
        let pace = wait_for("a pace at the worker that nobody refuses", pace).await;
        println!("pace: {pace} a second at the worker that nobody refuses");
        refusing.faults(serde_json::json!({})).await;
        broker.ends(place, 30).await;
        let (refused, healthy) = (refusing.report().await, healthy.report().await);
        println!("POSTs: {} and {}", refused.number("submits"), healthy.number("submits"));
        refused.nothing_was_paid_for_twice();
        healthy.nothing_was_paid_for_twice();
    })
    .await;
}
