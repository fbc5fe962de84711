//! The account's slots, counted over all workers. `deep::slots` tests the count under workers' deaths and a loss of
//! Redis, and the slots suite tests one ledger.

use serde_json::Value;

use crate::support::jobs::{external, job};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const QUICK: &[(&str, &str)] =
    &[("GENERATION__QUIET_S", "3"), ("GENERATION__TIMEOUT_S", "20"), ("AMQP__HEARTBEAT_S", "2")];

pub fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [QUICK, more].concat()
}

pub fn job_of(id: &str, images: u64) -> Value {
    let mut job = job(id);
    job["input"]["n"] = images.into();
    job
}

/// The state of the provider at one moment.
pub struct Moment {
    pub running: u64,
    pub accepted: u64,
}

pub async fn look(sim: &Sim) -> Moment {
    let report = sim.report().await;
    Moment { running: report.number("running"), accepted: report.number("accepted") }
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
        let pace = wait_for("a pace at the worker that was not refused", pace).await;
        println!("pace: {pace} a second at the worker that was not refused");
        refusing.faults(serde_json::json!({})).await;
        broker.ends(place, 30).await;
        let (refused, healthy) = (refusing.report().await, healthy.report().await);
        println!("POSTs: {} and {}", refused.number("submits"), healthy.number("submits"));
        refused.nothing_was_paid_for_twice();
        healthy.nothing_was_paid_for_twice();
    })
    .await;
}
