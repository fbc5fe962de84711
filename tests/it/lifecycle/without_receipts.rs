//! `generation.receipts = false`: only Redis has the gate, and the quiet period counts from the first sight of the
//! ask in the record.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job, until};

const QUIET: Duration = Duration::from_secs(120);

/// `trust_lookup`, and a provider that finds tasks by their external id.
fn trusting() -> Workbench {
    let bench = Workbench::with(|options| {
        options.settings.rules.receipts = false;
        options.settings.rules.trust_lookup = true;
    });
    bench.provider.find_by_external_id(true);
    bench
}

/// A process got the right to post and died.
async fn died_with_the_right(bench: &Workbench) {
    let mut held = bench.effects.hold("begin", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    delivery.kill().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { .. })));
}

#[tokio::test(start_paused = true)]
async fn no_receipt_is_written_or_read_on_the_whole_way() {
    let bench = Workbench::without_receipts();
    bench.provider.reply([Reply::Later(None)]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let begun = ["begin", "post", "reopen", "slow_down", "begin", "post", "accept"];
    let ended = ["image", "freeze", "publish", "mark_published", "ack"];
    assert_eq!(bench.effects.done(), [&begun[..], &ended[..]].concat());
    assert!(bench.store.receipts("a").await.is_empty());
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_right_to_post_of_a_dead_hand_is_given_up_only_after_the_quiet_period() {
    let bench = Workbench::without_receipts();
    died_with_the_right(&bench).await;
    let taken_over = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));

    assert!(taken_over.elapsed() >= QUIET && taken_over.elapsed() < QUIET + Duration::from_secs(2));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(end.charged.as_deref(), Some("unknown"));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
    assert_eq!(bench.provider.posts().len(), 0, "what may have been posted is not posted");
}

#[tokio::test(start_paused = true)]
async fn a_right_to_post_of_a_dead_hand_passes_on_where_the_look_up_is_trusted() {
    let bench = trusting();
    died_with_the_right(&bench).await;
    let taken_over = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert!(bench.provider.posts()[0].at - taken_over >= QUIET);
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn each_process_waits_the_whole_quiet_period_itself() {
    let bench = Workbench::without_receipts();
    died_with_the_right(&bench).await;
    let second = bench.another();
    let delivery = second.deliver(job("a"));
    tokio::time::sleep(QUIET - Duration::from_secs(10)).await;
    second.stop.cancel();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));

    let taken_over = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert!(taken_over.elapsed() >= QUIET);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_post_is_adopted_where_it_is_found() {
    let bench = Workbench::without_receipts();
    bench.provider.find_late(Duration::from_secs(30));
    bench.provider.reply([Reply::Lost { made: true }]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_post_that_is_not_found_is_repeated_only_where_the_look_up_is_trusted() {
    for trust in [true, false] {
        let bench = if trust { trusting() } else { Workbench::without_receipts() };
        bench.provider.reply([Reply::Lost { made: false }]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        let end = bench.broker.end("a");
        assert_eq!(end.reason.is_none(), trust);
        let posts = bench.provider.posts();
        assert_eq!(posts.len(), if trust { 2 } else { 1 });
        assert!(posts.iter().skip(1).all(|post| post.at - posts[0].at >= QUIET - Duration::from_secs(1)));
        assert_eq!(bench.charges("a"), u32::from(trust));
    }
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_that_comes_after_the_job_was_given_up_changes_nothing_of_its_end() {
    let bench = Workbench::without_receipts();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let other = bench.another();
    assert_eq!(other.run(job("a")).await, Some(Settled::Acked));
    bench.provider.release_posts();
    assert_eq!(posting.ended().await, Some(Settled::Acked));

    assert_eq!(bench.broker.ends("a").len(), 2);
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert!(bench.broker.corrections("a").is_empty());
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_that_comes_too_late_with_the_right_to_post_sends_nothing_and_asks_again() {
    let bench = Workbench::without_receipts();
    bench.effects.slow_down("begin", Duration::from_secs(6));
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let way = ["begin", "reopen", "begin", "post", "accept"];
    assert!(bench.effects.done().starts_with(&way), "{:?}", bench.effects.done());
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_at_the_gate_holds_no_post_up() {
    let bench = Workbench::without_receipts();
    bench.store.down(true);
    let delivery = bench.deliver(job("a"));
    until("an accepted POST", || bench.effects.count("accept") == 1).await;
    bench.until_polled(1).await;
    bench.store.down(false);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
}
