//! One job many times in the queue: it has one generation, every copy gets its event, and no other job waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::queue::consume::Message;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::End;
use crate::workbench::{Delivery, Workbench, external, job};

const COPIES: usize = 300;
const MAX_IN_FLIGHT: u16 = 20;

/// The broker's queue, and its one consumer.
struct Queue<'a> {
    bench: &'a Workbench,
    ready: VecDeque<Message>,
    held: Vec<Delivery>,
    taken: usize,
    /// The times when messages came to its tail.
    moved: Vec<Instant>,
}

impl<'a> Queue<'a> {
    fn of(bench: &'a Workbench, messages: impl IntoIterator<Item = Message>) -> Self {
        let ready = messages.into_iter().collect();
        Self { bench, ready, held: Vec::new(), taken: 0, moved: Vec::new() }
    }

    /// Runs for a moment.
    async fn turn(&mut self) {
        for message in self.bench.broker.taken_since(self.taken) {
            self.taken += 1;
            if message.exchange.is_empty() && message.routing_key == "comet.jobs" {
                self.moved.push(Instant::now());
                self.ready.push_back(Message {
                    body: message.body,
                    properties: message.properties,
                    redelivered: false,
                });
            }
        }
        let (open, ended): (Vec<_>, Vec<_>) = self.held.drain(..).partition(Delivery::is_open);
        self.held = open;
        for delivery in ended {
            assert_eq!(delivery.ended().await, Some(Settled::Acked));
        }
        while self.held.len() < usize::from(self.bench.max_in_flight) {
            let Some(message) = self.ready.pop_front() else { break };
            self.held.push(self.bench.deliver(message));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    /// Runs until it is empty.
    async fn empty(&mut self) {
        let started = Instant::now();
        while !self.ready.is_empty() || !self.held.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(3600), "it is never empty");
            self.turn().await;
        }
    }

