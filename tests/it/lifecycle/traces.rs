//! The ways to a double or a lost charge that the model of the protocol has found (reference/protocol), each with two
//! workers, one of them frozen at the worst moment.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::ledger::Trouble;
use crate::doubles::provider::Reply;
use crate::doubles::store::LOOK;
use crate::workbench::{Delivery, Workbench, again, job, until};

const QUIET: Duration = Duration::from_secs(120);

/// Short enough that a worker can oversleep it within the time that an operation of the store may take.
const SHORT_QUIET: Duration = Duration::from_secs(20);

fn impatient(trust: bool) -> Workbench {
    let bench = Workbench::with(|options| {
        options.settings.rules.quiet = SHORT_QUIET;
        options.settings.rules.trust_lookup = trust;
    });
    bench.provider.find_by_external_id(trust);
    bench
}

async fn both_acked(first: Delivery, second: Delivery) {
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(second.ended().await, Some(Settled::Acked));
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// One POST, one charge, one success.
fn check_paid_once(bench: &Workbench) {
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn trace_a_a_quiet_period_counts_from_the_sight_of_the_intent_and_not_of_the_ask() {
    let bench = Workbench::trusting();
    // Found late, but within the quiet period that counts.
    bench.provider.find_late(QUIET - Duration::from_secs(20));
    let mut asked = bench.effects.hold("begin", Side::After);
    let first = bench.deliver(job("a"));
    asked.reached().await;
    // The other worker sees the ask and no intent, and freezes before it reaches the gate.
    let other = bench.another();
    let mut taking_over = bench.effects.hold("begin", Side::Before);
    let second = other.deliver(job("a"));
    taking_over.reached().await;
    sleep(4).await;
    bench.provider.hold_posts();
    drop(asked);
    bench.until_posted(1).await;
    first.kill().await;
    sleep(60).await;
    drop(taking_over);
    bench.provider.release_posts();
    assert_eq!(second.ended().await, Some(Settled::Acked));
    check_paid_once(&bench);
}

#[tokio::test(start_paused = true)]
async fn trace_a_an_ask_that_oversleeps_finds_the_gate_taken() {
    let bench = Workbench::trusting();
    let mut asked = bench.effects.hold("begin", Side::After);
    let first = bench.deliver(job("a"));
    asked.reached().await;
    let second = bench.another().deliver(job("a"));
    bench.until_posted(1).await;
    sleep(2 * QUIET.as_secs()).await;
    drop(asked);
    both_acked(first, second).await;
    check_paid_once(&bench);
}

#[tokio::test(start_paused = true)]
async fn trace_b_a_repeated_ask_at_the_gate_does_not_start_the_clock_anew() {
    for trust in [true, false] {
        let bench = impatient(trust);
        bench.watch_breaker();
        bench.store.trouble("intent-1", &[Trouble::After]);
        let first = bench.deliver(job("a"));
        until("an ask that landed", || bench.effects.count("intent-1") == 1).await;
        let mut repeated = bench.effects.hold("intent-1", Side::Before);
        repeated.reached().await;
        let other = bench.another();
        let second = other.deliver(job("a"));
        sleep(SHORT_QUIET.as_secs() + 5).await;
        drop(repeated);
        both_acked(first, second).await;
        let reason = bench.broker.end("a").reason;
        if trust {
            assert_eq!(reason, None);
            assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
        } else {
            assert_eq!(reason.as_deref(), Some("outcome_unknown"));
            assert_eq!(bench.provider.posts().len(), 0);
        }
    }
}

/// One worker overslept after the gate, and the other gives the job up. That one stops on this side of shutting the
/// next gate.
async fn overslept(bench: &Workbench, side: Side) -> (Delivery, Delivery, crate::doubles::effects::Held) {
    let mut behind_the_gate = bench.effects.hold("intent-1", Side::After);
    let first = bench.deliver(job("a"));
    behind_the_gate.reached().await;
    let mut shutting = bench.effects.hold("intent-2", side);
    let second = bench.another().deliver(job("a"));
    shutting.reached().await;
    drop(behind_the_gate);
    (first, second, shutting)
}

#[tokio::test(start_paused = true)]
async fn trace_c_a_hand_that_overslept_does_not_pass_the_gate_that_was_shut_behind_it() {
    let bench = impatient(false);
    let (first, second, shutting) = overslept(&bench, Side::After).await;
    // If the other never returns, this one ends the job itself.
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    drop(shutting);
    assert_eq!(second.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.broker.end("a");
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn trace_c_a_life_that_is_about_to_give_up_follows_the_hand_that_passed_the_next_gate_before() {
    let bench = impatient(false);
    let (first, second, shutting) = overslept(&bench, Side::Before).await;
    bench.until_posted(1).await;
    drop(shutting);
    both_acked(first, second).await;
    check_paid_once(&bench);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
    assert_eq!(bench.broker.ends("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn trace_c_both_dead_leaves_a_job_that_the_next_worker_ends() {
    for flushed in [false, true] {
        let bench = impatient(false);
        let (first, second, shutting) = overslept(&bench, Side::After).await;
        second.kill().await;
        until("a refused attempt", || bench.effects.count("refused-1") == 1).await;
        first.kill().await;
        drop(shutting);
        if flushed {
            bench.flush();
        }
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        assert_eq!(bench.provider.posts().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn trace_d_an_id_that_comes_after_the_job_was_parked_is_kept_and_corrects() {
    let bench = Workbench::new();
    let mut accepting = bench.effects.hold("post", Side::After);
    let first = bench.deliver(job("a"));
    accepting.reached().await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    drop(accepting);
    until("the id in a receipt", || bench.effects.count("task-1") == 1).await;
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert!(matches!(bench.stage("a").await, Some(Stage::Done { .. })));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(bench.broker.corrections("a").len(), 1);
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn trace_e_a_stale_new_does_not_make_an_intent_ones_own() {
    for (made, flushed) in [(true, false), (true, true), (false, true)] {
        let bench = Workbench::new();
        // Nothing is in Redis and nothing in the store; then this worker freezes.
        let mut recalled = bench.effects.hold(LOOK, Side::After);
        let first = bench.deliver(again("a"));
        recalled.reached().await;
        bench.provider.reply([Reply::Lost { made }]);
        let second = bench.another().deliver(job("a"));
        bench.until_posted(1).await;
        sleep(1).await;
        if flushed {
            bench.flush();
        }
        drop(recalled);
        both_acked(first, second).await;
        assert_eq!(bench.provider.posts().len(), 1, "{made} {flushed}");
        assert_eq!(bench.charges("a"), u32::from(made), "{made} {flushed}");
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        assert_eq!(bench.broker.ends("a").len(), 2);
    }
}
