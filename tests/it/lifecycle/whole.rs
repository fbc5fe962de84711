//! A job from its message to its event, and the same job once more.

use std::time::Duration;

use comet_worker::job::answers::{Failed, TaskStatus};
use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, input, job, message, until};

#[tokio::test(start_paused = true)]
async fn a_job_is_posted_once_and_acked_only_after_its_event_is_confirmed() {
    let bench = Workbench::new();
    let mut input = input();
    input["n"] = json!(2);
    let mut order = message(&json!({"job_id": "a", "input": input, "metadata": {"customer": 42}}));
    order.properties = BasicProperties::default().with_correlation_id("c-1".into());

    assert_eq!(bench.run(order).await, Some(Settled::Acked));

    let begun = ["begin", "intent-1", "post", "accept", "task-1"];
    let ended = ["image", "image", "result", "publish", "mark_published", "ack"];
    assert_eq!(bench.effects.done(), [&begun[..], &ended[..]].concat());
    let end = bench.broker.end("a");
    assert_eq!((end.kind(), end.id.as_str()), (Some(EventKind::Succeeded), "a/succeeded"));
    assert_eq!(end.task_id.as_deref(), Some("task-1"));
    assert_eq!(end.external_task_id.as_ref(), Some(&bench.provider.posts()[0].external_task_id));
    let published = &bench.broker.taken()[0];
    assert_eq!(published.routing_key, "job.succeeded");
    assert!(published.mandatory);
    assert_eq!(*published.properties.delivery_mode(), Some(2));
    assert_eq!(published.properties.correlation_id().as_ref().unwrap().as_str(), "c-1");
    let whole: Value = serde_json::from_slice(&published.body).unwrap();
    assert_eq!(whole["data"]["metadata"], json!({"customer": 42}));
    assert_eq!(whole["data"]["units"], "8");
    let polls = u64::try_from(bench.provider.polls()).unwrap();
    assert_eq!(whole["data"]["polls"], polls);
    assert!(whole["data"]["timings_ms"]["submit"].as_u64().unwrap() >= 240);
    assert!(whole["data"]["timings_ms"]["generate"].as_u64().unwrap() >= 20_000 - 240);
    assert_eq!(bench.provider.tasks().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_image_of_the_event_is_in_the_store_under_its_location() {
    let bench = Workbench::new();
    let mut input = input();
    input["n"] = json!(3);
    bench.run(message(&json!({"job_id": "a", "input": input}))).await;

    let images = bench.broker.end("a").images;
    assert_eq!(images.iter().map(|image| image.index).collect::<Vec<_>>(), [0, 1, 2]);
    let mut pictures = Vec::new();
    for image in &images {
        pictures.push(bench.shared.storage.read(&image.location).await.unwrap());
    }
    pictures.dedup();
    assert_eq!(pictures.len(), 3, "three pictures, not one of them thrice");
    assert!(pictures.iter().all(|picture| picture.starts_with(b"\x89PNG")));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_done_is_told_again_in_the_same_bytes_and_never_posted_again() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    let next = bench.another();
    assert_eq!(next.run(job("a")).await, Some(Settled::Acked));

    let ends = bench.broker.ends("a");
    assert_eq!(ends.len(), 2);
    assert_eq!(ends[0], ends[1]);
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_generating_is_looked_at_at_once_by_the_life_that_gets_it_next() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(300));
    let delivery = bench.deliver(job("a"));
    bench.until_polled(8).await;
    delivery.kill().await;

    let taken_over = Instant::now();
    let polls_before = bench.provider.polls();
    let next = bench.another();
    assert_eq!(next.run(job("a")).await, Some(Settled::Acked));

    let first_look = bench.provider.tasks()[0].polls[polls_before];
    assert!(first_look - taken_over < Duration::from_millis(200), "{:?}", first_look - taken_over);
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_of_a_job_waits_for_the_end_of_its_first_life() {
    let bench = Workbench::new();
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    let second = bench.deliver(job("a"));
    bench.until_polled(3).await;
    assert_eq!(bench.effects.count("begin"), 1, "one life at a time");
    assert!(second.is_open());

    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(second.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.broker.end("a");
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.shared.lives.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_workers_with_copies_of_a_job_post_it_once_and_tell_one_end() {
    let bench = Workbench::new();
    let other = bench.another();
    let first = bench.deliver(job("a"));
    let second = other.deliver(job("a"));
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(second.ended().await, Some(Settled::Acked));
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_fails_is_told_with_its_task_and_its_charge() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Fails);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("generation_failed"));
    assert_eq!(end.charged.as_deref(), Some("yes"), "units were deducted");
    assert_eq!(end.task_id.as_deref(), Some("task-1"));
    assert_eq!(bench.broker.taken()[0].routing_key, "job.failed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_for_what_it_shows_is_told_as_content_policy() {
    let bench = Workbench::new();
    let failed = TaskStatus::Failed { message: "no".to_owned(), why: Failed::Policy, units: None };
    bench.provider.show([failed]);
    bench.run(job("a")).await;
    let end = bench.broker.end("a");
    assert_eq!(end.reason.as_deref(), Some("content_policy"));
    assert_eq!(end.charged.as_deref(), Some("unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_provider_refuses_costs_nothing_and_is_not_posted_again() {
    for (content_policy, reason) in [(false, "rejected"), (true, "content_policy")] {
        let bench = Workbench::new();
        bench.provider.reply([Reply::Refuse { content_policy }]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));

        let end = bench.broker.end("a");
        assert_eq!(end.reason.as_deref(), Some(reason));
        assert_eq!(end.charged.as_deref(), Some("no"));
        assert_eq!(bench.provider.posts().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_id_is_in_the_ledger_before_the_first_look_at_the_task() {
    let bench = Workbench::new();
    let delivery = bench.deliver(job("a"));
    until("an accepted POST", || bench.effects.count("accept") == 1).await;
    assert_eq!(bench.provider.polls(), 0);
    assert!(matches!(bench.stage("a").await, Some(Stage::Generating { .. })));
    delivery.kill().await;
}
