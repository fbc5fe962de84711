//! The daemon. It runs one session with RabbitMQ after another, and one life per job, until the stop.
//!
//! A session ([`session`]) ends when its connection does. A job's life ([`life`]) ends at its next wait after that,
//! and begins anew from the record when RabbitMQ delivers the job again. While a life waits, it holds nothing that it
//! can't return within moments.

pub mod breaker;
pub mod copies;
pub mod delivery;
pub mod downloads;
pub mod in_flight;
pub mod intake;
pub mod learning;
pub mod life;
pub mod panics;
pub mod preflight;
pub mod publish;
pub mod session;
pub mod slots;
pub mod standstills;
pub mod store_watch;
pub mod submits;
pub mod suspects;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::images::Images;
use crate::job::pace::Pace;
use crate::job::request;
use crate::ledger::Ledger;
use crate::ledger::hints::Hints;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::queue::publish::Publish;
use crate::queue::topology::Names;
use crate::receipts::Receipts;
use crate::storage::Storage;
use breaker::Breaker;
use copies::Copies;
use downloads::Downloads;
use in_flight::JobsInFlight;
use learning::Learning;
use panics::Panics;
use preflight::Weaknesses;
use slots::SlotLine;
use standstills::Standstills;
use submits::Submits;

/// What all lives share.
#[derive(Clone)]
pub struct Shared {
    pub ledger: Arc<dyn Ledger>,
    pub provider: Arc<dyn Provider>,
    pub images: Arc<dyn Images>,
    pub storage: Storage,
    pub receipts: Receipts,
    pub publisher: Arc<dyn Publish>,
    pub breaker: Breaker,
    pub submits: Submits,
    pub slots: SlotLine,
    pub limits: Limits,
    /// `api.max_polls_at_once` permits.
    pub polls: Arc<Semaphore>,
    pub downloads: Downloads,
    pub hints: Hints,
    pub lives: JobsInFlight,
    pub learning: Learning,
    pub copies: Copies,
    pub panics: Panics,
    pub standstills: Standstills,
    pub weaknesses: Weaknesses,
    pub metrics: Metrics,
    pub clock: Clock,
    pub settings: Arc<Settings>,
}

/// The settings of a job's life.
#[derive(Debug, Clone)]
pub struct Settings {
    pub names: Names,
    /// `redis.prefix`
    pub redis_prefix: String,
    pub request_rules: request::Rules,
    /// `amqp.max_message_bytes`
    pub message_bytes_max: usize,
    /// `generation.gate_s`
    pub gate: Duration,
    /// `generation.quiet_s`
    pub quiet: Duration,
    /// `generation.timeout_s`
    pub timeout: Duration,
    /// `generation.receipts`
    pub receipts: bool,
    /// `generation.on_unknown_submit = "trust_lookup"`
    pub trust_lookup: bool,
    /// `generation.max_attempts`
    pub max_attempts: u32,
    pub pace: Pace,
    /// `download.attempts`
    pub download_attempts: u32,
    /// `download.patience_s`
    pub patience: Duration,
    /// `events.source`
    pub source: String,
    /// `events.submitted`
    pub tell_submitted: bool,
    /// Half of `amqp.consumer_timeout_s`. A delivery is held no longer than this.
    pub hold: Duration,
}
