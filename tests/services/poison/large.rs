//! The memory that messages take, and the memory that large messages must leave to others.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::support::jobs::job;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn messages_that_are_too_large_are_held_one_at_a_time() {
    Place::run("large", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let worker = Worker::start(place, &sim, &[("AMQP__MAX_MESSAGE_BYTES", "1000000")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        worker.says("taking jobs").await;
        let before = worker.memory_mb();
        // RabbitMQ 4 accepts no more than 16 MiB by default.
        let size = 16_000_000;
        for number in 0..8_u8 {
            broker.publish_raw(place, &vec![number; size], lapin::BasicProperties::default()).await;
        }
        broker.publish(place, &job("behind")).await;
        broker.ready_is(&place.dead_queue(), 8).await;
        assert_eq!(broker.ends(place, 1).await["behind"][0].json()["type"], "comet.job.succeeded");
        let peak = worker.memory_peak_mb();
        // One message that is held, its copy on the way out, and what the allocator keeps.
        assert!(peak - before < 6 * 16, "from {before} to {peak} MB: {}", worker.log());
        for _ in 0..8 {
            let letter = broker.next(&place.dead_queue()).await;
            assert_eq!(letter.header("x-comet-reason").as_deref(), Some("too_large"));
            assert!(letter.body.len() == size && letter.body.iter().all(|byte| *byte == letter.body[0]));
        }
    })
    .await;
}

#[tokio::test]
async fn large_messages_whose_dead_letters_are_not_taken_stop_no_job() {
    Place::run("refused", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let broker = Broker::connect(place).await;
        let mut full = FieldTable::default();
        full.insert("x-max-length".into(), AMQPValue::LongLongInt(0));
        full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        broker.channel.queue_declare(place.dead_queue().as_str().into(), durable, full).await.unwrap();
        let worker = Worker::start(place, &sim, &[("AMQP__MAX_MESSAGE_BYTES", "100000")]);
        broker.listen(place).await;
        worker.says("taking jobs").await;
        for number in 0..3_u8 {
            broker.publish_raw(place, &vec![number; 200_000], lapin::BasicProperties::default()).await;
        }
        broker.publish(place, &job("behind")).await;
        assert_eq!(broker.ends(place, 1).await["behind"][0].json()["type"], "comet.job.succeeded");
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(metrics.contains("comet_reconnects_total{service=\"rabbitmq\"} 0"), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_job_that_waits_is_held_once() {
    // More would take minutes to parse beside eleven other tests.
    const WAITING: u64 = 12;
    Place::run("waiting", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let worker = Worker::start(place, &sim, &[("GENERATION__MAX_RUNNING", "1")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        worker.says("taking jobs").await;
        broker.publish(place, &job("first")).await;
        wait_for("its task", async || (sim.report().await.number("accepted") == 1).then_some(())).await;
        let before = worker.memory_mb();
        for number in 0..WAITING {
            let mut waits = job(&format!("waits-{number}"));
            waits["input"]["unknown"] = serde_json::json!("x".repeat(4_000_000));
            broker.publish(place, &waits).await;
        }
        wait_for("all that wait", async || {
            let (_, metrics) = worker.admin("/metrics").await;
            metrics.contains(&format!("comet_jobs_held{{stage=\"waiting\"}} {WAITING}\n")).then_some(())
        })
        .await;
        let held = worker.memory_mb() - before;
        assert!(held < WAITING * 4 * 5 / 3, "{WAITING} messages of 4 MB take {held} MB");
    })
    .await;
}
