//! A task id that arrives after the job was given up, at a worker that has lost its connection by then. The worker
//! that gave the job up has acknowledged it, so no message would be left to correct its event.

use std::time::Duration;

use comet_worker::job::event::EventView;
use comet_worker::queue::consume::Message;
use tokio::time::Instant;

use crate::doubles::broker::{FakeBroker, PublishFault, Settled};
use crate::doubles::effects::Side;
use crate::doubles::provider::End;
use crate::workbench::{Workbench, again, job};

/// The messages that came into the queue once more.
fn brought_back(broker: &FakeBroker) -> Vec<Message> {
    let jobs = broker.queue("comet.jobs").into_iter();
    jobs.map(|job| Message { body: job.body, properties: job.properties, redelivered: false }).collect()
}

/// The simulation found this: a worker froze during its POST, and so did its connection.
#[tokio::test(start_paused = true)]
async fn a_late_task_id_corrects_the_event_also_when_its_delivery_is_gone() {
    for publisher_is_gone_too in [false, true] {
        let bench = Workbench::new();
        let mut accepting = bench.effects.hold("post", Side::After);
        let frozen = bench.deliver(job("a"));
        accepting.reached().await;
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        bench.lost.cancel();
        if publisher_is_gone_too {
            bench.broker.fail([PublishFault::NotTaken]);
        }
        drop(accepting);
        assert_eq!(frozen.ended().await, None);
        assert!(bench.broker.corrections("a").is_empty());
        let [again] = brought_back(&bench.broker).try_into().unwrap();
        assert_eq!(bench.another().run(again).await, Some(Settled::Acked));
        assert_eq!(bench.broker.corrections("a").len(), 1);
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_task_id_corrects_the_event_also_when_redis_has_forgotten_that_the_job_was_given_up() {
    let bench = Workbench::new();
    let mut accepting = bench.effects.hold("post", Side::After);
    let frozen = bench.deliver(job("a"));
    accepting.reached().await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    bench.flush();
    bench.lost.cancel();
    drop(accepting);
    assert_eq!(frozen.ended().await, None);
    let [again] = brought_back(&bench.broker).try_into().unwrap();
    assert_eq!(bench.another().run(again).await, Some(Settled::Acked));
    assert_eq!(bench.broker.corrections("a").len(), 1);
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

/// The simulation found this: a worker froze before a look-up, and the job was given up and forgotten meanwhile. A
/// life that was given the right to post and not the gate has not posted either.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_looked_up_late_corrects_the_event_also_when_its_delivery_is_gone() {
    for has_the_right in [false, true] {
        let bench = Workbench::new();
        let mut posting = bench.effects.hold("post", Side::After);
        let _dead = bench.deliver(job("a"));
        posting.reached().await;
        let gives_up = bench.another();
        let giving_up = gives_up.deliver(again("a"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        if has_the_right {
            bench.flush();
        }
        let looks = bench.another();
        let mut looking = bench.effects.hold("look up", Side::Before);
        let frozen = looks.deliver(if has_the_right { job("a") } else { again("a") });
        looking.reached().await;
        assert_eq!(giving_up.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        bench.flush();
        bench.provider.find_by_external_id(true);
        let mut accepting = bench.effects.hold("accept", Side::Before);
        drop(looking);
        accepting.reached().await;
        looks.lost.cancel();
        drop(accepting);
        assert_eq!(frozen.ended().await, None);
        let [brought] = brought_back(&bench.broker).try_into().unwrap();
        assert_eq!(bench.another().run(brought).await, Some(Settled::Acked));
        assert_eq!(bench.broker.corrections("a").len(), 1, "{has_the_right}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_noted_while_the_job_is_being_given_up_is_seen_by_who_gives_it_up() {
    let bench = Workbench::new();
    let mut accepting = bench.effects.hold("post", Side::After);
    let frozen = bench.deliver(job("a"));
    accepting.reached().await;
    // The other worker has read the receipts, and shuts the gate.
    let mut sealing = bench.effects.hold("result", Side::Before);
    let other = bench.another();
    let giving_up = other.deliver(job("a"));
    sealing.reached().await;
    bench.lost.cancel();
    drop(accepting);
    assert_eq!(frozen.ended().await, None);
    assert!(brought_back(&bench.broker).is_empty(), "nothing is sealed yet");
    drop(sealing);
    assert_eq!(giving_up.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(bench.broker.corrections("a").len(), 1);
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

/// The simulation found this: the time was counted anew with each delivery, so it never came.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_late_task_goes_on_over_its_deliveries() {
    let hold = Duration::from_secs(900);
    let bench = Workbench::with(|options| options.settings.rules.timeout = 2 * hold);
    bench.provider.tasks_end(End::Never);
    let mut accepting = bench.effects.hold("post", Side::After);
    let frozen = bench.deliver(job("a"));
    accepting.reached().await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    drop(accepting);
    let begun = Instant::now();
    assert_eq!(frozen.ended().await, Some(Settled::HandedBack));
    while bench.broker.corrections("a").is_empty() {
        assert!(begun.elapsed() < 4 * hold, "{:?}", begun.elapsed());
        bench.another().run(job("a")).await;
    }
    let correction = EventView::parse(&bench.broker.corrections("a")[0]).unwrap();
    assert_eq!(correction.reason.as_deref(), Some("timed_out"));
}
