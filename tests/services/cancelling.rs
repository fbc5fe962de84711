//! `comet-worker cancel`, as a process beside a worker.

use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn jobs_are_cancelled_before_they_are_seen_while_they_generate_and_not_after_their_end() {
    Place::run("cancel", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let broker = Broker::connect(place).await;
        let environment = environment(place, &sim.url);
        let cancel = async |job: &str| tool(&environment, &["cancel", "--json", job]).await;

        assert_eq!(cancel("unseen").await.json()["state"], "not_seen");
        let mut worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        broker.listen(place).await;
        broker.publish(place, &job("unseen")).await;
        for job in jobs("running", 3) {
            broker.publish(place, &job).await;
        }
        wait_for("three generations", async || {
            let tasks = sim.report().await.tasks();
            (tasks.len() == 3).then_some(())
        })
        .await;
        let generating = wait_for("a generation that Redis knows", async || {
            let said = cancel("running-0").await.json();
            (said["state"] == "generating" || said["state"] == "submitting").then_some(said)
        })
        .await;
        let ends = broker.ends(place, 2).await;
        let (unseen, running) = (ends["unseen"][0].json(), ends["running-0"][0].json());
        for end in [&unseen, &running] {
            assert_eq!(end["type"], "comet.job.cancelled", "{end}");
        }
        assert_eq!((&unseen["data"]["charged"], &unseen["data"]["task_id"]), (&"no".into(), &().into()));
        assert_eq!(running["data"]["charged"], "yes");
        assert_eq!(running["data"]["metadata"]["of"], "running-0");
        if generating["state"] == "generating" {
            assert_eq!(running["data"]["task_id"], generating["task_id"]);
        }

        let late = tool(&environment, &["cancel", "running-0", "running-1"]).await;
        assert_eq!(late.code, Some(1), "{late:?}");
        assert!(late.data.contains("running-0  not cancelled: it has ended, see event running-0/cancelled"));
        assert!(late.data.contains("running-1  cancelled while it is"), "{late:?}");
        assert!(late.words.contains("1 job had ended already"), "{late:?}");
        assert_eq!(broker.ends(place, 1).await["running-1"][0].json()["type"], "comet.job.cancelled");

        // No worker holds this job, so it ends with its next delivery.
        assert!(worker.stop().await.success());
        assert_eq!(tool(&environment, &["cancel", "running-2"]).await.code, Some(0));
        let _worker = Worker::start(place, &sim, &[]);
        assert_eq!(broker.ends(place, 1).await["running-2"][0].json()["type"], "comet.job.cancelled");
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        assert_eq!(report.number("accepted"), 3, "the unseen one was never posted");
        broker.ready_is(&place.queue(), 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_asked_wrongly_ends_with_2() {
    Place::run("cancelwrong", async |place| {
        let environment = environment(place, "http://127.0.0.1:1");
        for wrong in [&["cancel"][..], &["cancel", "a b"]] {
            let said = tool(&environment, wrong).await;
            assert_eq!(said.code, Some(2), "{said:?}");
        }
    })
    .await;
}
