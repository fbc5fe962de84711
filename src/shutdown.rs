//! The signals that ask for an end: SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};

/// Returns with the next SIGTERM or SIGINT. Each call waits for a signal of its own.
pub async fn requested() {
    // Without handlers the default action of the signals stands: the process ends, as asked.
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
