use std::collections::BTreeMap;
use std::future::pending;

use anyhow::anyhow;

use super::*;
use crate::fleet::SlotsState;
use crate::heartbeat::Heartbeats;

/// A fleet that is answered for, or, like a RabbitMQ or a Redis that hangs, not.
struct Source(Option<Fleet>);

#[async_trait]
impl FleetSource for Source {
    async fn fleet(&self) -> Result<Fleet, NoAnswer> {
        match &self.0 {
            Some(fleet) => Ok(fleet.clone()),
            None => pending().await,
        }
    }

    async fn jobs(&self, _stage: Option<JobStage>, _limit: usize) -> Result<Vec<UnfinishedJob>, NoAnswer> {
        pending().await
    }

    async fn job(&self, _job: &JobId) -> Result<JobView, NoAnswer> {
        pending().await
    }

    async fn hour(&self) -> Result<Vec<Minute>, NoAnswer> {
        pending().await
    }

    async fn spend(&self, _days: u32) -> Result<Vec<DaySpend>, NoAnswer> {
        pending().await
    }

    async fn image(&self, _job: &JobId, _index: usize) -> Result<Bytes, NoAnswer> {
        pending().await
    }

    async fn cancel(&self, _job: &JobId) -> Result<Value, NoAnswer> {
        pending().await
    }

    async fn resolve(&self, _job: &JobId, _decision: Decision) -> Result<Value, NoAnswer> {
        pending().await
    }

    async fn dead(&self, _limit: usize) -> Result<Vec<Value>, NoAnswer> {
        pending().await
    }

    async fn replay(&self, _key: &str, _force: bool) -> Result<Value, NoAnswer> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_holds_up_no_stop() {
    let (metrics, stop) = (Metrics::new(), CancellationToken::new());
    let heartbeat = Heartbeats::new().register("backlog", QUEUES_KEPT);
    let stopping = stop.clone();
    tokio::spawn(async move {
        // In the middle of the question.
        tokio::time::sleep(Duration::from_secs(3)).await;
        stopping.cancel();
    });
    let begun = Instant::now();
    show_backlog(&Source(None), &AtomicBool::new(true), &metrics, &heartbeat, &stop).await;
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn only_the_worker_that_shows_the_fleet_shows_its_backlog() {
    let fleet = Fleet {
        time: String::new(),
        workers: Vec::new(),
        jobs: BTreeMap::new(),
        queues: Queues { jobs: Some(7), dead: Some(0), unrouted: None },
        slots: SlotsState::default(),
        pace_per_s: None,
        oldest: None,
        recent: Vec::new(),
        spend: None,
    };
    let (metrics, stop, shows) = (Metrics::new(), CancellationToken::new(), AtomicBool::new(false));
    let heartbeat = Heartbeats::new().register("backlog", QUEUES_KEPT);
    let source = Source(Some(fleet));
    let showing = show_backlog(&source, &shows, &metrics, &heartbeat, &stop);
    let is_shown = || metrics.encode().contains("comet_backlog_jobs{} 7\n");
    let watching = async {
        for does in [false, true, false] {
            shows.store(does, Ordering::Relaxed);
            tokio::time::sleep(QUEUES_KEPT * 2).await;
            assert_eq!(is_shown(), does);
        }
        stop.cancel();
    };
    tokio::join!(showing, watching);
}

#[test]
fn a_service_that_is_away_is_no_refusal() {
    let away = anyhow::Error::new(LedgerError::Unavailable("timed out".to_owned()));
    assert!(matches!(no_answer(away), NoAnswer::Unavailable(_)));
    let away = anyhow::Error::new(PublishError::NotConfirmed(Duration::from_secs(1))).context("a replay");
    assert!(matches!(no_answer(away), NoAnswer::Unavailable(words) if words.contains("a replay")));
    assert!(matches!(no_answer(anyhow!("it has ended")), NoAnswer::Refused(_)));
}
