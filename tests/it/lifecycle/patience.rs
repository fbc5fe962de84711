//! Images that were paid for and can't be fetched: how long the worker tries, and what the event says at the end.

use std::iter::repeat_n;
use std::time::Duration;

use comet_worker::job::answers::{Failed, TaskStatus};
use comet_worker::job::event::EventKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::workbench::{Delivery, Workbench, job, until};

const PATIENCE: Duration = Duration::from_secs(3600);

fn fault(trouble: Trouble) -> FetchError {
    FetchError::new(trouble, format!("{trouble:?}"))
}

/// Makes every download of the first job's task fail like this.
fn fails(bench: &Workbench, trouble: Trouble) {
    bench.images.fail_where("/task-1/", fault(trouble));
}

/// Lets downloads of other jobs work, one every `every`, for `length`.
async fn others_work(bench: &Workbench, every: Duration, length: Duration) {
    let until = Instant::now() + length;
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let other = format!("other-{number}-{}", uuid::Uuid::new_v4());
        assert_eq!(bench.run(job(&other)).await, Some(Settled::Acked));
        tokio::time::sleep(every).await;
    }
}

async fn first_fetch(bench: &Workbench) -> Instant {
    let fetched = bench.images.fetched().len();
    until("a first fetch", || bench.images.fetched().len() > fetched).await;
    Instant::now()
}

fn ended(bench: &Workbench, id: &str) -> (Option<String>, Option<String>) {
    let end = bench.broker.end(id);
    (end.reason, end.charged)
}

