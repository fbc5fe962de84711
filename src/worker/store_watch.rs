//! Is it still the same store? A mount that vanishes under a running worker leaves an empty folder behind it, and a bucket can be
//! exchanged: images would go where nobody looks for them, and a gate that has been passed would stand open again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::breaker::Cause;
use crate::heartbeat::Heartbeat;

/// An idle worker, and one whose jobs all poll, notice within this.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Whether the store works, and is still the one that this worker began with.
///
/// # Errors
///
/// What is wrong with it, for people.
pub async fn probe(shared: &Shared) -> Result<(), String> {
    shared.storage.probe().await.map_err(|error| error.to_string())?;
    is_ours(shared).await
}

/// Closes the intake where the store is another one, or can't be asked; the breaker's probes open it again.
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
                if let Err(message) = looked {
                    shared.breaker.fault(Cause::Storage, &message);
                }
            }
        }
    }
}

/// The name of a store that has lost it is not given again: it may be the folder under a mount.
async fn is_ours(shared: &Shared) -> Result<(), String> {
    let ours = shared.settings.request_rules.store.as_str();
    // Without receipts, or before the first look, there is none.
    if ours.is_empty() {
        return Ok(());
    }
    let found = match shared.receipts.store_name().await {
        Ok(Some(name)) if name == ours => return Ok(()),
        Ok(Some(_)) => "is another store's",
        Ok(None) => "is gone",
        Err(error) => return Err(error.to_string()),
    };
    Err(format!(
        "this is not the store that the worker began with: its receipts/store-id {found}, as where a mount has vanished or a \
         bucket was exchanged; bring the store back. If it is the same one and has only lost that object (to a lifecycle \
         rule, perhaps), write it again with the value of the key {{{}}}:store-id in Redis",
        shared.settings.redis_prefix
    ))
}
