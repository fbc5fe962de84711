//! The worker panics over a job: this concerns only that job, and doesn't repeat for ever.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::queue::publish::Outgoing;
use lapin::types::AMQPValue;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::workbench::{Workbench, external, job};

fn header(message: &Outgoing, name: &str) -> String {
    match message.properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_over_which_the_worker_panics_once_ends_well_and_is_paid_for_once() {
    let bench = Workbench::new();
    bench.provider.panic_at_looks(&external("a"), 1);
    assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack));
    assert_eq!(bench.shared.lives.count(), 0);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.charges("a"), 1);
    assert_eq!(bench.provider.posts().len(), 1);
    assert!(bench.measures("comet_job_panics_total 1"));
    assert!(bench.measures("comet_handed_back_total{why=\"panicked\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn after_five_panics_a_job_is_a_dead_letter_and_others_go_on() {
    let bench = Workbench::new();
    bench.provider.panic_at_looks(&external("bad"), u32::MAX);
    let other = bench.deliver(job("good"));
    for _ in 0..5 {
        assert_eq!(bench.run(job("bad")).await, Some(Settled::HandedBack));
        assert!(bench.broker.queue("comet.jobs.dead").is_empty());
    }
    assert_eq!(bench.run(job("bad")).await, Some(Settled::Acked));

    let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
    assert_eq!(header(&dead, "x-comet-reason"), "quarantined");
    let detail = header(&dead, "x-comet-detail");
    assert!(detail.contains("5 times") && detail.contains("as scripted for task-"), "{detail}");
    assert_eq!(dead.body, job("bad").body);
    assert!(bench.measures("comet_dead_letters_total{reason=\"quarantined\"} 1"));
    assert!(bench.measures("comet_job_panics_total 5"));
    assert_eq!(bench.charges("bad"), 1);
    assert!(bench.broker.ends("bad").is_empty());

    assert_eq!(other.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("good").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.run(job("another")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("another").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_quarantined_job_are_dead_letters_too_until_another_process_tries_again() {
    let bench = Workbench::new();
    bench.provider.panic_at_looks(&external("a"), 5);
    let deliveries: Vec<_> = (0..8).map(|_| bench.deliver(job("a"))).collect();
    let mut settled = Vec::new();
    for delivery in deliveries {
        settled.push(delivery.ended().await);
    }
    let handed_back = settled.iter().filter(|settled| **settled == Some(Settled::HandedBack)).count();
    assert_eq!(handed_back, 5, "{settled:?}");
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 3);

    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_good_end_wipes_out_the_panics_before_it() {
    let bench = Workbench::new();
    bench.provider.panic_at_looks(&external("a"), 4);
    for _ in 0..4 {
        assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack));
    }
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.shared.panics.note(&"a".parse().unwrap(), String::new()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_over_which_the_worker_panicked_rests_before_it_goes_back_but_not_in_a_worker_that_stops() {
    let bench = Workbench::new();
    bench.provider.panic_at_looks(&external("a"), 2);
    let mut delivery = bench.deliver(job("a"));
    while !bench.measures("comet_job_panics_total 1") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let panicked = Instant::now();
    assert!(delivery.is_open());
    assert_eq!(delivery.end().await, Some(Settled::HandedBack));
    assert!(panicked.elapsed() > Duration::from_millis(900), "{:?}", panicked.elapsed());

    let delivery = bench.deliver(job("a"));
    while !bench.measures("comet_job_panics_total 2") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.stop.cancel();
    let stopped = Instant::now();
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert!(stopped.elapsed() < Duration::from_millis(100));
}
