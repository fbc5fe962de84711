//! A worker whose ledger is in its own memory: the hints come without Redis.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::ledger::Ledger;
use comet_worker::ledger::in_memory::{InMemoryLedger, Table};
use comet_worker::ledger::slots::Account;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::ledger::REMEMBER;
use crate::workbench::{Workbench, job};

/// Its account runs one task at a time.
async fn one_process() -> Workbench {
    let mut bench = Workbench::with(|options| {
        options.max_running = 1;
        options.settings.request_rules.slots = 1;
    });
    let (hints, clock) = (bench.shared.hints.clone(), bench.shared.clock);
    let account = Account { cap: 1, recount: Duration::from_secs(30) };
    let ledger = InMemoryLedger::new(Table::new(REMEMBER, Some(account)), hints, move || clock.now());
    ledger.begin_count().await.unwrap();
    bench.shared.ledger = Arc::new(ledger);
    bench.provider.tasks_take(Duration::from_secs(100));
    bench
}

#[tokio::test(start_paused = true)]
async fn the_next_job_is_posted_the_moment_that_a_slot_is_free() {
    let bench = one_process().await;
    let first = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let next = bench.deliver(job("b"));
    assert_eq!(first.ended().await, Some(Settled::Acked));
    let ended = Instant::now();
    bench.until_posted(2).await;
    assert!(bench.provider.posts()[1].at <= ended, "{:?} later", bench.provider.posts()[1].at - ended);
    assert_eq!(next.ended().await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_at_once() {
    let bench = one_process().await;
    let generating = bench.deliver(job("a"));
    bench.until_polled(1).await;
    let cancelled = Instant::now();
    bench.shared.ledger.cancel(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(generating.ended().await, Some(Settled::Acked));
    assert!(cancelled.elapsed() < Duration::from_millis(100), "{:?}", cancelled.elapsed());
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Cancelled));
}
