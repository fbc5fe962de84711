//! One job hundreds of times in the queue: it is paid for once, has an event for each copy, and delays no other job.

use serde_json::json;

use crate::support::jobs::{job, jobs};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const COPIES: usize = 300;

#[tokio::test]
async fn three_hundred_copies_of_a_job_that_generates_hold_no_other_up_and_are_one_generation() {
    Place::run("many-copies", async |place| {
        // This is longer than the other jobs can take on a busy machine, and they must not wait for it.
        let sim = Sim::start(&["--durations", "fixed:40s"]).await;
        let worker = Worker::start(place, &sim, &[("WORKER__MAX_IN_FLIGHT", "20")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("copied")).await;
        wait_for("the task", async || (sim.report().await.number("accepted") == 1).then_some(())).await;
        sim.put("durations", json!({"distribution": "fixed:500ms"})).await;
        for _ in 1..COPIES {
            broker.publish(place, &job("copied")).await;
        }
        for other in jobs("other", 20) {
            broker.publish(place, &other).await;
        }
        let mut ends = broker.ends(place, 20).await;
        assert!(!ends.contains_key("copied"), "the others waited for it: {:?}", ends.keys());

        wait_for("an end of the job for each copy", async || {
            broker.rest(place, &mut ends).await;
            (ends.get("copied").map_or(0, Vec::len) >= COPIES).then_some(())
        })
        .await;
        broker.ready_is(&place.queue(), 0).await;
        let copies = &ends["copied"];
        assert!(copies.iter().all(|copy| copy.body == copies[0].body), "copies differ");
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 21, "{}", worker.log());
        report.nothing_was_paid_for_twice();
        assert_eq!(broker.ready(&place.dead_queue()).await, 0);
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(!metrics.contains("comet_handed_back_total{why=\"copy\"} 0"), "{metrics}");
    })
    .await;
}
