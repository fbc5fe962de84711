//! Polling a task until its end: what ends it, and what doesn't.

use std::iter::repeat_n;
use std::time::Duration;

use comet_worker::job::answers::{AccountFault, AccountFaultKind, TaskStatus};
use comet_worker::job::event::EventKind;
use serde_json::json;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::End;
use crate::workbench::{Workbench, input, job, message};

const TIMEOUT: Duration = Duration::from_secs(600);

fn not_found() -> TaskStatus {
    TaskStatus::NotFound { message: "no such task".to_owned() }
}

fn without_images() -> TaskStatus {
    TaskStatus::Succeeded { files: Vec::new(), units: None }
}

#[tokio::test(start_paused = true)]
async fn a_task_times_out_only_after_a_last_look_at_its_deadline() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));

    let task = &bench.provider.tasks()[0];
    let last_look = *task.polls.last().unwrap() - task.made;
    assert!(last_look >= TIMEOUT && last_look < TIMEOUT + Duration::from_secs(2), "{last_look:?}");
    assert!(task.made.elapsed() < TIMEOUT + Duration::from_secs(2));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("timed_out"));
    assert_eq!(end.task_id.as_deref(), Some("task-1"), "a paid task is never forgotten");
    assert_eq!(end.charged.as_deref(), Some("unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_just_before_its_deadline_has_succeeded() {
    let bench = Workbench::new();
    bench.provider.tasks_take(TIMEOUT - Duration::from_millis(100));
    bench.run(job("a")).await;
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_counts_from_the_acceptance_also_for_who_takes_over() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    let delivery = bench.deliver(job("a"));
    tokio::time::sleep(Duration::from_secs(400)).await;
    delivery.kill().await;
    bench.another().run(job("a")).await;
    let age = bench.provider.tasks()[0].made.elapsed();
    assert!(age >= TIMEOUT && age < TIMEOUT + Duration::from_secs(2), "{age:?}");
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_gives_no_answer_at_the_deadline_ends_no_job() {
    let bench = Workbench::new();
    bench.provider.cut_off(true);
    let delivery = bench.deliver(job("a"));
    tokio::time::sleep(TIMEOUT + Duration::from_secs(100)).await;
    assert!(delivery.is_open());
    assert!(bench.provider.polls() > 30, "it is looked at all the time");
    bench.provider.cut_off(false);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_task_about_which_alone_the_provider_has_no_answer_times_out_all_the_same() {
    // A wait that the provider asks for doesn't keep the job beyond the life that ends it.
    for after in [None, Some(Duration::from_secs(300))] {
        let bench = Workbench::new();
        let message = "HTTP 500: internal error".to_owned();
        bench.provider.show(repeat_n(TaskStatus::Unavailable { message, fault: None, after }, 10_000));
        let delivered = Instant::now();
        bench.run(job("a")).await;
        let took = delivered.elapsed();
        let most = TIMEOUT + Duration::from_secs(120) + after.unwrap_or_default();
        assert!(took > TIMEOUT && took < most, "{after:?}: {took:?}");
        let end = bench.broker.end("a");
        assert_eq!((end.reason.as_deref(), end.task_id.as_deref()), (Some("timed_out"), Some("task-1")));
        assert!(end.message.unwrap().contains("HTTP 500"), "what it said is told");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_refused_at_the_deadline_ends_no_job() {
    let bench = Workbench::new();
    let fault = AccountFault { kind: AccountFaultKind::Key, message: "HTTP 401".to_owned() };
    let refused = TaskStatus::Unavailable { message: "HTTP 401".to_owned(), fault: Some(fault), after: None };
    bench.provider.show(repeat_n(refused, 40));
    bench.run(job("a")).await;
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_job_may_bring_a_timeout_of_its_own() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(700));
    let order = |id, timeout_s| message(&json!({"job_id": id, "input": input(), "timeout_s": timeout_s}));
    let delivered = Instant::now();
    bench.run(order("short", 60)).await;
    assert!(delivered.elapsed() < Duration::from_secs(62), "{:?}", delivered.elapsed());
    assert_eq!(bench.broker.end("short").reason.as_deref(), Some("timed_out"));
    bench.run(order("long", 800)).await;
    assert_eq!(bench.broker.end("long").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_found_for_a_while_is_no_failure() {
    let bench = Workbench::new();
    bench.provider.show(repeat_n(not_found(), 12));
    bench.run(job("a")).await;
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_never_found_times_out_and_keeps_its_id() {
    let bench = Workbench::new();
    bench.provider.show(repeat_n(not_found(), 10_000));
    bench.run(job("a")).await;
    let end = bench.broker.end("a");
    assert_eq!((end.reason.as_deref(), end.task_id.as_deref()), (Some("timed_out"), Some("task-1")));
}

#[tokio::test(start_paused = true)]
async fn a_success_without_a_known_image_is_looked_at_for_minutes_and_is_then_invalid() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Empty);
    bench.provider.tasks_take(Duration::ZERO);
    bench.run(job("a")).await;
    let polls = bench.provider.tasks()[0].polls.clone();
    assert!((4..=15).contains(&polls.len()), "{polls:?}");
    assert!(*polls.last().unwrap() - polls[0] >= Duration::from_secs(300));
    assert!(polls.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(10)));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("result_invalid"));
    assert_eq!(end.charged.as_deref(), Some("yes"));
    let told = &bench.broker.ends("a")[0];
    assert!(
        comet_worker::job::event::may_be_corrected(told),
        "a later version may get it by resolve --fetch"
    );
}

#[tokio::test(start_paused = true)]
async fn a_success_whose_images_come_late_is_a_success() {
    let bench = Workbench::new();
    bench.provider.show(repeat_n(without_images(), 3));
    bench.run(job("a")).await;
    assert_eq!(bench.broker.end("a").images.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_provider_asks_for_is_kept_between_looks() {
    let bench = Workbench::new();
    let message = "HTTP 429".to_owned();
    bench.provider.show([TaskStatus::Unavailable {
        message,
        fault: None,
        after: Some(Duration::from_secs(90)),
    }]);
    bench.run(job("a")).await;
    let polls = &bench.provider.tasks()[0].polls;
    assert!(polls[1] - polls[0] >= Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn looks_grow_apart_and_stay_within_the_configured_bounds() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(400));
    bench.run(job("a")).await;
    let task = &bench.provider.tasks()[0];
    let first = task.polls[0] - task.made;
    assert!(first >= Duration::from_secs(3) && first < Duration::from_secs(4), "{first:?}");
    let slack = Duration::from_millis(200);
    for pair in task.polls.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= Duration::from_secs(1) && pause <= Duration::from_secs(20) + slack, "{pause:?}");
    }
    assert!(task.polls.len() < 80, "{} looks in 400 s", task.polls.len());
}
