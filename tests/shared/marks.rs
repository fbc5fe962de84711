//! What a ledger notes beside a job's stage: that its user has cancelled it, which lives may have died storing its
//! images, and which unknown outcome is going to be corrected.

use super::*;

pub async fn a_cancelled_job_is_known_as_such_at_every_stage_before_its_end(bench: Bench) {
    let cancelled = MoveResult::Yes { cancelled: true };
    let unseen = Snapshot { record: None, cancelled: true };
    assert_eq!(bench.ledger.cancel(&bench.job).await.unwrap(), unseen);
    assert_eq!(bench.known().await, unseen, "before it was seen");
    assert_eq!(bench.begin(1, "a").await, cancelled);
    assert!(bench.known().await.cancelled, "submitting");
    assert_eq!(bench.reopen("a").await, cancelled);
    bench.begin(2, "b").await;
    bench.accept("t-1").await;
    assert!(bench.known().await.cancelled, "generating");
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    assert!(!bench.known().await.cancelled, "the end is the end");
}

pub async fn an_ended_job_is_not_cancelled(bench: Bench) {
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    let known = bench.ledger.cancel(&bench.job).await.unwrap();
    assert!(matches!(stage(known.record), Stage::Done { .. }));
    assert!(!bench.known().await.cancelled);
}

pub async fn a_job_that_was_cancelled_before_it_was_seen_is_restored_and_ended_like_any_other(bench: Bench) {
    bench.ledger.cancel(&bench.job).await.unwrap();
    assert_eq!(bench.restore(None, Stage::New { attempt: 3 }).await, Stage::New { attempt: 3 });
    assert!(bench.known().await.cancelled);
    assert_eq!(bench.begin(3, "a").await, MoveResult::Yes { cancelled: true });
    let expect = FreezePrecondition::Submitting { nonce: nonce("a") };
    assert_eq!(bench.freeze(expect, "cancelled").await, event("cancelled"));
}

pub async fn lives_that_may_have_entered_the_storing_are_counted_and_those_that_left_are_not(bench: Bench) {
    let entries = |known: Snapshot| known.record.expect("a record").entries;
    bench.begin(1, "a").await;
    assert_eq!(entries(bench.ledger.enter(&bench.job, "x").await.unwrap()), 0, "nothing to store");
    bench.accept("t-1").await;
    assert_eq!(entries(bench.known().await), 1, "the one that submitted it");
    assert_eq!(entries(bench.ledger.enter(&bench.job, "x").await.unwrap()), 2);
    bench.ledger.leave(&bench.job, "y", None).await.unwrap();
    assert_eq!(entries(bench.known().await), 2, "another's");
    bench.ledger.leave(&bench.job, "x", None).await.unwrap();
    assert_eq!(entries(bench.known().await), 1);
    assert_eq!(entries(bench.ledger.enter(&bench.job, "z").await.unwrap()), 2);
    assert_eq!(entries(bench.ledger.enter(&bench.job, "y").await.unwrap()), 3, "of a copy of the job");
    bench.ledger.leave(&bench.job, "z", None).await.unwrap();
    bench.ledger.leave(&bench.job, "y", None).await.unwrap();
    bench.ledger.leave(&bench.job, "", None).await.unwrap();
    assert_eq!(entries(bench.known().await), 0, "in any order");
}

pub async fn the_life_that_submitted_a_job_can_leave_its_storing_too(bench: Bench) {
    bench.accept("t-1").await;
    bench.ledger.leave(&bench.job, "", None).await.unwrap();
    assert_eq!(bench.known().await.record.unwrap().entries, 0);
    let entered = bench.ledger.enter(&bench.job, "").await.unwrap();
    assert_eq!(entered.record.unwrap().entries, 1, "it comes back");
}

