//! How long tasks take, on a real Redis: it passes the suite, and the tests of what only Redis has.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::job::pace::Durations;
use comet_worker::job::record::Unreadable;
use comet_worker::ledger::LedgerError;
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::durations::{RedisDurations, SharedDurations};

use crate::durations_suite::seen;
use crate::support::redis_url;

/// Short, so that a suite leaves nothing behind for long.
const REMEMBER: Duration = Duration::from_secs(60);

fn fresh() -> RedisDurations {
    let connection = Connection::new(&redis_url(), Duration::from_secs(5), || {}).unwrap();
    let prefix = format!("comet-test-durations-{}", uuid::Uuid::new_v4().simple());
    RedisDurations::new(connection, &prefix, "an_operation", REMEMBER)
}

async fn query<T: redis::FromRedisValue>(command: &redis::Cmd) -> T {
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = crate::support::connected(&client).await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

mod suite {
    crate::durations_suite!(std::sync::Arc::new(super::fresh()));
}

#[tokio::test]
async fn it_has_a_key_of_its_own_that_expires_and_names_operation_and_model() {
    let shared = fresh();
    let key = shared.key("kling-v2");
    assert!(
        key.starts_with("{comet-test-durations-") && key.ends_with("}:durations:an_operation:kling-v2"),
        "{key}"
    );
    shared.learn("kling-v2", &Durations::default()).await.unwrap();
    assert_eq!(query::<i64>(redis::cmd("EXISTS").arg(&key)).await, 0, "a read leaves nothing behind");
    shared.learn("kling-v2", &seen(15.0, 3)).await.unwrap();
    let left = query::<i64>(redis::cmd("PTTL").arg(&key)).await;
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!(query::<String>(redis::cmd("HGET").arg(&key).arg("version")).await, "1");
}

#[tokio::test]
async fn what_another_version_has_written_is_left_alone() {
    let shared = Arc::new(fresh());
    let key = shared.key("a");
    let _: i64 = query(redis::cmd("HSET").arg(&key).arg(&["version", "2", "3", "x"])).await;
    let _: i64 = query(redis::cmd("EXPIRE").arg(&key).arg(60)).await;
    for news in [Durations::default(), seen(15.0, 3)] {
        let learned = shared.learn("a", &news).await;
        assert!(matches!(learned, Err(LedgerError::Unreadable(Unreadable::Newer(_)))), "{learned:?}");
    }
    let left: Vec<String> = query(redis::cmd("HMGET").arg(&key).arg(&["version", "3"])).await;
    assert_eq!(left, ["2", "x"]);
}

#[tokio::test]
async fn what_nobody_could_have_written_is_passed_over() {
    let shared = fresh();
    let key = shared.key("a");
    let odd = ["version", "1", "900", "5", "x", "5", "40", "many", "41", "-3"];
    let _: i64 = query(redis::cmd("HSET").arg(&key).arg(&odd)).await;
    let _: i64 = query(redis::cmd("EXPIRE").arg(&key).arg(60)).await;
    assert_eq!(shared.learn("a", &Durations::default()).await.unwrap(), Durations::default());
    let news = seen(15.0, 3);
    let mut expected = Durations::default();
    expected.fold(&news);
    let learned = shared.learn("a", &news).await.unwrap();
    assert!((learned.weight() - expected.weight()).abs() < 0.01, "{learned:?}");
}
