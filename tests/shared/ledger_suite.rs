//! The contract of every ledger: Redis and the ledger in memory pass the same tests, and pass them again with every
//! call made twice, as after a lost answer.

#[path = "forgetting.rs"]
mod forgetting;
#[path = "ledger_bench.rs"]
mod ledger_bench;
#[path = "marks.rs"]
mod marks;
#[path = "twice.rs"]
mod twice;

use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Snapshot, Stage};
use comet_worker::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use comet_worker::job::{Charged, Digest, FailedTasks};
use comet_worker::ledger::JobRef;

pub use self::forgetting::*;
pub use self::ledger_bench::Bench;
use self::ledger_bench::{YES, event, nonce, stage, task};
pub use self::marks::*;
pub use self::twice::twice;

pub async fn an_unknown_job_has_no_record(bench: Bench) {
    assert_eq!(bench.read().await, None);
}

pub async fn the_right_to_post_is_given_once_for_an_attempt(bench: Bench) {
    assert_eq!(bench.begin(1, "a").await, YES);
    let MoveResult::No(Snapshot { record: Some(record), .. }) = bench.begin(1, "b").await else {
        panic!("given twice")
    };
    assert_eq!(record.stage, Stage::Submitting { attempt: 1, nonce: nonce("a") });
    assert_eq!(record.digest, bench.digest);
    assert!(matches!(bench.begin(2, "c").await, MoveResult::No(Snapshot { record: Some(_), .. })));
    assert_eq!(stage(bench.read().await), record.stage);
}

pub async fn a_later_attempt_of_an_unknown_job_is_refused(bench: Bench) {
    assert_eq!(bench.begin(2, "a").await, MoveResult::No(Snapshot::default()));
    assert_eq!(bench.read().await, None);
}

