//! The POST happens once, whatever its answer is, and whatever another worker does.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job, until};

const QUIET: Duration = Duration::from_secs(120);

/// A process passed the gate and died.
async fn died_behind_the_gate(bench: &Workbench) {
    let mut held = bench.effects.hold("intent-1", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    delivery.kill().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_post_that_comes_too_early_for_the_provider_is_made_again_after_the_pause_it_asked_for() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(30)))]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));

    let posts = bench.provider.posts();
    assert_eq!(posts.len(), 2);
    let pause = posts[1].at - posts[0].at;
    assert!(pause >= Duration::from_secs(30) && pause < Duration::from_secs(32), "{pause:?}");
    assert_eq!(posts[0].external_task_id, posts[1].external_task_id);
    assert_eq!(bench.charges("a"), 1);
    let way = ["begin", "intent-1", "post", "refused-1", "reopen", "slow_down", "begin", "intent-2", "post"];
    assert!(bench.effects.done().starts_with(&way), "{:?}", bench.effects.done());
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn other_jobs_keep_the_pause_too() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(30)))]);
    let first = bench.deliver(job("a"));
    until("a refusal", || bench.effects.count("reopen") == 1).await;
    let second = bench.deliver(job("b"));
    first.ended().await;
    second.ended().await;
    let posts = bench.provider.posts();
    assert!(posts[1..].iter().all(|post| post.at - posts[0].at >= Duration::from_secs(30)));
    assert_eq!((bench.charges("a"), bench.charges("b")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_model_has_no_channel_waits_by_itself_and_holds_no_other_up() {
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    bench.provider.reply([Reply::NoChannel(Duration::from_secs(30))]);
    let first = bench.deliver(job("a"));
    until("a refusal", || bench.effects.count("reopen") == 1).await;
    let second = bench.deliver(job("b"));
    first.ended().await;
    second.ended().await;

    let posts = bench.provider.posts();
    assert_eq!(posts.len(), 3);
    assert_ne!(posts[1].external_task_id, posts[0].external_task_id, "b went before a's second try");
    assert!(posts[1].at - posts[0].at < Duration::from_secs(2));
    assert!(posts[2].at - posts[0].at >= Duration::from_secs(30));
    assert_eq!((bench.charges("a"), bench.charges("b")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_post_without_a_telling_answer_ends_unknown_and_is_never_made_again() {
    for made in [true, false] {
        let bench = Workbench::new();
        bench.provider.reply([Reply::Lost { made }]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));

        let end = bench.broker.end("a");
        assert_eq!(end.reason.as_deref(), Some("outcome_unknown"));
        assert_eq!(end.charged.as_deref(), Some("unknown"));
        assert_eq!(bench.provider.posts().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_of_a_dead_hand_is_given_up_only_after_the_quiet_period() {
    let bench = Workbench::new();
    died_behind_the_gate(&bench).await;
    let taken_over = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));

    assert!(taken_over.elapsed() >= QUIET && taken_over.elapsed() < QUIET + Duration::from_secs(2));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(end.charged.as_deref(), Some("unknown"));
    assert_eq!(bench.provider.posts().len(), 0, "what may have been posted is not posted");
}

#[tokio::test(start_paused = true)]
async fn each_process_waits_the_whole_quiet_period_itself() {
    let bench = Workbench::new();
    died_behind_the_gate(&bench).await;
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
async fn a_life_that_looks_on_follows_at_once_when_hinted_that_the_other_hand_was_accepted() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let other = bench.another();
    let looking_on = other.deliver(job("a"));
    tokio::time::sleep(Duration::from_secs(60)).await;

    bench.provider.release_posts();
    until("an accepted POST", || bench.effects.count("accept") == 1).await;
    other.shared.hints.wake("a");
    let hinted = Instant::now();
    // The worker that posted waits three seconds before its first poll.
    bench.until_polled(1).await;
    assert!(hinted.elapsed() < Duration::from_millis(200), "{:?}", hinted.elapsed());

    posting.ended().await;
    looking_on.ended().await;
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_that_looks_on_and_misses_every_hint_sees_the_end_within_seconds() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    bench.provider.reply([Reply::Refuse { content_policy: false }]);
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let looking_on = bench.another().deliver(job("a"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.provider.release_posts();
    posting.ended().await;
    let over = Instant::now();
    assert_eq!(looking_on.ended().await, Some(Settled::Acked));
    assert!(over.elapsed() <= Duration::from_secs(5), "{:?}", over.elapsed());
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("rejected"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_another_hand_gave_up_is_made_by_the_life_that_sees_it() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(100)))]);
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let other = bench.another();
    let looking_on = other.deliver(job("a"));
    bench.provider.release_posts();

    // The second worker keeps the pause that the provider asked the first for.
    assert_eq!(looking_on.ended().await, Some(Settled::Acked));
    assert_eq!(posting.ended().await, Some(Settled::Acked));
    let posts = bench.provider.posts();
    assert_eq!(posts.len(), 2);
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(100));
    assert_eq!(bench.charges("a"), 1);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_comes_too_late_through_the_gate_sends_nothing_and_asks_again() {
    let bench = Workbench::new();
    bench.effects.slow_down("begin", Duration::from_secs(6));
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let way = ["begin", "intent-1", "refused-1", "reopen", "begin", "intent-2", "post", "accept"];
    assert!(bench.effects.done().starts_with(&way), "{:?}", bench.effects.done());
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_that_comes_through_the_gate_in_time_sends() {
    let bench = Workbench::new();
    bench.effects.slow_down("begin", Duration::from_millis(4900));
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.effects.count("reopen"), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_posts_are_under_way_than_allowed() {
    let bench = Workbench::with(|options| options.submits_at_once = 2);
    bench.provider.hold_posts();
    let deliveries: Vec<_> = ["a", "b", "c", "d"].map(|id| bench.deliver(job(id))).into();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.provider.posts().len(), 2);
    assert_eq!(bench.effects.count("begin"), 2, "who waits in line doesn't hold a right to post");
    bench.provider.release_posts();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
    }
    assert_eq!(bench.provider.posts().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_place_among_the_posts_is_given_up_between_two_attempts() {
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    bench.provider.reply([Reply::Later(None)]);
    let deliveries = ["a", "b"].map(|id| bench.deliver(job(id)));
    let delivered = Instant::now();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
    }
    assert!(delivered.elapsed() < Duration::from_secs(120), "{:?}", delivered.elapsed());
    assert_eq!((bench.charges("a"), bench.charges("b")), (1, 1));
}
