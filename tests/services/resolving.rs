//! `comet-worker resolve`, as a process: a person decides what the workers can't know.

use serde_json::{Value, json};

use crate::support::jobs::{external, job, jobs};
use crate::support::process::environment;
use crate::support::tool::{Said, tool};
use crate::support::{Broker, Place, Sim, Worker};

/// Long enough that `generation.quiet_s` holds, and short enough to wait for.
const QUIET: (&str, &str) = ("GENERATION__QUIET_S", "3");

struct Bench {
    place: &'static Place,
    sim: Sim,
    broker: Broker,
    _worker: Worker,
}

impl Bench {
    /// Starts a worker whose POSTs are lost as the fault says.
    async fn start(place: &'static Place, fault: &str) -> Self {
        let sim = Sim::start(&["--durations", "fixed:1s", "--duplicates", "accept", "--fault", fault]).await;
        let worker = Worker::start(place, &sim, &[QUIET]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        Self { place, sim, broker, _worker: worker }
    }

    async fn park(&self, jobs: &[Value]) {
        for job in jobs {
            self.broker.publish(self.place, job).await;
        }
        for (job, copies) in self.broker.ends(self.place, jobs.len()).await {
            assert_eq!(copies[0].json()["data"]["reason"], "outcome_unknown", "{job}");
        }
        self.broker.ready_is(&self.place.dead_queue(), u32::try_from(jobs.len()).unwrap()).await;
        self.sim.faults(json!({})).await;
    }

    async fn resolve(&self, arguments: &[&str]) -> Said {
        tool(&environment(self.place, &self.sim.url), &[&["resolve"], arguments].concat()).await
    }

    /// Waits for the first event and the correction of a job, in this order.
    async fn correction(&self, job: &str) -> Value {
        loop {
            let mut ends = self.broker.ends(self.place, 1).await;
            let (id, copies) = ends.pop_first().unwrap();
            assert_eq!(id, job);
            let corrections = copies.iter().map(crate::support::broker::Letter::json);
            if let Some(correction) = corrections.into_iter().find(|event| event["supersedes"].is_string()) {
                assert_eq!(correction["id"], format!("{job}/resolved"));
                assert_eq!(correction["supersedes"], format!("{job}/failed"));
                return correction;
            }
        }
    }
}

#[tokio::test]
async fn a_job_that_was_accepted_is_fetched_by_its_task_id() {
    Place::run("resolvetask", async |place| {
        let bench = Bench::start(place, "reply-lost").await;
        bench.park(&jobs("r", 3)).await;
        let tasks = bench.sim.report().await.tasks();
        let task = tasks[&external(&place.images(), &job("r-1"))][0].clone();

        let typo = bench.resolve(&["r-1", "--task-id", "no-such-task"]).await;
        assert_eq!(typo.code, Some(1), "{typo:?}");
        assert!(typo.words.contains("no task no-such-task"), "{typo:?}");
        let said = bench.resolve(&["r-1", "--json", "--task-id", &task]).await.json();
        assert_eq!(said, json!({"job_id": "r-1", "decision": "task_id", "task_id": task}));
        let correction = bench.correction("r-1").await;
        assert_eq!(
            (&correction["type"], &correction["data"]["task_id"]),
            (&"comet.job.succeeded".into(), &task.into())
        );
        bench.broker.ready_is(&place.dead_queue(), 2).await;

        let again = bench.resolve(&["r-1", "--give-up"]).await;
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.words.contains("r-1 is resolved already: r-1  succeeded"), "{again:?}");
        assert_eq!(bench.sim.report().await.number("accepted"), 3);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_not_accepted_is_submitted_again_and_one_that_is_not_wanted_is_given_up() {
    Place::run("resolveagain", async |place| {
        // The gateway breaks off, and no task was made.
        let bench = Bench::start(place, "bad-gateway").await;
        bench.park(&[job("again"), job("gone")]).await;
        assert_eq!(bench.resolve(&["again", "--submit-again"]).await.code, Some(0));
        assert_eq!(bench.correction("again").await["type"], "comet.job.succeeded");
        assert_eq!(bench.resolve(&["gone", "--give-up"]).await.code, Some(0));
        let gone = bench.correction("gone").await;
        assert_eq!(
            (&gone["type"], &gone["data"]["charged"]),
            (&"comet.job.cancelled".into(), &"unknown".into())
        );
        bench.broker.ready_is(&place.dead_queue(), 0).await;
        bench.sim.report().await.nothing_was_paid_for_twice();
        assert_eq!(bench.sim.report().await.number("accepted"), 1);
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_resolved_is_said_with_its_reason() {
    Place::run("resolvewrong", async |place| {
        let bench = Bench::start(place, "server-error=0").await;
        let never = bench.resolve(&["never", "--give-up"]).await;
        assert_eq!(never.code, Some(1), "{never:?}");
        assert!(never.words.contains("no receipts of never"), "{never:?}");
        bench.broker.publish(place, &job("known")).await;
        bench.broker.ends(place, 1).await;
        let known = bench.resolve(&["known", "--submit-again"]).await;
        assert_eq!(known.code, Some(1), "{known:?}");
        assert!(known.words.contains("an outcome that is known"), "{known:?}");
        for wrong in [&["a"][..], &["a", "--give-up", "--submit-again"], &["a", "--task-id", "a b"]] {
            assert_eq!(bench.resolve(wrong).await.code, Some(2), "{wrong:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_decision_without_a_copy_among_the_dead_letters_is_acted_on_when_the_job_is_sent_again() {
    Place::run("resolvecopy", async |place| {
        let bench = Bench::start(place, "bad-gateway").await;
        bench.park(&[job("a")]).await;
        bench.broker.next(&place.dead_queue()).await;
        let said = bench.resolve(&["a", "--submit-again"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.words.contains("send the same job once more"), "{said:?}");
        bench.broker.publish(place, &job("a")).await;
        assert_eq!(bench.correction("a").await["type"], "comet.job.succeeded");
    })
    .await;
}
