//! Downloads that work for no job, and a store that accepts no image: the worker takes no more jobs, the held jobs
//! wait, and the act that failed is the probe.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble;
use comet_worker::worker::breaker::Mode;
use tokio::time::{Instant, sleep};

use crate::doubles::broker::Settled;
use crate::workbench::{Delivery, Workbench, job, until};

const HOUR: Duration = Duration::from_secs(3600);

fn fail_all(bench: &Workbench, trouble: Trouble) {
    bench.images.fail_where("https://", FetchError::new(trouble, "cdn.example: HTTP 403"));
}

fn deliver(bench: &Workbench, jobs: usize) -> Vec<Delivery> {
    (0..jobs).map(|number| bench.deliver(job(&format!("j-{number}")))).collect()
}

async fn all_succeed(bench: &Workbench, lives: Vec<Delivery>) {
    for (number, life) in lives.into_iter().enumerate() {
        assert_eq!(life.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end(&format!("j-{number}")).kind(), Some(EventKind::Succeeded));
    }
}

#[tokio::test(start_paused = true)]
async fn downloads_that_fail_alike_for_several_jobs_stop_the_intake_and_cost_no_result() {
    for trouble in [Trouble::Spent(403), Trouble::Tls, Trouble::Forbidden, Trouble::NoPicture, Trouble::Cut] {
        // What ends after hours by default ends after minutes here.
        let bench = Workbench::with(|options| {
            options.settings.rules.hold = 100 * HOUR;
            options.settings.rules.patience = HOUR / 20;
        });
        bench.watch_breaker();
        fail_all(&bench, trouble);
        let begun = Instant::now();
        let lives = deliver(&bench, 8);
        until("a stop", || bench.shared.breaker.mode() == Mode::Closed).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "{trouble:?}: {:?}", begun.elapsed());
        let faults = bench.shared.breaker.faults();
        assert!(faults[0].starts_with("download: ") && faults[0].contains("HTTP 403"), "{faults:?}");
        assert!(faults[0].contains(trouble.advice()), "{faults:?}");
        assert!(bench.measures("comet_paused{reason=\"download\"} 1"));
        assert_eq!(bench.run(job("late")).await, Some(Settled::HandedBack), "no job is begun meanwhile");

        // Far beyond the patience, also beyond that for a single job.
        sleep(HOUR * 2).await;
        assert!(lives.iter().all(Delivery::is_open), "{trouble:?}");
        let before = bench.images.fetched().len();
        sleep(HOUR).await;
        let tries = bench.images.fetched().len() - before;
        assert!((55..=80).contains(&tries), "{trouble:?}: {tries} downloads in an hour");

        bench.images.mend();
        all_succeed(&bench, lives).await;
        until("jobs are taken", || bench.shared.breaker.mode() == Mode::Open).await;
        assert!(bench.measures("comet_paused{reason=\"download\"} 0"));
        assert_eq!(bench.provider.posts().len(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_copies_its_images_lazily_stops_nothing() {
    let bench = Workbench::new();
    bench.watch_breaker();
    fail_all(&bench, Trouble::Spent(404));
    let lives = deliver(&bench, 30);
    until("a first fetch", || !bench.images.fetched().is_empty()).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    bench.images.mend();
    all_succeed(&bench, lives).await;
}

#[tokio::test(start_paused = true)]
async fn images_of_some_jobs_that_are_gone_stop_nothing_while_others_are_had() {
    let bench = Workbench::patient();
    bench.watch_breaker();
    for task in 11..=15 {
        let gone = FetchError::new(Trouble::Spent(404), "HTTP 404");
        bench.images.fail_where(&format!("/task-{task}/"), gone);
    }
    let (mut good, mut gone) = (Vec::new(), Vec::new());
    for number in 0..200 {
        good.push(bench.deliver(job(&format!("good-{number}"))));
        if number == 9 {
            bench.until_posted(10).await;
            gone = deliver(&bench, 5);
            bench.until_posted(15).await;
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.shared.breaker.mode(), Mode::Open, "{number}");
    }
    // Their work is over, and those that are gone have failed for longer than any of it.
    sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    assert!(good.iter().all(|life| !life.is_open()) && gone.iter().all(Delivery::is_open));
}

/// No held job is left to try, because the broker wants its deliveries back.
#[tokio::test(start_paused = true)]
async fn when_all_held_jobs_were_handed_back_one_of_the_queue_tries() {
    let bench = Workbench::new();
    bench.watch_breaker();
    fail_all(&bench, Trouble::Unreachable);
    let lives = deliver(&bench, 5);
    until("a stop", || bench.shared.breaker.mode() == Mode::Closed).await;
    for life in lives {
        assert_eq!(life.ended().await, Some(Settled::HandedBack));
    }
    for _ in 0..3 {
        until("one is let through", || bench.shared.breaker.mode() == Mode::OneJob).await;
        let life = bench.deliver(job("j-0"));
        until("it has tried in vain", || bench.shared.breaker.mode() == Mode::Closed).await;
        assert_eq!(life.ended().await, Some(Settled::HandedBack));
    }
    until("one is let through", || bench.shared.breaker.mode() == Mode::OneJob).await;
    bench.images.mend();
    assert_eq!(bench.run(job("j-0")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("j-0").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    all_succeed(&bench, deliver(&bench, 5)).await;
    assert_eq!(bench.provider.posts().len(), 5, "nothing was submitted again");
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_images_are_gone_for_good_keep_no_queue_from_being_worked_on() {
    let bench = Workbench::patient();
    bench.watch_breaker();
    for task in 1..=4 {
        let gone = FetchError::new(Trouble::Spent(404), "HTTP 404");
        bench.images.fail_where(&format!("/task-{task}/"), gone);
    }
    let _lives = deliver(&bench, 4);
    until("a stop", || bench.shared.breaker.mode() == Mode::Closed).await;
    let stopped = Instant::now();
    until("one is let through", || bench.shared.breaker.mode() == Mode::OneJob).await;
    assert!(stopped.elapsed() <= Duration::from_secs(1300), "{:?}", stopped.elapsed());
    assert_eq!(bench.run(job("good")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("good").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_image_is_tried_with_one_and_not_with_something_small() {
    let bench = Workbench::patient();
    bench.watch_breaker();
    bench.store.full(true);
    let lives = deliver(&bench, 54);
    until("a stop", || bench.shared.breaker.mode() == Mode::Closed).await;
    let faults = bench.shared.breaker.faults();
    assert!(faults[0].starts_with("storage: ") && faults[0].contains("no space left"), "{faults:?}");
    assert!(bench.measures("comet_paused{reason=\"storage\"} 1"));
    sleep(HOUR).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Closed, "a probe that succeeds changes nothing");
    assert!(bench.images.fetched().len() <= 16, "{} images in memory", bench.images.fetched().len());
    let before = bench.store.images_put();
    sleep(HOUR).await;
    let tries = bench.store.images_put() - before;
    assert!((55..=80).contains(&tries), "{tries} puts in an hour");

    bench.store.full(false);
    all_succeed(&bench, lives).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    assert_eq!(bench.images.fetched().len(), 54, "what is downloaded is not downloaded again");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_from_which_all_jobs_were_handed_back_is_tried_by_one_of_the_queue() {
    let bench = Workbench::new();
    bench.watch_breaker();
    bench.store.full(true);
    for life in deliver(&bench, 5) {
        assert_eq!(life.ended().await, Some(Settled::HandedBack));
    }
    until("one is let through", || bench.shared.breaker.mode() == Mode::OneJob).await;
    bench.store.full(false);
    assert_eq!(bench.run(job("j-0")).await, Some(Settled::Acked));
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    all_succeed(&bench, deliver(&bench, 5)).await;
    assert_eq!(bench.provider.posts().len(), 5);
}
