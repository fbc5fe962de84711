//! The contract of every place where workers share how long tasks take: Redis and its double pass the same tests.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::job::pace::{Durations, Ended, MEMORY_JOBS};
use comet_worker::ledger::durations::SharedDurations;

type Shared = Arc<dyn SharedDurations>;

/// This many jobs that took exactly this long.
pub fn seen(seconds: f64, jobs: u32) -> Durations {
    let age = Duration::from_secs_f64(seconds);
    let mut seen = Durations::default();
    for _ in 0..jobs {
        seen.add(Ended { after: age, until: age }, &Durations::default());
    }
    seen
}

async fn learn(shared: &Shared, model: &str, news: &Durations) -> Durations {
    shared.learn(model, news).await.unwrap()
}

async fn known(shared: &Shared, model: &str) -> Durations {
    learn(shared, model, &Durations::default()).await
}

/// Weights are rounded where they are stored.
#[track_caller]
fn alike(found: &Durations, expected: &Durations) {
    let bins = |durations: &Durations| durations.bins().map(|(bin, _)| bin).collect::<Vec<_>>();
    assert_eq!(bins(found), bins(expected));
    for ((bin, found), (_, expected)) in found.bins().zip(expected.bins()) {
        assert!((found - expected).abs() < 0.001 * expected, "bin {bin}: {found} and {expected}");
    }
}

pub async fn nothing_is_known_of_what_nobody_has_seen(shared: Shared) {
    assert_eq!(known(&shared, "a").await, Durations::default());
    assert_eq!(known(&shared, "a").await, Durations::default());
}

pub async fn what_one_worker_has_seen_all_know_of_that_model_and_of_no_other(shared: Shared) {
    let answered = learn(&shared, "a", &seen(15.0, 30)).await;
    alike(&known(&shared, "a").await, &answered);
    assert!((20.0..30.0).contains(&answered.weight()), "{}", answered.weight());
    assert_eq!(known(&shared, "b").await, Durations::default());
    assert_eq!(known(&shared, "").await, Durations::default());
}

pub async fn what_was_known_fades_behind_the_news(shared: Shared) {
    let mut expected = Durations::default();
    for (seconds, jobs) in [(15.0, 30), (15.0, 1), (0.1, 3), (40.0, 200), (1e6, 7)] {
        let news = seen(seconds, jobs);
        expected.fold(&news);
        alike(&learn(&shared, "a", &news).await, &expected);
        alike(&known(&shared, "a").await, &expected);
    }
}

pub async fn a_changed_provider_outweighs_the_old_one_and_that_is_forgotten_in_the_end(shared: Shared) {
    for _ in 0..5 {
        learn(&shared, "a", &seen(15.0, 50)).await;
    }
    let old = seen(15.0, 1).bins().next().unwrap().0;
    let part = |known: &Durations| {
        let of_old = known.bins().find(|(bin, _)| *bin == old).map_or(0.0, |(_, weight)| weight);
        of_old / known.weight()
    };
    for _ in 0..30 {
        learn(&shared, "a", &seen(40.0, 10)).await;
    }
    let left = part(&known(&shared, "a").await);
    assert!((0.04..0.06).contains(&left), "after 300 jobs {left} is left");
    for _ in 0..100 {
        learn(&shared, "a", &seen(40.0, 10)).await;
    }
    assert_eq!(part(&known(&shared, "a").await), 0.0);
}

pub async fn what_is_told_twice_since_an_answer_was_lost_counts_twice_and_never_more_than_is_remembered(
    shared: Shared,
) {
    for seconds in [15.0, 15.0, 16.0] {
        learn(&shared, "a", &seen(seconds, 400)).await;
        learn(&shared, "a", &seen(seconds, 400)).await;
    }
    let weight = known(&shared, "a").await.weight();
    assert!(weight <= MEMORY_JOBS * 1.001, "{weight}");
}

/// One test per property; `$shared` is an expression for an `Arc<dyn SharedDurations>` that knows nothing.
#[macro_export]
macro_rules! durations_suite {
    ($shared:expr) => {
        $crate::durations_suite!(@each $shared;
            nothing_is_known_of_what_nobody_has_seen
            what_one_worker_has_seen_all_know_of_that_model_and_of_no_other
            what_was_known_fades_behind_the_news
            a_changed_provider_outweighs_the_old_one_and_that_is_forgotten_in_the_end
            what_is_told_twice_since_an_answer_was_lost_counts_twice_and_never_more_than_is_remembered
        );
    };
    (@each $shared:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            $crate::durations_suite::$property($shared).await;
        }
    )+};
}
