//! One connection to RabbitMQ after another, and the deliveries that each brings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::Connection;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::breaker::Mode;
use super::life::{Interrupts, live};
use super::panics;
use super::suspects::Suspects;
use crate::job::pace::{Seed, backoff};
use crate::pulse::Pulse;
use crate::queue::Address;
use crate::queue::consume::{Incoming, JobConsumer};
use crate::queue::topology;

const TICK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// A session that lasted longer was a good one: the next try begins with a short wait again.
const GOOD_SESSION: Duration = Duration::from_secs(30);
/// A message over which the worker panicked is not tried again at once.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// The consuming side of the worker.
pub struct Sessions {
    pub shared: Shared,
    pub address: Address,
    /// `amqp.declare`
    pub declare: bool,
    /// `worker.max_in_flight`
    pub prefetch: u16,
    pub pulse: Pulse,
    pub stop: CancellationToken,
    /// All lives, of all sessions.
    pub lives: TaskTracker,
    /// Whether jobs can come in, for readiness.
    pub connected: Arc<AtomicBool>,
    pub suspects: Suspects,
}

impl Sessions {
    /// Until told to stop, and until every life has then come to its end or been handed back.
    pub async fn run(&self) {
        self.sessions().await;
        self.wait_for_lives().await;
    }

    async fn sessions(&self) {
        let mut failures = 0;
        let mut before = false;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            if before {
                self.shared.metrics.reconnected("rabbitmq");
            }
            let error = match self.suspects.watch(self.address.seen(), self.session()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            before = true;
            self.connected.store(false, Ordering::Relaxed);
            if started.elapsed() > GOOD_SESSION {
                failures = 0;
            }
            failures += 1;
            let wait = backoff(failures, FIRST_RETRY, LAST_RETRY, Seed::from_text("session"));
            tracing::warn!("no session with RabbitMQ, trying again in {wait:.1?}: {error}");
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.stop.is_cancelled() {
                self.pulse.touch();
                let _ = timeout(TICK.min(until - Instant::now()), self.stop.cancelled()).await;
            }
        }
    }

    /// One connection, from its opening to the stop (`Ok`) or to its end.
    async fn session(&self) -> Result<(), String> {
        let connecting = async {
            let connection = self.address.connect("consume").await.map_err(|error| error.to_string())?;
            self.make_topology(&connection).await?;
            let consumer =
                JobConsumer::open(&connection, &self.shared.settings.names.jobs, self.address.large()).await;
            Ok::<_, String>((connection, consumer.map_err(|error| error.to_string())?))
        };
        let (connection, mut consumer) = match self.while_alive(connecting).await {
            Some(opened) => opened?,
            None => return Ok(()),
        };
        let lost = CancellationToken::new();
        let result = self.take(&mut consumer, &lost).await;
        if result.is_ok() {
            // Stopped: the lives settle over this connection, so it is closed after them.
            let _ = timeout(TICK, consumer.stop()).await;
            self.wait_for_lives().await;
        }
        lost.cancel();
        let _ = timeout(TICK, connection.close(200, "the session ends".into())).await;
        result
    }

    async fn make_topology(&self, connection: &Connection) -> Result<(), String> {
        let names = &self.shared.settings.names;
        let differences =
            topology::ensure(connection, names, self.declare).await.map_err(|error| error.to_string())?;
        for difference in differences {
            tracing::warn!(
                "{} exists with other arguments and is used as it is; {}: {}",
                difference.what,
                difference.consequence,
                difference.difference
            );
        }
        Ok(())
    }

    /// Takes deliveries as the breaker allows, until the stop or the end of the connection.
    async fn take(&self, consumer: &mut JobConsumer, lost: &CancellationToken) -> Result<(), String> {
        // One for all lives: each of them would else carry a copy.
        let shared = Arc::new(self.shared.clone());
        let mut mode = Mode::Closed;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let wanted = self.shared.breaker.mode();
            if wanted != mode {
                let changing = async {
                    match wanted {
                        Mode::Open => consumer.start(self.prefetch).await,
                        Mode::OneJob => consumer.start(1).await,
                        Mode::Closed => consumer.stop().await,
                    }
                };
                let Some(changed) = self.while_alive(changing).await else { return Ok(()) };
                changed.map_err(|error| error.to_string())?;
                mode = wanted;
                self.connected.store(true, Ordering::Relaxed);
                if mode == Mode::Open {
                    tracing::info!(
                        queue = self.shared.settings.names.jobs,
                        prefetch = self.prefetch,
                        "taking jobs"
                    );
                }
            }
            self.connected.store(true, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.shared.breaker.changed() => {}
                _ = tick.tick() => {
                    self.pulse.touch();
                    if !consumer.is_connected() {
                        return Err("the channel is closed".to_owned());
                    }
                }
                delivery = consumer.next() => {
                    self.spawn(&shared, delivery.map_err(|error| error.to_string())?, lost);
                }
            }
        }
    }

    fn spawn(&self, shared: &Arc<Shared>, incoming: Incoming, lost: &CancellationToken) {
        let shared = Arc::clone(shared);
        let held_until = Instant::now() + shared.settings.hold;
        let interrupts = Interrupts::new(self.stop.clone(), lost.clone(), held_until);
        self.lives.spawn(async move {
            let Incoming { message, settle } = incoming;
            let life = async { live(&shared, message, settle.as_ref(), &interrupts).await };
            // Once the job is known by its name, its life catches its own panics.
            if let Err(panic) = panics::caught(life).await {
                shared.metrics.job_panicked();
                shared.metrics.handed_back("panicked");
                tracing::error!("a delivery panicked; its message goes back to the queue: {panic}");
                tokio::time::sleep(AFTER_PANIC).await;
                settle.hand_back().await;
            }
        });
    }

    /// POSTs under way may take `api.submit_timeout_s`; everything else ends within moments.
    async fn wait_for_lives(&self) {
        self.lives.close();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = self.lives.wait() => return,
                _ = tick.tick() => self.pulse.touch(),
            }
        }
    }

    /// Waiting is no standstill: the pulse goes on. `None` when the stop came first.
    pub async fn while_alive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                value = &mut future => return Some(value),
                _ = tick.tick() => self.pulse.touch(),
            }
        }
    }
}
