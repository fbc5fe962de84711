//! A fault of the account stops no job: the intake ends, the jobs stay with the broker, and the worker resumes by
//! itself.

use serde_json::json;

use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn when_the_money_ends_the_jobs_stay_in_the_queue_and_go_on_after_a_top_up() {
    Place::run("money", async |place| {
        let sim = Sim::start(&["--durations", "fixed:1s", "--balance", "50"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("m", 200) {
            broker.publish(place, &job).await;
        }
        let mut ends = broker.ends(place, 50).await;
        wait_for("the pause", async || (worker.admin("/readyz").await.0 == 503).then_some(())).await;
        broker.ready_is(&place.queue(), 150).await;
        let (_, ready) = worker.admin("/readyz").await;
        assert!(ready.contains("account") && ready.contains("top the account up"), "{ready}");
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(metrics.contains("comet_paused{reason=\"account\"} 1"), "{metrics}");
        let report = sim.report().await;
        let refused = report.number("submits") - report.number("accepted");
        assert!((1..=80).contains(&refused), "{refused} refused POSTs");
        assert_eq!(worker.log().matches("taking no jobs").count(), 1, "{}", worker.log());

        sim.put("balance", json!({"balance": 1000})).await;
        ends.append(&mut broker.ends(place, 150).await);
        assert_eq!(ends.len(), 200);
        for (job, copies) in &ends {
            assert_eq!(copies[0].json()["type"], "comet.job.succeeded", "{job}");
        }
        sim.report().await.nothing_was_paid_for_twice();
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_key_stops_the_intake_until_it_is_accepted() {
    Place::run("key", async |place| {
        let sim = Sim::start(&["--durations", "fixed:1s", "--fault", "account-closed"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("k", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("the pause", async || worker.admin("/readyz").await.1.contains("api.key").then_some(()))
            .await;
        broker.ready_is(&place.queue(), 20).await;
        sim.faults(json!({})).await;
        let ends = broker.ends(place, 20).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_job_near_the_delivery_limit_is_published_afresh_and_not_taken_for_poison() {
    Place::run("limit", async |place| {
        let sim = Sim::start(&["--fault", "account-closed"]).await;
        let mut worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        assert!(worker.stop().await.success());
        broker.publish(place, &jobs("l", 1)[0]).await;
        for _ in 0..15 {
            broker.give_back(&place.queue()).await;
        }
        let mut worker = Worker::start(place, &sim, &[]);
        wait_for("the pause", async || worker.admin("/readyz").await.1.contains("api.key").then_some(()))
            .await;
        assert!(worker.stop().await.success());
        let letter = broker.next(&place.queue()).await;
        let headers = letter.properties.headers().clone().unwrap();
        assert!(headers.inner().contains_key("x-comet-handed-on"), "{headers:?}");
        assert_eq!(letter.json(), jobs("l", 1)[0]);
        assert_eq!(broker.ready(&place.queue()).await, 0, "one copy");
    })
    .await;
}

#[tokio::test]
async fn while_only_the_post_is_down_a_handful_of_jobs_is_lost_and_the_others_wait_in_the_queue() {
    // Charged and answered 504; not charged and answered 500. Each GET is answered.
    for fault in ["gateway-timeout-after", "server-error"] {
        Place::run("post", async |place| {
            let sim = Sim::start(&["--durations", "fixed:1s", "--fault", fault]).await;
            let settings = [("GENERATION__QUIET_S", "5"), ("API__MAX_SUBMITS_AT_ONCE", "8")];
            let worker = Worker::start(place, &sim, &settings);
            let broker = Broker::connect(place).await;
            broker.listen(place).await;
            for job in jobs("p", 150) {
                broker.publish(place, &job).await;
            }
            let says = async || {
                let (status, text) = worker.admin("/readyz").await;
                (status == 503 && text.contains("growing distances")).then_some(())
            };
            wait_for("the pause", says).await;
            // Three of its probes.
            let struck = async || sim.report().await.number("submits");
            let first = struck().await;
            wait_for("probes", async || (struck().await >= first + 3).then_some(())).await;
            let lost = struck().await;
            assert!(lost <= 8 + 6, "{fault}: {lost} POSTs");

            sim.faults(json!({})).await;
            let ends = broker.ends(place, 150).await;
            let told = |word: &str| {
                ends.values().filter(|copies| copies[0].json().to_string().contains(word)).count()
            };
            let lost = told("outcome_unknown");
            assert!(lost <= 8 + 8, "{fault}: {lost} jobs");
            assert_eq!(lost + told("comet.job.succeeded"), 150);
            sim.report().await.nothing_was_paid_for_twice();
        })
        .await;
    }
}

#[tokio::test]
async fn a_provider_that_is_down_costs_no_job() {
    Place::run("down", async |place| {
        let sim = Sim::start(&["--durations", "fixed:1s"]).await;
        // No server listens there, so certainly nothing was sent.
        let mut lost = Worker::start(place, &sim, &[("API__BASE_URL", "http://127.0.0.1:1")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("d", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("the pause", async || lost.admin("/readyz").await.1.contains("provider").then_some(()))
            .await;
        broker.ready_is(&place.queue(), 20).await;
        assert!(lost.stop().await.success());
        let _found = Worker::start(place, &sim, &[]);
        let ends = broker.ends(place, 20).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_takes_nothing_holds_the_jobs_and_loses_none() {
    Place::run("store", async |place| {
        let sim = Sim::start(&["--durations", "fixed:1s"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        // A file takes the place of the folder of the images.
        let folder = place.images().join("images");
        std::fs::create_dir_all(place.images()).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        for job in jobs("s", 5) {
            broker.publish(place, &job).await;
        }
        wait_for("the pause", async || worker.admin("/readyz").await.1.contains("storage").then_some(()))
            .await;
        std::fs::remove_file(&folder).unwrap();
        let ends = broker.ends(place, 5).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 5);
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
    })
    .await;
}
