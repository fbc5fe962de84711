//! Redis fails before or after a move, for every move.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use comet_worker::queue::consume::Message;
use comet_worker::worker::breaker::Mode;

use crate::doubles::broker::Settled;
use crate::doubles::ledger::Trouble::{self, After, Before};
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, again, job, until};

const TROUBLES: [&[Trouble]; 5] =
    [&[Before], &[After], &[Before, After], &[After, Before], &[After, After, After]];

/// Delivers again, as RabbitMQ does, until the job is acknowledged.
async fn run_to_the_end(bench: &Workbench, first: Message) {
    let mut message = first;
    for _ in 0..20 {
        if bench.run(message).await == Some(Settled::Acked) {
            return;
        }
        message = again("a");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the job is handed back again and again");
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_fails_around_any_move_costs_one_charge_and_tells_one_end() {
    for (name, receipts) in [
        ("read", true),
        ("begin", true),
        ("accept", true),
        ("mark_published", true),
        ("freeze", false),
        ("mark_published", false),
    ] {
        for troubles in TROUBLES {
            let bench = if receipts { Workbench::new() } else { Workbench::without_receipts() };
            bench.watch_breaker();
            bench.ledger.trouble(name, troubles);
            run_to_the_end(&bench, if name == "read" { again("a") } else { job("a") }).await;
            assert_eq!(bench.charges("a"), 1, "{name} {troubles:?}");
            assert_eq!(bench.broker.ends("a").len(), 1, "{name} {troubles:?}");
            assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{name} {troubles:?}");
            assert_eq!(bench.provider.posts().len(), 1, "{name} {troubles:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_fails_while_an_attempt_is_given_up_costs_one_charge() {
    for troubles in TROUBLES {
        let bench = Workbench::new();
        bench.watch_breaker();
        bench.provider.reply([Reply::Later(None)]);
        bench.ledger.trouble("reopen", troubles);
        run_to_the_end(&bench, job("a")).await;
        assert_eq!(bench.charges("a"), 1, "{troubles:?}");
        assert_eq!(bench.provider.posts().len(), 2, "{troubles:?}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{troubles:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_fails_stops_the_worker_until_it_takes_writes_again() {
    for (name, receipts) in
        [("read", true), ("begin", true), ("accept", true), ("freeze", false), ("mark_published", true)]
    {
        let bench = if receipts { Workbench::new() } else { Workbench::without_receipts() };
        bench.ledger.trouble(name, &[Before]);
        bench.run(if name == "read" { again("a") } else { job("a") }).await;
        assert_eq!(bench.shared.breaker.mode(), Mode::Closed, "{name}");
        assert!(bench.shared.breaker.faults()[0].starts_with("redis: "), "{name}");
        bench.watch_breaker();
        until("Redis is seen to be back", || bench.shared.breaker.mode() == Mode::Open).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_accepted_task_is_noted_however_long_redis_is_away() {
    let bench = Workbench::new();
    bench.ledger.trouble("accept", &[Before; 100]);
    let delivery = bench.deliver(job("a"));
    until("many tries", || bench.effects.count("accept") == 101).await;
    assert_eq!(bench.provider.polls(), 0, "it isn't looked at before it is noted");
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_to_post_that_is_granted_only_after_an_outage_is_not_used() {
    let bench = Workbench::new();
    bench.ledger.trouble("begin", &[After; 8]);
    let delivery = bench.deliver(job("a"));
    until("the right is given up", || bench.effects.count("reopen") == 1).await;
    assert_eq!(bench.provider.posts().len(), 0);
    // Redis counts as away until a probe has seen it.
    assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_told_is_not_acked_before_its_record_has_come_to_its_end() {
    let bench = Workbench::new();
    bench.watch_breaker();
    bench.ledger.trouble("mark_published", &[Before; 20]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.effects.count("mark_published"), 21);
    assert!(matches!(bench.stage("a").await, Some(Stage::Published { .. })));
    assert_eq!(bench.broker.ends("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_can_not_be_forgotten_holds_nothing_up() {
    let bench = Workbench::without_receipts();
    bench.ledger.trouble("mark_published", &[Before; 9]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.effects.count("mark_published"), 3);
    assert_eq!(bench.shared.breaker.mode(), Mode::Open);
}
