//! `comet-worker run`: builds the parts of the daemon, runs them, and ends them.

mod api;
pub(super) mod health;
pub(super) mod shared;
mod systemd;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::api::{FleetApi, show_backlog};
use self::health::{Health, Probes};
use super::{descriptors, parts};
use crate::admin::{Admin, Status};
use crate::callback::Relay;
use crate::callback::listener::Listener;
use crate::config::Config;
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::ledger::hints::Hints;
use crate::ledger::{RedisLedger, hints};
use crate::metrics::Metrics;
use crate::queue::publish::Publisher;
use crate::shutdown::Signals;
use crate::traces::Traces;
use crate::worker::preflight::preflight;
use crate::worker::presence::{Identity, Presence};
use crate::worker::session::Sessions;
use crate::worker::spending::Spending;
use crate::worker::suspects::Suspects;
use crate::worker::{Shared, store_watch};

/// A loop of the process that is silent for this long is at a standstill.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The time for what follows the longest POST: its note in Redis.
const AFTER_LAST_POST: Duration = Duration::from_secs(4);

/// Runs until a signal, and then requeues every job.
///
/// # Errors
///
/// What keeps the worker from starting, or a part of it that ended by itself.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::catch()?;
    config.require_key()?;
    descriptors::settle();
    for warning in config.warnings().into_iter().chain(descriptors::too_few(&config)) {
        tracing::warn!("{warning}");
    }
    let metrics = Metrics::default();
    let publisher = Arc::new(parts::publisher(&config, &metrics)?);
    let traces = traces(&config);
    let ports = shared::Ports {
        ledger: parts::ledger(&config, &metrics)?,
        publisher: Arc::<Publisher>::clone(&publisher),
        hints: Hints::default(),
        traces: traces.clone(),
    };
    let shared = shared::shared(&config, ports, &metrics)?;
    let mut loops = Loops::default();
    let sessions = sessions(&config, &shared, &loops)?;
    let looked_first = Arc::new(AtomicBool::new(false));

    let shows_fleet = Arc::new(AtomicBool::new(false));
    let health: Arc<dyn Status> = Arc::new(health(&sessions, &loops, &looked_first));
    listen(&config, &mut loops, &sessions, &health, &shows_fleet).await?;
    if systemd::listens() {
        let (stop, heartbeat) = (loops.stop.clone(), loops.heartbeat("systemd"));
        loops.spawn("systemd", async move { systemd::tell(&*health, &heartbeat, &stop).await });
    }
    watch(&config, &mut loops, &sessions, shows_fleet)?;
    // Redis and the store have to answer before the first job is taken.
    tokio::select! {
        ready = sessions.while_alive(preflight(&shared, &loops.stop)) => {
            ready.unwrap_or(Ok(())).map_err(anyhow::Error::msg)?;
        }
        () = signals.next() => return Ok(()),
    }
    looked_first.store(true, Ordering::Relaxed);
    loops.spawn("sessions", async move { sessions.run().await });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "comet-worker runs");

    let mut died = None;
    tokio::select! {
        () = signals.next() => tracing::info!("stopping: nothing more is taken, what waits is handed back"),
        ended = loops.next_end() => died = Some(ended),
    }
    let limit = config.api.submit_timeout + AFTER_LAST_POST;
    tokio::select! {
        () = loops.end() => {
            publisher.close().await;
            traces.flush().await;
            tracing::info!("stopped");
        }
        () = tokio::time::sleep(limit) => anyhow::bail!("stopped after {limit:?} with work under way"),
        () = signals.next() => anyhow::bail!("stopped at once, by a second signal"),
    }
    match died {
        Some(part) => anyhow::bail!("{part} ended by itself; see the log before this"),
        None => Ok(()),
    }
}

/// What other programs of the machine may need of `OTEL_…` and this one doesn't do keeps no job waiting.
fn traces(config: &Config) -> Traces {
    let max_in_flight = usize::from(config.worker.max_in_flight);
    match Traces::from_environment(|name| std::env::var(name).ok(), max_in_flight) {
        Ok(traces) => {
            if traces.are_on() {
                tracing::info!("traces go out, as OTEL_EXPORTER_OTLP_ENDPOINT says");
            }
            traces
        }
        Err(why) => {
            tracing::warn!("no traces go out: {why}");
            Traces::off()
        }
    }
}

fn sessions(config: &Config, shared: &Shared, loops: &Loops) -> anyhow::Result<Sessions> {
    Ok(Sessions {
        shared: shared.clone(),
        address: parts::address(config)?.with_large_messages_apart(config.amqp.max_message_bytes),
        declare: config.amqp.declare,
        prefetch: config.worker.max_in_flight,
        heartbeat: loops.heartbeat("sessions"),
        stop: loops.stop.clone(),
        lives: TaskTracker::new(),
        connected: Arc::new(AtomicBool::new(false)),
        suspects: Suspects::new(shared.metrics.clone()),
        waiting: Mutex::default(),
    })
}

fn health(sessions: &Sessions, loops: &Loops, looked_first: &Arc<AtomicBool>) -> Health {
    let shared = &sessions.shared;
    Health {
        heartbeats: loops.heartbeats.clone(),
        breaker: shared.breaker.clone(),
        standstills: shared.standstills.clone(),
        weaknesses: shared.weaknesses.clone(),
        looked_first: Arc::clone(looked_first),
        connected: Arc::clone(&sessions.connected),
        suspects: sessions.suspects.clone(),
        stop: loops.stop.clone(),
    }
}