    /// How many copies moved between `from` and `to`.
    fn moved_within(&self, from: Instant, to: Instant) -> usize {
        self.moved.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

fn small() -> Workbench {
    Workbench::with(|options| options.max_in_flight = MAX_IN_FLIGHT)
}

fn copies(count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(|_| job("copied"))
}

#[tokio::test(start_paused = true)]
async fn three_hundred_copies_of_one_job_hold_no_other_up_and_are_all_told_the_same() {
    let bench = small();
    bench.provider.tasks_take(Duration::from_secs(1));
    bench.provider.task_takes(&external("copied"), Duration::from_secs(30));
    let others = (0..50).map(|number| job(&format!("other-{number}")));
    let mut queue = Queue::of(&bench, copies(COPIES).chain(others));
    let started = Instant::now();
    while bench.provider.posts().len() < 2 {
        queue.turn().await;
    }
    assert!(started.elapsed() <= Duration::from_secs(3), "the first bystander: {:?}", started.elapsed());
    while !bench.measures("comet_events_published_total{type=\"comet.job.succeeded\"} 50") {
        queue.turn().await;
    }
    assert!(started.elapsed() <= Duration::from_secs(25), "all bystanders: {:?}", started.elapsed());
    assert!(bench.broker.ends("copied").is_empty(), "it generates still");

    queue.empty().await;
    assert_eq!(bench.broker.ends("copied").len(), COPIES, "each copy is told");
    // And in the same bytes, which `end` looks at.
    assert_eq!(bench.broker.end("copied").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.charges("copied"), 1);
    assert_eq!(bench.provider.posts().len(), 51);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
    assert_eq!(bench.shared.lives.count(), 0);
    assert!(bench.measures(&format!("comet_handed_back_total{{why=\"copy\"}} {}", queue.moved.len())));
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_nothing_but_copies_of_one_job_turns_slowly() {
    let bench = small();
    bench.provider.tasks_take(Duration::from_secs(60));
    let mut queue = Queue::of(&bench, copies(COPIES));
    let started = Instant::now();
    queue.empty().await;
    let at = |seconds| started + Duration::from_secs(seconds);
    let first = queue.moved_within(started, at(1));
    assert!((100..=200).contains(&first), "{first} in the first second");
    let later = queue.moved_within(at(20), at(30));
    assert!((400..=510).contains(&later), "{later} within ten seconds");
    assert_eq!(bench.broker.ends("copied").len(), COPIES);
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_that_comes_to_a_queue_of_copies_begins_within_seconds() {
    let bench = small();
    bench.provider.task_takes(&external("copied"), Duration::from_secs(120));
    let mut queue = Queue::of(&bench, copies(COPIES));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        queue.turn().await;
    }
    queue.ready.push_back(job("late"));
    let came = Instant::now();
    while bench.provider.posts().len() < 2 {
        queue.turn().await;
    }
    assert!(came.elapsed() <= Duration::from_secs(8), "{:?}", came.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_few_copies_wait_where_they_are() {
    let bench = small();
    let deliveries: Vec<_> = copies(3).map(|copy| bench.deliver(copy)).collect();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
    }
    assert!(bench.broker.queue("comet.jobs").is_empty());
    assert_eq!(bench.broker.ends("copied").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_job_that_has_ended_need_not_move() {
    let bench = small();
    bench.run(job("copied")).await;
    let deliveries: Vec<_> = copies(20).map(|copy| bench.deliver(copy)).collect();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
    }
    assert!(bench.broker.queue("comet.jobs").is_empty());
    assert_eq!(bench.broker.ends("copied").len(), 21);
}

#[tokio::test(start_paused = true)]
async fn one_job_in_a_worker_of_two_places_leaves_one_to_others() {
    let bench = Workbench::with(|options| options.max_in_flight = 2);
    bench.provider.task_takes(&external("copied"), Duration::from_secs(60));
    let mut queue = Queue::of(&bench, copies(5).chain([job("other")]));
    while bench.broker.ends("other").is_empty() {
        queue.turn().await;
    }
    assert!(bench.broker.ends("copied").is_empty());
    queue.empty().await;
    assert_eq!(bench.broker.ends("copied").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_moves_keeps_its_properties_and_its_bytes() {
    let bench = Workbench::with(|options| options.max_in_flight = 2);
    bench.provider.tasks_end(End::Never);
    let _first = bench.deliver(job("copied"));
    bench.until_polled(1).await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("blue".into()));
    let mut copy = job("copied");
    let properties = std::mem::take(&mut copy.properties);
    copy.properties = properties
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_expiration("60000".into())
        .with_headers(headers);
    let body = copy.body.clone();
    assert_eq!(bench.run(copy).await, Some(Settled::Acked));

    let [moved] = bench.broker.queue("comet.jobs").try_into().unwrap();
    assert_eq!(moved.body, body);
    assert!(moved.mandatory);
    let kept = &moved.properties;
    assert_eq!(kept.correlation_id().as_ref().unwrap().as_str(), "c-1");
    assert_eq!(kept.reply_to().as_ref().unwrap().as_str(), "answers");
    assert_eq!(kept.expiration().as_ref().unwrap().as_str(), "60000");
    assert_eq!(*kept.delivery_mode(), Some(2));
    let headers = kept.headers().as_ref().unwrap().inner();
    assert_eq!(headers.get("tenant"), Some(&AMQPValue::LongString("blue".into())));
    assert_eq!(headers.get("x-comet-handed-on"), Some(&AMQPValue::LongLongInt(1)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_at_once_every_copy_that_has_not_moved() {
    let bench = small();
    bench.provider.tasks_end(End::Never);
    let deliveries: Vec<_> = copies(100).map(|copy| bench.deliver(copy)).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.stop.cancel();
    let stopped = Instant::now();
    let mut acked = 0;
    for delivery in deliveries {
        acked += usize::from(delivery.ended().await == Some(Settled::Acked));
    }
    assert!(stopped.elapsed() < Duration::from_secs(1));
    assert!(acked > 0 && acked < 97, "{acked} had moved");
    assert_eq!(bench.broker.queue("comet.jobs").len(), acked, "what is acked is in the queue again");
}

#[tokio::test(start_paused = true)]
async fn copies_that_the_broker_does_not_take_are_held_no_longer_than_other_jobs() {
    let bench = Workbench::with(|options| {
        options.max_in_flight = MAX_IN_FLIGHT;
        options.settings.rules.hold = Duration::from_secs(100);
    });
    bench.provider.tasks_end(End::Never);
    bench.broker.stall("comet.jobs");
    let started = Instant::now();
    let deliveries: Vec<_> = copies(10).map(|copy| bench.deliver(copy)).collect();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    }
    let held = started.elapsed();
    assert!((100..=103).contains(&held.as_secs()), "{held:?}");
    assert!(bench.broker.queue("comet.jobs").is_empty());
    assert!(bench.measures("comet_handed_back_total{why=\"held_long\"} 10"));
}
