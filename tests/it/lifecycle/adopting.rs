//! Which task with an external id is a job's own: only the one that its intent was for.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use serde_json::{Value, json};

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, external_of, input, message};

fn naming(id: &str, external: &str) -> Value {
    let mut input = input();
    input["external_task_id"] = json!(external);
    json!({"job_id": id, "input": input})
}

fn prompting(id: &str, prompt: &str) -> Value {
    let mut input = input();
    input["prompt"] = json!(prompt);
    json!({"job_id": id, "input": input})
}

fn finding() -> Workbench {
    let bench = Workbench::new();
    bench.provider.find_by_external_id(true);
    bench
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_under_a_producers_own_id_is_found_again() {
    for bench in [finding(), Workbench::trusting()] {
        bench.provider.reply([Reply::Lost { made: true }]);
        assert_eq!(bench.run(message(&naming("a", "mine"))).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!(bench.broker.end("a").external_task_id.as_deref(), Some("mine"));
        assert_eq!(bench.provider.charges()["mine"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_names_another_jobs_id_does_not_get_that_jobs_picture() {
    let theirs = external_of(&prompting("theirs", "a secret"), 1);
    for named in ["plain", &theirs] {
        for reply in [Reply::Exists, Reply::Lost { made: false }] {
            let bench = finding();
            let first =
                if named == "plain" { naming("theirs", named) } else { prompting("theirs", "a secret") };
            assert_eq!(bench.run(message(&first)).await, Some(Settled::Acked));
            bench.provider.reply([reply]);
            assert_eq!(bench.run(message(&naming("thief", named))).await, Some(Settled::Acked));
            let end = bench.broker.end("thief");
            assert_eq!(end.reason.as_deref(), Some("outcome_unknown"), "{named} {reply:?}");
            assert_eq!(end.task_id, None);
        }
    }
}

/// What is found under the id is the older task, so that the job's own isn't found is no proof that there is none.
#[tokio::test(start_paused = true)]
async fn where_look_ups_are_trusted_a_miss_behind_anothers_task_costs_no_second_generation() {
    let bench = Workbench::trusting();
    assert_eq!(bench.run(message(&naming("theirs", "mine"))).await, Some(Settled::Acked));
    bench.provider.reply([Reply::Lost { made: true }]);
    assert_eq!(bench.run(message(&naming("a", "mine"))).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(bench.provider.posts().len(), 2, "one for each job");
}

#[tokio::test(start_paused = true)]
async fn of_two_jobs_that_name_one_id_at_a_time_the_one_that_came_second_is_not_answered_with_the_others_picture()
 {
    let bench = finding();
    bench.provider.reply([Reply::Lost { made: true }, Reply::Exists]);
    let first = bench.deliver(message(&naming("a", "mine")));
    bench.until_posted(1).await;
    let second = bench.deliver(message(&naming("b", "mine")));
    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(second.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!(bench.broker.end("b").reason.as_deref(), Some("outcome_unknown"));
}

#[tokio::test(start_paused = true)]
async fn where_the_providers_clock_is_unknown_nothing_is_adopted_under_a_producers_own_id() {
    let bench = finding();
    bench.provider.hide_its_clock();
    bench.provider.reply([Reply::Lost { made: true }, Reply::Lost { made: true }]);
    assert_eq!(bench.run(message(&naming("a", "mine"))).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    // The worker's own ids need no clock.
    assert_eq!(bench.run(message(&prompting("b", "x"))).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("b").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn the_hand_that_takes_a_job_over_adopts_by_the_intent_of_the_one_before() {
    for flush in [false, true] {
        for (named, own) in [(naming("a", "mine"), true), (prompting("a", "x"), false)] {
            let bench = finding();
            let mut answered = bench.effects.hold("post", Side::After);
            let first = bench.deliver(message(&named));
            answered.reached().await;
            first.kill().await;
            if flush {
                bench.flush();
            }
            // The rule has changed since: the store has another id.
            let next = bench.another();
            next.shared.settings.request_rules.store.set("another");
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(next.run(message(&named)).await, Some(Settled::Acked));
            assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "{own} {flush}");
            assert_eq!(bench.provider.posts().len(), 1);
            let posted = &bench.provider.posts()[0].external_task_id;
            assert_eq!(bench.broker.end("a").external_task_id.as_ref(), Some(posted));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fleets_on_one_account_don_t_meet_under_one_id() {
    let bench = finding();
    bench.shared.settings.request_rules.store.set("one");
    let other = finding();
    other.shared.settings.request_rules.store.set("other");
    for (bench, job) in [(&bench, prompting("a", "x")), (&other, prompting("a", "x"))] {
        bench.run(message(&job)).await;
    }
    let posted = |bench: &Workbench| bench.provider.posts()[0].external_task_id.clone();
    assert_ne!(posted(&bench), posted(&other));
    assert_ne!(posted(&bench), external_of(&prompting("a", "x"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_job_that_comes_again_with_another_input_does_not_get_the_old_picture() {
    let bench = Workbench::without_receipts();
    bench.provider.find_by_external_id(true);
    bench.run(message(&prompting("a", "old"))).await;
    bench.flush();
    bench.provider.reply([Reply::Exists]);
    bench.run(message(&prompting("a", "new"))).await;
    let ends = bench.broker.ends("a");
    assert!(ends[1].windows(15).any(|part| part == b"outcome_unknown"), "{ends:?}");
    let [old, new] = bench.provider.posts().try_into().unwrap();
    assert_ne!(old.external_task_id, new.external_task_id);
}