pub async fn a_reopened_attempt_lets_the_next_one_begin_and_not_itself(bench: Bench) {
    bench.begin(1, "a").await;
    assert!(
        matches!(bench.reopen("b").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "with another's nonce"
    );
    assert_eq!(bench.reopen("a").await, YES);
    assert_eq!(stage(bench.read().await), Stage::New { attempt: 2 });
    assert!(
        matches!(bench.begin(1, "a").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "the closed attempt begins again"
    );
    assert_eq!(bench.begin(2, "c").await, YES);
    assert!(
        matches!(bench.reopen("a").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "a stale reopen"
    );
}

pub async fn an_accepted_task_is_kept_and_its_age_known(bench: Bench) {
    bench.begin(1, "a").await;
    let noted = bench.accept("t-1").await;
    assert!(matches!(noted, Stage::Generating { attempt: 1, .. }), "{noted:?}");
    let Stage::Generating { task: kept, age, .. } = stage(bench.read().await) else {
        panic!("not generating")
    };
    assert_eq!(kept, task("t-1"));
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert!(matches!(bench.begin(1, "b").await, MoveResult::No(Snapshot { record: Some(_), .. })));
    assert!(matches!(bench.begin(2, "b").await, MoveResult::No(Snapshot { record: Some(_), .. })));
    assert!(matches!(bench.reopen("a").await, MoveResult::No(Snapshot { record: Some(_), .. })));
}

pub async fn an_accepted_task_is_knowledge_also_where_the_record_is_lost(bench: Bench) {
    assert!(matches!(bench.accept("t-1").await, Stage::Generating { .. }));
    assert!(matches!(stage(bench.read().await), Stage::Generating { .. }));
}

pub async fn a_second_task_does_not_take_the_place_of_the_first(bench: Bench) {
    bench.accept("t-1").await;
    let Stage::Generating { task: kept, .. } = bench.accept("t-2").await else { panic!("not generating") };
    assert_eq!(kept, task("t-1"));
}

pub async fn the_first_outcome_wins_for_everybody(bench: Bench) {
    bench.accept("t-1").await;
    assert_eq!(bench.freeze(FreezePrecondition::Unfinished, "first").await, event("first"));
    assert_eq!(bench.freeze(FreezePrecondition::Unfinished, "second").await, event("first"));
    assert_eq!(bench.freeze(FreezePrecondition::Unposted, "third").await, event("first"));
    let Stage::Done { event, replaceable: false } = stage(bench.read().await) else { panic!("not done") };
    assert_eq!(event, "first");
}

pub async fn a_task_never_overwrites_an_outcome(bench: Bench) {
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    assert!(matches!(bench.accept("late").await, Stage::Done { .. }));
    assert!(matches!(bench.begin(1, "a").await, MoveResult::No(Snapshot { record: Some(_), .. })));
}

pub async fn an_outcome_of_an_open_submit_needs_that_submit_to_be_open(bench: Bench) {
    bench.begin(1, "a").await;
    let expect = |ask: &str| FreezePrecondition::Submitting { nonce: nonce(ask) };
    assert!(
        matches!(
            bench.freeze(expect("b"), "no").await,
            FreezeResult::Changed(Snapshot { record: Some(_), .. })
        ),
        "of another ask"
    );
    assert!(
        matches!(
            bench.freeze(FreezePrecondition::Unposted, "no").await,
            FreezeResult::Changed(Snapshot { record: Some(_), .. })
        ),
        "as if unposted"
    );
    bench.reopen("a").await;
    assert!(
        matches!(
            bench.freeze(expect("a"), "no").await,
            FreezeResult::Changed(Snapshot { record: Some(_), .. })
        ),
        "after it was closed"
    );
    bench.begin(2, "c").await;
    assert_eq!(bench.freeze(expect("c"), "unknown").await, event("unknown"));
}

pub async fn an_outcome_is_frozen_also_where_the_record_is_lost(bench: Bench) {
    assert_eq!(
        bench.freeze(FreezePrecondition::Submitting { nonce: nonce("a") }, "unknown").await,
        event("unknown")
    );
}

pub async fn a_corrected_input_takes_the_place_of_an_invalid_one(mut bench: Bench) {
    bench.replaceable("invalid").await;
    let first = bench.digest.clone();
    bench.digest = Digest::new("corrected".to_owned());
    assert!(
        matches!(bench.begin(1, "a").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "without counting the round"
    );
    let entry = JobRef { round: 2, ..bench.entry() };
    assert_eq!(bench.ledger.begin(entry, 1, &nonce("a"), &BeginPrecondition::Read).await.unwrap(), YES);
    let record = bench.read().await.unwrap();
    assert_eq!((record.round, &record.digest), (2, &bench.digest));
    bench.digest = first;
    assert!(matches!(
        bench.freeze(FreezePrecondition::Unposted, "the old one").await,
        FreezeResult::Changed(Snapshot { record: Some(_), .. })
    ));
}

pub async fn another_invalid_input_is_frozen_in_a_round_of_its_own(mut bench: Bench) {
    bench.replaceable("invalid").await;
    bench.digest = Digest::new("another".to_owned());
    let entry = JobRef { round: 2, ..bench.entry() };
    let frozen = bench
        .ledger
        .freeze(entry, &FreezePrecondition::Unposted, Bytes::from_static(b"again"), true)
        .await
        .unwrap();
    assert_eq!(frozen, event("again"));
}

pub async fn nothing_takes_the_place_of_a_paid_outcome(mut bench: Bench) {
    bench.freeze(FreezePrecondition::Unfinished, "paid").await;
    bench.digest = Digest::new("another".to_owned());
    let entry = JobRef { round: 2, ..bench.entry() };
    assert!(matches!(
        bench.ledger.begin(entry, 1, &nonce("a"), &BeginPrecondition::Read).await.unwrap(),
        MoveResult::No(Snapshot { record: Some(_), .. })
    ));
    let frozen = bench
        .ledger
        .freeze(entry, &FreezePrecondition::Unposted, Bytes::from_static(b"no"), true)
        .await
        .unwrap();
    assert!(matches!(frozen, FreezeResult::Changed(Snapshot { record: Some(_), .. })));
}

pub async fn a_told_job_is_still_answered_with_its_outcome(bench: Bench) {
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(b"{}"), false).await.unwrap();
    assert!(matches!(stage(bench.read().await), Stage::Done { .. }));
}

/// Long enough to be distinguished from other events.
const EVENT: &str = r#"{"id":"suite/succeeded","type":"comet.job.succeeded","data":{"job_id":"suite"}}"#;

pub async fn a_job_whose_event_a_receipt_has_ends_when_it_is_told(bench: Bench) {
    bench.begin(1, "a").await;
    bench.accept("t-1").await;
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(EVENT.as_bytes()), true).await.unwrap();
    let told = Stage::Published { event_id: "suite/succeeded".to_owned() };
    assert_eq!(stage(bench.read().await), told);
    assert_eq!(bench.accept("late").await, told, "a task after the end");
    assert!(matches!(bench.begin(1, "b").await, MoveResult::No(_)), "a further attempt");
    assert!(
        matches!(bench.freeze(FreezePrecondition::Unfinished, "another").await, FreezeResult::Changed(_)),
        "another outcome"
    );
    let correcting = FreezePrecondition::Correcting { first: Bytes::from_static(b"what was told") };
    assert_eq!(
        bench.freeze(correcting, "corrected").await,
        event("corrected"),
        "as the receipts have it by now"
    );
    assert!(!bench.ledger.cancel(&bench.job).await.unwrap().cancelled);
    assert_eq!(stage(bench.read().await), told);
}

pub async fn a_job_that_was_lost_ends_when_it_is_told_and_anothers_does_not(mut bench: Bench) {
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(EVENT.as_bytes()), true).await.unwrap();
    assert!(matches!(stage(bench.read().await), Stage::Published { .. }));
    bench.job = format!("{}-other", bench.job).parse().unwrap();
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(b"no event"), true).await.unwrap();
    assert_eq!(bench.read().await, None, "no event was told");
    bench.begin(1, "a").await;
    let digest = Digest::new("of another input".to_owned());
    let entry = JobRef { digest: &digest, ..bench.entry() };
    bench.ledger.mark_published(entry, &Bytes::from_static(EVENT.as_bytes()), true).await.unwrap();
    assert!(matches!(stage(bench.read().await), Stage::Submitting { .. }));
}

