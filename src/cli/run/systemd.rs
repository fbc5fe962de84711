//! Tells systemd how the process is: started, in which state, alive, stopping (`Type=notify`, `WatchdogSec=`). Where
//! nothing listens (`NOTIFY_SOCKET`), nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admin::Status;
use crate::heartbeat::Heartbeat;
use crate::redact;

/// How often the state is told.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Whether the process was started by something that wants to be told.
pub(super) fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells that the process has started, then its state, and as long as all its loops turn that it is alive; at `stop`,
/// that it stops. A worker whose services are away has started all the same: it waits for them by itself.
pub(super) async fn tell(status: &dyn Status, heartbeat: &Heartbeat, stop: &CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    // Three pings fit into the time after which systemd would restart the process.
    let mut tick = interval(watchdog.map_or(TOLD_EVERY, |limit| TOLD_EVERY.min(limit / 3)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => heartbeat.touch(),
        }
        let words = words(status);
        notify(&[NotifyState::Status(&words)]);
        if watchdog.is_some() && status.alive().is_ok() {
            notify(&[NotifyState::Watchdog]);
        }
    }
    notify(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
fn words(status: &dyn Status) -> String {
    match status.ready() {
        Ok(()) => "takes jobs".to_owned(),
        Err(reasons) => redact::spaced(&format!("takes no jobs: {}", reasons.join("; "))),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd could not be told: {error}");
    }
}
