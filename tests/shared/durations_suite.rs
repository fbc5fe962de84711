//! The contract of every place where workers share how long tasks take: Redis and its double pass the same tests.

use std::sync::Arc;

use comet_worker::job::pace::{Durations, REMEMBERED};
use comet_worker::ledger::durations::SharedDurations;

type Shared = Arc<dyn SharedDurations>;

async fn learn(shared: &Shared, model: &str, news: impl IntoIterator<Item = u32>) -> Durations {
    shared.learn(model, &news.into_iter().collect()).await.unwrap()
}

async fn known(shared: &Shared, model: &str) -> Vec<u32> {
    learn(shared, model, []).await.iter().collect()
}

pub async fn nothing_is_known_before_anything_was_seen(shared: Shared) {
    assert!(known(&shared, "a").await.is_empty());
    assert!(known(&shared, "a").await.is_empty());
}

pub async fn what_one_worker_has_seen_all_know_of_that_model_and_of_no_other(shared: Shared) {
    let answered = learn(&shared, "a", [15_000, 0, u32::MAX]).await;
    assert_eq!(answered.iter().collect::<Vec<_>>(), [15_000, 0, u32::MAX]);
    assert_eq!(known(&shared, "a").await, [15_000, 0, u32::MAX]);
    assert!(known(&shared, "b").await.is_empty());
    assert!(known(&shared, "").await.is_empty());
}

pub async fn the_news_is_added_and_the_oldest_durations_are_forgotten(shared: Shared) {
    let mut expected = Durations::default();
    for news in [0..1, 1..200, 200..500, 500..502] {
        expected.extend(news.clone());
        assert_eq!(learn(&shared, "a", news).await, expected);
    }
    assert_eq!(known(&shared, "a").await.len(), REMEMBERED);
}

pub async fn news_that_is_told_twice_counts_twice(shared: Shared) {
    learn(&shared, "a", [1, 2]).await;
    learn(&shared, "a", [1, 2]).await;
    assert_eq!(known(&shared, "a").await, [1, 2, 1, 2]);
}

/// One test per property; `$shared` is an expression for an `Arc<dyn SharedDurations>` that knows nothing.
#[macro_export]
macro_rules! durations_suite {
    ($shared:expr) => {
        $crate::durations_suite!(@each $shared;
            nothing_is_known_before_anything_was_seen
            what_one_worker_has_seen_all_know_of_that_model_and_of_no_other
            the_news_is_added_and_the_oldest_durations_are_forgotten
            news_that_is_told_twice_counts_twice
        );
    };
    (@each $shared:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            $crate::durations_suite::$property($shared).await;
        }
    )+};
}
