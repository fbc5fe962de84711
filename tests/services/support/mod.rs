//! Real processes beside a real broker. Every test has a place of its own, with names that no other test uses, and
//! leaves nothing behind.

pub mod broker;
pub mod fake_s3;
pub mod jobs;
pub mod listener;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod sim;
pub mod tool;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;

pub use broker::Broker;
pub use process::Worker;
pub use sim::Sim;

/// The services, and names for one test.
pub struct Place {
    pub amqp_url: String,
    pub redis_url: String,
    /// Prefix of all queues, exchanges and keys.
    pub prefix: String,
    pub folder: tempfile::TempDir,
}

pub fn amqp_url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL: run through `make test`, which starts what is missing")
}

pub fn redis_url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL: run through `make test`, which starts what is missing")
}

/// A connection of a test's own. The client's defaults, a second to connect and half of one for an answer, are too short where twelve
/// tests share two processors.
pub async fn connected(client: &redis::Client) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let limit = Some(Duration::from_secs(60));
    let patient =
        redis::AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
    client.get_multiplexed_async_connection_with_config(&patient).await
}

impl Place {
    /// Runs a test in a place of its own on the shared services, and cleans up even after a panic.
    pub async fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(&'static Place) -> F) {
        Self::run_on(name, amqp_url(), redis_url(), test).await;
    }

    /// The same on services of the test's own.
    pub async fn run_on<F: Future<Output = ()>>(
        name: &str,
        amqp_url: String,
        redis_url: String,
        test: impl FnOnce(&'static Place) -> F,
    ) {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let prefix = format!("comet-test-{name}-{}", &unique[..8]);
        let folder = tempfile::tempdir().unwrap();
        // For a test's whole life: futures and tasks may hold on to it.
        let place: &'static Place = Box::leak(Box::new(Place { amqp_url, redis_url, prefix, folder }));
        let result = AssertUnwindSafe(test(place)).catch_unwind().await;
        place.clean().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }

    pub fn queue(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    pub fn exchange(&self) -> String {
        format!("{}.events", self.prefix)
    }

    pub fn dead_queue(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    pub fn unrouted_queue(&self) -> String {
        format!("{}.unrouted", self.prefix)
    }

    pub fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    async fn clean(&self) {
        if let Ok(broker) = Broker::try_connect(&self.amqp_url).await {
            for queue in
                [self.queue(), self.dead_queue(), self.unrouted_queue(), format!("{}.told", self.prefix)]
            {
                broker.delete_queue(&queue).await;
            }
            broker.delete_exchange(&self.exchange()).await;
        }
        let Ok(client) = redis::Client::open(self.redis_url.as_str()) else { return };
        let Ok(mut redis) = connected(&client).await else { return };
        let pattern = format!("{{{}}}*", self.prefix);
        let mut cursor = 0_u64;
        loop {
            let scan: redis::RedisResult<(u64, Vec<String>)> = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut redis)
                .await;
            let Ok((next, keys)) = scan else { return };
            if !keys.is_empty() {
                let _: redis::RedisResult<()> = redis::cmd("DEL").arg(keys).query_async(&mut redis).await;
            }
            if next == 0 {
                return;
            }
            cursor = next;
        }
    }
}

/// Waits for a value and checks repeatedly; a panic's message says what it waits for.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    // It is long because the machine may be busy; no test says how fast something must be.
    let patience = Duration::from_secs(120);
    let waiting = async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited {patience:?} in vain for {what}"),
    }
}
