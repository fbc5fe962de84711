//! Real S3 servers: one whose create-if-absent is atomic, and one whose isn't.

use crate::private::stores::PrivateStore;
use crate::stores::{found, says};
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const JOBS: usize = 300;
const KILLS: usize = 5;
/// The most POSTs that one worker has under way; a kill leaves their outcome unknown.
const SUBMITS: usize = 8;
const QUICK: &[(&str, &str)] = &[
    ("GENERATION__QUIET_S", "3"),
    ("AMQP__HEARTBEAT_S", "2"),
    ("WORKER__MAX_IN_FLIGHT", "40"),
    ("API__MAX_SUBMITS_AT_ONCE", "8"),
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
        let is_unknown = |event: &serde_json::Value| event["data"]["reason"] == "outcome_unknown";
        assert!(failed.iter().all(is_unknown) && failed.len() <= KILLS * SUBMITS, "{failed:?}");
        sim.report().await.nothing_was_paid_for_twice();
        let unknown = failed.len();
        println!("{JOBS} jobs on SeaweedFS, {KILLS} kills, none paid for twice, {unknown} unknown");
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
