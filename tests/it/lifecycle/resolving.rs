//! A person's decision about an unknown outcome: the worker that gets the job's message next carries it out, and
//! publishes a correction.

use comet_worker::job::event::{EventKind, EventView};
use comet_worker::job::receipt::Decision;
use comet_worker::job::{JobId, TaskId};

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job};

fn id() -> JobId {
    "a".parse().unwrap()
}

/// A job that ended as unknown: its POST was lost, and `made` says whether it made a task.
async fn parked(made: bool) -> Workbench {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Lost { made }]);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    bench
}

async fn decide(bench: &Workbench, decision: Decision) {
    let gate = bench.shared.receipts.history(&id()).await.unwrap().last_shut_gate().unwrap();
    assert_eq!(bench.shared.receipts.decide(&id(), gate, decision).await.unwrap(), decision);
}

fn correction(bench: &Workbench) -> EventView {
    let corrections = bench.broker.corrections("a");
    let first = corrections.first().expect("a correction");
    assert!(corrections.iter().all(|copy| copy == first), "{corrections:?}");
    let view = EventView::parse(first).unwrap();
    assert_eq!((view.id.as_str(), view.supersedes.as_deref()), ("a/resolved", Some("a/failed")));
    view
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_person_has_found_is_fetched_and_told() {
    let bench = parked(true).await;
    let task = TaskId::new("task-1").unwrap();
    bench.shared.receipts.note_task(&id(), 1, &task).await.unwrap();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    let correction = correction(&bench);
    assert_eq!((correction.kind(), correction.images.len()), (Some(EventKind::Succeeded), 1));
    assert_eq!(bench.charges("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_submitted_again_is_posted_once_more_and_told_as_a_correction() {
    let bench = parked(false).await;
    decide(&bench, Decision::SubmitAgain).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(correction(&bench).kind(), Some(EventKind::Succeeded));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 2));
    let all = ["intent-1", "intent-2", "intent-3", "resolve-2", "resolved", "result", "task-3"];
    assert_eq!(bench.store.receipts("a").await, all);
    // A further copy posts nothing, and its event is the correction.
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    correction(&bench);
    assert_eq!(bench.provider.posts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_submitted_again_survives_every_death_and_a_flush_on_its_way() {
    for flushed in [false, true] {
        for effect in 0.. {
            let bench = parked(false).await;
            decide(&bench, Decision::SubmitAgain).await;
            let next = bench.another();
            let before = bench.effects.done().len();
            bench.effects.kill_at(effect, Side::After);
            let dying = next.deliver(job("a"));
            let killed = tokio::select! {
                () = bench.effects.killed() => true,
                () = tokio::time::sleep(std::time::Duration::from_secs(3600)) => false,
            };
            dying.kill().await;
            if !killed {
                assert!(effect > 10, "{:?}", &bench.effects.done()[before..]);
                break;
            }
            if flushed {
                bench.flush();
            }
            assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
            let what = format!("flushed {flushed}, effect {effect}: {:?}", bench.effects.done());
            // A death between the POST and the note of its answer makes the outcome unknown once more.
            let unknown_again = bench.broker.corrections("a").is_empty();
            assert_eq!(
                unknown_again,
                bench.store.receipts("a").await.contains(&"intent-4".to_owned()),
                "{what}"
            );
            assert!(bench.charges("a") <= 1 && bench.provider.posts().len() <= 2, "{what}");
            assert!(bench.broker.ends("a").iter().all(|end| *end == bench.broker.ends("a")[0]), "{what}");
            if !unknown_again {
                assert_eq!(correction(&bench).kind(), Some(EventKind::Succeeded), "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_unknown_once_more_says_nothing_new_and_can_be_decided_again() {
    let bench = parked(false).await;
    decide(&bench, Decision::SubmitAgain).await;
    bench.provider.reply([Reply::Lost { made: false }]);
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert!(bench.broker.corrections("a").is_empty());
    bench.broker.end("a");
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 2, "a copy for each decision");

    decide(&bench, Decision::SubmitAgain).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(correction(&bench).kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.provider.posts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_up_ends_as_cancelled_and_perhaps_charged() {
    let bench = parked(true).await;
    decide(&bench, Decision::GiveUp).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    let correction = correction(&bench);
    assert_eq!(correction.kind(), Some(EventKind::Cancelled));
    assert_eq!(correction.charged.as_deref(), Some("unknown"));
    assert_eq!(bench.provider.posts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_decision_outlives_a_flush_of_redis() {
    for decision in [Decision::SubmitAgain, Decision::GiveUp] {
        let bench = parked(false).await;
        decide(&bench, decision).await;
        bench.flush();
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        correction(&bench);
        assert!(bench.charges("a") <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_decision_a_further_copy_is_told_that_it_is_unknown() {
    let bench = parked(false).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    bench.broker.end("a");
    assert!(bench.broker.corrections("a").is_empty());
    assert_eq!(bench.provider.posts().len(), 1);
}
