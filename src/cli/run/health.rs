//! What is said of the process: whether it is alive and ready, and whether what failed works again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::admin::Status;
use crate::heartbeat::Heartbeats;
use crate::metrics::Standstill;
use crate::worker::breaker::{Breaker, Cause, FaultWords, Mode, Probe};
use crate::worker::preflight::Weaknesses;
use crate::worker::standstills::Standstills;
use crate::worker::suspects::Suspects;
use crate::worker::{Shared, store_watch};

/// Tries what failed.
pub(in crate::cli) struct Probes(pub(in crate::cli) Shared);

#[async_trait::async_trait]
impl Probe for Probes {
    async fn probe(&self, cause: Cause) -> Result<(), FaultWords> {
        match cause {
            Cause::Money => Err("only a real job tells".into()),
            Cause::Downloads => Err("only what failed tells".into()),
            Cause::Key | Cause::Configuration | Cause::Forbidden | Cause::Provider | Cause::Posts => {
                self.0.provider.probe().await.map_err(|fault| fault.message.into())
            }
            Cause::Redis => self.0.ledger.probe().await.map_err(|error| FaultWords::from(&error)),
            Cause::Storage | Cause::Images => store_watch::probe(&self.0).await,
        }
    }
}

/// What `/livez` and `/readyz` report.
pub(super) struct Health {
    pub(super) heartbeats: Heartbeats,
    pub(super) breaker: Breaker,
    pub(super) standstills: Standstills,
    pub(super) weaknesses: Weaknesses,
    /// The checks of Redis and the store before the first session are over.
    pub(super) looked_first: Arc<AtomicBool>,
    pub(super) connected: Arc<AtomicBool>,
    pub(super) suspects: Suspects,
    pub(super) stop: CancellationToken,
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
