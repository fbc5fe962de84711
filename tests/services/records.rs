//! What a hundred thousand finished jobs leave in Redis, written by the worker's scripts.

use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Nonce, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{BeginPrecondition, MoveResult};
use comet_worker::job::{Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger, RedisLedger};
use futures_util::StreamExt;

use crate::private::PrivateRedis;

const RECORDS: u64 = 100_000;
const CONNECTIONS: u64 = 4;
/// Jobs on their way at once, over one connection.
const AT_ONCE: usize = 200;
/// Bytes of a finished record, including keys and Redis's own bookkeeping. Its event is in a receipt; a change that
/// stores more than needed exceeds this.
const BYTES_MAX: u64 = 420;

/// As long as the event of one image with small metadata is.
const EVENT: &str = include_str!("../fixtures/events/succeeded.v2.json");

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_finished_jobs_keep_to_their_bytes() {
    let redis = PrivateRedis::start_with("no").await;
    let ledger = ledger(&redis);
    // The scripts are there, and the connection. A job that went all the way leaves its end and no more than a wider table, so
    // that the many are only ended.
    begin(&ledger, RECORDS).await;
    finish(&ledger, RECORDS).await;
    finish(&ledger, RECORDS + 1).await;
    let wider = usage(&redis, RECORDS).await - usage(&redis, RECORDS + 1).await;
    assert!(wider <= 64, "a finished record keeps {wider} bytes of the way to its end");

    let before = memory(&redis).await;
    let writing = (0..CONNECTIONS).map(|first| {
        let ledger = self::ledger(&redis);
        tokio::spawn(async move {
            let numbers =
                futures_util::stream::iter((first..RECORDS).step_by(usize::try_from(CONNECTIONS).unwrap()));
            numbers.map(|number| finish(&ledger, number)).buffer_unordered(AT_ONCE).collect::<()>().await;
        })
    });
    futures_util::future::try_join_all(writing.collect::<Vec<_>>()).await.unwrap();
    let each = (memory(&redis).await - before) / RECORDS + wider;
    println!("{each} bytes a finished record, {} MiB for a million", each * 1_000_000 / 1024 / 1024);
    assert!(each <= BYTES_MAX, "{each} bytes a record");
    // None was skipped.
    assert!(each >= 100, "{each} bytes a record");
    let known = ledger.read(&job(RECORDS / 2), Slots::NONE).await.unwrap();
    assert!(
        matches!(known.record.unwrap().stage, Stage::Published { event_id } if EVENT.contains(&event_id))
    );
}

fn ledger(redis: &PrivateRedis) -> RedisLedger {
    let connection = Connection::new(&redis.url(), Duration::from_secs(60), || {}).unwrap();
    RedisLedger::new(connection, "records", Duration::from_secs(600))
}

fn job(number: u64) -> JobId {
    format!("order-{number:08}").parse().unwrap()
}

/// The moves before the end of a job.
async fn begin(ledger: &RedisLedger, number: u64) {
    let (job, digest) = (job(number), digest());
    let entry = JobRef {
        job: &job,
        digest: &digest,
        route: RouteName::default_route(),
        round: 1,
        failed: FailedTasks::none(),
        under: None,
        slots: Slots::NONE,
    };
    let begun =
        ledger.begin(entry, 1, &Nonce::new("n".repeat(32)), &BeginPrecondition::Unread).await.unwrap();
    assert_eq!(begun, MoveResult::Yes { cancelled: false });
    ledger.accept(entry, 1, &TaskId::new("878106242831892487").unwrap()).await.unwrap();
}

async fn finish(ledger: &RedisLedger, number: u64) {
    let (job, digest) = (job(number), digest());
    let entry = JobRef {
        job: &job,
        digest: &digest,
        route: RouteName::default_route(),
        round: 1,
        failed: FailedTasks::none(),
        under: None,
        slots: Slots::NONE,
    };
    ledger.mark_published(entry, &Bytes::from_static(EVENT.as_bytes()), true).await.unwrap();
}

fn digest() -> Digest {
    Digest::new("d".repeat(64))
}

async fn usage(redis: &PrivateRedis, number: u64) -> u64 {
    let key = format!("{{records}}:job:{}", job(number));
    query(redis, redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0)).await
}

async fn memory(redis: &PrivateRedis) -> u64 {
    let info: String = query(redis, redis::cmd("INFO").arg("memory")).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    used.trim().parse().unwrap()
}

async fn query<T: redis::FromRedisValue>(redis: &PrivateRedis, command: &redis::Cmd) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = crate::support::connected(&client).await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}
