//! How long tasks take, on a real Redis: it passes the suite, and the tests of what only Redis has.

use std::time::Duration;

use comet_worker::job::pace::Durations;
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::durations::{RedisDurations, SharedDurations};

use crate::support::redis_url;

/// Short, so that a suite leaves nothing behind for long.
const REMEMBER: Duration = Duration::from_secs(60);

fn fresh() -> RedisDurations {
    let connection = Connection::new(&redis_url(), Duration::from_secs(5), || {}).unwrap();
    let prefix = format!("comet-test-durations-{}", uuid::Uuid::new_v4().simple());
    RedisDurations::new(connection, &prefix, REMEMBER)
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
async fn it_has_a_key_of_its_own_that_expires_and_names_the_kind() {
    let shared = fresh();
    let key = shared.key("a_route:kling-v2");
    assert!(
        key.starts_with("{comet-test-durations-") && key.ends_with("}:durations:1:a_route:kling-v2"),
        "{key}"
    );
    shared.learn("a_route:kling-v2", &Durations::default()).await.unwrap();
    assert_eq!(query::<i64>(redis::cmd("EXISTS").arg(&key)).await, 0, "a read leaves nothing behind");
    shared.learn("a_route:kling-v2", &[15_000].into_iter().collect()).await.unwrap();
    let left = query::<i64>(redis::cmd("PTTL").arg(&key)).await;
    assert!((1..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn what_no_worker_could_have_written_is_passed_over() {
    let shared = fresh();
    let key = shared.key("a");
    let _: i64 =
        query(redis::cmd("RPUSH").arg(&key).arg(&["x", "5", "", "-3", "1.5", "4294967296", "7"])).await;
    let _: i64 = query(redis::cmd("EXPIRE").arg(&key).arg(60)).await;
    let learned = shared.learn("a", &[9].into_iter().collect()).await.unwrap();
    assert!(learned.iter().eq([5, 7, 9]), "{learned:?}");
}
