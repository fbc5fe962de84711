//! What all lives share, made from the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;

use crate::cli::parts;
use crate::clock::Clock;
use crate::config::{Config, OnUnknownSubmit};
use crate::job::pace::Pace;
use crate::job::request::Rules;
use crate::job::step;
use crate::ledger::Ledger;
use crate::ledger::hints::Hints;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::queue::publish::Publish;
use crate::receipts::Receipts;
use crate::storage::Storage;
use crate::traces::Traces;
use crate::worker::breaker::Breaker;
use crate::worker::copies::Copies;
use crate::worker::downloads::Downloads;
use crate::worker::held_jobs::HeldJobs;
use crate::worker::in_flight::JobsInFlight;
use crate::worker::learning::Learning;
use crate::worker::panics::Panics;
use crate::worker::preflight::Weaknesses;
use crate::worker::publish::Publishing;
use crate::worker::slots::SlotLine;
use crate::worker::standstills::Standstills;
use crate::worker::submits::Submits;
use crate::worker::{Settings, Shared};

/// What lives work with that may be one thing or another.
pub(in crate::cli) struct Ports {
    pub(in crate::cli) ledger: Arc<dyn Ledger>,
    pub(in crate::cli) publisher: Arc<dyn Publish>,
    pub(in crate::cli) hints: Hints,
    pub(in crate::cli) traces: Traces,
}

pub(in crate::cli) fn shared(config: &Config, ports: Ports, metrics: &Metrics) -> anyhow::Result<Shared> {
    let Ports { ledger, publisher, hints, traces } = ports;
    let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
    for warning in storage.warnings() {
        tracing::warn!("{warning}");
    }
    // POSTs have a share of their own, so no other request can make them wait after their gate.
    let connections = config.api.max_connections.saturating_sub(config.api.max_submits_at_once);
    let limits = Limits::new(config.api.max_requests_per_second, connections);
    let standstills = Standstills::new(metrics.clone());
    Ok(Shared {
        ledger,
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
        hints,
        lives: JobsInFlight::default(),
        held_jobs: HeldJobs::new(metrics.clone()),
        learning: Learning::new(rules(config).pace),
        copies: Copies::new(config.worker.max_in_flight),
        panics: Panics::default(),
        standstills,
        weaknesses: Weaknesses::default(),
        metrics: metrics.clone(),
        traces,
        clock: Clock::default(),
        settings: Arc::new(Settings {
            redis_prefix: config.redis.prefix.clone(),
            request_rules: Rules { callbacks: parts::callbacks(config)?, ..parts::request_rules(config) },
            message_bytes_max: config.amqp.max_message_bytes,
            rules: rules(config),
            download_attempts: config.download.attempts,
            source: config.events.source.clone(),
            tell_submitted: config.events.submitted,
            spend: config.spend.rules.clone(),
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
