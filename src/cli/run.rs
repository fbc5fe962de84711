//! `comet-worker run`: builds the parts of the daemon, runs them, and ends them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{descriptors, parts};
use crate::admin::{Admin, Status};
use crate::callback::Relay;
use crate::callback::listener::Listener;
use crate::clock::Clock;
use crate::config::{Config, OnUnknownSubmit};
use crate::heartbeat::Heartbeats;
use crate::job::pace::Pace;
use crate::job::request::Rules;
use crate::job::step;
use crate::ledger::RedisLedger;
use crate::ledger::hints::{self, Hints};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::metrics::Standstill;
use crate::queue::publish::Publisher;
use crate::receipts::Receipts;
use crate::shutdown::Signals;
use crate::storage::Storage;
use crate::worker::breaker::{Breaker, Cause, Mode, Probe};
use crate::worker::copies::Copies;
use crate::worker::downloads::Downloads;
use crate::worker::in_flight::JobsInFlight;
use crate::worker::learning::Learning;
use crate::worker::panics::Panics;
use crate::worker::preflight::{Weaknesses, preflight};
use crate::worker::publish::Publishing;
use crate::worker::session::Sessions;
use crate::worker::slots::SlotLine;
use crate::worker::standstills::Standstills;
use crate::worker::submits::Submits;
use crate::worker::suspects::Suspects;
use crate::worker::{Settings, Shared, store_watch};

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
    let stop = CancellationToken::new();
    let metrics = Metrics::default();
    let heartbeats = Heartbeats::default();
    let publisher = Arc::new(parts::publisher(&config, &metrics)?);
    let shared = shared(&config, Arc::clone(&publisher), &metrics)?;
    let sessions = Sessions {
        shared: shared.clone(),
        address: parts::address(&config)?.with_large_messages_apart(config.amqp.max_message_bytes),
        declare: config.amqp.declare,
        prefetch: config.worker.max_in_flight,
        heartbeat: heartbeats.register("sessions", SILENCE_MAX),
        stop: stop.clone(),
        lives: TaskTracker::new(),
        connected: Arc::new(AtomicBool::new(false)),
        suspects: Suspects::new(metrics.clone()),
        waiting: Mutex::default(),
    };
    let looked_first = Arc::new(AtomicBool::new(false));
    let status = Arc::new(Health {
        heartbeats: heartbeats.clone(),
        breaker: shared.breaker.clone(),
        standstills: shared.standstills.clone(),
        weaknesses: shared.weaknesses.clone(),
        looked_first: Arc::clone(&looked_first),
        connected: Arc::clone(&sessions.connected),
        suspects: sessions.suspects.clone(),
        stop: stop.clone(),
    });

    let mut parts = JoinSet::new();
    if let Some(listen) = config.admin.listen {
        let admin = Admin::bind(listen, status, metrics.clone()).await?;
        tracing::info!(address = %admin.local_addr(), "admin: /livez /readyz /metrics");
        let stop = stop.clone();
        parts.spawn(async move {
            if let Err(error) = admin.serve(stop).await {
                tracing::error!("the admin server ended: {error}");
            }
            "admin"
        });
    }
    if let Some((listen, callbacks)) = config.callback.listen.zip(parts::callbacks(&config)?) {
        let relay = Relay { hints: shared.hints.clone(), ledger: parts::ledger(&config, &metrics)? };
        let listener = Listener::bind(listen, callbacks, Arc::new(relay), metrics.clone()).await?;
        tracing::info!(listen = %listener.local_addr(), "callbacks are listened for");
        let stop = stop.clone();
        parts.spawn(async move {
            if let Err(error) = listener.serve(stop).await {
                tracing::error!("the listener of callbacks ended: {error}");
            }
            "callbacks"
        });
    }
    parts.spawn({
        let (endpoint, hints, stop) = (parts::redis_endpoint(&config)?, shared.hints.clone(), stop.clone());
        let channel = RedisLedger::hint_channel(&config.redis.prefix);
        let heartbeat = heartbeats.register("hints", SILENCE_MAX);
        async move {
            hints::listen(endpoint, channel, hints, heartbeat, stop).await;
            "hints"
        }
    });
    parts.spawn({
        let (shared, stop) = (shared.clone(), stop.clone());
        let heartbeat = heartbeats.register("breaker", SILENCE_MAX);
        async move {
            shared.breaker.watch(&Probes { shared: &shared }, &heartbeat, &stop).await;
            "breaker"
        }
    });
    parts.spawn({
        let (shared, stop) = (shared.clone(), stop.clone());
        let heartbeat = heartbeats.register("standstills", SILENCE_MAX);
        async move {
            shared.standstills.watch(&shared.breaker, &heartbeat, &stop).await;
            "standstills"
        }
    });
    parts.spawn({
        let (shared, stop) = (shared.clone(), stop.clone());
        let heartbeat = heartbeats.register("store", SILENCE_MAX);
        async move {
            store_watch::watch(&shared, &heartbeat, &stop).await;
            "store"
        }
    });
    parts.spawn({
        let (durations, learning) = (parts::durations(&config, &metrics)?, shared.learning.clone());
        let (heartbeat, stop) = (heartbeats.register("learning", SILENCE_MAX), stop.clone());
        async move {
            learning.share(&durations, &heartbeat, &stop).await;
            "learning"
        }
    });
    tokio::select! {
        ready = sessions.while_alive(preflight(&shared, &stop)) => {
            ready.unwrap_or(Ok(())).map_err(anyhow::Error::msg)?;
        }
        () = signals.next() => return Ok(()),
    }
    looked_first.store(true, Ordering::Relaxed);
    parts.spawn(async move {
        sessions.run().await;
        "sessions"
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "comet-worker runs");

    let mut died = None;
    tokio::select! {
        () = signals.next() => tracing::info!("stopping: nothing more is taken, what waits is handed back"),
        ended = parts.join_next() => died = Some(name(ended)),
    }
    stop.cancel();
    let limit = config.api.submit_timeout + AFTER_LAST_POST;
    let drain = async { while parts.join_next().await.is_some() {} };
    tokio::select! {
        () = drain => {
            publisher.close().await;
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

fn name(ended: Option<Result<&'static str, tokio::task::JoinError>>) -> String {
    match ended {
        Some(Ok(part)) => format!("the part {part}"),
        Some(Err(error)) => format!("a part ({error})"),
        None => "every part".to_owned(),
    }
}

fn shared(config: &Config, publisher: Arc<Publisher>, metrics: &Metrics) -> anyhow::Result<Shared> {
    let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
    for warning in storage.warnings() {
        tracing::warn!("{warning}");
    }
    // POSTs have a share of their own, so no other request can make them wait after their gate.
    let connections = config.api.max_connections.saturating_sub(config.api.max_submits_at_once);
    let limits = Limits::new(config.api.max_requests_per_second, connections);
    let standstills = Standstills::new(metrics.clone());
    Ok(Shared {
        ledger: Arc::new(parts::ledger(config, metrics)?),
        provider: Arc::new(parts::provider(config)?.counted_in(metrics.clone()).limited_by(limits.clone())),
        images: Arc::new(parts::downloader(config)?),
        receipts: Receipts::new(storage.clone()),
        storage,
        publishing: Publishing {
            publisher,
            names: parts::names(config),
            standstills: standstills.clone(),
            metrics: metrics.clone(),
        },
        breaker: Breaker::new(metrics.clone()),
        submits: Submits::new(config.api.max_submits_at_once),
        slots: SlotLine::new(config.generation.max_running),
        limits: limits.clone(),
        polls: Arc::new(Semaphore::new(config.api.max_polls_at_once)),
        downloads: Downloads::new(config.download.max_at_once),
        hints: Hints::default(),
        lives: JobsInFlight::default(),
        learning: Learning::new(rules(config).pace),
        copies: Copies::new(config.worker.max_in_flight),
        panics: Panics::default(),
        standstills,
        weaknesses: Weaknesses::default(),
        metrics: metrics.clone(),
        clock: Clock::default(),
        settings: Arc::new(Settings {
            redis_prefix: config.redis.prefix.clone(),
            request_rules: Rules { callbacks: parts::callbacks(config)?, ..parts::request_rules(config) },
            message_bytes_max: config.amqp.max_message_bytes,
            rules: rules(config),
            download_attempts: config.download.attempts,
            source: config.events.source.clone(),
            tell_submitted: config.events.submitted,
        }),
    })
}

/// The settings of a life.
fn rules(config: &Config) -> step::Rules {
    step::Rules {
        gate: config.generation.gate,
        quiet: config.generation.quiet,
        timeout: config.generation.timeout,
        hold: config.amqp.consumer_timeout / 2,
        patience: config.download.patience,
        // Receipts that end with the process can't be a gate.
        receipts: config.generation.receipts && config.storage.url != "memory:",
        trust_lookup: config.generation.on_unknown_submit == OnUnknownSubmit::TrustLookup,
        max_attempts: config.generation.max_attempts,
        pace: Pace { first: config.poll.first, min: config.poll.min, max: config.poll.max },
    }
}

struct Probes<'a> {
    shared: &'a Shared,
}

#[async_trait::async_trait]
impl Probe for Probes<'_> {
    async fn probe(&self, cause: Cause) -> Result<(), String> {
        match cause {
            Cause::Money => Err("only a real job tells".to_owned()),
            Cause::Downloads => Err("only what failed tells".to_owned()),
            Cause::Key | Cause::Configuration | Cause::Forbidden | Cause::Provider | Cause::Posts => {
                self.shared.provider.probe().await.map_err(|fault| fault.message)
            }
            Cause::Redis => self.shared.ledger.probe().await.map_err(|error| error.to_string()),
            Cause::Storage | Cause::Images => store_watch::probe(self.shared).await,
        }
    }
}

/// What `/livez` and `/readyz` report.
struct Health {
    heartbeats: Heartbeats,
    breaker: Breaker,
    standstills: Standstills,
    weaknesses: Weaknesses,
    /// The checks of Redis and the store before the first session are over.
    looked_first: Arc<AtomicBool>,
    connected: Arc<AtomicBool>,
    suspects: Suspects,
    stop: CancellationToken,
}

impl Status for Health {
    fn alive(&self) -> Result<(), Vec<String>> {
        let silent = self.heartbeats.silent();
        if silent.is_empty() { Ok(()) } else { Err(silent) }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = self.breaker.faults();
        if self.breaker.mode() == Mode::OneJob {
            reasons.push("one job at a time is let through, to see whether it is over".to_owned());
        }
        if !self.looked_first.load(Ordering::Relaxed) {
            reasons.push("starting: jobs are taken once Redis and the store have answered".to_owned());
        } else if !self.connected.load(Ordering::Relaxed) {
            let why = self.standstills.now(Standstill::RabbitMq);
            reasons.push(format!("rabbitmq: {}", why.unwrap_or_else(|| "connecting".to_owned())));
        }
        reasons.extend(self.standstills.hindering());
        reasons.extend(self.suspects.standstill());
        if self.stop.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn weaknesses(&self) -> Vec<String> {
        self.weaknesses.all()
    }
}
