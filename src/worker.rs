//! The daemon. It runs one session with RabbitMQ after another, and one life per job, until the stop.
//!
//! A session ([`session`]) ends when its connection does. A job's life ([`life`]) ends at its next wait after that,
//! and begins anew from the record when RabbitMQ delivers the job again. While a life waits, it holds nothing that it
//! can't return within moments.

pub mod breaker;
pub mod copies;
pub mod delivery;
pub mod downloads;
pub mod held_jobs;
pub mod in_flight;
pub mod intake;
pub mod learning;
pub mod life;
pub mod panics;
pub mod preflight;
pub mod presence;
pub mod publish;
pub mod session;
pub mod slots;
pub mod spending;
pub mod standstills;
pub mod store_watch;
pub mod submits;
pub mod suspects;
pub mod transfer;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::images::Images;
use crate::job::request;
use crate::job::spend::SpendRules;
use crate::job::step::Rules;
use crate::ledger::Ledger;
use crate::ledger::hints::Hints;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::receipts::Receipts;
use crate::storage::Storage;
use crate::traces::Traces;
use breaker::Breaker;
use copies::Copies;
use downloads::Downloads;
use held_jobs::HeldJobs;
use in_flight::JobsInFlight;
use learning::Learning;
use panics::Panics;
use preflight::Weaknesses;
use publish::Publishing;
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
    pub publishing: Publishing,
    pub breaker: Breaker,
    pub submits: Submits,
    pub slots: SlotLine,
    pub limits: Limits,
    /// `api.max_polls_at_once` permits.
    pub polls: Arc<Semaphore>,
    pub downloads: Downloads,
    pub hints: Hints,
    pub lives: JobsInFlight,
    pub held_jobs: HeldJobs,
    pub learning: Learning,
    pub copies: Copies,
    pub panics: Panics,
    pub standstills: Standstills,
    pub weaknesses: Weaknesses,
    pub metrics: Metrics,
    pub traces: Traces,
    pub clock: Clock,
    pub settings: Arc<Settings>,
}

/// The settings of a job's life.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `redis.prefix`
    pub redis_prefix: String,
    pub request_rules: request::Rules,
    /// `amqp.max_message_bytes`
    pub message_bytes_max: usize,
    /// The settings of the state machine.
    pub rules: Rules,
    /// `download.attempts`
    pub download_attempts: u32,
    /// `events.source`
    pub source: String,
    /// `events.submitted`
    pub tell_submitted: bool,
    /// `[spend]`
    pub spend: SpendRules,
}
