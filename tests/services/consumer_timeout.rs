//! Generations that take longer than RabbitMQ waits for an acknowledgement. RabbitMQ then closes the whole channel,
//! with everything that came over it. A worker that knows the timeout requeues each delivery before that; a worker
//! that doesn't know it must survive it.

use std::time::Duration;

use crate::private::PrivateRabbit;
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, redis_url, wait_for};

/// The words in RabbitMQ's log when it closes a channel.
const CLOSED: &str = "has timed out waiting for";

#[tokio::test]
async fn a_generation_longer_than_the_consumer_timeout_is_handed_back_in_time_and_polled_on() {
    let rabbit = PrivateRabbit::start_with_consumer_timeout(Duration::from_secs(12)).await;
    Place::run_on("held", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:14s", "--lookup"]).await;
        let settings =
            [("AMQP__CONSUMER_TIMEOUT_S", "12"), ("API__SUBMIT_TIMEOUT_S", "2"), ("GENERATION__GATE_S", "2")];
        let worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("h", 6) {
            broker.publish(place, &job).await;
        }
        let mut ends = broker.ends(place, 6).await;
        broker.ready_is(&place.queue(), 0).await;
        broker.rest(place, &mut ends).await;
        for (job, copies) in &ends {
            assert_eq!(copies.len(), 1, "{job}");
            assert_eq!(copies[0].json()["type"], "comet.job.succeeded", "{job}");
        }
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(metrics.contains("comet_reconnects_total{service=\"rabbitmq\"} 0"), "{metrics}");
        let held_long = "comet_handed_back_total{why=\"held_long\"} ";
        let (_, rest) = metrics.split_once(held_long).expect("a count of what was held long");
        let handed_back: u64 = rest.lines().next().unwrap().parse().unwrap();
        assert!(handed_back >= 6, "{handed_back} handed back");
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 6, "{}", worker.log());
        report.nothing_was_paid_for_twice();
    })
    .await;
    assert_eq!(rabbit.log_lines(CLOSED), Vec::<String>::new());
}

#[tokio::test]
async fn a_worker_whose_channel_the_broker_closes_for_a_late_ack_goes_on_with_what_it_held() {
    let rabbit = PrivateRabbit::start_with_consumer_timeout(Duration::from_secs(4)).await;
    Place::run_on("closing", rabbit.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:10s"]).await;
        // This worker assumes a timeout of half an hour.
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("l", 6) {
            broker.publish(place, &job).await;
        }
        wait_for("the channel's end", async || (!rabbit.log_lines(CLOSED).is_empty()).then_some(())).await;
        let mut ends = broker.ends(place, 6).await;
        broker.ready_is(&place.queue(), 0).await;
        broker.rest(place, &mut ends).await;
        for (job, copies) in &ends {
            assert_eq!(copies[0].json()["type"], "comet.job.succeeded", "{job}");
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "{job}");
        }
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(!metrics.contains("comet_reconnects_total{service=\"rabbitmq\"} 0"), "{metrics}");
        let report = sim.report().await;
        assert_eq!(report.number("submits"), 6, "{}", worker.log());
        report.nothing_was_paid_for_twice();
    })
    .await;
}