pub async fn how_long_images_were_tried_for_is_handed_on_and_never_gets_less(bench: Bench) {
    let tried = async || bench.known().await.record.unwrap().tried;
    let leave = async |life: &str, seconds: Option<u64>| {
        bench.ledger.leave(&bench.job, life, seconds.map(Duration::from_secs)).await.unwrap();
    };
    bench.begin(1, "a").await;
    bench.accept("t-1").await;
    leave("", None).await;
    assert_eq!(tried().await, None);
    leave("", Some(0)).await;
    assert_eq!(tried().await, Some(Duration::ZERO));
    bench.ledger.enter(&bench.job, "x").await.unwrap();
    leave("another", Some(70)).await;
    assert_eq!(tried().await, Some(Duration::from_secs(70)), "by a life that isn't the last to have entered");
    leave("x", Some(60)).await;
    assert_eq!(tried().await, Some(Duration::from_secs(70)), "by a life that knew of less");
    let failed = FailedTasks::NONE.and(task("t-1"), Charged::No);
    bench.ledger.follow(&bench.job, 1, &failed).await.unwrap();
    bench.begin(2, "b").await;
    bench.accept("t-2").await;
    assert_eq!(tried().await, None, "of the task before");
}

pub async fn an_unknown_outcome_is_reopened_by_who_names_it_and_corrected_once(bench: Bench) {
    let unknown = Bytes::from_static(b"unknown");
    bench.begin(1, "a").await;
    bench.freeze(FreezePrecondition::Unfinished, "unknown").await;
    let reopen = |corrects: &'static str| {
        let (bench, corrects) = (&bench, Bytes::from_static(corrects.as_bytes()));
        let next = Stage::New { attempt: 3 };
        async move {
            bench
                .ledger
                .restore(bench.entry(), RestorePrecondition::Ended, &next, Some(&corrects))
                .await
                .unwrap()
        }
    };
    assert!(matches!(stage(reopen("another").await.record), Stage::Done { .. }));
    let record = reopen("unknown").await.record.unwrap();
    assert_eq!((record.stage, record.corrects), (Stage::New { attempt: 3 }, Some(unknown.clone())));
    bench.begin(3, "b").await;
    bench.accept("t-3").await;
    assert_eq!(bench.read().await.unwrap().corrects, Some(unknown.clone()), "it is carried along");
    let correcting = FreezePrecondition::Correcting { first: unknown };
    assert_eq!(bench.freeze(correcting.clone(), "the truth").await, event("the truth"));
    assert_eq!(bench.freeze(correcting, "another truth").await, event("the truth"));
    assert_eq!(bench.read().await.unwrap().corrects, None);
}

pub async fn a_correction_takes_the_place_of_the_event_that_it_corrects_and_of_no_other(bench: Bench) {
    bench.freeze(FreezePrecondition::Unfinished, "unknown").await;
    let correcting =
        |first: &'static str| FreezePrecondition::Correcting { first: Bytes::from_static(first.as_bytes()) };
    assert_eq!(bench.freeze(correcting("another"), "no").await, event("unknown"));
    assert_eq!(bench.freeze(correcting("unknown"), "the truth").await, event("the truth"));
}

