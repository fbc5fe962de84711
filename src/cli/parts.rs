//! The parts that commands share, made from the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret;

use crate::config::{Config, redacted};
use crate::images::guard::Guard;
use crate::images::{Bounds, DownloadRules, Downloader};
use crate::job::callback::Callbacks;
use crate::job::request::Rules;
use crate::ledger::connection::Connection;
use crate::ledger::durations::RedisDurations;
use crate::ledger::endpoint::Endpoint;
use crate::ledger::fleet::RedisFleet;
use crate::ledger::replays::RedisReplays;
use crate::ledger::slots::Account;
use crate::ledger::spend::RedisSpend;
use crate::ledger::{Ledger, RedisLedger};
use crate::metrics::{Metrics, Service};
use crate::provider::http::{CometApi, Endpoints};
use crate::queue::publish::Publisher;
use crate::queue::topology::Names;
use crate::queue::{Address, ConnectError};
use crate::storage::StorageOptions;

/// The time in which a running task is counted again, once its worker can report it.
const RECOUNT_MARGIN: Duration = Duration::from_secs(10);

/// A video that comes holds memory that others wait for.
const MEDIA_SILENCE_MAX: Duration = Duration::from_secs(30);

pub(super) fn address(config: &Config) -> anyhow::Result<Address> {
    let amqp = &config.amqp;
    Address::new(amqp.url.clone(), amqp.heartbeat, amqp.connect_timeout)
        .map(|address| address.with_certificates(amqp.certificates.clone()))
        .map_err(|fault| anyhow::anyhow!("amqp.url: {fault}"))
}

/// A publisher that makes what is missing, unless the operator makes it.
pub(super) fn publisher(config: &Config, metrics: &Metrics) -> anyhow::Result<Publisher> {
    Ok(Publisher::new(
        address(config)?,
        config.amqp.publish_channels,
        config.amqp.confirm_timeout,
        config.amqp.declare.then(|| names(config)),
        metrics.clone(),
    ))
}

/// RabbitMQ can't be reached.
#[derive(Debug, thiserror::Error)]
#[error("no connection to RabbitMQ at {url}: {why}; check amqp.url (COMET_WORKER__AMQP__URL)")]
pub(super) struct NoRabbitMq {
    url: String,
    why: String,
}

/// The one-line error for a RabbitMQ that can't be reached.
pub(super) fn no_rabbitmq(config: &Config, error: &ConnectError) -> anyhow::Error {
    NoRabbitMq { url: redacted(&config.amqp.url.now()), why: error.reason() }.into()
}

pub(super) fn names(config: &Config) -> Names {
    Names {
        jobs: config.amqp.queue.clone(),
        events: config.amqp.exchange.clone(),
        dead: config.amqp.dead_queue.clone(),
        unrouted: config.amqp.unrouted_queue.clone(),
    }
}

pub(super) fn redis_endpoint(config: &Config) -> anyhow::Result<Endpoint> {
    let redis = &config.redis;
    Endpoint::new(redis.url.clone(), redis.response_timeout)
        .map(|endpoint| endpoint.with_certificates(redis.certificates.clone()))
        .map_err(|fault| anyhow::anyhow!("redis.url: {fault}"))
}

