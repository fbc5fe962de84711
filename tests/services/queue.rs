//! What RabbitMQ does to a worker: connections closed, consumers cancelled, queues deleted, confirms lost, events
//! that no queue takes, and a topology that an operator has made.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::private::PrivateRabbit;
use crate::support::jobs::{job, jobs};
use crate::support::listener::SELDOM;
use crate::support::proxy::Proxy;
use crate::support::{Broker, Place, Sim, Worker, redis_url, wait_for};

#[tokio::test]
async fn jobs_go_on_after_the_broker_closed_all_connections() {
    let rabbit = PrivateRabbit::start().await;
    Place::run_on("closed", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        // No job ends before the connections are closed; behind that each is looked at once.
        let worker = Worker::start(place, &sim, &SELDOM);
        Broker::connect(place).await.listen(place).await;
        let broker = Broker::connect(place).await;
        for job in jobs("c", 30) {
            broker.publish(place, &job).await;
        }
        wait_for("30 tasks", async || (sim.report().await.number("accepted") == 30).then_some(())).await;
        rabbit.ctl(&["close_all_connections", "for a test"]).await;
        let broker = Broker::connect(place).await;
        let ends = broker.ends(place, 30).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        assert_eq!(sim.report().await.number("submits"), 30, "{}", worker.log());
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(!metrics.contains("comet_reconnects_total{service=\"rabbitmq\"} 0"), "{metrics}");
    })
    .await;
}

#[tokio::test]
async fn under_a_memory_alarm_the_events_wait_and_are_told_after_it() {
    let rabbit = PrivateRabbit::start().await;
    Place::run_on("alarm", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:3s"]).await;
        let worker =
            Worker::start(place, &sim, &[("AMQP__CONFIRM_TIMEOUT_S", "2"), ("AMQP__HEARTBEAT_S", "1")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("a", 10) {
            broker.publish(place, &job).await;
        }
        wait_for("10 tasks", async || (sim.report().await.number("accepted") == 10).then_some(())).await;
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
        wait_for("10 outcomes", async || (worker.log().matches(" succeeded").count() == 10).then_some(()))
            .await;
        // Past the first confirm timeouts: published again, and still held up.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        let broker = Broker::connect(place).await;
        let ends = broker.ends(place, 10).await;
        for (job, copies) in &ends {
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "{job}");
        }
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(sim.report().await.number("submits"), 10);
    })
    .await;
}

