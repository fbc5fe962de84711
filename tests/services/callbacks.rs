//! Callbacks: the stand-in calls one worker, and another holds the job.

use std::collections::BTreeMap;

use comet_worker::job::callback::Callbacks;
use serde_json::json;

use crate::support::jobs::{external, job, jobs};
use crate::support::listener::{Listener, SECRET, SELDOM};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// The number of polls that callbacks may bring forward for one job.
const PULLS_MAX: u64 = 8;

/// One worker holds jobs and doesn't listen for callbacks; the other listens and takes none of these jobs, because it
/// has another queue.
struct Pair {
    holder: Worker,
    listener: Listener,
    callbacks: Callbacks,
}

impl Pair {
    async fn start(place: &Place, sim: &Sim) -> Self {
        let listener = Listener::start(place, sim).await;
        let holder = Worker::start(place, sim, &[&SELDOM[..], &listener.settings()].concat());
        for worker in [&listener.worker, &holder] {
            worker.says("taking jobs").await;
        }
        let callbacks =
            Callbacks::new(&listener.public_url.parse().unwrap(), &SECRET.to_owned().into(), &place.prefix);
        Self { holder, listener, callbacks }
    }

    async fn stop(mut self, broker: &Broker) {
        assert!(self.holder.stop().await.success());
        for log in [self.holder.log(), self.listener.stop(broker).await] {
            assert!(
                !log.contains(SECRET) && !log.contains("/comet/"),
                "secrets or tokens in the log:\n{log}"
            );
        }
    }
}

#[tokio::test]
async fn a_hit_on_one_worker_wakes_the_one_that_holds_the_job() {
    Place::run("callbacks", async |place| {
        // Early, copies, backwards: whatever comes, the job's end is seen, and nothing else is.
        let sim = Sim::start(&[
            "--durations",
            "fixed:3s",
            "--fault",
            "callback-early=2x",
            "--fault",
            "callback-duplicate=3x",
            "--fault",
            "callback-garbage=0.3",
            "--fault",
            "callback-wrong-id=0.3",
            "--fault",
            "callback-upstream-id=0.3",
            "--fault",
            "callback-out-of-order=0.3",
        ])
        .await;
        let broker = Broker::connect(place).await;
        let pair = Pair::start(place, &sim).await;
        broker.listen(place).await;
        let jobs = jobs("called", 8);
        for job in &jobs {
            broker.publish(place, job).await;
        }
        let ends = broker.ends(place, jobs.len()).await;
        for (id, letters) in &ends {
            assert_eq!(letters[0].json()["type"], "comet.job.succeeded", "{id}");
        }
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        assert!(pair.listener.accepted().await >= 8);
        for task in report.0["tasks"].as_array().unwrap() {
            let polls = task["polls"].as_u64().unwrap();
            assert!((1..=PULLS_MAX).contains(&polls), "{task}");
        }
        pair.stop(&broker).await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_hits_costs_a_bounded_number_of_looks() {
    Place::run("flood", async |place| {
        // The stand-in's own callbacks are lost, so that all callbacks come from this test.
        let sim = Sim::start(&["--durations", "fixed:600s", "--fault", "callback-lost"]).await;
        let broker = Broker::connect(place).await;
        let pair = Pair::start(place, &sim).await;
        broker.listen(place).await;
        broker.publish(place, &job("flooded")).await;
        broker.publish(place, &job("quiet")).await;
        wait_for("two generations", async || (sim.report().await.number("accepted") == 2).then_some(()))
            .await;

        let http = reqwest::Client::new();
        let hit = async |url: &str| http.post(url).body("garbage").send().await.unwrap().status().as_u16();
        let url = |id: &str| pair.callbacks.url(&id.parse().unwrap());
        let (flooded, quiet) = (url("flooded"), url("quiet"));
        assert_eq!(hit(&url("nobody-holds-it")).await, 200);
        let crossed =
            format!("{}.{}", flooded.rsplit_once('.').unwrap().0, quiet.rsplit_once('.').unwrap().1);
        assert_eq!(hit(&crossed).await, 404, "one job's token is none for another");
        for _ in 0..50 {
            let [a, b, c, d] = [(); 4].map(|()| hit(&flooded));
            assert_eq!(tokio::join!(a, b, c, d), (200, 200, 200, 200));
        }
        assert_eq!(pair.listener.accepted().await, 201);
        // What was told before this has been heard by then: the channel keeps its order.
        assert_eq!(hit(&quiet).await, 200);
        let polls = async || -> BTreeMap<String, u64> {
            let report = sim.report().await;
            let of = |task: &serde_json::Value| {
                (task["external_task_id"].as_str().unwrap().to_owned(), task["polls"].as_u64().unwrap())
            };
            report.0["tasks"].as_array().unwrap().iter().map(of).collect()
        };
        let external = |id: &str| external(&place.images(), &job(id));
        wait_for("a look at the quiet one", async || (polls().await[&external("quiet")] > 0).then_some(()))
            .await;
        let polls = polls().await;
        assert_eq!(polls[&external("quiet")], 1);
        assert!((1..=PULLS_MAX).contains(&polls[&external("flooded")]), "{polls:?}");
        sim.faults(json!({})).await;
        pair.stop(&broker).await;
    })
    .await;
}
