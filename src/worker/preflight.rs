//! Checks before the first job whether the store can be the gate, and is the store that the other workers use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::breaker::{Cause, FaultWords};
use crate::job::pace::{Backoff, Seed};
use crate::ledger::LedgerError;
use crate::receipts::StoreId;

/// What this worker can't guarantee while it runs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Weaknesses(Arc<Mutex<Vec<String>>>);

impl Weaknesses {
    /// One sentence per weakness.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn warn(&self, weakness: &str) {
        tracing::warn!("{weakness}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(weakness.to_owned());
    }
}

/// Logs what this worker guarantees, and returns once it may take jobs, or at the stop.
///
/// # Errors
///
/// A fault that waiting can't remove, for people: this store doesn't belong to this Redis.
pub async fn preflight(shared: &Shared, stop: &CancellationToken) -> Result<(), String> {
    if !shared.settings.rules.receipts {
        shared.weaknesses.warn(
            "payment guarantee: at most one generation a job as long as Redis forgets nothing; \
             generation.receipts = true holds also when it does",
        );
        return Ok(());
    }
    let mut retries =
        Backoff::new(Duration::from_millis(250), Duration::from_secs(5), Seed::from_text("preflight"));
    while !stop.is_cancelled() {
        match look(shared).await {
            Ok(Verdict::Gate) => {
                tracing::info!("payment guarantee: {}", guarantee(shared.settings.rules.trust_lookup));
                return Ok(());
            }
            Ok(Verdict::NoGate) => {
                shared.weaknesses.warn(NO_GATE);
                return Ok(());
            }
            Ok(Verdict::OtherStore) => {
                return Err(format!(
                    "storage.url leads to another store than the workers on this Redis use (keys {{{}}}:…): two stores \
                     would be two gates before one payment; use the same storage.url and storage.prefix, or a \
                     redis.prefix of its own; to move all workers to this store for good, stop them and delete the \
                     key {{{}}}:store-id in Redis; delete it also if this is their store and has only lost its \
                     receipts/store-id (to a lifecycle rule, perhaps)",
                    shared.settings.redis_prefix, shared.settings.redis_prefix
                ));
            }
            Err((cause, words)) => shared.breaker.fault(cause, words),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(retries.failed()) => {}
        }
    }
    Ok(())
}

/// Two workers that ask at the same moment both pass the gate, even if Redis forgets nothing.
const NO_GATE: &str = "payment guarantee: none where two workers have the same job, as after a lost connection: several that \
    create the same object at once in this store all succeed, so its receipts are no gate; use a store with atomic \
    conditional writes (S3, Google Cloud, Azure, a local folder)";

enum Verdict {
    Gate,
    NoGate,
    OtherStore,
}

async fn look(shared: &Shared) -> Result<Verdict, (Cause, FaultWords)> {
    let redis = |error: LedgerError| (Cause::Redis, FaultWords::from(&error));
    shared.ledger.probe().await.map_err(redis)?;
    let store = |error: crate::storage::StoreError| (Cause::Storage, FaultWords::from(&error));
    // The probe says more than a failed create: which right is missing, and whether an absent receipt can be
    // recognized.
    shared.storage.probe().await.map_err(store)?;
    let gate = shared.receipts.creates_only_once().await.map_err(store)?;
    let StoreId { id: ours, is_new } = shared.receipts.store_id().await.map_err(store)?;
    let theirs = shared.ledger.meet_store(&ours).await.map_err(redis)?;
    if theirs == ours {
        shared.settings.request_rules.store.set(&ours);
        shared.receipts.belong_to(&ours);
    }
    if is_new && theirs == ours && shared.slots.is_capped() {
        // No worker can have submitted anything before.
        shared.ledger.begin_count().await.map_err(redis)?;
    }
    Ok(match (theirs == ours, gate) {
        (false, _) => Verdict::OtherStore,
        (true, true) => Verdict::Gate,
        (true, false) => Verdict::NoGate,
    })
}

fn guarantee(trust_lookup: bool) -> &'static str {
    if trust_lookup {
        "at most one generation a job, also when Redis is lost, as far as the provider finds every task by its external \
         id within generation.quiet_s: a POST without an answer is looked up, and submitted again if it isn't found"
    } else {
        "at most one generation a job, also when Redis is lost: a POST without an answer is looked up, and never \
         submitted again if it isn't found"
    }
}
