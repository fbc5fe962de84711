//! A stop with a thousand generations running.

use std::time::{Duration, Instant};

use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn sigterm_with_a_thousand_generations_running_hands_all_back_and_exits_well() {
    Place::run("thousand", async |place| {
        let sim = Sim::start(&["--durations", "fixed:60s"]).await;
        let mut worker = Worker::start(place, &sim, &[("WORKER__MAX_IN_FLIGHT", "2000")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("t", 1000) {
            broker.publish(place, &job).await;
        }
        wait_for("1000 tasks", async || (sim.report().await.number("accepted") == 1000).then_some(())).await;
        let asked = Instant::now();
        let status = worker.stop().await;
        println!("SIGTERM to exit with 1,000 generations running: {:?}", asked.elapsed());
        assert!(status.success(), "{status:?}\n{}", worker.log());
        // This doesn't measure the speed (the machine is shared), but that the stop doesn't wait for the generations.
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
        broker.ready_is(&place.queue(), 1000).await;
        assert_eq!(sim.report().await.number("submits"), 1000);
    })
    .await;
}
