//! From the provider's result to the stored images: what is retried, and what is not.

use std::iter::repeat_n;
use std::time::Duration;

use comet_worker::job::answers::{Failed, TaskStatus};
use comet_worker::job::event::EventKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble;
use comet_worker::worker::breaker::Mode;
use serde_json::json;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::workbench::{Workbench, input, job, message, until};

fn gone() -> FetchError {
    FetchError::new(Trouble::Spent(403), "HTTP 403")
}

fn again() -> FetchError {
    FetchError::new(Trouble::Failing(503), "HTTP 503")
}

#[tokio::test(start_paused = true)]
async fn a_spent_url_is_asked_for_afresh_at_once() {
    let bench = Workbench::new();
    bench.images.fail([gone()]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));

    let fetched = bench.images.fetched();
    assert_eq!(fetched.len(), 2);
    assert_ne!(fetched[0].query(), fetched[1].query(), "a freshly signed one");
    let polls = &bench.provider.tasks()[0].polls;
    assert!(polls[polls.len() - 1] - polls[polls.len() - 2] < Duration::from_millis(200));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn images_that_are_stored_are_not_downloaded_again_for_the_sake_of_another() {
    let bench = Workbench::new();
    // Of three, whichever comes first is gone, twice.
    bench.images.fail(repeat_n(gone(), 2));
    let mut three = input();
    three["n"] = 3.into();
    bench.run(message(&json!({"job_id": "a", "input": three}))).await;
    assert_eq!(bench.broker.end("a").images.len(), 3);
    assert_eq!(bench.images.fetched().len(), 3 + 2, "{:?}", bench.images.fetched());
}

#[tokio::test(start_paused = true)]
async fn a_success_that_the_provider_takes_back_is_waited_for_and_is_no_failure() {
    let failed = TaskStatus::Failed { message: "too late".to_owned(), why: Failed::Technical, units: None };
    for taken_back in [TaskStatus::Running, failed, TaskStatus::NotFound { message: String::new() }] {
        let bench = Workbench::new();
        bench.images.fail([gone()]);
        let delivery = bench.deliver(job("a"));
        until("a spent URL", || !bench.images.fetched().is_empty()).await;
        bench.provider.show(repeat_n(taken_back, 3));
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!(bench.images.fetched().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_that_breaks_is_tried_again_with_growing_pauses_from_the_same_url() {
    let bench = Workbench::new();
    bench.images.fail(repeat_n(again(), 4));
    let delivery = bench.deliver(job("a"));
    until("a first try", || bench.images.fetched().len() == 1).await;
    let first = Instant::now();
    let polls = bench.provider.polls();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    // 0.1 + 0.2 + 0.4 + 0.8 s, less a fifth at most.
    assert!(first.elapsed() >= Duration::from_millis(1190), "{:?}", first.elapsed());
    let fetched = bench.images.fetched();
    assert_eq!(fetched.len(), 5);
    assert!(fetched.iter().all(|url| *url == fetched[0]));
    assert_eq!(bench.provider.polls(), polls);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_file_server_that_fails_longer_than_one_download_costs_no_result() {
    let bench = Workbench::new();
    bench.images.fail(repeat_n(again(), 33));
    bench.run(job("a")).await;
    let fetched = bench.images.fetched();
    assert_eq!(fetched.len(), 34);
    assert_ne!(fetched[0], fetched[33], "each round of tries has a fresh URL");
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_stops_the_worker_and_costs_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images-root");
    let bench = Workbench::with(|options| options.storage_url = Some(format!("file:{}", root.display())));
    bench.watch_breaker();
    let delivery = bench.deliver(job("a"));
    bench.until_polled(1).await;
    // A new folder in its place would be another store.
    let away = folder.path().join("away");
    std::fs::rename(&root, &away).unwrap();
    std::fs::write(&root, "not a folder").unwrap();

    until("a fault of the store", || bench.shared.breaker.mode() == Mode::Closed).await;
    assert!(bench.shared.breaker.faults()[0].starts_with("storage: "), "{:?}", bench.shared.breaker.faults());
    assert!(bench.measures("comet_paused{reason=\"storage\"} 1"));
    assert_eq!(bench.run(job("b")).await, Some(Settled::HandedBack), "no job is begun meanwhile");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(delivery.is_open());

    std::fs::remove_file(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    let end = bench.broker.end("a");
    assert_eq!(end.kind(), Some(EventKind::Succeeded));
    assert!(bench.shared.storage.read(&end.images[0].location).await.is_ok());
    until("the store's recovery is seen", || bench.shared.breaker.mode() == Mode::Open).await;
    assert!(bench.measures("comet_paused{reason=\"storage\"} 0"));
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.images.fetched().len(), 1, "what is downloaded is not downloaded again");
}
