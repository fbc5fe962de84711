//! The contract for messages: jobs without a valid id, invalid jobs, and two jobs under one id.

use std::time::Duration;

use bytes::Bytes;
use comet_worker::clock::unix_ms;
use comet_worker::job::event::EventKind;
use comet_worker::queue::consume::Message;
use comet_worker::queue::publish::Outgoing;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Workbench, input, job, message, until};

fn header(message: &Outgoing, name: &str) -> String {
    match message.properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

fn another_input(id: &str) -> Message {
    let mut input = input();
    input["prompt"] = json!("in the garden");
    message(&json!({"job_id": id, "input": input}))
}

/// A job with three faults.
fn invalid(id: &str) -> Message {
    message(&json!({"job_id": id, "input": {"n": 0, "model_name": "kling-v9", "subject_image_list": []}}))
}

/// Waits, so that an event with another time would have other bytes.
fn let_the_wall_clock_tick() {
    let before = unix_ms();
    while unix_ms() == before {
        std::hint::spin_loop();
    }
}

#[tokio::test(start_paused = true)]
async fn another_job_under_a_known_id_is_a_dead_letter_and_never_posted() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    assert_eq!(bench.run(another_input("a")).await, Some(Settled::Acked));

    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "conflict");
    assert_eq!(dead.body, another_input("a").body);
    assert!(dead.mandatory);
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.broker.ends("a").len(), 1, "the first job's event is not told for the second");
}

