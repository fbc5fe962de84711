//! What a worker reports when nothing moves, and what it holds meanwhile.

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::private::{PrivateRabbit, PrivateRedis};
use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::proxy::Proxy;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, redis_url, wait_for};

async fn readiness(worker: &Worker, words: &str) -> String {
    wait_for(&format!("{words:?} in /readyz"), async || {
        let (status, text) = worker.admin("/readyz").await;
        (status == 503 && text.contains(words)).then_some(text)
    })
    .await
}

async fn is_ready(worker: &Worker) {
    wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
}

/// A queue with room for one message, which is full.
pub async fn a_full_queue(channel: &Channel, place: &Place) -> String {
    let name = format!("{}.full", place.prefix);
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
    let exchange = place.exchange();
    let binding = channel.queue_bind(
        name.as_str().into(),
        exchange.as_str().into(),
        "job.*".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    binding.await.unwrap();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        let filling = channel.basic_publish(
            "".into(),
            name.as_str().into(),
            lapin::options::BasicPublishOptions::default(),
            b"there already",
            BasicProperties::default(),
        );
        filling.await.unwrap().await.unwrap()
    })
    .await;
    name
}

#[tokio::test]
async fn a_consumer_s_full_queue_is_said_costs_the_others_few_copies_and_is_over_once_there_is_room() {
    Place::run("full", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let full = a_full_queue(&broker.channel, place).await;
        broker.publish(place, &job("a")).await;
        let text = readiness(&worker, "publishing").await;
        assert!(text.contains("x-max-length"), "{text}");
        wait_for("the metric", async || {
            let (_, metrics) = worker.admin("/metrics").await;
            metrics.contains("comet_standstill{what=\"publishing\"} 1").then_some(())
        })
        .await;
        let copies = broker.ready(&format!("{}.told", place.prefix)).await;
        assert!((1..=8).contains(&copies), "{copies} copies in the healthy queue");
        broker.delete_queue(&full).await;
        is_ready(&worker).await;
        broker.ready_is(&place.queue(), 0).await;
        worker.says("the standstill is over").await;
        assert_eq!(worker.log().matches("standstill since").count(), 1, "{}", worker.log());
        assert_eq!(sim.report().await.number("submits"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_user_without_the_right_to_the_default_exchange_is_found_by_check_and_said_by_the_worker() {
    let rabbit = PrivateRabbit::start().await;
    Place::run_on("rights", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        // The topology is the operator's.
        let mut maker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        assert!(maker.stop().await.success());
        rabbit.ctl(&["add_user", "narrow", "narrow"]).await;
        let own = format!("^{}", place.prefix);
        rabbit.ctl(&["set_permissions", "narrow", &own, &own, &own]).await;
        let url = place.amqp_url.replace("guest:guest", "narrow:narrow");
        let settings =
            [("AMQP__URL", url.as_str()), ("AMQP__DECLARE", "false"), ("WORKER__MAX_IN_FLIGHT", "3")];

        let mut with_url = environment(place, &sim.url);
        with_url.retain(|(key, _)| key != "COMET_WORKER__AMQP__URL");
        with_url.push(("COMET_WORKER__AMQP__URL".to_owned(), url.clone()));
        with_url.push(("COMET_WORKER__AMQP__DECLARE".to_owned(), "false".to_owned()));
        let said = tool(&with_url, &["check"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let line = said.data.lines().find(|line| line.contains("amq.default")).expect("the missing right");
        assert!(line.contains("write") && line.contains("set_permissions"), "{line}");
        assert!(!said.data.contains("no right to read"), "{said:?}");

        let worker = Worker::start(place, &sim, &settings);
        for _ in 0..4 {
            broker.publish_raw(place, b"no job at all", BasicProperties::default()).await;
        }
        let text = readiness(&worker, "publishing").await;
        assert!(text.contains("amq.default"), "{text}");
        rabbit.ctl(&["set_permissions", "narrow", &own, &format!("{own}|^amq\\.default$"), &own]).await;
        for _ in 0..4 {
            let letter = broker.next(&place.dead_queue()).await;
            assert_eq!(letter.header("x-comet-reason").as_deref(), Some("not_json"));
        }
        is_ready(&worker).await;
    })
    .await;
}

#[tokio::test]
async fn pauses_make_a_worker_hold_no_more_than_its_bound() {
    let redis = PrivateRedis::start().await;
    let port = redis.url().parse::<url::Url>().unwrap().port().unwrap();
    let proxy = Proxy::to(port).await;
    Place::run_on("bound", amqp_url(), proxy.through(&redis.url()), async |place| {
        let sim = Sim::start(&["--durations", "uniform:3s-6s"]).await;
        let worker = Worker::start(place, &sim, &[("WORKER__MAX_IN_FLIGHT", "5")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("b", 25) {
            broker.publish(place, &job).await;
        }
        for _ in 0..4 {
            wait_for("jobs that run", async || (sim.report().await.number("running") > 0).then_some(()))
                .await;
            proxy.cut();
            readiness(&worker, "redis").await;
            proxy.open();
            is_ready(&worker).await;
        }
        broker.ends(place, 25).await;
        let report = sim.report().await;
        let most = report.number("running_max");
        assert!(most <= 5, "{most} generations ran at a time\n{}", worker.log());
        assert_eq!(report.number("submits"), 25);
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_not_blamed_on_rabbitmq() {
    Place::run_on("first", amqp_url(), "redis://127.0.0.1:1".to_owned(), async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[]);
        let text = readiness(&worker, "redis").await;
        assert!(text.contains("starting"), "{text}");
        assert!(!text.contains("rabbitmq"), "{text}");
    })
    .await;
}
