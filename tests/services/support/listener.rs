//! A worker that listens for callbacks and takes no jobs.

use super::{Broker, Place, Sim, Worker, wait_for};

/// Jobs wait for their next poll for longer than any test runs.
pub const SELDOM: [(&str, &str); 3] =
    [("POLL__FIRST_MS", "600000"), ("POLL__MIN_MS", "600000"), ("POLL__MAX_MS", "600000")];
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Its port is known only after it runs, so it is another worker than the one that holds the jobs, and has another
/// queue.
pub struct Listener {
    pub worker: Worker,
    pub public_url: String,
    queue: String,
}

impl Listener {
    pub async fn start(place: &Place, sim: &Sim) -> Self {
        let queue = format!("{}.other", place.prefix);
        let own: [(&str, &str); 4] = [
            ("CALLBACK__PUBLIC_URL", "http://127.0.0.1:1"),
            ("CALLBACK__LISTEN", "127.0.0.1:0"),
            ("CALLBACK__SECRET", SECRET),
            ("AMQP__QUEUE", &queue),
        ];
        let worker = Worker::start(place, sim, &own);
        let address = wait_for("the listener's address", async || {
            let log = worker.log();
            let (_, rest) = log.split_once("listen=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .await;
        Self { worker, public_url: format!("http://{address}/comet"), queue }
    }

    /// The settings of a worker whose jobs get their callbacks here.
    pub fn settings(&self) -> [(&'static str, &str); 3] {
        [("CALLBACK__PUBLIC_URL", &self.public_url), ("CALLBACK__LISTEN", ""), ("CALLBACK__SECRET", SECRET)]
    }

    /// Callbacks that were accepted for a job.
    pub async fn accepted(&self) -> u64 {
        let (_, metrics) = self.worker.admin("/metrics").await;
        let line =
            metrics.lines().find(|line| line.starts_with("comet_callbacks_total{answer=\"accepted\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub async fn stop(mut self, broker: &Broker) -> String {
        assert!(self.worker.stop().await.success());
        broker.delete_queue(&self.queue).await;
        self.worker.log()
    }
}
