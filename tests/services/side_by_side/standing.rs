//! Situations in which no job can be taken, or none can end.

use super::Scene;
use crate::private::{PrivateRabbit, PrivateRedis};
use crate::spending;
use crate::standstills::a_full_queue;
use crate::support::fake_s3::{FakeS3, Fault};
use crate::support::{Place, amqp_url, redis_url, wait_for};

const QUICK: [&str; 2] = ["--durations", "fixed:300ms"];

#[tokio::test]
async fn an_account_without_money() {
    Place::run("side-money", async |place| {
        let scene = Scene::start(place, &["--balance", "0"], &[]).await;
        scene.publish(3).await;
        scene.shows("no money").await;
        scene.broker.ready_is(&place.queue(), 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key() {
    Place::run("side-key", async |place| {
        let scene = Scene::start(place, &QUICK, &[("API__KEY", "sk-wrong")]).await;
        scene.publish(3).await;
        scene.shows("wrong key").await;
        scene.broker.ready_is(&place.queue(), 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_whose_posts_alone_are_down() {
    Place::run("side-post", async |place| {
        let settings = [("GENERATION__QUIET_S", "3")];
        let scene = Scene::start(place, &["--fault", "server-error"], &settings).await;
        scene.publish(30).await;
        scene.shows("POST down").await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_can_not_be_reached() {
    Place::run("side-provider", async |place| {
        let scene = Scene::start(place, &QUICK, &[("API__BASE_URL", "http://127.0.0.1:1")]).await;
        scene.publish(3).await;
        scene.shows("provider unreachable").await;
        scene.broker.ready_is(&place.queue(), 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_gone() {
    let mut redis = PrivateRedis::start().await;
    Place::run_on("side-redis", amqp_url(), redis.url(), async |place| {
        let scene = Scene::start(place, &QUICK, &[("REDIS__RESPONSE_TIMEOUT_MS", "500")]).await;
        scene.worker.says("taking jobs").await;
        redis.kill().await;
        scene.publish(3).await;
        scene.shows("Redis gone").await;
    })
    .await;
}

#[tokio::test]
async fn a_rabbitmq_that_is_gone() {
    let mut rabbit = PrivateRabbit::start().await;
    Place::run_on("side-rabbit", rabbit.url(), redis_url(), async |place| {
        let scene = Scene::start(place, &["--durations", "fixed:600s"], &[("AMQP__HEARTBEAT_S", "2")]).await;
        scene.publish(2).await;
        let run = async || (scene.sim.report().await.number("running") == 2).then_some(());
        wait_for("two generations", run).await;
        rabbit.kill().await;
        // What Redis knows is shown all the same.
        scene.shows("RabbitMQ gone").await;
    })
    .await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_full() {
    Place::run("side-full", async |place| {
        let scene = Scene::start(place, &QUICK, &[]).await;
        let full = a_full_queue(&scene.broker.channel, place).await;
        scene.publish(1).await;
        scene.shows("a consumer's queue full").await;
        scene.broker.delete_queue(&full).await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_full() {
    Place::run("side-store", async |place| {
        let store = FakeS3::start(Fault::Room(1000)).await;
        let scene = Scene::start_with(place, &QUICK, &[], &store.environment()).await;
        scene.publish(2).await;
        scene.shows("store full").await;
    })
    .await;
}

#[tokio::test]
async fn a_network_that_lets_no_image_through() {
    Place::run("side-network", async |place| {
        // No proxy listens there.
        let scene = Scene::start(place, &QUICK, &[("DOWNLOAD__PROXY", "http://127.0.0.1:1")]).await;
        scene.publish(4).await;
        scene.shows("network closed").await;
    })
    .await;
}

#[tokio::test]
async fn a_day_whose_cap_is_reached() {
    Place::run("side-spend", async |place| {
        let settings = spending::with(&[("SPEND__MAX_UNITS_PER_DAY", "20"), ("SPEND__UNITS_PER_JOB", "8")]);
        let scene = Scene::start(place, &QUICK, &settings).await;
        scene.publish(3).await;
        scene.shows("spend cap reached").await;
    })
    .await;
}
