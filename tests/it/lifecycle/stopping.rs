//! The worker stops, loses its connection, or has held a job for long: a waiting job is requeued at once, and a POST
//! runs to its answer.

use std::iter::repeat_n;
use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble;
use comet_worker::job::record::Stage;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, job, until};

const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_at_once_a_life_that_waits_in_line() {
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let waiting = bench.deliver(job("b"));
    let waiting_for_its_first_life = bench.deliver(job("a"));
    tokio::time::sleep(AT_ONCE).await;

    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(waiting.ended().await, Some(Settled::HandedBack));
    assert_eq!(waiting_for_its_first_life.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() < AT_ONCE);
    assert!(bench.stage("b").await.is_none(), "nothing was begun");
    assert!(posting.is_open());
    assert!(bench.measures("comet_handed_back_total{why=\"stopping\"} 2"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_at_once_a_life_that_waits_for_the_pause_of_the_provider() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Later(Some(Duration::from_secs(300)))]);
    let delivery = bench.deliver(job("a"));
    until("a refusal", || bench.effects.count("reopen") == 1).await;
    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() < AT_ONCE);
    assert!(matches!(bench.stage("a").await, Some(Stage::New { attempt: 2 })));
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_a_thousand_generations_at_once() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    let deliveries: Vec<_> = (0..1000).map(|number| bench.deliver(job(&format!("job-{number}")))).collect();
    until("all are accepted", || bench.effects.count("accept") == 1000).await;
    tokio::time::sleep(Duration::from_secs(30)).await;

    bench.stop.cancel();
    let stopped = Instant::now();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    }
    assert!(stopped.elapsed() < AT_ONCE);
    assert!(matches!(bench.stage("job-7").await, Some(Stage::Generating { .. })));
    assert_eq!(bench.shared.lives.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_at_once_a_life_that_downloads() {
    let bench = Workbench::new();
    bench.images.fail(repeat_n(FetchError::new(Trouble::Failing(503), "HTTP 503"), 1000));
    let delivery = bench.deliver(job("a"));
    until("some tries", || bench.images.fetched().len() >= 4).await;
    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() < AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_at_once_a_life_that_looks_on() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let other = bench.another();
    let looking_on = other.deliver(job("a"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    other.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(looking_on.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() < AT_ONCE);
    posting.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_answer_to_a_post_and_notes_the_task_before_it_hands_back() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.stop.cancel();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(delivery.is_open(), "a POST is not cut short");

    bench.provider.release_posts();
    let answered = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(answered.elapsed() < AT_ONCE);
    assert!(matches!(bench.stage("a").await, Some(Stage::Generating { .. })));
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_what_a_post_came_to_also_where_it_was_not_accepted() {
    for (reply, kind, posts) in [
        (Reply::Later(None), EventKind::Succeeded, 2),
        (Reply::Refuse { content_policy: false }, EventKind::Failed, 1),
    ] {
        let bench = Workbench::new();
        bench.provider.hold_posts();
        bench.provider.reply([reply]);
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        bench.stop.cancel();
        bench.provider.release_posts();
        delivery.ended().await;

        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        let end = bench.broker.end("a");
        assert_eq!(end.kind(), Some(kind), "{reply:?}");
        assert_ne!(end.reason.as_deref(), Some("outcome_unknown"), "the answer was heard: {reply:?}");
        assert_eq!(bench.provider.posts().len(), posts, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_lets_a_post_be_answered_and_noted_and_settles_nothing() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.lost.cancel();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(delivery.is_open());

    bench.provider.release_posts();
    assert_eq!(delivery.ended().await, None, "the broker has given it back itself");
    assert!(matches!(bench.stage("a").await, Some(Stage::Generating { .. })));
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.provider.posts().len(), 1);
}

/// Otherwise an attempt that certainly cost nothing would look open to the next life.
#[tokio::test(start_paused = true)]
async fn what_a_post_came_to_is_noted_also_behind_a_lost_connection_by_a_store_that_is_away() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    bench.provider.reply([Reply::Later(None)]);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.store.down(true);
    bench.provider.release_posts();
    bench.lost.cancel();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(delivery.is_open(), "the store is waited for");

    bench.store.down(false);
    assert_eq!(delivery.ended().await, None);
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "refused-1"]);
    assert!(matches!(bench.stage("a").await, Some(Stage::New { attempt: 2 })));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_a_life_that_waits_at_once() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    let delivery = bench.deliver(job("a"));
    bench.until_polled(5).await;
    bench.lost.cancel();
    let lost = Instant::now();
    assert_eq!(delivery.ended().await, None);
    assert!(lost.elapsed() < AT_ONCE);
    assert!(bench.measures("comet_handed_back_total{why=\"disconnected\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_was_held_for_long_is_handed_back_before_the_broker_minds() {
    let bench = Workbench::with(|options| options.settings.rules.timeout = Duration::from_secs(3600));
    bench.provider.tasks_end(End::Never);
    let delivered = Instant::now();
    assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack));
    let held = delivered.elapsed();
    assert!(held >= Duration::from_secs(900) && held < Duration::from_secs(901), "{held:?}");
    assert!(bench.measures("comet_handed_back_total{why=\"held_long\"} 1"));
    assert!(matches!(bench.stage("a").await, Some(Stage::Generating { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_waits_in_line_for_long_is_handed_back_too() {
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let delivered = Instant::now();
    assert_eq!(bench.run(job("b")).await, Some(Settled::HandedBack));
    assert!(delivered.elapsed() < Duration::from_secs(901));
    posting.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_a_publish_under_way_two_seconds_for_its_confirm() {
    let bench = Workbench::new();
    bench.broker.stall("job.succeeded");
    let delivery = bench.deliver(job("a"));
    until("a sealed end", || bench.effects.count("result") == 1).await;
    tokio::time::sleep(AT_ONCE).await;
    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() >= AT_ONCE * 2 && stopped.elapsed() < AT_ONCE * 3);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_confirmed_during_a_stop_is_acked_and_not_told_twice() {
    let bench = Workbench::new();
    bench.effects.slow_down("publish", AT_ONCE);
    let delivery = bench.deliver(job("a"));
    until("a publish", || bench.effects.count("publish") == 1).await;
    bench.stop.cancel();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_begins_no_post_and_gives_the_right_to_it_up() {
    let bench = Workbench::new();
    bench.effects.slow_down("begin", AT_ONCE * 2);
    let delivery = bench.deliver(job("a"));
    until("an ask", || bench.effects.count("begin") == 1).await;
    bench.stop.cancel();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert_eq!(bench.provider.posts().len(), 0);
    assert!(matches!(bench.stage("a").await, Some(Stage::New { attempt: 2 })), "it is not waited for");
}
