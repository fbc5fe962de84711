//! The account or the provider stops every job: nothing is lost, nothing new begins, and the worker resumes by
//! itself.

use std::time::Duration;

use comet_worker::job::answers::{AccountFault, AccountFaultKind, TaskStatus};
use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use comet_worker::worker::breaker::Mode;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job, until};

const KINDS: [AccountFaultKind; 5] = [
    AccountFaultKind::Key,
    AccountFaultKind::Money,
    AccountFaultKind::Configuration,
    AccountFaultKind::Forbidden,
    AccountFaultKind::Unreachable,
];

async fn until_mode(bench: &Workbench, mode: Mode) {
    until("that mode of the breaker", || bench.shared.breaker.mode() == mode).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_account_hands_the_job_back_unharmed_and_stops_all_posts() {
    for kind in KINDS {
        let bench = Workbench::new();
        bench.provider.reply([Reply::Account(kind)]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack), "{kind:?}");

        assert!(matches!(bench.stage("a").await, Some(Stage::New { attempt: 2 })), "{kind:?}");
        assert_eq!(bench.shared.breaker.mode(), Mode::Closed, "{kind:?}");
        assert_eq!(bench.shared.breaker.faults().len(), 1);
        assert!(bench.measures("comet_handed_back_total{why=\"paused\"} 1"));
        for id in ["a", "b"] {
            assert_eq!(bench.run(job(id)).await, Some(Settled::HandedBack), "{kind:?}");
        }
        assert_eq!(bench.provider.posts().len(), 1, "{kind:?}");
        assert!(bench.broker.taken().is_empty(), "a fault of the account is no job's outcome");

        // Another worker, whose account is in order, makes the same job's next attempt.
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked), "{kind:?}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!(bench.charges("a"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_is_handed_back_and_who_generates_goes_on() {
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    let generating = bench.deliver(job("generating"));
    bench.until_polled(1).await;
    bench.provider.hold_posts();
    bench.provider.reply([Reply::Account(AccountFaultKind::Key)]);
    let posting = bench.deliver(job("posting"));
    bench.until_posted(2).await;
    let waiting = ["b", "c", "d"].map(|id| bench.deliver(job(id)));
    tokio::time::sleep(Duration::from_secs(1)).await;

    bench.provider.release_posts();
    assert_eq!(posting.ended().await, Some(Settled::HandedBack));
    let broken = Instant::now();
    for delivery in waiting {
        assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    }
    assert!(broken.elapsed() < Duration::from_secs(1));
    assert_eq!(generating.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("generating").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_looked_at_with_growing_pauses_until_it_is_taken() {
    for kind in [AccountFaultKind::Key, AccountFaultKind::Configuration, AccountFaultKind::Unreachable] {
        let bench = Workbench::new();
        bench.watch_breaker();
        bench.provider.stand(Some(kind));
        bench.provider.reply([Reply::Account(kind)]);
        bench.run(job("a")).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(bench.shared.breaker.mode(), Mode::Closed);

        let probes = bench.provider.probes();
        let pauses: Vec<_> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] < Duration::from_secs(4), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(61)), "{pauses:?}");
        assert!(*pauses.last().unwrap() >= Duration::from_secs(45), "{pauses:?}");

        bench.provider.stand(None);
        until_mode(&bench, Mode::Open).await;
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.provider.posts().len(), 2, "only a probe has gone out meanwhile");
        assert_eq!(bench.charges("a"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_money_one_job_at_a_time_tries_and_its_acceptance_lets_all_in() {
    let bench = Workbench::new();
    bench.watch_breaker();
    bench.provider.reply([Reply::Account(AccountFaultKind::Money)]);
    bench.run(job("a")).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Closed);
    until_mode(&bench, Mode::OneJob).await;

    bench.provider.hold_posts();
    let trying = bench.deliver(job("b"));
    bench.until_posted(2).await;
    assert_eq!(bench.run(job("c")).await, Some(Settled::HandedBack), "one at a time");
    assert_eq!(bench.provider.posts().len(), 2);

    bench.provider.release_posts();
    until_mode(&bench, Mode::Open).await;
    assert_eq!(bench.run(job("c")).await, Some(Settled::Acked));
    assert_eq!(trying.ended().await, Some(Settled::Acked));
    assert!(bench.provider.probes().is_empty(), "a GET doesn't tell whether there is money");
}

#[tokio::test(start_paused = true)]
async fn without_money_each_refusal_makes_the_next_try_come_later() {
    let bench = Workbench::new();
    bench.watch_breaker();
    bench
        .provider
        .program(|_| (Reply::Account(AccountFaultKind::Money), crate::doubles::provider::End::Never));
    bench.run(job("a")).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(bench.shared.breaker.mode(), Mode::Closed, "a refusal closes it again");
        let closed = Instant::now();
        until_mode(&bench, Mode::OneJob).await;
        waits.push(closed.elapsed());
        assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack));
    }
    assert!(waits[0] <= Duration::from_millis(1300), "{waits:?}");
    assert!(waits[7] >= Duration::from_secs(45) && waits[7] <= Duration::from_secs(61), "{waits:?}");
    assert_eq!(bench.charges("a"), 0);
    assert_eq!(bench.provider.posts().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn posts_that_are_never_answered_in_a_row_stop_the_worker() {
    let bench = Workbench::new();
    let lost = Reply::Lost { made: false };
    let accept = Reply::Accept;
    bench.provider.reply([lost, accept, lost, accept, accept, accept, lost, lost, lost]);
    for id in ["a", "b", "c", "d", "e", "f", "h", "i"] {
        bench.run(job(id)).await;
        assert_eq!(bench.shared.breaker.mode(), Mode::Open, "after {id}");
    }
    bench.run(job("j")).await;
    assert_eq!(bench.shared.breaker.mode(), Mode::Closed);
    assert!(bench.measures("comet_paused{reason=\"provider\"} 1"));
    assert_eq!(bench.run(job("g")).await, Some(Settled::HandedBack));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_shows_a_fault_of_the_account_stops_the_worker_and_costs_no_job() {
    let bench = Workbench::new();
    let fault = AccountFault { kind: AccountFaultKind::Key, message: "HTTP 401".to_owned() };
    bench.provider.show([TaskStatus::Unavailable {
        message: "HTTP 401".to_owned(),
        fault: Some(fault),
        after: None,
    }]);
    let delivery = bench.deliver(job("a"));
    until_mode(&bench, Mode::Closed).await;
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_right_to_post_that_was_asked_for_before_the_fault_is_not_used_after_it() {
    let bench = Workbench::new();
    bench.effects.slow_down("begin", Duration::from_secs(2));
    let asking = bench.deliver(job("b"));
    until("an ask", || bench.effects.count("begin") == 1).await;
    bench.provider.reply([Reply::Account(AccountFaultKind::Key)]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::HandedBack));
    assert_eq!(bench.shared.breaker.mode(), Mode::Closed);

    assert_eq!(asking.ended().await, Some(Settled::HandedBack));
    assert_eq!(bench.provider.posts().len(), 1);
    assert!(matches!(bench.stage("b").await, Some(Stage::New { attempt: 2 })));
}