#[tokio::test(start_paused = true)]
async fn another_job_under_an_id_that_is_generating_is_a_dead_letter() {
    let bench = Workbench::new();
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    assert_eq!(bench.another().run(another_input("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_job_is_told_all_its_faults_and_never_posted() {
    let bench = Workbench::new();
    assert_eq!(bench.run(invalid("a")).await, Some(Settled::Acked));

    let end = bench.broker.end("a");
    assert_eq!(end.kind(), Some(EventKind::Failed));
    assert_eq!(end.reason.as_deref(), Some("invalid_request"));
    assert_eq!(end.charged.as_deref(), Some("no"));
    let mut places: Vec<_> = end.faults.iter().map(|fault| fault.path.as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/input/model_name", "/input/n", "/input/subject_image_list"]);
    assert_eq!(bench.provider.posts().len(), 0);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty(), "it has its event");
}

#[tokio::test(start_paused = true)]
async fn the_same_invalid_job_again_is_told_in_the_same_bytes() {
    let bench = Workbench::new();
    bench.run(invalid("a")).await;
    let_the_wall_clock_tick();
    bench.another().run(invalid("a")).await;
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.broker.end("a");
}

#[tokio::test(start_paused = true)]
async fn a_corrected_input_runs_in_the_place_of_an_invalid_one_under_an_event_id_of_its_own() {
    let bench = Workbench::new();
    bench.run(invalid("a")).await;
    let still_wrong = message(&json!({"job_id": "a", "input": {"subject_image_list": []}}));
    bench.run(still_wrong).await;
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));

    let ids: Vec<String> = bench
        .broker
        .ends("a")
        .iter()
        .map(|end| comet_worker::job::event::EventView::parse(end).unwrap().id)
        .collect();
    assert!(ids[0] != ids[1] && ids[..2].iter().all(|id| id.starts_with("a/failed/")), "{ids:?}");
    assert_eq!(ids[2], "a/succeeded/3");
    assert_eq!(bench.charges("a"), 1);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_wrong_beside_its_input_runs_once_it_is_corrected() {
    let bench = Workbench::new();
    let mut job: serde_json::Value = serde_json::from_slice(&job("a").body).unwrap();
    job["timeout_s"] = json!(0);
    bench.run(message(&job)).await;
    job["timeout_s"] = json!(60);
    bench.run(message(&job)).await;
    assert_eq!(bench.charges("a"), 1);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_takes_the_place_of_a_job_that_the_provider_refused() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Refuse { content_policy: false }]);
    bench.run(job("a")).await;
    bench.run(another_input("a")).await;
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_name_is_a_dead_letter_with_its_own_properties_and_without_expiration() {
    let bench = Workbench::new();
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("blue".into()));
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_correlation_id("c-1".into())
        .with_priority(3)
        .with_timestamp(1_700_000_000)
        .with_expiration("60000".into())
        .with_user_id("producer".into())
        .with_headers(headers);
    let nonsense = Message { body: Bytes::from_static(b"not json"), properties, redelivered: false };
    assert_eq!(bench.run(nonsense).await, Some(Settled::Acked));

    assert_eq!(bench.effects.done(), ["publish", "ack"]);
    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "not_json");
    assert!(!header(&dead, "x-comet-detail").is_empty());
    assert_eq!(header(&dead, "tenant"), "blue");
    let kept = &dead.properties;
    assert_eq!(kept.content_type().as_ref().unwrap().as_str(), "text/plain");
    assert_eq!(kept.correlation_id().as_ref().unwrap().as_str(), "c-1");
    assert_eq!((*kept.priority(), *kept.timestamp()), (Some(3), Some(1_700_000_000)));
    assert_eq!(*kept.expiration(), None, "a dead letter doesn't vanish");
    assert_eq!(*kept.user_id(), None, "the broker would refuse it");
    assert_eq!(*kept.delivery_mode(), Some(2));
    assert_eq!(dead.body.as_ref(), b"not json");
    assert!(bench.measures("comet_dead_letters_total{reason=\"not_json\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_named_by_its_message_id_where_the_body_has_none() {
    let bench = Workbench::new();
    let mut order = message(&json!({"input": input()}));
    order.properties = BasicProperties::default().with_message_id("by-amqp".into());
    assert_eq!(bench.run(order).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("by-amqp").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_a_dead_letter_unread() {
    let bench = Workbench::with(|options| options.settings.message_bytes_max = 100);
    let large = job("a");
    assert!(large.body.len() > 100);
    assert_eq!(bench.run(large).await, Some(Settled::Acked));
    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "too_large");
    assert_eq!(bench.provider.posts().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_exactly_the_largest_size_is_read() {
    let bench = Workbench::with(|options| options.settings.message_bytes_max = job("a").body.len());
    bench.run(job("a")).await;
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_waits_for_its_queue_and_is_acked_only_then() {
    let bench = Workbench::new();
    bench.broker.unbind("comet.jobs.dead");
    let nonsense = Message {
        body: Bytes::from_static(b"[]"),
        properties: BasicProperties::default(),
        redelivered: false,
    };
    let delivery = bench.deliver(nonsense);
    until("some tries", || bench.broker.tried() >= 3).await;
    assert!(delivery.is_open());
    bench.broker.bind("comet.jobs.dead");
    let bound = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert!(bound.elapsed() <= Duration::from_secs(5));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_job_under_the_id_of_one_that_redis_has_lost_is_a_dead_letter() {
    let bench = Workbench::new();
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    bench.flush();
    assert_eq!(bench.another().run(another_input("a")).await, Some(Settled::Acked));
    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "conflict");
    assert_eq!(dead.body, another_input("a").body);

    assert_eq!(first.ended().await, Some(Settled::Acked));
    bench.flush();
    assert_eq!(bench.another().run(another_input("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 2, "also once the first has ended");
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_receipts_a_job_whose_id_was_taken_after_redis_lost_its_record_is_not_acked_untold() {
    let bench = Workbench::without_receipts();
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    bench.flush();
    let second = bench.another().deliver(another_input("a"));
    let settled = first.ended().await;
    assert_eq!(second.ended().await, Some(Settled::Acked));
    if settled == Some(Settled::HandedBack) {
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    }
    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "conflict");
    assert_eq!(dead.body, job("a").body);
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_an_invalid_job_is_told_under_another_id_unless_in_the_same_bytes() {
    let bench = Workbench::new();
    let wrong = |n: i64| {
        let mut input = input();
        input["n"] = n.into();
        message(&serde_json::json!({"job_id": "a", "input": input}))
    };
    for n in [0, 0, -1] {
        bench.run(wrong(n)).await;
        bench.run(wrong(n)).await;
        bench.flush();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut bytes_of = std::collections::BTreeMap::new();
    for event in bench.broker.ends("a") {
        let id = comet_worker::job::event::EventView::parse(&event).unwrap().id;
        let before = bytes_of.entry(id.clone()).or_insert_with(|| event.clone()).clone();
        assert_eq!(before, event, "two wordings under {id}");
    }
    assert!(bytes_of.len() >= 2, "another fault is another event: {bytes_of:?}");
}

/// A job longer than what is kept beside its message.
fn long_job(id: &str) -> Message {
    let mut input = input();
    input["unknown"] = json!("x".repeat(100_000));
    message(&json!({"job_id": id, "input": input}))
}

#[tokio::test(start_paused = true)]
async fn a_long_job_is_held_once_and_posted_as_it_was_written() {
    let bench = Workbench::new();
    assert_eq!(bench.run(long_job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    let [post] = bench.provider.posts().try_into().unwrap();
    assert_eq!(post.body["unknown"], "x".repeat(100_000));
}

#[tokio::test(start_paused = true)]
async fn a_long_job_is_posted_again_after_a_refusal_and_after_a_failed_generation() {
    let bench = Workbench::with(|options| options.settings.rules.max_attempts = 2);
    let mut replies = 0;
    bench.provider.program(move |_| {
        replies += 1;
        match replies {
            1 => (Reply::Later(None), End::Succeeds),
            2 => (Reply::Accept, End::Fails),
            _ => (Reply::Accept, End::Succeeds),
        }
    });
    for _ in 0..5 {
        if bench.run(long_job("a")).await == Some(Settled::Acked) {
            break;
        }
    }
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    let posts = bench.provider.posts();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|post| post.body["unknown"] == "x".repeat(100_000)));
}

#[tokio::test(start_paused = true)]
async fn a_reply_queue_that_is_the_workers_own_gets_no_copy() {
    let bench = Workbench::new();
    for (id, queue) in [("a", "comet.jobs"), ("b", "comet.jobs.dead"), ("c", "comet.events.unrouted")] {
        let mut order = job(id);
        order.properties = order.properties.with_reply_to(queue.into());
        assert_eq!(bench.run(order).await, Some(Settled::Acked));
        assert_eq!(bench.broker.queue(queue).len(), 0, "{queue}");
    }
}
