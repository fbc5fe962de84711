//! Checks that the store is still the same one. A mount that vanishes under a running worker leaves an empty folder
//! behind, and a bucket can be exchanged. Images would then go to the wrong place, and a gate that has been passed
//! would be open again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::breaker::{Cause, FaultWords};
use crate::heartbeat::Heartbeat;

/// An idle worker, and one whose jobs all poll, notices a change within this time.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Checks that the store works, and is still the one that this worker began with.
///
/// # Errors
///
/// What is wrong with the store.
pub async fn probe(shared: &Shared) -> Result<(), FaultWords> {
    shared.storage.probe().await.map_err(|error| FaultWords::from(&error))?;
    is_ours(shared).await
}

/// Closes the intake if the store has changed or can't be asked; the breaker's probes open it again.
pub async fn watch(shared: &Shared, heartbeat: &Heartbeat, stop: &CancellationToken) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => heartbeat.touch(),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            looked = is_ours(shared) => {
                if let Err(words) = looked {
                    shared.breaker.fault(Cause::Storage, words);
                }
            }
        }
    }
}

/// A store that has lost its id doesn't get a new one, because it may be the folder under a mount.
async fn is_ours(shared: &Shared) -> Result<(), FaultWords> {
    let ours = shared.settings.request_rules.store.as_str();
    // Without receipts, or before the preflight, there is no id.
    if ours.is_empty() {
        return Ok(());
    }
    let found = match shared.receipts.store_name().await {
        Ok(Some(name)) if name == ours => return Ok(()),
        Ok(Some(_)) => "is another store's",
        Ok(None) => "is gone",
        Err(error) => return Err(FaultWords::from(&error)),
    };
    let detail = format!(
        "this is not the store that the worker began with: its receipts/store-id {found}, as where a mount has vanished or a \
         bucket was exchanged"
    );
    let remedy = format!(
        "bring the store back. If it is the same one and has only lost that object (to a lifecycle rule, perhaps), write it \
         again with the value of the key {{{}}}:store-id in Redis",
        shared.settings.redis_prefix
    );
    Err(FaultWords { detail, remedy: Some(remedy) })
}
