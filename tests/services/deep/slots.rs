//! The account's slots under kills and under a flush of Redis.

use std::time::Duration;

use crate::chance::stream;
use crate::private::PrivateRedis;
use crate::seed::seed;
use crate::slots::{Moment, job_of, look, with};
use crate::support::{Broker, Place, Sim, Worker, amqp_url, wait_for};

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
        let mut chance = stream(seed(), "slots under kills");
        for number in 0..JOBS {
            broker.publish(place, &job_of(&format!("s{number}"), chance.u64(1..=4))).await;
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
        // This is longer than a lost count is not trusted: max(gate + submit, twice the heartbeat) + 10 s.
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
        let mut connection = crate::support::connected(&client).await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
        // The killed worker can report nothing; its jobs go to the other.
        workers[0].kill().await;
        broker.ends(place, JOBS).await;
        let report = sim.report().await;
        assert_eq!(report.number("running_max"), CAP, "the count was lost with Redis");
        assert_eq!(report.number("submits"), JOBS as u64);
        report.nothing_was_paid_for_twice();
    })
    .await;
}