#[tokio::test]
async fn a_lost_confirm_means_the_same_bytes_again() {
    let rabbit = PrivateRabbit::start().await;
    let port = rabbit.url().parse::<url::Url>().unwrap().port().unwrap();
    let proxy = Proxy::to(port).await;
    Place::run_on("confirm", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:2s"]).await;
        let through = proxy.through(&place.amqp_url);
        let worker = Worker::start(place, &sim, &[("AMQP__URL", &through), ("AMQP__HEARTBEAT_S", "2")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        // The first one opens the publishing connection.
        broker.publish(place, &job("before")).await;
        broker.ends(place, 1).await;
        broker.publish(place, &job("a")).await;
        wait_for("the task", async || (sim.report().await.number("accepted") == 2).then_some(())).await;
        proxy.swallow_answers();
        let first = broker.ends(place, 1).await;
        proxy.cut();
        proxy.open();
        let again = broker.ends(place, 1).await;
        assert_eq!(first["a"][0].body, again["a"][0].body);
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(sim.report().await.number("submits"), 2, "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_queue_is_made_anew_and_consumed_again() {
    Place::run("deleted", async |place| {
        let sim = Sim::start(&["--durations", "fixed:500ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        worker.says("taking jobs").await;
        broker.delete_queue(&place.queue()).await;
        worker.says("cancelled the consumer").await;
        wait_for("the queue", async || (worker.log().matches("taking jobs").count() >= 2).then_some(()))
            .await;
        broker.publish(place, &job("after")).await;
        let ends = broker.ends(place, 1).await;
        assert_eq!(ends["after"][0].json()["type"], "comet.job.succeeded");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_exchange_loses_no_event() {
    Place::run("exchange", async |place| {
        let sim = Sim::start(&["--durations", "fixed:3s"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        wait_for("the task", async || (sim.report().await.number("accepted") == 1).then_some(())).await;
        broker.delete_exchange(&place.exchange()).await;
        // No queue is bound to the new one, so the event is among the unrouted.
        let event = broker.next(&place.unrouted_queue()).await.json();
        assert_eq!(event["subject"], "a", "{}", worker.log());
        broker.ready_is(&place.queue(), 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_event_that_no_queue_takes_is_kept_counted_and_warned_about_once() {
    Place::run("unrouted", async |place| {
        let sim = Sim::start(&["--durations", "fixed:200ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        worker.says("taking jobs").await;
        for job in jobs("u", 3) {
            broker.publish(place, &job).await;
        }
        broker.ready_is(&place.unrouted_queue(), 3).await;
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(worker.log().matches("no queue takes this event").count(), 1, "{}", worker.log());
        wait_for("the count", async || {
            worker.admin("/metrics").await.1.contains("comet_events_unrouted_total 3").then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_reply_queue_gets_its_copy_and_one_that_is_gone_holds_nothing_up() {
    Place::run("reply", async |place| {
        let sim = Sim::start(&["--durations", "fixed:200ms"]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let reply = broker.channel.queue_declare("".into(), own, FieldTable::default()).await.unwrap();
        let reply = reply.name().as_str().to_owned();
        for (id, to) in [("gone", "nobody-has-this-queue"), ("here", &reply)] {
            let mut headers = FieldTable::default();
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
            let properties = lapin::BasicProperties::default()
                .with_reply_to(to.into())
                .with_correlation_id("mine".into())
                .with_headers(headers);
            broker.publish_raw(place, job(id).to_string().as_bytes(), properties).await;
        }
        let ends = broker.ends(place, 2).await;
        let copy = broker.next(&reply).await;
        assert_eq!(copy.body, ends["here"][0].body);
        assert_eq!(copy.properties.correlation_id().as_ref().map(|id| id.as_str()), Some("mine"));
        assert!(copy.header("traceparent").is_some_and(|trace| trace.starts_with("00-0af7")));
        broker.ready_is(&place.queue(), 0).await;
    })
    .await;
}

#[tokio::test]
async fn what_exists_with_other_arguments_is_used_as_it_is_with_a_warning() {
    Place::run("existing", async |place| {
        let broker = Broker::connect(place).await;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        broker
            .channel
            .queue_declare(place.queue().as_str().into(), durable, FieldTable::default())
            .await
            .unwrap();
        let fanout = broker.channel.exchange_declare(
            place.exchange().as_str().into(),
            lapin::ExchangeKind::Fanout,
            ExchangeDeclareOptions { durable: true, ..Default::default() },
            FieldTable::default(),
        );
        fanout.await.unwrap();
        let sim = Sim::start(&["--durations", "fixed:200ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        let log = worker.log();
        for what in
            [format!("queue {} exists", place.queue()), format!("exchange {} exists", place.exchange())]
        {
            assert!(log.contains(&what), "{what} is not in\n{log}");
        }
        assert!(log.contains("may be lost"), "{log}");
        let told = format!("{}.told", place.prefix);
        broker.channel.queue_declare(told.as_str().into(), durable, FieldTable::default()).await.unwrap();
        let bind = broker.channel.queue_bind(
            told.as_str().into(),
            place.exchange().as_str().into(),
            "".into(),
            Default::default(),
            FieldTable::default(),
        );
        bind.await.unwrap();
        broker.publish(place, &job("a")).await;
        assert_eq!(broker.ends(place, 1).await["a"][0].json()["type"], "comet.job.succeeded");
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_declare_what_is_missing_is_named() {
    Place::run("undeclared", async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[("AMQP__DECLARE", "false")]);
        worker.says("amqp.declare is false").await;
        assert!(worker.log().contains(&place.dead_queue()), "{}", worker.log());
        assert_eq!(worker.admin("/readyz").await.0, 503);
    })
    .await;
}

#[tokio::test]
async fn two_copies_of_one_job_on_two_workers_are_one_generation() {
    Place::run("copies", async |place| {
        let sim = Sim::start(&["--durations", "fixed:2s"]).await;
        let _one = Worker::start(place, &sim, &[]);
        let _two = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for _ in 0..10 {
            for job in jobs("twin", 5) {
                broker.publish(place, &job).await;
            }
        }
        let mut ends = broker.ends(place, 5).await;
        broker.ready_is(&place.queue(), 0).await;
        wait_for("a copy of the event for each copy of the job", async || {
            broker.rest(place, &mut ends).await;
            (ends.values().map(Vec::len).sum::<usize>() == 50).then_some(())
        })
        .await;
        for (job, copies) in &ends {
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "{job}");
        }
        assert_eq!(sim.report().await.number("submits"), 5);
    })
    .await;
}