/// Opens the ports: for health and metrics, and for callbacks.
async fn listen(
    config: &Config,
    loops: &mut Loops,
    sessions: &Sessions,
    health: &Arc<dyn Status>,
    shows_fleet: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let shared = &sessions.shared;
    if let Some(listen) = config.admin.listen {
        let fleet = Arc::new(FleetApi::new(config, Arc::clone(&shared.ledger), Arc::clone(health))?);
        let (metrics, token) = (shared.metrics.clone(), config.admin_token.clone());
        let source = Arc::<FleetApi>::clone(&fleet);
        let admin = Admin::bind(listen, Arc::clone(health), metrics.clone(), source, token).await?;
        let (stop, heartbeat, shows) =
            (loops.stop.clone(), loops.heartbeat("backlog"), Arc::clone(shows_fleet));
        loops.spawn(
            "backlog",
            async move { show_backlog(&*fleet, &shows, &metrics, &heartbeat, &stop).await },
        );
        tracing::info!(address = %admin.local_addr(), "admin: /livez /readyz /metrics /api");
        let serving = admin.serve(loops.stop.clone());
        loops.spawn("admin", async move {
            if let Err(error) = serving.await {
                tracing::error!("the admin server ended: {error}");
            }
        });
    }
    if let Some((listen, callbacks)) = config.callback.listen.zip(parts::callbacks(config)?) {
        let relay = Relay { hints: shared.hints.clone(), ledger: parts::ledger(config, &shared.metrics)? };
        let listener = Listener::bind(listen, callbacks, Arc::new(relay), shared.metrics.clone()).await?;
        tracing::info!(listen = %listener.local_addr(), "callbacks are listened for");
        let serving = listener.serve(loops.stop.clone());
        loops.spawn("callbacks", async move {
            if let Err(error) = serving.await {
                tracing::error!("the listener of callbacks ended: {error}");
            }
        });
    }
    Ok(())
}

/// Starts what goes on beside the sessions: hints, probes, standstills, the heartbeat in the fleet, what is spent,
/// the store's state, what is learned.
fn watch(
    config: &Config,
    loops: &mut Loops,
    sessions: &Sessions,
    shows_fleet: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let shared = &sessions.shared;
    let (endpoint, channel) =
        (parts::redis_endpoint(config)?, RedisLedger::hint_channel(&config.redis.prefix));
    let durations = parts::durations(config, &shared.metrics)?;

    let (stop, heartbeat, hints) = (loops.stop.clone(), loops.heartbeat("hints"), shared.hints.clone());
    loops.spawn("hints", hints::listen(endpoint, channel, hints, heartbeat, stop));

    let (stop, heartbeat, probes) = (loops.stop.clone(), loops.heartbeat("breaker"), Probes(shared.clone()));
    let breaker = shared.breaker.clone();
    loops.spawn("breaker", async move { breaker.watch(&probes, &heartbeat, &stop).await });

    let (stop, heartbeat) = (loops.stop.clone(), loops.heartbeat("standstills"));
    let (standstills, breaker) = (shared.standstills.clone(), shared.breaker.clone());
    loops.spawn("standstills", async move { standstills.watch(&breaker, &heartbeat, &stop).await });

    let (stop, heartbeat) = (loops.stop.clone(), loops.heartbeat("presence"));
    let identity = Identity::of_this_process();
    let spending = Spending {
        shared: shared.clone(),
        redis: parts::spend(config, &shared.metrics)?,
        worker: identity.id().to_owned(),
    };
    let presence = Presence {
        identity,
        shared: shared.clone(),
        suspects: sessions.suspects.clone(),
        fleet: parts::fleet(config, &shared.metrics)?,
        has_port: config.admin.listen.is_some(),
        shows_fleet,
    };
    loops.spawn("presence", async move { presence.keep(&heartbeat, &stop).await });

    let (stop, heartbeat) = (loops.stop.clone(), loops.heartbeat("spending"));
    loops.spawn("spending", async move { spending.keep(&heartbeat, &stop).await });

    let (stop, heartbeat, watched) = (loops.stop.clone(), loops.heartbeat("store"), shared.clone());
    loops.spawn("store", async move { store_watch::watch(&watched, &heartbeat, &stop).await });

    let (stop, heartbeat, learning) =
        (loops.stop.clone(), loops.heartbeat("learning"), shared.learning.clone());
    loops.spawn("learning", async move { learning.share(&durations, &heartbeat, &stop).await });
    Ok(())
}

/// The loops of the process, which end at the stop. If one ends by itself, the process does.
#[derive(Default)]
struct Loops {
    running: JoinSet<&'static str>,
    heartbeats: Heartbeats,
    stop: CancellationToken,
}

impl Loops {
    fn heartbeat(&self, name: &'static str) -> Heartbeat {
        self.heartbeats.register(name, SILENCE_MAX)
    }

    fn spawn(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            run.await;
            name
        });
    }

    /// Waits for one that ends, and returns its name in words.
    async fn next_end(&mut self) -> String {
        match self.running.join_next().await {
            Some(Ok(name)) => format!("the part {name}"),
            Some(Err(error)) => format!("a part ({error})"),
            None => "every part".to_owned(),
        }
    }

    /// Stops all, and waits for their ends.
    async fn end(&mut self) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
    }
}
