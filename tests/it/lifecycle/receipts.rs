//! The receipts: the order in which they are written, and the gate that is passed once.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use serde_json::Value;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::ledger::Trouble::{self, After, Before};
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, external, job, until};

const QUIET: Duration = Duration::from_secs(120);
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_intent_is_in_the_store_before_the_post_leaves() {
    let bench = Workbench::new();
    let mut held = bench.effects.hold("post", Side::Before);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    assert_eq!(bench.provider.posts().len(), 0);
    assert_eq!(bench.store.receipts("a").await, ["intent-1"]);
    let intent: Value = serde_json::from_slice(&bench.store.receipt("a", "intent-1").await.unwrap()).unwrap();
    assert_eq!((intent["version"].as_u64(), intent["job_id"].as_str()), (Some(1), Some("a")));
    assert_eq!(intent["external_task_id"], external("a"));
    let Some(Stage::Submitting { nonce, .. }) = bench.stage("a").await else { panic!("no ask") };
    assert_eq!(intent["nonce"], nonce.as_str());

    drop(held);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_is_in_a_receipt_before_the_first_wait() {
    let bench = Workbench::new();
    let mut held = bench.effects.hold("task-1", Side::Before);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Generating { .. })), "in Redis before that");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(bench.provider.polls(), 0);

    drop(held);
    bench.until_polled(1).await;
    let note: Value = serde_json::from_slice(&bench.store.receipt("a", "task-1").await.unwrap()).unwrap();
    assert_eq!(note["task_id"], "task-1");
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "result", "task-1"]);
}

#[tokio::test(start_paused = true)]
async fn an_instant_task_costs_only_an_intent_and_a_result() {
    let bench = Workbench::with(|options| options.settings.rules.pace.first = Duration::ZERO);
    bench.provider.tasks_take(Duration::ZERO);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "result"]);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn the_outcome_is_sealed_and_then_published_in_these_bytes() {
    let bench = Workbench::new();
    let mut held = bench.effects.hold("publish", Side::Before);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    let sealed = bench.store.receipt("a", "result").await.unwrap();
    drop(held);
    delivery.ended().await;
    assert_eq!(bench.broker.ends("a"), [sealed]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_job_has_a_result_and_an_invalid_one_has_no_receipt() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Refuse { content_policy: false }]);
    bench.run(job("a")).await;
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "result"]);
    let invalid = serde_json::json!({"job_id": "b", "input": {}});
    bench.run(crate::workbench::message(&invalid)).await;
    assert!(bench.store.receipts("b").await.is_empty());
    assert_eq!(bench.broker.end("b").reason.as_deref(), Some("invalid_request"));
}

#[tokio::test(start_paused = true)]
async fn an_ask_at_the_gate_whose_answer_is_lost_is_repeated_and_posts_once() {
    let troubles: [&[Trouble]; 4] = [&[After], &[Before], &[After, After], &[Before, After]];
    for troubles in troubles {
        let bench = Workbench::new();
        bench.watch_breaker();
        bench.store.trouble("intent-1", troubles);
        for _ in 0..20 {
            if bench.run(job("a")).await == Some(Settled::Acked) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.effects.count("intent-1"), troubles.len() + 1, "{troubles:?}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{troubles:?}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{troubles:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_another_hand_has_taken_is_not_posted_behind_however_unreadable_its_intent() {
    for intent in ["", "{", r#"{"version":9}"#] {
        let bench = Workbench::new();
        let mut held = bench.effects.hold("begin", Side::After);
        let delivery = bench.deliver(job("a"));
        held.reached().await;
        bench.store.plant("a", "intent-1", intent).await;
        drop(held);
        let taken = Instant::now();
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert!(taken.elapsed() >= QUIET, "{intent:?}: it looks on");
        assert_eq!(bench.provider.posts().len(), 0, "{intent:?}");
        assert!(!bench.provider.lookups().is_empty(), "{intent:?}");
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"), "{intent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_intent_of_a_job_that_redis_does_not_know_is_another_lifes() {
    for intent in ["", "{"] {
        let bench = Workbench::trusting();
        bench.store.plant("a", "intent-1", intent).await;
        let delivered = Instant::now();
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert!(delivered.elapsed() >= QUIET, "{intent:?}");
        let intents = ["intent-1", "intent-2", "refused-1", "result", "task-2"];
        assert_eq!(bench.store.receipts("a").await, intents, "{intent:?}");
        assert_eq!(bench.charges("a"), 1, "{intent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ask_that_never_reached_the_gate_is_taken_over_at_once() {
    let bench = Workbench::new();
    let mut held = bench.effects.hold("begin", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    delivery.kill().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { .. })));
    assert!(bench.store.receipts("a").await.is_empty());

    let taken_over = Instant::now();
    let next = bench.another();
    let delivery = next.deliver(job("a"));
    bench.until_posted(1).await;
    assert!(taken_over.elapsed() < AT_ONCE, "{:?}", taken_over.elapsed());
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_receipt_calls_refused_is_followed_by_the_next_at_once() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Later(None)]);
    let mut held = bench.effects.hold("refused-1", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    delivery.kill().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { attempt: 1, .. })));

    let taken_over = Instant::now();
    let next = bench.another();
    let delivery = next.deliver(job("a"));
    bench.until_posted(2).await;
    assert!(taken_over.elapsed() < AT_ONCE, "{:?}", taken_over.elapsed());
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

/// Redis went away during the POST, and the worker is stopped.
async fn accepted_while_redis_was_away(bench: &Workbench) {
    bench.ledger.trouble("accept", &[Before; 100]);
    let delivery = bench.deliver(job("a"));
    until("the task in a receipt", || bench.effects.count("task-1") == 1).await;
    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() <= Duration::from_secs(5), "{:?}", stopped.elapsed());
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { .. })));
    assert_eq!(bench.provider.polls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_redis_could_not_note_is_followed_at_once_by_its_receipt() {
    for flushed in [true, false] {
        let bench = Workbench::new();
        accepted_while_redis_was_away(&bench).await;
        if flushed {
            bench.flush();
        }
        bench.ledger.untroubled();
        let taken_over = Instant::now();
        let next = bench.another();
        let delivery = next.deliver(job("a"));
        bench.until_polled(1).await;
        assert!(taken_over.elapsed() < AT_ONCE, "{flushed}: {:?}", taken_over.elapsed());
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    }
}
