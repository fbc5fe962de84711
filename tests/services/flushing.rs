//! Redis loses all its data under two running workers, and every job comes a second time after that. At each point
//! there is one charge and one wording of the outcome.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::private::PrivateRedis;
use crate::support::broker::Letter;
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, wait_for};

const JOBS: usize = 6;

#[tokio::test]
async fn a_flush_while_the_posts_are_under_way_is_paid_for_once() {
    on_a_redis_of_ones_own("submitting", async |place| {
        let scene = Scene::set(place, &["--submit-latency", "4s", "--durations", "fixed:1s"]).await;
        scene.publish().await;
        scene.wait_for("submits").await;
        scene.flush().await;
        scene.publish_again().await;
        let ends = scene.all_is_told_twice().await;
        scene.holds(&ends).await;
    })
    .await;
}

#[tokio::test]
async fn a_flush_while_the_generations_run_is_paid_for_once() {
    on_a_redis_of_ones_own("generating", async |place| {
        let scene = Scene::set(place, &["--durations", "fixed:5s"]).await;
        scene.publish().await;
        scene.wait_for("accepted").await;
        scene.flush().await;
        scene.publish_again().await;
        let ends = scene.all_is_told_twice().await;
        scene.holds(&ends).await;
    })
    .await;
}

#[tokio::test]
async fn a_flush_behind_the_end_changes_no_byte_for_a_job_that_comes_again() {
    on_a_redis_of_ones_own("ended", async |place| {
        let scene = Scene::set(place, &["--durations", "fixed:500ms"]).await;
        scene.publish().await;
        let first = scene.broker.ends(place, JOBS).await;
        scene.broker.ready_is(&place.queue(), 0).await;
        scene.flush().await;
        scene.publish_again().await;
        let again = scene.broker.ends(place, JOBS).await;
        for (job, copies) in &again {
            assert_eq!(copies[0].body, first[job][0].body, "{job}");
        }
        scene.holds(&again).await;
    })
    .await;
}

struct Scene<'a> {
    place: &'a Place,
    sim: Sim,
    broker: Broker,
    jobs: Vec<Value>,
    _workers: [Worker; 2],
}

async fn on_a_redis_of_ones_own<F: Future<Output = ()>>(name: &str, test: impl FnOnce(&'static Place) -> F) {
    let redis = PrivateRedis::start().await;
    Place::run_on(name, amqp_url(), redis.url(), test).await;
}

impl<'a> Scene<'a> {
    async fn set(place: &'a Place, provider: &[&str]) -> Self {
        // This provider would charge for each of two POSTs.
        let sim = Sim::start(&[&["--duplicates", "accept"], provider].concat()).await;
        let workers = [Worker::start(place, &sim, &[]), Worker::start(place, &sim, &[])];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        Self { place, sim, broker, jobs: jobs("f", JOBS), _workers: workers }
    }

    async fn publish(&self) {
        for job in &self.jobs {
            self.broker.publish(self.place, job).await;
        }
    }

    /// Publishes in the other order, because RabbitMQ gives messages to the workers in turn, so each worker gets what
    /// the other has had.
    async fn publish_again(&self) {
        for job in self.jobs.iter().rev() {
            self.broker.publish(self.place, job).await;
        }
    }

    /// Waits until the provider has counted as many as there are jobs.
    async fn wait_for(&self, what: &str) {
        wait_for(what, async || (self.sim.report().await.number(what) == JOBS as u64).then_some(())).await;
    }

    async fn flush(&self) {
        let client = redis::Client::open(self.place.redis_url.as_str()).unwrap();
        let mut redis = crate::support::connected(&client).await.unwrap();
        redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    }

    async fn all_is_told_twice(&self) -> BTreeMap<String, Vec<Letter>> {
        let mut ends = self.broker.ends(self.place, JOBS).await;
        wait_for("a copy of the event for each copy of the job", async || {
            self.broker.rest(self.place, &mut ends).await;
            (ends.values().map(Vec::len).sum::<usize>() == 2 * JOBS).then_some(())
        })
        .await;
        ends
    }

    async fn holds(&self, ends: &BTreeMap<String, Vec<Letter>>) {
        for (job, copies) in ends {
            let event = copies[0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{job}: {event}");
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "{job}");
        }
        let report = self.sim.report().await;
        assert_eq!(report.number("submits"), JOBS as u64);
        assert_eq!(report.tasks().len(), JOBS);
        report.nothing_was_paid_for_twice();
    }
}