pub async fn an_ask_without_a_look_at_the_record_is_none_where_there_is_one(bench: Bench) {
    let unread = async |ask: &str| {
        bench.ledger.begin(bench.entry(), 1, &nonce(ask), &BeginPrecondition::Unread).await.unwrap()
    };
    assert_eq!(unread("a").await, YES);
    assert_eq!(unread("a").await, YES, "the same ask once more");
    assert!(matches!(unread("b").await, MoveResult::No(_)), "a record that is submitting");
    let new = Stage::New { attempt: 1 };
    assert_eq!(bench.restore(Some(1), new.clone()).await, new);
    assert!(matches!(unread("c").await, MoveResult::No(_)), "a record that waits");
    assert_eq!(bench.begin(1, "d").await, YES);
}

pub async fn an_ask_that_never_reached_the_gate_gives_way_to_one_that_names_it(bench: Bench) {
    bench.begin(1, "a").await;
    let instead = |of: &'static str, ask: &'static str| {
        let (bench, of, ask) = (&bench, nonce(of), nonce(ask));
        async move {
            bench.ledger.begin(bench.entry(), 1, &ask, &BeginPrecondition::NeverAsked(of)).await.unwrap()
        }
    };
    assert!(
        matches!(instead("x", "b").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "in the place of another"
    );
    assert_eq!(instead("a", "b").await, YES);
    assert!(
        matches!(instead("a", "c").await, MoveResult::No(Snapshot { record: Some(_), .. })),
        "its place is taken"
    );
    assert_eq!(stage(bench.read().await), Stage::Submitting { attempt: 1, nonce: nonce("b") });
}

pub async fn on_the_word_of_a_receipt_an_attempt_is_closed_whichever_life_asked_last(bench: Bench) {
    bench.begin(1, "a").await;
    assert_eq!(bench.ledger.reopen(&bench.job, 1, None).await.unwrap(), YES);
    assert_eq!(stage(bench.read().await), Stage::New { attempt: 2 });
    bench.begin(2, "b").await;
    assert!(
        matches!(
            bench.ledger.reopen(&bench.job, 1, None).await.unwrap(),
            MoveResult::No(Snapshot { record: Some(_), .. })
        ),
        "a stale word"
    );
}

pub async fn a_missing_record_is_restored_and_an_existing_one_is_not_touched(bench: Bench) {
    let generating = Stage::Generating { attempt: 2, task: task("t-1"), age: Duration::ZERO };
    assert_eq!(bench.restore(None, generating.clone()).await, generating);
    assert_eq!(bench.restore(None, Stage::New { attempt: 1 }).await, generating);
    assert_eq!(bench.restore(Some(2), Stage::New { attempt: 3 }).await, generating);
}

pub async fn an_open_attempt_is_restored_to_what_the_receipts_say(bench: Bench) {
    bench.begin(1, "a").await;
    let open = Stage::Submitting { attempt: 1, nonce: nonce("a") };
    assert_eq!(bench.restore(None, Stage::New { attempt: 2 }).await, open, "a record is no missing one");
    assert_eq!(bench.restore(Some(2), Stage::New { attempt: 3 }).await, open, "another attempt");
    let later = Stage::Submitting { attempt: 2, nonce: nonce("b") };
    assert_eq!(bench.restore(Some(1), later.clone()).await, later);
    let done = Stage::Done { event: Bytes::from_static(b"the end"), replaceable: false };
    assert_eq!(bench.restore(Some(2), done.clone()).await, done);
    assert_eq!(bench.freeze(FreezePrecondition::Unfinished, "another").await, event("the end"));
}

pub async fn the_first_store_that_a_ledger_meets_is_its_own(bench: Bench) {
    assert_eq!(bench.ledger.meet_store("first").await.unwrap(), "first");
    assert_eq!(bench.ledger.meet_store("second").await.unwrap(), "first");
}

/// One test per property and ledger; `$ledger` is an expression for an `Arc<dyn Ledger>`, `$job` one
/// for a job id that no other test uses.
#[macro_export]
macro_rules! ledger_suite {
    ($ledger:expr, $job:expr) => {
        $crate::ledger_suite!(@each $ledger, $job;
            an_unknown_job_has_no_record
            the_right_to_post_is_given_once_for_an_attempt
            a_later_attempt_of_an_unknown_job_is_refused
            a_reopened_attempt_lets_the_next_one_begin_and_not_itself
            an_accepted_task_is_kept_and_its_age_known
            an_accepted_task_is_knowledge_also_where_the_record_is_lost
            a_second_task_does_not_take_the_place_of_the_first
            the_first_outcome_wins_for_everybody
            a_task_never_overwrites_an_outcome
            an_outcome_of_an_open_submit_needs_that_submit_to_be_open
            an_outcome_is_frozen_also_where_the_record_is_lost
            a_corrected_input_takes_the_place_of_an_invalid_one
            another_invalid_input_is_frozen_in_a_round_of_its_own
            nothing_takes_the_place_of_a_paid_outcome
            a_told_job_is_still_answered_with_its_outcome
            a_job_whose_event_a_receipt_has_ends_when_it_is_told
            a_job_that_was_lost_ends_when_it_is_told_and_anothers_does_not
            an_ask_without_a_look_at_the_record_is_none_where_there_is_one
            an_ask_that_never_reached_the_gate_gives_way_to_one_that_names_it
            on_the_word_of_a_receipt_an_attempt_is_closed_whichever_life_asked_last
            a_missing_record_is_restored_and_an_existing_one_is_not_touched
            an_open_attempt_is_restored_to_what_the_receipts_say
            a_cancelled_job_is_known_as_such_at_every_stage_before_its_end
            an_ended_job_is_not_cancelled
            a_job_that_was_cancelled_before_it_was_seen_is_restored_and_ended_like_any_other
            lives_that_may_have_entered_the_storing_are_counted_and_those_that_left_are_not
            the_life_that_submitted_a_job_can_leave_its_storing_too
            how_long_images_were_tried_for_is_handed_on_and_never_gets_less
            an_unknown_outcome_is_reopened_by_who_names_it_and_corrected_once
            a_correction_takes_the_place_of_the_event_that_it_corrects_and_of_no_other
            a_failed_task_makes_way_for_the_next_attempt_and_is_remembered
            what_failed_comes_back_into_a_record_that_was_lost
            an_accepted_task_brings_what_failed_before_it_where_the_record_was_lost
            the_first_store_that_a_ledger_meets_is_its_own
            an_unfinished_job_has_its_route_and_a_finished_one_needs_none
            a_record_that_was_lost_gets_the_route_of_its_task
            a_rebuilt_record_has_the_route_that_the_receipts_name
        );
    };
    (@each $ledger:expr, $job:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            use $crate::ledger_suite::{Bench, twice, $property};
            $property(Bench::new($ledger, &$job)).await;
            $property(Bench::new(std::sync::Arc::new(twice($ledger)), &$job)).await;
        }
    )+};
}
