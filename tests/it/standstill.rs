//! Waiting for a service, however long, is not a standstill of the process: `/livez` reports nothing.

use std::time::Duration;

use comet_worker::heartbeat::Heartbeats;
use comet_worker::metrics::Metrics;
use comet_worker::worker::breaker::{Breaker, Cause, FaultWords, Mode, Probe};
use tokio_util::sync::CancellationToken;

/// A service that accepts requests and never answers.
struct Mute;

#[async_trait::async_trait]
impl Probe for Mute {
    async fn probe(&self, _cause: Cause) -> Result<(), FaultWords> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_answers_is_a_failed_one_and_no_standstill() {
    let breaker = Breaker::new(Metrics::new());
    let heartbeats = Heartbeats::new();
    let heartbeat = heartbeats.register("breaker", Duration::from_secs(60));
    breaker.fault(Cause::Storage, "it hangs");
    let watching = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.watch(&Mute, &heartbeat, &CancellationToken::new()).await }
    });
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(heartbeats.silent(), [""; 0]);
    }
    assert_eq!(breaker.mode(), Mode::Closed);
    assert!(breaker.faults()[0].contains("no answer within"), "{:?}", breaker.faults());
    watching.abort();
}
