//! A job whose images kill the worker gets a bounded number of tries, and no other job is blamed for it.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::pace::Pace;

use crate::doubles::broker::Settled;
use crate::workbench::{Delivery, Workbench, job, until};

/// Delivers the job until it stores its images, and the process dies there.
async fn dies_storing(bench: &Workbench, id: &str) {
    let fetched = bench.images.fetched().len();
    let dying = bench.deliver(job(id));
    until("a fetch", || bench.images.fetched().len() > fetched).await;
    dying.kill().await;
}

async fn die_storing(bench: &Workbench, times: usize) {
    bench.images.hang(true);
    for _ in 0..times {
        dies_storing(&bench.another(), "a").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_fifth_life_to_store_what_killed_four_ends_the_job_as_quarantined() {
    let bench = Workbench::new();
    die_storing(&bench, 4).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    let end = bench.broker.end("a");
    assert_eq!((end.kind(), end.reason.as_deref()), (Some(EventKind::Failed), Some("quarantined")));
    assert_eq!((end.charged.as_deref(), end.task_id.as_deref()), (Some("yes"), Some("task-1")));
    assert_eq!(bench.images.fetched().len(), 4);
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_fourth_life_may_still_succeed() {
    let bench = Workbench::new();
    die_storing(&bench, 3).await;
    bench.images.hang(false);
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn lives_that_die_while_they_wait_or_poll_are_not_counted() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(300));
    for polls in 1..10 {
        let dying = bench.another().deliver(job("a"));
        bench.until_polled(polls).await;
        dying.kill().await;
    }
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

/// The simulation found this: restarts by force, while our network was away, ended a paid job.
#[tokio::test(start_paused = true)]
async fn lives_that_die_while_they_wait_for_the_network_are_not_counted() {
    for answers in [false, true] {
        let bench = Workbench::new();
        // Either no answer comes, or its body stops after the first bytes.
        bench.images.answer_after(if answers { Duration::ZERO } else { Duration::MAX });
        bench.images.hang(answers);
        for times in 1..10 {
            let dying = bench.another().deliver(job("a"));
            until("a fetch", || bench.images.fetched().len() == times).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            dying.kill().await;
        }
        bench.images.answer_after(Duration::ZERO);
        bench.images.hang(false);
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_kills_after_a_long_wait_for_it_is_counted_all_the_same() {
    let bench = Workbench::new();
    bench.images.answer_after(Duration::from_secs(5));
    bench.images.hang(true);
    for times in 1..=4 {
        let dying = bench.another().deliver(job("a"));
        until("a fetch", || bench.images.fetched().len() == times).await;
        tokio::time::sleep(Duration::from_millis(5100)).await;
        dying.kill().await;
    }
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("quarantined"));
}

#[tokio::test(start_paused = true)]
async fn lives_that_are_handed_back_while_they_store_are_not_counted() {
    let bench = Workbench::new();
    bench.images.hang(true);
    for times in 1..10 {
        let stopping = bench.another();
        let delivery = stopping.deliver(job("a"));
        until("a fetch", || bench.images.fetched().len() == times).await;
        stopping.stop.cancel();
        assert_eq!(delivery.ended().await, Some(Settled::HandedBack));
    }
    bench.images.hang(false);
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn lives_that_die_while_they_wait_for_a_store_that_is_down_are_not_counted() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(30));
    let first = bench.deliver(job("a"));
    bench.until_polled(1).await;
    bench.store.down(true);
    let mut dying = Some(first);
    for times in 1..10 {
        until("a fetch", || bench.images.fetched().len() == times).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(delivery) = dying.take() {
            delivery.kill().await;
        }
        dying = Some(bench.another().deliver(job("a")));
    }
    bench.store.down(false);
    assert_eq!(dying.unwrap().ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn suspects_store_one_after_the_other_so_that_none_is_counted_for_another() {
    // All are polled at once, so that none waits for another's fetch.
    let second = Duration::from_secs(1);
    let pace = Pace { first: second, min: second, max: second };
    let bench = Workbench::with(|options| options.settings.rules.pace = pace);
    bench.images.hang(true);
    let jobs = ["a", "b", "c"];
    // All store at once, and one of them takes the process down, twice.
    for _ in 0..2 {
        let fetched = bench.images.fetched().len();
        let lives: Vec<Delivery> = jobs.iter().map(|id| bench.deliver(job(id))).collect();
        until("all fetches", || bench.images.fetched().len() == fetched + jobs.len()).await;
        for life in lives {
            life.kill().await;
        }
    }
    let next = bench.another();
    let lives: Vec<Delivery> = jobs.iter().map(|id| next.deliver(job(id))).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.images.fetched().len(), 7, "one of them");
    for life in lives {
        life.kill().await;
    }
    bench.images.hang(false);
    let next = bench.another();
    for id in jobs {
        assert_eq!(next.run(job(id)).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end(id).kind(), Some(EventKind::Succeeded));
    }
}
