//! Callbacks of the provider change when tasks are polled, and nothing else.

use std::time::Duration;

use comet_worker::job::answers::TaskStatus;
use comet_worker::job::event::EventKind;
use comet_worker::job::pace::Pace;
use tokio::time::{Instant, sleep};

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, job};

const HOUR: Duration = Duration::from_secs(3600);

/// Configured like a fleet that relies on callbacks.
fn polling_seldom() -> Workbench {
    Workbench::with(|options| {
        options.settings.rules.pace = Pace { first: HOUR, min: HOUR, max: HOUR };
        options.settings.rules.timeout = 2 * HOUR;
        options.settings.rules.hold = 24 * HOUR;
    })
}

impl Workbench {
    /// A callback about the job arrives at this process, or at another one that publishes it over Redis.
    fn called_back(&self, job: &str) -> bool {
        self.shared.hints.poll(job)
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_makes_the_look_come_at_once() {
    let bench = polling_seldom();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.provider.polls(), 0);
    let called = Instant::now();
    assert!(bench.called_back("a"));
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert!(called.elapsed() < Duration::from_secs(1), "{:?}", called.elapsed());
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.polls(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_change_of_the_status_is_seen_a_second_after_the_look_before_at_the_latest() {
    let bench = polling_seldom();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await;
        bench.called_back("a");
    }
    sleep(Duration::from_secs(20)).await;
    assert!(delivery.is_open());
    bench.called_back("a");
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    let task = &bench.provider.tasks()[0];
    assert!(task.made.elapsed() < Duration::from_secs(25));
    assert!(task.polls.len() <= 4, "{} looks", task.polls.len());
    let apart = task.polls.windows(2).map(|pair| pair[1] - pair[0]).min();
    assert!(apart >= Some(Duration::from_secs(1)), "{apart:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_callbacks_costs_a_few_looks_and_no_read_of_the_record() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    let usual = {
        let bench = Workbench::new();
        bench.provider.tasks_end(End::Never);
        bench.run(job("a")).await;
        bench.provider.polls()
    };
    let delivery = bench.deliver(job("a"));
    bench.until_polled(1).await;
    let reads = bench.effects.count("read");
    for _ in 0..10_000 {
        bench.called_back("a");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.effects.count("read"), reads);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
    let looks = bench.provider.polls();
    assert!(looks <= usual + 8, "{looks} looks, {usual} without callbacks");
}

#[tokio::test(start_paused = true)]
async fn a_callback_before_the_reply_to_the_post_does_no_harm() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    for _ in 0..5 {
        assert!(bench.called_back("a"));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(delivery.is_open());
    bench.provider.release_posts();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_callback_about_an_unanswered_post_makes_the_look_up_come_at_once() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Lost { made: true }]);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    // The waits between look-ups have grown to five seconds.
    sleep(Duration::from_secs(60)).await;
    while bench.provider.lookups().last().unwrap().elapsed() > Duration::from_secs(2) {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;
    bench.provider.find_by_external_id(true);
    let (called, lookups) = (Instant::now(), bench.provider.lookups().len());
    bench.called_back("a");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.provider.lookups().len(), lookups + 1);
    assert!(*bench.provider.lookups().last().unwrap() - called < Duration::from_millis(100));
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_about_an_unanswered_post_costs_a_few_look_ups_and_settles_nothing() {
    let count = async |flood: bool| {
        let bench = Workbench::new();
        bench.provider.reply([Reply::Lost { made: false }]);
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        for _ in 0..2_000 {
            if flood {
                bench.called_back("a");
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert!(delivery.is_open(), "the quiet period isn't over");
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        bench.provider.lookups().len()
    };
    let (usual, flooded) = (count(false).await, count(true).await);
    assert!(flooded <= usual + 8, "{flooded} look-ups, {usual} without callbacks");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_provider_asks_for_is_kept_also_against_its_callbacks() {
    let bench = Workbench::new();
    let message = "HTTP 429".to_owned();
    bench.provider.show([TaskStatus::Unavailable {
        message,
        fault: None,
        after: Some(Duration::from_secs(90)),
    }]);
    let delivery = bench.deliver(job("a"));
    bench.until_polled(1).await;
    for _ in 0..100 {
        bench.called_back("a");
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(bench.provider.polls(), 1);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
}

#[tokio::test(start_paused = true)]
async fn callbacks_dont_use_up_the_patience_with_a_success_without_images() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::ZERO);
    let without_images = TaskStatus::Succeeded { files: Vec::new(), units: None };
    bench.provider.show(std::iter::repeat_n(without_images, 3));
    let delivery = bench.deliver(job("a"));
    for _ in 0..200 {
        bench.called_back("a");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    let polls = bench.provider.tasks()[0].polls.clone();
    assert!(polls.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(10)), "{polls:?}");
    assert_eq!(bench.broker.end("a").images.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_hides_no_cancel() {
    let bench = polling_seldom();
    bench.provider.tasks_end(End::Never);
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    sleep(Duration::from_secs(5)).await;
    bench.called_back("a");
    bench.cancel("a").await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_callback_for_a_job_that_is_not_held_does_nothing() {
    let bench = Workbench::new();
    assert!(!bench.called_back("a"));
    bench.run(job("a")).await;
    assert!(!bench.called_back("a"), "it has ended");
    assert_eq!(bench.charges("a"), 1);
}
