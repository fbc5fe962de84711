//! A cluster of three real nodes, of which one dies.

use crate::private::PrivateRabbit;
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, redis_url, wait_for};

#[tokio::test]
async fn a_cluster_that_loses_a_node_costs_a_reconnect_and_no_job() {
    let mut first = PrivateRabbit::start().await;
    let second = first.start_beside().await;
    let third = first.start_beside().await;
    let urls = [&first, &second, &third].map(PrivateRabbit::url).join(",");
    Place::run_on("rabbits", second.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "uniform:1s-4s"]).await;
        let worker = Worker::start(place, &sim, &[("AMQP__URL", urls.as_str())]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("a", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("some jobs", async || (sim.report().await.number("submits") >= 10).then_some(())).await;
        // Each connection begins at another node, so one of the two is at this one.
        first.kill().await;
        for _ in 0..20 {
            let event = broker.next(&format!("{}.told", place.prefix)).await;
            let event: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
            assert_eq!(event["type"], "comet.job.succeeded", "{event}");
        }
        sim.report().await.nothing_was_paid_for_twice();
        assert_eq!(sim.report().await.number("submits"), 20);
    })
    .await;
}
