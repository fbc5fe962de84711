//! Runs one connection to RabbitMQ after another, and takes the deliveries that each brings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::breaker::Mode;
use super::delivery;
use super::intake::{Change, Intake};
use super::life::Interrupts;
use super::panics;
use super::standstills::OpenStandstill;
use super::suspects::Suspects;
use crate::heartbeat::Heartbeat;
use crate::job::pace::{Backoff, Seed};
use crate::metrics::Standstill;
use crate::metrics::{HandedBack, Service};
use crate::queue::consume::{Incoming, JobConsumer};
use crate::queue::{self, Address, topology};

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
    /// `worker.max_in_flight`: the deliveries that are held at a time, over all sessions and consumers.
    pub prefetch: u16,
    pub heartbeat: Heartbeat,
    pub stop: CancellationToken,
    /// All lives of all sessions.
    pub lives: TaskTracker,
    /// Whether jobs can come in, for readiness.
    pub connected: Arc<AtomicBool>,
    pub suspects: Suspects,
    /// The standstill while there is no session.
    pub waiting: Mutex<Option<OpenStandstill>>,
}

impl Sessions {
    /// Runs until the stop, and then until every life has ended or requeued its job.
    pub async fn run(&self) {
        self.sessions().await;
        self.wait_for_lives().await;
    }

    async fn sessions(&self) {
        let mut retries = Backoff::new(FIRST_RETRY, LAST_RETRY, Seed::from_text("session"));
        let mut before = false;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            if before {
                self.shared.metrics.reconnected(Service::RabbitMq);
            }
            let error = match self.suspects.watch(self.address.seen(), self.session()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            before = true;
            self.disconnected(&error);
            if started.elapsed() > GOOD_SESSION {
                retries.worked();
            }
            let wait = retries.failed();
            // The standstill logs it once more when it has lasted for a moment.
            if retries.failures() == 1 {
                tracing::warn!("no session with RabbitMQ, trying again in {wait:.1?}: {error}");
            } else {
                tracing::debug!("no session with RabbitMQ, trying again in {wait:.1?}: {error}");
            }
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.stop.is_cancelled() {
                self.heartbeat.touch();
                let _ = timeout(TICK.min(until - Instant::now()), self.stop.cancelled()).await;
            }
        }
    }

    /// Runs one connection, from its opening to the stop (`Ok`) or to its end.
    async fn session(&self) -> Result<(), String> {
        let connecting = async {
            let connection = self.address.connect("consume").await.map_err(|error| error.to_string())?;
            self.make_topology(&connection).await?;
            let consumer =
                JobConsumer::open(&connection, &self.shared.publishing.names.jobs, self.address.large())
                    .await;
            Ok::<_, String>((connection, consumer.map_err(|error| error.to_string())?))
        };
        let (connection, mut consumer) = match self.while_alive(connecting).await {
            Some(opened) => opened?,
            None => return Ok(()),
        };
        let lost = CancellationToken::new();
        let result = self.take(&mut consumer, &lost).await;
        if result.is_ok() {
            // After a stop, the lives settle over this connection, so it is closed after them.
            let _ = timeout(TICK, consumer.stop()).await;
            self.wait_for_lives().await;
        }
        lost.cancel();
        let _ = timeout(TICK, connection.close(200, "the session ends".into())).await;
        result
    }

    async fn make_topology(&self, connection: &Connection) -> Result<(), String> {
        let names = &self.shared.publishing.names;
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

    /// Takes deliveries as the breaker and `worker.max_in_flight` allow, until the stop or the end of the connection.
    async fn take(&self, consumer: &mut JobConsumer, lost: &CancellationToken) -> Result<(), String> {
        // All lives share this one; otherwise each of them would carry a copy.
        let shared = Arc::new(self.shared.clone());
        let mut mode = Mode::Closed;
        let mut prefetch = None;
        // Each delivery of the present consumer holds a clone of it.
        let mut own = Arc::new(());
        let mut tick = tokio::time::interval(TICK);
        loop {
            let wanted = self.shared.breaker.mode();
            let held = self.lives.len();
            let intake = Intake { max: self.prefetch, held, prefetch, own: Arc::strong_count(&own) - 1 };
            let change = intake.change(wanted, wanted != mode);
            let changing = async {
                match change {
                    Change::Keep => Ok(()),
                    Change::Stop => consumer.stop().await,
                    Change::Start(room) => consumer.start(room).await,
                }
            };
            let Some(changed) = self.while_alive(changing).await else { return Ok(()) };
            changed.map_err(|error| error.to_string())?;
            match change {
                Change::Keep => {}
                Change::Stop => prefetch = None,
                Change::Start(room) => {
                    prefetch = Some(room);
                    own = Arc::new(());
                    if wanted == Mode::Open && mode != Mode::Open {
                        tracing::info!(
                            queue = self.shared.publishing.names.jobs,
                            prefetch = room,
                            held,
                            "taking jobs"
                        );
                    }
                }
            }
            mode = wanted;
            self.connected();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.shared.breaker.changed() => {}
                _ = tick.tick() => {
                    self.heartbeat.touch();
                    if !consumer.is_connected() {
                        return Err("the channel is closed".to_owned());
                    }
                }
                delivery = consumer.next() => {
                    let delivery = delivery.map_err(|error| error.to_string())?;
                    self.spawn(&shared, delivery, lost, Arc::clone(&own));
                }
            }
        }
    }

    fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
        *self.waiting() = None;
    }

    /// Notes that there is no session. It shows at once, and is logged when it has lasted for a moment.
    fn disconnected(&self, error: &str) {
        self.connected.store(false, Ordering::Relaxed);
        let (detail, remedy) = (format!("no session with RabbitMQ: {error}"), queue::REMEDY);
        let mut waiting = self.waiting();
        match &*waiting {
            Some(waiting) => waiting.because(detail, remedy),
            None => *waiting = Some(self.shared.standstills.wait(Standstill::RabbitMq, detail, remedy)),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<OpenStandstill>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `own` is dropped with the delivery, and so counts the deliveries of its consumer.
    fn spawn(&self, shared: &Arc<Shared>, incoming: Incoming, lost: &CancellationToken, own: Arc<()>) {
        let shared = Arc::clone(shared);
        let hold = shared.settings.rules.hold;
        let interrupts = Interrupts::new(self.stop.clone(), lost.clone(), hold);
        self.lives.spawn(async move {
            let Incoming { message, settle } = incoming;
            let life = async { delivery::process(&shared, message, settle.as_ref(), &interrupts).await };
            // Once the job's id is known, its life catches its own panics.
            if let Err(panic) = panics::caught(life).await {
                shared.metrics.job_panicked();
                shared.metrics.handed_back(HandedBack::Panicked);
                tracing::error!("a delivery panicked; its message goes back to the queue: {panic}");
                tokio::time::sleep(AFTER_PANIC).await;
                settle.requeue().await;
            }
            drop(own);
        });
    }

    /// POSTs under way may take `api.submit_timeout_s`; everything else ends within moments.
    async fn wait_for_lives(&self) {
        self.lives.close();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = self.lives.wait() => return,
                _ = tick.tick() => self.heartbeat.touch(),
            }
        }
    }

    /// Runs `future` and keeps the heartbeat going, because waiting is not a standstill. Returns `None` if the stop
    /// came first.
    pub async fn while_alive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                value = &mut future => return Some(value),
                _ = tick.tick() => self.heartbeat.touch(),
            }
        }
    }
}
