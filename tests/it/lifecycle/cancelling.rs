//! Cancelled jobs, at every point of their lives.

use std::time::Duration;

use comet_worker::job::event::{EventKind, EventView};
use comet_worker::job::record::Stage;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, job, until};

fn cancelled(bench: &Workbench, charged: &str) -> EventView {
    let end = bench.broker.end("a");
    assert_eq!((end.kind(), end.id.as_str()), (Some(EventKind::Cancelled), "a/cancelled"));
    assert_eq!(end.charged.as_deref(), Some(charged));
    end
}

fn both() -> [Workbench; 2] {
    [Workbench::new(), Workbench::without_receipts()]
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_cancelled_before_it_was_seen_is_never_posted() {
    for bench in both() {
        bench.cancel("a").await;
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(cancelled(&bench, "no").task_id, None);
        assert!(bench.provider.posts().is_empty());
        // Another copy is told the same.
        bench.run(job("a")).await;
        assert_eq!(bench.broker.ends("a").len(), 2);
        cancelled(&bench, "no");
        assert!(matches!(bench.stage("a").await, Some(Stage::Done { .. } | Stage::Published { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_stands_in_line_leaves_it_at_once() {
    for receipts in [true, false] {
        let bench = Workbench::with(|options| {
            options.submits_at_once = 1;
            options.settings.rules.receipts = receipts;
        });
        bench.provider.hold_posts();
        let first = bench.deliver(job("first"));
        bench.until_posted(1).await;
        let waiting = bench.deliver(job("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(waiting.is_open());
        bench.cancel("a").await;
        assert_eq!(waiting.ended().await, Some(Settled::Acked));
        cancelled(&bench, "no");
        bench.provider.release_posts();
        assert_eq!(first.ended().await, Some(Settled::Acked));
        assert_eq!(bench.provider.posts().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_provider_sends_away_for_now_is_not_posted_again() {
    for bench in both() {
        bench.provider.reply([Reply::Later(Some(Duration::from_secs(60)))]);
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        bench.cancel("a").await;
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        cancelled(&bench, "no");
        assert_eq!(bench.provider.posts().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_post_is_under_way_is_charged_where_it_is_accepted() {
    for bench in both() {
        bench.provider.hold_posts();
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        bench.cancel("a").await;
        bench.provider.release_posts();
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(cancelled(&bench, "yes").task_id.as_deref(), Some("task-1"));
        assert_eq!(bench.charges("a"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_post_is_refused_for_good_ends_as_refused() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Refuse { content_policy: false }]);
    bench.provider.hold_posts();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.cancel("a").await;
    bench.provider.release_posts();
    delivery.ended().await;
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("rejected"));
}

#[tokio::test(start_paused = true)]
async fn a_generation_is_not_waited_for_any_more() {
    for bench in both() {
        bench.provider.tasks_take(Duration::from_secs(300));
        let delivery = bench.deliver(job("a"));
        bench.until_polled(1).await;
        let polls = bench.provider.polls();
        bench.cancel("a").await;
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(cancelled(&bench, "yes").task_id.as_deref(), Some("task-1"));
        assert_eq!(bench.provider.polls(), polls, "at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_was_cancelled_while_it_was_not_held_ends_with_its_next_delivery() {
    for bench in both() {
        bench.provider.tasks_take(Duration::from_secs(300));
        let delivery = bench.deliver(job("a"));
        bench.until_polled(1).await;
        delivery.kill().await;
        bench.cancel("a").await;
        let polls = bench.provider.polls();
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        cancelled(&bench, "yes");
        assert_eq!(bench.provider.polls(), polls);
    }
}

#[tokio::test(start_paused = true)]
async fn images_on_their_way_are_not_waited_for() {
    let bench = Workbench::new();
    bench.images.hang(true);
    let delivery = bench.deliver(job("a"));
    until("a fetch", || !bench.images.fetched().is_empty()).await;
    bench.cancel("a").await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    cancelled(&bench, "yes");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_sealed_stays_what_it_is() {
    for side in [Side::Before, Side::After] {
        let bench = Workbench::new();
        let mut held = bench.effects.hold("publish", side);
        let delivery = bench.deliver(job("a"));
        held.reached().await;
        bench.cancel("a").await;
        drop(held);
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert!(!bench.known("a").await.cancelled, "the end is the end");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_post_of_a_cancelled_job_is_looked_for_and_then_no_person_has_to_clear_it_up() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Lost { made: true }]);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.cancel("a").await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    cancelled(&bench, "unknown");
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());

    let bench = Workbench::new();
    bench.provider.find_late(Duration::from_secs(30));
    bench.provider.reply([Reply::Lost { made: true }]);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.cancel("a").await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(cancelled(&bench, "yes").task_id.as_deref(), Some("task-1"));
}

#[tokio::test(start_paused = true)]
async fn a_trusted_lookup_that_finds_nothing_means_that_a_cancelled_job_cost_nothing() {
    let bench = Workbench::trusting();
    bench.provider.reply([Reply::Lost { made: false }]);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.cancel("a").await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    cancelled(&bench, "no");
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_stays_unpaid_when_redis_loses_the_wish_behind_the_shut_gate() {
    let bench = Workbench::new();
    bench.cancel("a").await;
    let mut held = bench.effects.hold("result", Side::Before);
    let dying = bench.deliver(job("a"));
    held.reached().await;
    dying.kill().await;
    bench.flush();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    cancelled(&bench, "no");
    assert!(bench.provider.posts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_redis_lost_costs_no_more_than_the_job() {
    let bench = Workbench::new();
    bench.cancel("a").await;
    bench.flush();
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_generation_that_was_seen_first_is_told_as_failed() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Fails);
    let mut held = bench.effects.hold("result", Side::Before);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    bench.cancel("a").await;
    drop(held);
    delivery.ended().await;
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("generation_failed"));
}
