//! `generation.max_attempts`: a failed task is followed by another generation, which is new and paid for, and the
//! event names all of them.

use comet_worker::job::answers::Failed;
use comet_worker::job::event::{EventKind, EventView};
use comet_worker::ledger::Ledger as _;
use serde_json::{Value, json};

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Options, Workbench, external, external_of, input, job};

fn generations(max_attempts: u32) -> impl FnOnce(&mut Options) {
    move |options| options.settings.rules.max_attempts = max_attempts
}

/// A worker with this many generations for a job, of which the first `failures` fail.
fn failing(max_attempts: u32, failures: usize) -> Workbench {
    let bench = Workbench::with(generations(max_attempts));
    fail_first(&bench, failures);
    bench
}

fn fail_first(bench: &Workbench, failures: usize) {
    let mut left = failures;
    bench.provider.program(move |_| {
        let end = if left > 0 { End::Fails } else { End::Succeeds };
        left = left.saturating_sub(1);
        (Reply::Accept, end)
    });
}

fn of_generation(number: u32) -> String {
    external_of(&json!({"job_id": "a", "input": input()}), number)
}

#[tokio::test(start_paused = true)]
async fn in_doubt_about_the_reason_of_a_failure_no_further_generation_follows() {
    for why in [Failed::Policy, Failed::Unsaid] {
        let bench = failing(3, 1);
        bench.provider.tasks_fail(why);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked), "{why:?}");
        let reason = if why == Failed::Policy { "content_policy" } else { "generation_failed" };
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some(reason));
        assert_eq!(bench.provider.posts().len(), 1, "{why:?}");
    }
}

/// Delivers the job until it is acknowledged; a further generation needs the message once more.
async fn run_to_the_end(bench: &Workbench) {
    for _ in 0..5 {
        if bench.run(job("a")).await == Some(Settled::Acked) {
            return;
        }
    }
    panic!("the job comes to no end: {:?}", bench.effects.done());
}

fn told(bench: &Workbench) -> Value {
    bench.broker.end("a");
    serde_json::from_slice(&bench.broker.ends("a")[0]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn by_default_a_failed_task_is_the_end_of_its_job() {
    let bench = failing(1, 1);
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("generation_failed"));
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "result", "task-1"]);
    assert!(told(&bench)["data"].get("failed_task_ids").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_followed_by_a_new_one_under_an_id_of_its_own() {
    let bench = failing(3, 2);
    run_to_the_end(&bench).await;
    let names: Vec<_> = bench.provider.posts().into_iter().map(|post| post.external_task_id).collect();
    assert_eq!(names, [external("a"), of_generation(2), of_generation(3)]);
    let told = told(&bench);
    assert_eq!(told["type"], "comet.job.succeeded");
    assert_eq!(told["data"]["external_task_id"], of_generation(3));
    assert_eq!(told["data"]["failed_task_ids"], json!(["task-1", "task-2"]));
    assert_eq!(told["data"]["task_id"], "task-3");
    let receipts =
        ["failed-1", "failed-2", "intent-1", "intent-2", "intent-3", "result", "task-1", "task-2", "task-3"];
    assert_eq!(bench.store.receipts("a").await, receipts);
    assert!(bench.measures("comet_generations_again_total 2"));
}

#[tokio::test(start_paused = true)]
async fn the_last_generation_that_fails_ends_the_job_and_the_event_says_what_all_of_them_cost() {
    let bench = failing(2, 2);
    run_to_the_end(&bench).await;
    let data = &told(&bench)["data"];
    assert_eq!((&data["reason"], &data["charged"]), (&json!("generation_failed"), &json!("yes")));
    assert_eq!((&data["task_id"], &data["failed_task_ids"]), (&json!("task-2"), &json!(["task-1"])));
    assert!(data["message"].as_str().unwrap().ends_with("(generation 2 of this job)"), "{data}");
    assert_eq!(bench.provider.posts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_times_out_is_followed_by_none() {
    let bench = Workbench::with(generations(5));
    bench.provider.tasks_end(End::Never);
    run_to_the_end(&bench).await;
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
    assert_eq!(bench.provider.posts().len(), 1);
    // The next gate is shut, so that no worker that sees the failure later goes on.
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "intent-2", "result", "task-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_has_as_many_generations_as_were_allowed_when_its_first_one_was_submitted() {
    for (first, later, posts) in [(1, 5, 1), (2, 1, 2)] {
        let bench = failing(first, 9);
        let dying = bench.deliver(job("a"));
        bench.until_polled(1).await;
        dying.kill().await;
        let mut next = bench.another();
        let mut settings = (*next.shared.settings).clone();
        settings.rules.max_attempts = later;
        next.shared.settings = settings.into();
        run_to_the_end(&next).await;
        assert_eq!(bench.provider.posts().len(), posts, "{first}, then {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_cancelled_while_its_task_ran_is_not_generated_again() {
    let bench = failing(3, 9);
    let running = bench.deliver(job("a"));
    bench.until_polled(1).await;
    // No hint arrives.
    bench.memory.cancel(&"a".parse().unwrap()).await.unwrap();
    assert_ne!(running.ended().await, None);
    run_to_the_end(&bench).await;
    assert_eq!(EventView::parse(&bench.broker.ends("a")[0]).unwrap().kind(), Some(EventKind::Cancelled));
    assert_eq!(bench.provider.posts().len(), 1);
    assert_eq!(told(&bench)["data"]["charged"], "yes", "of the task that failed");
}

#[tokio::test(start_paused = true)]
async fn without_receipts_redis_alone_remembers_what_failed() {
    let bench = Workbench::with(|options| {
        options.settings.rules.receipts = false;
        options.settings.rules.max_attempts = 2;
    });
    fail_first(&bench, 1);
    run_to_the_end(&bench).await;
    let told = told(&bench);
    assert_eq!(told["type"], "comet.job.succeeded");
    assert_eq!(told["data"]["failed_task_ids"], json!(["task-1"]));
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_effect_with_and_without_a_flush_each_generation_is_paid_for_once() {
    for flushed in [false, true] {
        for side in [Side::Before, Side::After] {
            for effect in 0.. {
                let bench = Workbench::with(|options| {
                    options.settings.rules.max_attempts = 2;
                    options.settings.rules.trust_lookup = true;
                });
                bench.provider.find_by_external_id(true);
                fail_first(&bench, 1);
                bench.effects.kill_at(effect, side);
                if !dies(&bench).await {
                    assert!(effect > 20, "{:?}", bench.effects.done());
                    break;
                }
                if flushed {
                    bench.flush();
                }
                let next = bench.another();
                run_to_the_end(&next).await;
                let what = format!("flushed {flushed}, {side:?} {effect}: {:?}", bench.effects.done());
                let charges = bench.provider.charges();
                assert_eq!(charges.get(&external("a")), Some(&1), "{what}");
                assert_eq!(charges.get(&of_generation(2)), Some(&1), "{what}");
                assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{what}");
                assert_eq!(told(&bench)["data"]["failed_task_ids"], json!(["task-1"]), "{what}");
            }
        }
    }
}

/// Whether the process dies before it has acknowledged the job.
async fn dies(bench: &Workbench) -> bool {
    loop {
        let mut delivery = bench.deliver(job("a"));
        tokio::select! {
            () = bench.effects.killed() => {
                delivery.kill().await;
                return true;
            }
            settled = delivery.end() => if settled == Some(Settled::Acked) {
                return false;
            }
        }
    }
}
