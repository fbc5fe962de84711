//! Real servers of S3: one whose create-if-absent is atomic, and one whose isn't.

use crate::private::stores::PrivateStore;
use crate::stores::{found, says};
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const JOBS: usize = 300;
const KILLS: usize = 5;
/// The stand-in finds every task, so a POST that a kill has kept from leaving is made good.
const QUICK: &[(&str, &str)] = &[
    ("GENERATION__ON_UNKNOWN_SUBMIT", "trust_lookup"),
    ("GENERATION__QUIET_S", "3"),
    ("AMQP__HEARTBEAT_S", "2"),
    ("WORKER__MAX_IN_FLIGHT", "40"),
];

#[tokio::test]
async fn on_seaweedfs_no_job_is_paid_for_twice_over_five_kills() {
    Place::run("seaweedfs", async |place| {
        let store = PrivateStore::seaweedfs().await;
        let findings = found(place, &store.environment()).await;
        says(&findings, "ok", "so its receipts are a gate");
        says(&findings, "ok", "written, read back and deleted");

        let sim = Sim::start(&["--durations", "fixed:1s"]).await;
        let start = || Worker::start_with(place, &sim, QUICK, &store.environment());
        let mut workers = [start(), start()];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("s", JOBS) {
            broker.publish(place, &job).await;
        }
        for kill in 1..=KILLS {
            let by_then = u64::try_from(kill * JOBS / (KILLS + 1)).unwrap();
            wait_for("so many tasks", async || {
                (sim.report().await.number("accepted") >= by_then).then_some(())
            })
            .await;
            let worker = &mut workers[kill % 2];
            worker.kill().await;
            *worker = start();
        }
        let ends = broker.ends(place, JOBS).await;
        let failed: Vec<_> = ends
            .values()
            .map(|copies| copies[0].json())
            .filter(|event| event["type"] != "comet.job.succeeded")
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        sim.report().await.nothing_was_paid_for_twice();
        println!("{JOBS} jobs on SeaweedFS, {KILLS} kills, none paid for twice");
    })
    .await;
}

#[tokio::test]
async fn s3rver_lets_several_create_the_same_object_and_check_says_so() {
    Place::run("s3rver", async |place| {
        let store = PrivateStore::s3rver().await;
        let findings = found(place, &store.environment()).await;
        says(&findings, "warning", "so its receipts are no gate");
        assert!(!findings.iter().any(|(verdict, _)| verdict == "fail"), "{findings:?}");
    })
    .await;
}
