//! Clocks that jump, and machines that sleep.

use std::cell::Cell;
use std::time::Duration;

use comet_worker::clock::Clock;
use comet_worker::job::event::EventKind;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::End;
use crate::workbench::{Workbench, job};

const HOUR: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(600);

/// A way in which Redis's wall clock can jump.
type Jump = fn(Duration) -> Duration;

const JUMPS: [(&str, Jump); 2] = [("ahead", |wall| wall + HOUR), ("back", |wall| wall.saturating_sub(HOUR))];

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_between_two_lives_ends_no_running_generation() {
    for (which, jump) in JUMPS {
        let bench = Workbench::new();
        bench.provider.tasks_take(Duration::from_secs(100));
        let delivery = bench.deliver(job("a"));
        bench.until_polled(2).await;
        delivery.kill().await;
        bench.memory.jump(jump);
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked), "{which}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{which}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{which}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_at_any_effect_changes_nothing() {
    for (which, jump) in JUMPS {
        for number in 0.. {
            let bench = Workbench::new();
            let mut at = bench.effects.hold_number(number);
            let delivery = bench.deliver(job("a"));
            let ended = async {
                assert_eq!(delivery.ended().await, Some(Settled::Acked), "{which} at {number}");
            };
            tokio::pin!(ended);
            let reached = tokio::select! {
                biased;
                () = at.reached() => true,
                () = &mut ended => false,
            };
            if !reached {
                assert!(number >= 10, "{number} effects");
                break;
            }
            bench.memory.jump(jump);
            drop(at);
            ended.await;
            assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{which} at {number}");
            assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{which} at {number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_a_task_at_its_deadline_gives_it_a_fourth_of_the_timeout_and_no_more() {
    let bench = Workbench::new();
    bench.provider.tasks_end(End::Never);
    let delivery = bench.deliver(job("a"));
    tokio::time::sleep(TIMEOUT - Duration::from_secs(10)).await;
    delivery.kill().await;
    bench.another().run(job("a")).await;
    let age = bench.provider.tasks()[0].made.elapsed();
    let last_look = TIMEOUT - Duration::from_secs(10) + TIMEOUT / 4;
    assert!(age >= last_look && age < last_look + Duration::from_secs(2), "{age:?}");
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_outlives_every_delivery_still_times_out() {
    // A fourth of the timeout is longer than a delivery is held.
    let timeout = Duration::from_secs(7200);
    let bench = Workbench::with(|options| options.settings.rules.timeout = timeout);
    bench.provider.tasks_end(End::Never);
    let mut deliveries = 1;
    while bench.run(job("a")).await != Some(Settled::Acked) {
        deliveries += 1;
        assert!(deliveries < 20, "a delivery each {:?}", bench.shared.settings.rules.hold);
    }
    let age = bench.provider.tasks()[0].made.elapsed();
    assert!(age >= timeout && age < timeout + bench.shared.settings.rules.hold, "{age:?}");
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
}

thread_local! {
    /// How long the machine of the tests on this thread has slept.
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_between_the_gate_and_the_post_sends_nothing_and_asks_again() {
    // Awake, no time passes at all.
    for (sleep_s, attempts) in [(4, 1), (6, 2), (3600, 2)] {
        let mut bench = Workbench::new();
        bench.shared.clock = Clock::with_sleep(|| SLEPT.get());
        let mut held = bench.effects.hold("intent-1", Side::After);
        let delivery = bench.deliver(job("a"));
        held.reached().await;
        SLEPT.set(SLEPT.get() + Duration::from_secs(sleep_s));
        drop(held);
        assert_eq!(delivery.ended().await, Some(Settled::Acked), "{sleep_s} s");
        let receipts = bench.store.receipts("a").await;
        assert_eq!(receipts.contains(&"refused-1".to_owned()), attempts == 2, "{sleep_s} s: {receipts:?}");
        assert_eq!(receipts.contains(&"intent-2".to_owned()), attempts == 2, "{sleep_s} s: {receipts:?}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{sleep_s} s");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{sleep_s} s");
    }
}
