//! Publishing the end: it is confirmed before the acknowledgement, whatever the broker does.

use std::time::Duration;

use comet_worker::job::event::{EventKind, EventView};
use comet_worker::queue::consume::Message;
use lapin::BasicProperties;
use tokio::time::Instant;

use crate::doubles::broker::{PublishFault, Settled};
use crate::workbench::{Workbench, job, until};

fn with_reply_to(id: &str) -> Message {
    let mut order = job(id);
    order.properties =
        BasicProperties::default().with_reply_to("answers".into()).with_correlation_id("c-7".into());
    order
}

#[tokio::test(start_paused = true)]
async fn the_queue_in_reply_to_gets_a_copy_of_the_event() {
    let bench = Workbench::new();
    assert_eq!(bench.run(with_reply_to("a")).await, Some(Settled::Acked));
    let [copy] = bench.broker.queue("answers").try_into().unwrap();
    assert_eq!(copy.body, bench.broker.ends("a")[0]);
    assert_eq!(copy.properties.correlation_id().as_ref().unwrap().as_str(), "c-7");
    assert!(!copy.mandatory, "a reply queue that is gone is no fault");
}

#[tokio::test(start_paused = true)]
async fn a_job_without_reply_to_is_told_on_the_exchange_only() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    assert_eq!(bench.broker.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_fails_holds_nothing_up() {
    let bench = Workbench::new();
    bench.broker.close("answers");
    assert_eq!(bench.run(with_reply_to("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 1);
    assert_eq!(bench.broker.tried(), 2, "one event, one try at the copy");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_no_queue_takes_is_kept_as_unrouted_then_acked_and_counted() {
    let bench = Workbench::new();
    bench.broker.unbind("job.succeeded");
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let [kept] = bench.broker.queue("comet.events.unrouted").try_into().unwrap();
    assert_eq!(EventView::parse(&kept.body).unwrap().id, "a/succeeded");
    assert!(bench.measures("comet_events_unrouted_total 1"));
    assert_eq!(bench.effects.done().last(), Some(&"ack"));
}

#[tokio::test(start_paused = true)]
async fn an_unrouted_event_is_acked_only_once_it_is_kept() {
    let bench = Workbench::new();
    bench.broker.unbind("job.succeeded");
    bench.broker.close("comet.events.unrouted");
    let delivery = bench.deliver(job("a"));
    until("some tries", || bench.broker.tried() >= 4).await;
    assert!(delivery.is_open());
    delivery.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published_again_in_the_same_bytes_until_it_is_confirmed() {
    let bench = Workbench::new();
    bench.broker.fail([PublishFault::NotTaken, PublishFault::TakenUnconfirmed, PublishFault::NotTaken]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.broker.end("a");
    assert_eq!(bench.broker.tried(), 4);
    let way = ["result", "publish", "publish", "publish", "publish", "mark_published", "ack"];
    assert!(bench.effects.done().ends_with(&way), "{:?}", bench.effects.done());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_nothing_is_not_stormed() {
    let bench = Workbench::new();
    bench.broker.close("job.succeeded");
    let delivery = bench.deliver(job("a"));
    until("a first try", || bench.broker.tried() >= 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = bench.broker.tried();
    assert!((12..=40).contains(&tried), "{tried} tries in a minute");
    delivery.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_one_of_its_queues_refuses_comes_to_the_others_in_few_copies_and_is_said_to_be_stuck() {
    let bench = Workbench::new();
    bench.broker.fail([PublishFault::RefusedByOne; 40]);
    let delivery = bench.deliver(job("a"));
    until("a first try", || bench.broker.tried() >= 1).await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    let copies = bench.broker.ends("a").len();
    assert!((2..=7).contains(&copies), "{copies} copies in 45 s");
    let [said] = bench.shared.standstills.hindering().try_into().unwrap();
    assert!(said.contains("refuses the message") && said.contains("x-max-length"), "{said}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let copies = bench.broker.ends("a").len();
    assert!((8..=16).contains(&copies), "{copies} copies until the delivery is handed back");
    delivery.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_stuck_is_no_standstill_once_it_is_confirmed() {
    let bench = Workbench::new();
    bench.broker.fail([PublishFault::RefusedByOne; 5]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.shared.standstills.hindering(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_submit_is_off_by_default() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    assert!(bench.broker.taken().iter().all(|message| message.routing_key != "job.submitted"));
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_submit_is_told_once_with_the_task_before_the_end() {
    let bench = Workbench::with(|options| options.settings.tell_submitted = true);
    bench.run(job("a")).await;
    let taken = bench.broker.taken();
    let keys: Vec<_> = taken.iter().map(|message| message.routing_key.as_str()).collect();
    assert_eq!(keys, ["job.submitted", "job.succeeded"]);
    let submitted = EventView::parse(&taken[0].body).unwrap();
    assert_eq!((submitted.kind(), submitted.id.as_str()), (Some(EventKind::Submitted), "a/submitted"));
    assert_eq!(submitted.task_id.as_deref(), Some("task-1"));
}

#[tokio::test(start_paused = true)]
async fn no_life_waits_for_the_event_of_a_submit() {
    let bench = Workbench::with(|options| options.settings.tell_submitted = true);
    bench.broker.stall("job.submitted");
    let delivered = Instant::now();
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert!(delivered.elapsed() < Duration::from_secs(60));
}
