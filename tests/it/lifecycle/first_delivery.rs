//! A message that RabbitMQ has never delivered before. Its life asks for the right to post before it reads record and
//! receipts. If the job was known already, the life finds that out before anything is paid for.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use comet_worker::queue::consume::Message;
use serde_json::json;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::workbench::{Workbench, again, input, job, message};

fn another_input(id: &str) -> Message {
    let mut input = input();
    input["prompt"] = json!("in the garden");
    message(&json!({"job_id": id, "input": input}))
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_job_that_was_told_is_told_again_in_the_bytes_of_the_receipt() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    assert!(
        matches!(bench.stage("a").await, Some(Stage::Published { event_id }) if event_id == "a/succeeded")
    );
    for copy in [job("a"), again("a")] {
        assert_eq!(bench.another().run(copy).await, Some(Settled::Acked));
    }
    let sealed = bench.store.receipt("a", "result").await.unwrap();
    assert_eq!(bench.broker.ends("a"), [sealed.clone(), sealed.clone(), sealed]);
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_told_job_whose_receipts_are_gone_is_a_dead_letter_and_never_paid_for() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    bench.store.forget("a").await;
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
    assert!(bench.measures("comet_dead_letters_total{reason=\"forgotten\"} 1"));
    assert_eq!((bench.provider.posts().len(), bench.broker.ends("a").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_job_that_redis_has_forgotten_is_found_at_the_gate_and_followed() {
    for died in [false, true] {
        let bench = Workbench::new();
        bench.provider.tasks_take(Duration::from_secs(100));
        let delivery = bench.deliver(job("a"));
        bench.until_polled(1).await;
        if died {
            delivery.kill().await;
        }
        bench.flush();
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        assert_eq!((bench.provider.posts().len(), bench.charges("a")), (1, 1), "{died}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{died}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_job_that_comes_first_after_a_flush_takes_nothing_away_from_the_job_that_was_paid() {
    for dies_at in ["begin", "intent-1"] {
        let bench = Workbench::new();
        bench.provider.tasks_take(Duration::from_secs(100));
        let first = bench.deliver(job("a"));
        bench.until_polled(1).await;
        first.kill().await;
        bench.flush();
        // The other input's worker dies with the record in its hands.
        let mut held = bench.effects.hold(dies_at, Side::After);
        let other = bench.another().deliver(another_input("a"));
        held.reached().await;
        assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { .. })));
        other.kill().await;
        drop(held);
        let redelivered = Message { redelivered: true, ..another_input("a") };
        for copy in [again("a"), redelivered] {
            assert_eq!(bench.another().run(copy).await, Some(Settled::Acked), "{dies_at}");
        }
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{dies_at}");
        let dead = bench.broker.queue("comet.jobs.dead");
        assert_eq!(dead.iter().map(|dead| &dead.body).collect::<Vec<_>>(), [&another_input("a").body]);
        assert_eq!((bench.provider.posts().len(), bench.charges("a")), (1, 1), "{dies_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_that_stands_in_the_line_for_long_looks_whether_the_job_has_ended() {
    let bench = Workbench::with(|options| options.submits_at_once = 2);
    bench.run(job("a")).await;
    bench.provider.hold_posts();
    let posting = ["b", "c"].map(|id| bench.deliver(job(id)));
    bench.until_posted(3).await;
    let asked = Instant::now();
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.provider.release_posts();
    for delivery in posting {
        delivery.ended().await;
    }
}
