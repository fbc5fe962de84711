//! Which jobs a ledger forgets, and which it doesn't.

use super::*;

/// Long enough for the calls of a test, which must not be overtaken by it.
pub const REMEMBER: Duration = Duration::from_secs(1);

/// Twice the time after which a job is forgotten that is to be forgotten.
async fn long_enough() {
    tokio::time::sleep(REMEMBER * 2).await;
}

/// Waits until nothing is known of the job.
async fn forgotten(bench: &Bench) {
    for _ in 0..300 {
        if bench.known().await == Snapshot::default() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} is never forgotten", bench.known().await);
}

pub async fn a_job_that_has_ended_is_forgotten_some_time_after_its_event_was_told_and_not_before(
    bench: Bench,
) {
    bench.freeze(FreezePrecondition::Unfinished, "the end").await;
    bench
        .ledger
        .mark_published(JobRef { round: 2, ..bench.entry() }, &Bytes::from_static(b"{}"), false)
        .await
        .unwrap();
    long_enough().await;
    assert!(matches!(stage(bench.read().await), Stage::Done { .. }), "nothing was told of this round");
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(b"{}"), false).await.unwrap();
    assert!(matches!(stage(bench.read().await), Stage::Done { .. }), "at once");
    forgotten(&bench).await;
    assert_eq!(bench.begin(1, "a").await, YES, "as a new job");
}

pub async fn a_job_that_ends_with_its_telling_is_forgotten_like_any_other(bench: Bench) {
    bench.accept("t-1").await;
    long_enough().await;
    assert!(matches!(stage(bench.read().await), Stage::Generating { .. }), "before its end");
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(EVENT.as_bytes()), true).await.unwrap();
    assert!(matches!(stage(bench.read().await), Stage::Published { .. }), "at once");
    forgotten(&bench).await;
}

pub async fn a_job_that_goes_on_after_its_end_is_not_forgotten(mut bench: Bench) {
    bench.replaceable("invalid").await;
    bench.ledger.mark_published(bench.entry(), &Bytes::from_static(b"{}"), false).await.unwrap();
    bench.digest = Digest::new("corrected".to_owned());
    let entry = JobRef { round: 2, ..bench.entry() };
    bench.ledger.begin(entry, 1, &nonce("a"), &BeginPrecondition::Read).await.unwrap();
    long_enough().await;
    assert!(matches!(stage(bench.read().await), Stage::Submitting { .. }));
}

pub async fn a_cancellation_of_a_job_that_never_comes_is_forgotten_and_no_other(mut bench: Bench) {
    bench.ledger.cancel(&bench.job).await.unwrap();
    assert!(bench.known().await.cancelled, "at once");
    forgotten(&bench).await;
    bench.job = format!("{}-seen", bench.job).parse().unwrap();
    bench.ledger.cancel(&bench.job).await.unwrap();
    bench.begin(1, "a").await;
    long_enough().await;
    assert!(bench.known().await.cancelled);
    assert!(matches!(stage(bench.read().await), Stage::Submitting { .. }));
}

/// One test per property and ledger; `$ledger` makes an `Arc<dyn Ledger>`, from how long it remembers an ended job.
/// A ledger whose clock follows tokio's time can have `start_paused = true` after it.
#[macro_export]
macro_rules! forgetting_suite {
    ($ledger:expr $(, $paused:meta)?) => {
        $crate::forgetting_suite!(@each $ledger, ($($paused)?);
            a_job_that_has_ended_is_forgotten_some_time_after_its_event_was_told_and_not_before
            a_job_that_ends_with_its_telling_is_forgotten_like_any_other
            a_job_that_goes_on_after_its_end_is_not_forgotten
            a_cancellation_of_a_job_that_never_comes_is_forgotten_and_no_other
        );
    };
    (@each $ledger:expr, $paused:tt; $($property:ident)+) => {$(
        #[tokio::test $paused]
        async fn $property() {
            use $crate::ledger_suite::{Bench, REMEMBER, twice, $property};
            $property(Bench::new($ledger(REMEMBER), "suite")).await;
            $property(Bench::new(std::sync::Arc::new(twice($ledger(REMEMBER))), "suite")).await;
        }
    )+};
}