fn paid(reason: &str) -> (Option<String>, Option<String>) {
    (Some(reason.to_owned()), Some("yes".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_the_image_only_after_some_seconds_costs_no_result() {
    for status in [403, 404] {
        let bench = Workbench::new();
        fails(&bench, Trouble::Spent(status));
        let delivery = bench.deliver(job("a"));
        let first = first_fetch(&bench).await;
        tokio::time::sleep_until(first + Duration::from_secs(6)).await;
        bench.images.mend();
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert!(first.elapsed() < Duration::from_secs(15), "{:?}", first.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_has_expired_after_the_patience_where_others_are_had_meanwhile() {
    for trouble in [Trouble::Spent(404), Trouble::Failing(500), Trouble::Cut, Trouble::NoHttps] {
        let bench = Workbench::patient();
        fails(&bench, trouble);
        let delivery = bench.deliver(job("a"));
        let first = first_fetch(&bench).await;
        others_work(&bench, Duration::from_secs(60), PATIENCE - Duration::from_secs(120)).await;
        assert!(delivery.is_open(), "{trouble:?}: {:?}", first.elapsed());
        others_work(&bench, Duration::from_secs(60), Duration::from_secs(600)).await;
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(ended(&bench, "a"), paid("result_expired"), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_timeout_that_is_over_ends_no_wait_for_an_image() {
    let bench = Workbench::patient();
    fails(&bench, Trouble::Failing(503));
    let delivery = bench.deliver(job("a"));
    first_fetch(&bench).await;
    tokio::time::sleep(bench.shared.settings.rules.timeout * 3).await;
    assert!(delivery.is_open());
    bench.images.mend();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_job_alone_is_tried_for_a_day_since_no_other_tells_whose_fault_it_is() {
    let bench = Workbench::patient();
    fails(&bench, Trouble::Spent(404));
    let delivery = bench.deliver(job("a"));
    let first = first_fetch(&bench).await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert!(first.elapsed() >= PATIENCE * 24, "{:?}", first.elapsed());
    assert_eq!(ended(&bench, "a"), paid("result_expired"));
}

#[tokio::test(start_paused = true)]
async fn a_way_that_leads_to_no_host_ends_no_job_by_itself() {
    for trouble in [Trouble::Forbidden, Trouble::Unresolved, Trouble::Unreachable, Trouble::Tls] {
        let bench = Workbench::patient();
        fails(&bench, trouble);
        let delivery = bench.deliver(job("a"));
        first_fetch(&bench).await;
        tokio::time::sleep(PATIENCE * 48).await;
        assert!(delivery.is_open(), "{trouble:?}");
        bench.images.mend();
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_image_is_an_invalid_result_after_three_fresh_urls_and_a_minute() {
    for trouble in [Trouble::AnotherKind, Trouble::TooLarge, Trouble::BadUrl] {
        let bench = Workbench::new();
        fails(&bench, trouble);
        let delivery = bench.deliver(job("a"));
        let first = first_fetch(&bench).await;
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(ended(&bench, "a"), paid("result_invalid"), "{trouble:?}");
        assert!(first.elapsed() >= Duration::from_secs(60), "{:?}", first.elapsed());
        let fetched = bench.images.fetched();
        assert!(fetched.len() >= 3 && fetched[0] != fetched[1], "{fetched:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_the_place_of_an_image_is_a_hosts_fault_and_an_invalid_result_in_the_end() {
    let bench = Workbench::patient();
    fails(&bench, Trouble::NoPicture);
    let delivery = bench.deliver(job("a"));
    first_fetch(&bench).await;
    others_work(&bench, Duration::from_secs(60), PATIENCE - Duration::from_secs(120)).await;
    assert!(delivery.is_open());
    others_work(&bench, Duration::from_secs(60), Duration::from_secs(600)).await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(ended(&bench, "a"), paid("result_invalid"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_cut_short_is_fetched_again_until_it_is_whole() {
    let bench = Workbench::new();
    bench.images.fail(repeat_n(fault(Trouble::Cut), 12));
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.images.fetched().len(), 13);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

/// A delivery is requeued at half of the consumer timeout, and the next life gets it.
async fn handed_over(bench: &Workbench, delivery: Delivery) -> Delivery {
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    bench.deliver(job("a"))
}

#[tokio::test(start_paused = true)]
async fn the_patience_outlives_deliveries_that_are_handed_back_and_workers_that_stop() {
    let bench = Workbench::new();
    fails(&bench, Trouble::Spent(404));
    let mut delivery = bench.deliver(job("a"));
    let first = first_fetch(&bench).await;
    // A quarter of an hour each, and more of them than may die while they store images.
    for _ in 0..3 {
        others_work(&bench, Duration::from_secs(60), Duration::from_secs(800)).await;
        delivery = handed_over(&bench, delivery).await;
    }
    assert!(first.elapsed() >= Duration::from_secs(2600), "{:?}", first.elapsed());
    let next = bench.another();
    bench.stop.cancel();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    let delivery = next.deliver(job("a"));
    others_work(&next, Duration::from_secs(60), Duration::from_secs(800)).await;
    assert!(delivery.is_open());
    assert!(first.elapsed() < PATIENCE);
    let delivery = handed_over(&next, delivery).await;
    others_work(&next, Duration::from_secs(60), Duration::from_secs(800)).await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(ended(&bench, "a"), paid("result_expired"));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_comes_after_many_hand_overs_is_stored() {
    let bench = Workbench::new();
    fails(&bench, Trouble::Unreachable);
    let mut delivery = bench.deliver(job("a"));
    for _ in 0..12 {
        delivery = handed_over(&bench, delivery).await;
    }
    bench.images.mend();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "and it is not quarantined");
}

#[tokio::test(start_paused = true)]
async fn a_clock_of_redis_that_jumps_ends_no_patience() {
    let bench = Workbench::new();
    fails(&bench, Trouble::Spent(404));
    let delivery = bench.deliver(job("a"));
    first_fetch(&bench).await;
    bench.memory.jump(|now| now + Duration::from_secs(100 * 24 * 3600));
    let delivery = handed_over(&bench, delivery).await;
    others_work(&bench, Duration::from_secs(60), Duration::from_secs(600)).await;
    assert!(delivery.is_open());
    bench.images.mend();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_success_that_the_provider_takes_back_for_good_has_expired_after_the_patience() {
    let empty = TaskStatus::Succeeded { files: Vec::new(), units: None };
    for taken_back in [TaskStatus::Running, TaskStatus::NotFound { message: String::new() }, empty] {
        let bench = Workbench::patient();
        bench.images.fail([fault(Trouble::Spent(403))]);
        let delivery = bench.deliver(job("a"));
        let first = first_fetch(&bench).await;
        bench.provider.show(repeat_n(taken_back, 10_000));
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert!(first.elapsed() >= PATIENCE, "{:?}", first.elapsed());
        assert_eq!(ended(&bench, "a"), paid("result_expired"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_that_takes_over_a_success_knows_it_as_one_though_the_provider_has_taken_it_back() {
    let bench = Workbench::new();
    bench.images.fail(repeat_n(fault(Trouble::Spent(403)), 3));
    let delivery = bench.deliver(job("a"));
    first_fetch(&bench).await;
    let failed = TaskStatus::Failed { message: "too late".to_owned(), why: Failed::Technical, units: None };
    bench.provider.show(repeat_n(failed, 60));
    let delivery = handed_over(&bench, delivery).await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}