pub async fn a_failed_task_makes_way_for_the_next_attempt_and_is_remembered(bench: Bench) {
    let failed = |task: &str| FailedTasks::NONE.and(super::task(task), Charged::Unknown);
    let follow = async |attempt, failed: &FailedTasks| bench.ledger.follow(&bench.job, attempt, failed).await;
    assert!(matches!(
        follow(1, &failed("t-1")).await.unwrap(),
        MoveResult::No(Snapshot { record: None, .. })
    ));
    bench.begin(1, "a").await;
    assert!(matches!(follow(1, &failed("t-1")).await.unwrap(), MoveResult::No(_)), "nothing is generated");
    bench.accept("t-1").await;
    assert!(matches!(follow(1, &failed("t-2")).await.unwrap(), MoveResult::No(_)), "another task");
    assert!(matches!(follow(2, &failed("t-1")).await.unwrap(), MoveResult::No(_)), "another attempt");
    assert_eq!(follow(1, &failed("t-1")).await.unwrap(), YES);
    let charged = FailedTasks::NONE.and(task("t-1"), Charged::Yes);
    assert_eq!(follow(1, &charged).await.unwrap(), YES, "by a life that knows more of what it cost");
    let record = bench.read().await.unwrap();
    assert_eq!((record.stage, record.failed, record.entries), (Stage::New { attempt: 2 }, failed("t-1"), 0));

    assert_eq!(bench.begin(2, "b").await, YES);
    assert!(matches!(follow(1, &failed("t-1")).await.unwrap(), MoveResult::No(_)), "it has gone on");
    // A life that only now learns of the failed task learns nothing new.
    assert!(matches!(bench.accept("t-1").await, Stage::Submitting { attempt: 2, .. }));
    let entry = JobRef { failed: &failed("t-1"), ..bench.entry() };
    bench.ledger.accept(entry, 2, &task("t-2")).await.unwrap();
    let record = bench.read().await.unwrap();
    assert!(matches!(record.stage, Stage::Generating { attempt: 2, .. }));
    assert_eq!(record.failed, failed("t-1"));
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    assert_eq!(bench.read().await.unwrap().failed, FailedTasks::NONE);
}

pub async fn what_failed_comes_back_into_a_record_that_was_lost(bench: Bench) {
    let failed = FailedTasks::NONE.and(task("t-1"), Charged::No).and(task("t-2"), Charged::Yes);
    let entry = JobRef { failed: &failed, ..bench.entry() };
    let next = Stage::New { attempt: 3 };
    let known = bench.ledger.restore(entry, RestorePrecondition::Nothing, &next, None).await.unwrap();
    assert_eq!(known.record.unwrap().failed, failed);
}

pub async fn an_accepted_task_brings_what_failed_before_it_where_the_record_was_lost(bench: Bench) {
    let failed = FailedTasks::NONE.and(task("t-1"), Charged::No);
    let entry = JobRef { failed: &failed, ..bench.entry() };
    bench.ledger.accept(entry, 2, &task("t-2")).await.unwrap();
    assert_eq!(bench.read().await.unwrap().failed, failed);
}

pub async fn an_unfinished_job_has_its_route_and_a_finished_one_needs_none(bench: Bench) {
    let route = async || bench.read().await.expect("a record").route;
    let dance = Some(bench.route.clone());
    bench.begin(1, "a").await;
    assert_eq!(route().await, dance);
    bench.reopen("a").await;
    assert_eq!(route().await, dance, "for the next attempt");
    bench.begin(2, "b").await;
    bench.ledger.accept(bench.entry(), 2, &task("t-1")).await.unwrap();
    assert_eq!(route().await, dance);
    bench.ledger.enter(&bench.job, "life").await.unwrap();
    let failed = FailedTasks::NONE.and(task("t-1"), Charged::No);
    bench.ledger.follow(&bench.job, 2, &failed).await.unwrap();
    assert_eq!(route().await, dance, "for the next generation");
    bench.freeze(FreezePrecondition::Unposted, EVENT).await;
    assert_eq!(route().await, None);
}

pub async fn a_record_that_was_lost_gets_the_route_of_its_task(bench: Bench) {
    bench.accept("t-1").await;
    assert_eq!(bench.read().await.unwrap().route, Some(bench.route.clone()));
}

pub async fn a_rebuilt_record_has_the_route_that_the_receipts_name(bench: Bench) {
    let route = async || bench.read().await.unwrap().route;
    let dance = Some(bench.route.clone());
    bench.restore(None, Stage::Submitting { attempt: 1, nonce: nonce("a") }).await;
    assert_eq!(route().await, dance);
    bench.restore(Some(1), Stage::New { attempt: 2 }).await;
    assert_eq!(route().await, dance);
    bench.begin(2, "b").await;
    let event = Bytes::from_static(EVENT.as_bytes());
    bench.restore(Some(2), Stage::Done { event, replaceable: false }).await;
    assert_eq!(route().await, None);
}
