//! Situations that only look like standstills: jobs are taken and end, or wait for the provider alone, and no person is
//! woken for it.

use super::Scene;
use crate::support::jobs::job;
use crate::support::{Place, wait_for};

#[tokio::test]
async fn a_provider_that_is_slow_to_answer_a_post() {
    Place::run("side-slow-post", async |place| {
        let scene = Scene::start(place, &["--submit-latency", "55s"], &[]).await;
        scene.publish(2).await;
        scene.shows("provider slow to take jobs").await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_is_slow_to_generate() {
    Place::run("side-slow", async |place| {
        let scene = Scene::start(place, &["--durations", "fixed:600s"], &[]).await;
        scene.publish(2).await;
        scene.shows("provider slow to generate").await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_wants_fewer_submits() {
    Place::run("side-pace", async |place| {
        let scene = Scene::start(place, &["--durations", "fixed:600s", "--fault", "busy"], &[]).await;
        scene.publish(4).await;
        scene.shows("provider asks for fewer submits").await;
    })
    .await;
}

#[tokio::test]
async fn an_account_whose_slots_are_all_taken() {
    Place::run("side-slots", async |place| {
        let settings = [("GENERATION__MAX_RUNNING", "1")];
        let scene = Scene::start(place, &["--durations", "fixed:600s"], &settings).await;
        scene.publish(3).await;
        scene.shows("slots full").await;
    })
    .await;
}

#[tokio::test]
async fn one_message_that_is_no_job() {
    Place::run("side-message", async |place| {
        let scene = Scene::start(place, &["--durations", "fixed:300ms"], &[]).await;
        scene.publish_raw(b"no job at all").await;
        scene.publish(1).await;
        scene.shows("one message that is no job").await;
    })
    .await;
}

#[tokio::test]
async fn one_job_that_kills_each_worker_that_stores_it() {
    Place::run("side-poison", async |place| {
        let arguments = ["--durations", "fixed:300ms", "--fault", "file-stalls"];
        let mut scene = Scene::start(place, &arguments, &[]).await;
        scene.publish(1).await;
        for time in 1..=4 {
            let downloads = async || (scene.sim.report().await.number("downloads") >= time).then_some(());
            wait_for("a download", downloads).await;
            scene.replace_worker().await;
        }
        scene.shows("one poison job").await;
    })
    .await;
}

#[tokio::test]
async fn one_job_that_is_parked_as_unknown() {
    Place::run("side-parked", async |place| {
        let arguments = ["--durations", "fixed:300ms", "--fault", "reply-lost=1x"];
        let scene = Scene::start(place, &arguments, &[("GENERATION__QUIET_S", "3")]).await;
        scene.publish(1).await;
        scene.worker.says("whether it was accepted is unknown").await;
        scene.broker.publish(place, &job("another")).await;
        let ends = scene.broker.ends(place, 2).await;
        assert_eq!(ends["another"][0].json()["type"], "comet.job.succeeded");
        scene.shows("one job parked as unknown").await;
    })
    .await;
}
