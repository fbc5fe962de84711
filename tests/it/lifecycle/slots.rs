//! The account's slots, and how the jobs of one worker wait for them.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Nonce;
use comet_worker::job::request::{self, Properties};
use comet_worker::job::step::BeginPrecondition;
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger};
use serde_json::json;

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, external, input, job, message, until};

const GENERATION: Duration = Duration::from_secs(100);

/// A worker whose account runs this many at a time.
async fn with_slots(cap: u32) -> Workbench {
    let bench = Workbench::with(|options| {
        options.max_running = cap;
        options.settings.request_rules.slots = cap;
    });
    bench.memory.begin_count().await.unwrap();
    bench.provider.tasks_take(GENERATION);
    bench
}

fn job_of(id: &str, images: u32) -> comet_worker::queue::consume::Message {
    let mut input = input();
    input["n"] = images.into();
    message(&json!({"job_id": id, "input": input}))
}

async fn moments() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn as_many_jobs_run_as_the_account_allows_and_the_others_follow() {
    let bench = with_slots(3).await;
    let lives: Vec<_> = (0..7).map(|n| bench.deliver(job_of(&format!("j{n}"), 1 + n % 2))).collect();
    moments().await;
    assert_eq!(bench.provider.posts().len(), 2, "1 and 2 fill it");
    for life in lives {
        assert_eq!(life.ended().await, Some(Settled::Acked));
    }
    assert_eq!(bench.provider.posts().len(), 7);
    assert!(bench.measures("comet_slots_wait_seconds_count 7"), "{}", bench.shared.metrics.encode());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_slots_and_is_cancelled_leaves_at_once_and_unpaid() {
    let bench = with_slots(1).await;
    let first = bench.deliver(job("first"));
    bench.until_posted(1).await;
    let [head, next] = ["a", "b"].map(|id| bench.deliver(job(id)));
    moments().await;
    bench.cancel("a").await;
    assert_eq!(head.ended().await, Some(Settled::Acked));
    let end = bench.broker.end("a");
    assert_eq!((end.kind(), end.charged.as_deref()), (Some(EventKind::Cancelled), Some("no")));
    assert!(first.is_open());
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(next.ended().await, Some(Settled::Acked));
    assert_eq!(bench.charges("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_slots_are_handed_back_at_a_stop() {
    let bench = with_slots(1).await;
    let first = bench.deliver(job("first"));
    bench.until_posted(1).await;
    let [head, next] = ["a", "b"].map(|id| bench.deliver(job(id)));
    moments().await;
    bench.stop.cancel();
    for life in [first, head, next] {
        assert_eq!(life.ended().await, Some(Settled::HandedBack));
    }
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_was_broken_off_is_resumed_past_the_head_that_waits_for_its_slots() {
    let bench = with_slots(1).await;
    let body = job("broken").body;
    let broken =
        request::parse(&body, &Properties::default(), &bench.shared.settings.request_rules).unwrap().job;
    let slots = Slots { count: 1, keep: Duration::from_secs(900) };
    let entry = JobRef {
        job: &broken.id,
        digest: &broken.digest,
        route: broken.route_name(),
        round: 1,
        failed: comet_worker::job::FailedTasks::none(),
        under: None,
        slots,
    };
    // It died between the ledger and the gate.
    bench.memory.begin(entry, 1, &Nonce::new("n".to_owned()), &BeginPrecondition::Read).await.unwrap();
    let head = bench.deliver(job("head"));
    moments().await;
    assert!(bench.provider.posts().is_empty());
    let resumed = bench.deliver(job("broken"));
    bench.until_posted(1).await;
    assert_eq!(bench.provider.posts()[0].external_task_id, external("broken"));
    assert_eq!(resumed.ended().await, Some(Settled::Acked));
    assert_eq!(head.ended().await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_accepted_gives_its_slots_to_the_next() {
    let bench = with_slots(1).await;
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(5)))]);
    let [one, other] = ["a", "b"].map(|id| bench.deliver(job(id)));
    assert_eq!(one.ended().await, Some(Settled::Acked));
    assert_eq!(other.ended().await, Some(Settled::Acked));
    assert_eq!((bench.charges("a"), bench.charges("b")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_of_redis_the_running_tasks_are_counted_before_another_begins() {
    let bench = with_slots(2).await;
    let running = ["a", "b"].map(|id| bench.deliver(job(id)));
    bench.until_polled(2).await;
    bench.flush();
    let third = bench.deliver(job("c"));
    // The script of its first ask publishes this to all workers.
    moments().await;
    for id in ["a", "b"] {
        bench.shared.hints.wake(id);
    }
    tokio::time::sleep(GENERATION / 2).await;
    assert_eq!(bench.provider.posts().len(), 2, "a count that was lost allows what it must not");
    for life in running {
        assert_eq!(life.ended().await, Some(Settled::Acked));
    }
    assert_eq!(third.ended().await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_generation_holds_its_slots_while_it_may_run() {
    let bench = with_slots(1).await;
    bench.provider.tasks_end(End::Never);
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    bench.cancel("a").await;
    assert_eq!(first.ended().await, Some(Settled::Acked));
    let next = bench.deliver(job("b"));
    tokio::time::sleep(bench.shared.settings.rules.timeout).await;
    assert_eq!(bench.provider.posts().len(), 1, "the provider runs two");
    until("the end of what it may run", || bench.provider.posts().len() == 2).await;
    bench.cancel("b").await;
    assert_eq!(next.ended().await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_more_images_than_the_account_may_run_is_refused_unpaid() {
    let bench = with_slots(4).await;
    assert_eq!(bench.run(job_of("a", 5)).await, Some(Settled::Acked));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("invalid_request"));
    assert!(end.faults[0].message.contains("generation.max_running"), "{:?}", end.faults);
    assert_eq!(end.faults[0].path, "/input/n");
    assert!(bench.provider.posts().is_empty());
    assert_eq!(bench.run(job_of("b", 4)).await, Some(Settled::Acked));
    assert_eq!(bench.provider.tasks().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_workers_refusals_slow_all_workers_and_then_they_recover() {
    let bench = Workbench::new();
    let other = bench.another();
    bench.provider.tasks_take(Duration::from_secs(1));
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(60)))]);
    let refused = bench.deliver(job("refused"));
    bench.until_posted(1).await;
    moments().await;
    let asked = tokio::time::Instant::now();
    let lives: Vec<_> = (0..20).map(|n| other.deliver(job(&format!("j{n}")))).collect();
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(bench.provider.posts().len(), 1, "the other worker knows nothing of it");
    for life in lives.into_iter().chain([refused]) {
        assert_eq!(life.ended().await, Some(Settled::Acked));
    }
    let posts = bench.provider.posts();
    let between = |first: usize| posts[first + 1].at - posts[first].at;
    assert!(between(1) > Duration::from_millis(500), "half of two a second: {:?}", between(1));
    assert!(between(19) < between(1) / 2, "it doesn't recover: {:?}", between(19));
    // Two minutes behind the end of the pause, it is over.
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert!(asked.elapsed() > Duration::from_secs(180));
    let more: Vec<_> = (0..10).map(|n| other.deliver(job(&format!("k{n}")))).collect();
    bench.until_posted(posts.len() + 10).await;
    let posts = bench.provider.posts();
    assert!(posts[posts.len() - 1].at - posts[posts.len() - 10].at < Duration::from_millis(100));
    for life in more {
        assert_eq!(life.ended().await, Some(Settled::Acked));
    }
}
