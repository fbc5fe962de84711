//! The store of the receipts is away: nothing is paid for without an answer from the gate, nothing is published that
//! isn't sealed, and the worker resumes by itself.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::worker::breaker::Mode;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::workbench::{Delivery, Workbench, again, job, until};

/// Makes the store go away on this side of this effect.
async fn goes_away(bench: &Workbench, name: &'static str, side: Side) -> Delivery {
    bench.watch_breaker();
    let mut held = bench.effects.hold(name, side);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    bench.store.down(true);
    drop(held);
    until("a fault of the store", || bench.shared.breaker.mode() == Mode::Closed).await;
    assert!(bench.shared.breaker.faults()[0].starts_with("storage: "), "{:?}", bench.shared.breaker.faults());
    delivery
}

async fn comes_back(bench: &Workbench) {
    bench.store.down(false);
    until("the store's recovery is seen", || bench.shared.breaker.mode() == Mode::Open).await;
}

async fn until_acked(bench: &Workbench, delivery: Delivery) {
    if delivery.ended().await == Some(Settled::HandedBack) {
        until("jobs are taken", || bench.shared.breaker.mode() == Mode::Open).await;
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    }
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_at_the_gate_stops_the_worker_before_anything_is_posted() {
    for away in [Duration::from_secs(1), Duration::from_secs(300)] {
        let bench = Workbench::new();
        let delivery = goes_away(&bench, "begin", Side::After).await;
        assert!(bench.measures("comet_paused{reason=\"storage\"} 1"));
        tokio::time::sleep(away).await;
        assert_eq!(bench.provider.posts().len(), 0, "{away:?}");
        assert!(delivery.is_open(), "{away:?}");
        comes_back(&bench).await;
        until_acked(&bench, delivery).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_have_begun_before_is_handed_back_while_the_store_is_away() {
    let bench = Workbench::new();
    bench.store.down(true);
    let delivered = Instant::now();
    assert_eq!(bench.run(again("a")).await, Some(Settled::HandedBack));
    assert!(delivered.elapsed() < Duration::from_secs(1), "{:?}", delivered.elapsed());
    assert!(bench.measures("comet_handed_back_total{why=\"paused\"} 1"));
    assert_eq!(bench.shared.breaker.mode(), Mode::Closed);
    assert!(bench.stage("a").await.is_none(), "a job that may have receipts is not begun without them");
    bench.watch_breaker();
    comes_back(&bench).await;
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_not_waited_for_before_the_store_has_it() {
    let bench = Workbench::new();
    let delivery = goes_away(&bench, "accept", Side::After).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bench.provider.polls(), 0);
    assert!(delivery.is_open());
    comes_back(&bench).await;
    until_acked(&bench, delivery).await;
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "result", "task-1"]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_not_told_before_the_store_has_it() {
    let bench = Workbench::new();
    let delivery = goes_away(&bench, "image", Side::After).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(bench.broker.taken().is_empty());
    assert!(delivery.is_open());
    comes_back(&bench).await;
    until_acked(&bench, delivery).await;
    assert_eq!(bench.images.fetched().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_store_that_is_away() {
    for (name, side) in [("begin", Side::After), ("accept", Side::After), ("image", Side::After)] {
        let bench = Workbench::new();
        let delivery = goes_away(&bench, name, side).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        bench.stop.cancel();
        let stopped = Instant::now();
        assert_eq!(delivery.ended().await, Some(Settled::HandedBack), "{name}");
        assert!(stopped.elapsed() < Duration::from_secs(5), "{name}: {:?}", stopped.elapsed());
        bench.store.down(false);
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked), "{name}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{name}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{name}");
    }
}