/// The ledger of this fleet. It is chosen here and nowhere else.
pub(super) fn ledger(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<dyn Ledger>> {
    Ok(Arc::new(redis_ledger(config, metrics)?))
}

pub(super) fn redis_ledger(config: &Config, metrics: &Metrics) -> anyhow::Result<RedisLedger> {
    let connection = redis_connection(config, metrics)?;
    let noted = metrics.clone();
    let ledger = RedisLedger::new(connection, &config.redis.prefix, config.redis.remember)
        .with_spend(config.spend.rules.clone())
        .noting(move |name, value| noted.fleet(name, value));
    let cap = config.generation.max_running;
    if cap == 0 {
        return Ok(ledger);
    }
    metrics.slots_allowed(cap);
    // After this time, a POST under way has an outcome, other workers have a dead worker's jobs, and a broken
    // connection for hints is established again.
    let posted = config.generation.gate + config.api.submit_timeout;
    let recount = posted.max(config.amqp.heartbeat * 2) + RECOUNT_MARGIN;
    Ok(ledger.with_account(Account { cap, recount }))
}

/// Uses a connection of its own, so that it delays no move of a record.
pub(super) fn durations(config: &Config, metrics: &Metrics) -> anyhow::Result<RedisDurations> {
    let (connection, prefix) = (redis_connection(config, metrics)?, &config.redis.prefix);
    Ok(RedisDurations::new(connection, prefix, config.redis.remember))
}

/// Likewise.
pub(super) fn fleet(config: &Config, metrics: &Metrics) -> anyhow::Result<RedisFleet> {
    Ok(RedisFleet::new(redis_connection(config, metrics)?, &config.redis.prefix))
}

/// Likewise.
pub(super) fn spend(config: &Config, metrics: &Metrics) -> anyhow::Result<RedisSpend> {
    let (connection, prefix) = (redis_connection(config, metrics)?, &config.redis.prefix);
    Ok(RedisSpend::new(connection, prefix, config.spend.rules.clone(), config.redis.remember))
}

/// Likewise.
pub(super) fn replays(config: &Config, metrics: &Metrics) -> anyhow::Result<RedisReplays> {
    Ok(RedisReplays::new(redis_connection(config, metrics)?, &config.redis.prefix))
}

pub(super) fn redis_connection(config: &Config, metrics: &Metrics) -> anyhow::Result<Connection> {
    let (metrics, measuring) = (metrics.clone(), metrics.clone());
    let redis = &config.redis;
    Connection::new(redis.url.clone(), redis.response_timeout, move || metrics.reconnected(Service::Redis))
        .map(|connection| connection.with_certificates(redis.certificates.clone()))
        .map(|connection| connection.measuring(move |took, failed| measuring.redis_called(took, failed)))
        .map_err(|fault| anyhow::anyhow!("redis.url: {fault}"))
}

/// The callback URLs of this fleet, if the provider is to call back.
pub(super) fn callbacks(config: &Config) -> anyhow::Result<Option<Callbacks>> {
    let Some(public_url) = &config.callback.public_url else { return Ok(None) };
    let own = &config.callback.secret;
    let secret =
        if own.expose_secret().is_empty() { config.require_key()?.now().into() } else { own.clone() };
    Ok(Some(Callbacks::new(public_url, &secret, &config.redis.prefix)))
}

pub(super) fn provider(config: &Config) -> anyhow::Result<CometApi> {
    let api = &config.api;
    CometApi::new(Endpoints {
        base_url: api.base_url.clone(),
        key: config.require_key()?.clone(),
        routes: api.routes(),
        submit_timeout: api.submit_timeout,
        query_timeout: api.query_timeout,
        proxy: api.proxy.clone(),
        certificates: api.certificates.clone(),
    })
    .context("api")
}

/// The rules by which every reader checks a job.
pub(super) fn request_rules(config: &Config) -> Rules {
    Rules { slots: config.generation.max_running, ..Rules::of(config.api.routes()) }
}

pub(super) fn downloader(config: &Config) -> anyhow::Result<Downloader> {
    let rules = DownloadRules {
        guard: Guard {
            allow_private_hosts: config.download.allow_private_hosts,
            networks: config.download.allow_networks.clone().into(),
        },
        image: Bounds { max_bytes: config.download.max_bytes, timeout: config.download.timeout },
        media: Bounds { max_bytes: config.download.media_max_bytes, timeout: media_timeout(config) },
        silence: config.download.timeout.min(MEDIA_SILENCE_MAX),
        max_redirects: 3,
        proxy: config.download.proxy.clone(),
        user_agent: config.download.user_agent.clone(),
        certificates: config.download.certificates.clone(),
    };
    Downloader::new(rules).map_err(|fault| anyhow::anyhow!("download: {fault}"))
}

/// A delivery is handed back at half of the consumer timeout, and a transfer that lasted longer would begin anew then,
/// again and again.
fn media_timeout(config: &Config) -> Duration {
    config.download.media_timeout.min(config.amqp.consumer_timeout / 2 / 10 * 9)
}

pub(super) fn storage_options(config: &Config) -> StorageOptions {
    let storage = &config.storage;
    StorageOptions {
        url: storage.url.clone(),
        prefix: storage.prefix.clone(),
        fsync: storage.fsync,
        endpoint: storage.endpoint.clone(),
        region: Some(storage.region.clone()).filter(|region| !region.is_empty()),
        path_style: storage.path_style,
        public_url: storage.public_url.clone(),
        certificates: storage.certificates.clone(),
    }
}
