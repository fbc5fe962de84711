//! The Lua scripts on a real Redis pass the suite of every ledger, and the tests of what only Redis has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::clock;
use comet_worker::heartbeat::Heartbeats;
use comet_worker::job::record::{Nonce, Snapshot, Unreadable};
use comet_worker::job::route::RouteName;
use comet_worker::job::spend::{SpendRules, Units};
use comet_worker::job::step::{BeginPrecondition, FreezePrecondition};
use comet_worker::job::{Digest, FailedTasks, JobId};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::endpoint::Endpoint;
use comet_worker::ledger::hints::{Hints, listen};
use comet_worker::ledger::slots::{Account, Slots};
use comet_worker::ledger::spend::RedisSpend;
use comet_worker::ledger::{JobRef, Ledger, LedgerError, RedisLedger};
use tokio_util::sync::CancellationToken;

use crate::around::{Around, Asked, Call, Through};
use crate::private::PrivateRedis;
use crate::support::redis_url;

const REMEMBER: Duration = Duration::from_secs(600);
const EVENT: &[u8] = include_bytes!("../fixtures/events/succeeded.v2.json");

/// Every test has a ledger of its own. Its prefix doesn't expire, but it has few keys.
fn ledger_at(url: &str, prefix: &str) -> RedisLedger {
    let connection = Connection::new(url, Duration::from_secs(5), || {}).unwrap();
    RedisLedger::new(connection, prefix, REMEMBER)
}

fn fresh_prefix() -> String {
    format!("comet-test-ledger-{}", uuid::Uuid::new_v4().simple())
}

async fn query<T: redis::FromRedisValue>(url: &str, command: &redis::Cmd) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut connection = crate::support::connected(&client).await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

mod suite {
    crate::ledger_suite!(
        super::cleaning(super::ledger_at(&crate::support::redis_url(), &super::fresh_prefix())),
        "suite"
    );
}

mod slots {
    crate::slots_suite!(super::account_of_4);
}

mod spend {
    crate::spend_suite!(super::spending);
}

mod forgetting {
    crate::forgetting_suite!(super::remembering);
}

mod hints {
    crate::hints_suite!(super::hinting);
}

/// On the shared Redis, with nothing to be counted from receipts.
async fn spending(rules: SpendRules) -> Arc<dyn Ledger> {
    let prefix = fresh_prefix();
    let connection = Connection::new(&redis_url(), Duration::from_secs(5), || {}).unwrap();
    RedisSpend::new(connection, &prefix, rules.clone(), REMEMBER).complete().await.unwrap();
    cleaning(ledger_at(&redis_url(), &prefix).with_spend(rules))
}

fn remembering(remember: Duration) -> Arc<dyn Ledger> {
    let connection = Connection::new(&redis_url(), Duration::from_secs(5), || {}).unwrap();
    cleaning(RedisLedger::new(connection, &fresh_prefix(), remember))
}

/// Listens on the channel of its prefix, as a worker does.
async fn hinting(recount: Duration) -> (Arc<dyn Ledger>, Hints) {
    let (prefix, hints) = (fresh_prefix(), Hints::default());
    let endpoint = Endpoint::new(redis_url().as_str(), Duration::from_secs(5)).unwrap();
    let heartbeat = Heartbeats::new().register("hints", Duration::from_secs(60));
    let subscribed = hints.wait_for(&"subscribed".parse().unwrap());
    let channel = RedisLedger::hint_channel(&prefix);
    tokio::spawn(listen(endpoint, channel, hints.clone(), heartbeat, CancellationToken::new()));
    // All that wait are woken once hints can come.
    subscribed.look().await;
    let ledger = ledger_at(&redis_url(), &prefix).with_account(Account { cap: 4, recount });
    (cleaning(ledger), hints)
}

/// On the shared Redis, with a count that is left behind for a minute.
fn account_of_4(recount: Duration) -> Arc<dyn Ledger> {
    let ledger = ledger_at(&redis_url(), &fresh_prefix());
    cleaning(ledger.with_account(Account { cap: 4, recount }))
}

fn cleaning(ledger: RedisLedger) -> Arc<dyn Ledger> {
    Arc::new(Through(Cleaning(Arc::new(ledger))))
}

/// The ledger, with every record made to expire soon, if it doesn't sooner, so that the suite leaves nothing in a shared
/// Redis.
struct Cleaning(Arc<RedisLedger>);

impl Cleaning {
    async fn expire(&self, job: &JobId) {
        let keys: Vec<String> = query(&redis_url(), redis::cmd("KEYS").arg(self.0.key(job))).await;
        let shared = [
            ":slots",
            ":slots:until",
            ":slots:count",
            ":slots:line",
            ":pace",
            ":unfinished",
            ":ends",
            ":minutes",
            ":spend",
        ]
        .map(|part| self.0.key(job).replace(&format!(":job:{job}"), part));
        let day = SpendRules::default().day(clock::unix_ms());
        let days = [day.before(2), day.before(1), day, day.before(-1)]
            .map(|day| format!("{}:{}", shared[shared.len() - 1], day.number()));
        for key in keys.into_iter().chain(days).chain(shared) {
            let _: i64 = query(&redis_url(), redis::cmd("EXPIRE").arg(key).arg(60).arg("LT")).await;
        }
    }
}

#[async_trait::async_trait]
impl Around for Cleaning {
    async fn around<T: Send + 'static>(&self, asked: Asked, call: Call<T>) -> Result<T, LedgerError> {
        let answer = call(Arc::<RedisLedger>::clone(&self.0)).await;
        match (asked.name, &asked.job) {
            // These make no key.
            ("read" | "enter" | "leave" | "probe" | "begin_count" | "spend_today", _) => {}
            ("meet_store", _) => {
                let key = self.0.key(&"x".parse().unwrap()).replace(":job:x", ":store-id");
                let _: i64 = query(&redis_url(), redis::cmd("EXPIRE").arg(key).arg(60)).await;
            }
            (_, Some(job)) => self.expire(job).await,
            (_, None) => self.expire(&"x".parse().unwrap()).await,
        }
        answer
    }
}

/// One job in a ledger on the shared Redis, and its key.
struct One {
    url: String,
    ledger: RedisLedger,
    job: JobId,
    digest: Digest,
}

impl One {
    fn new() -> Self {
        let url = redis_url();
        let ledger = ledger_at(&url, &fresh_prefix());
        Self { url, ledger, job: "one".parse().unwrap(), digest: Digest::new("d".to_owned()) }
    }

    fn entry(&self) -> JobRef<'_> {
        JobRef::new(&self.job, &self.digest, RouteName::default_route())
    }

    async fn expires_in(&self) -> i64 {
        query(&self.url, redis::cmd("PTTL").arg(self.ledger.key(&self.job))).await
    }

    async fn remove(self) {
        let _: i64 = query(&self.url, redis::cmd("DEL").arg(self.ledger.key(&self.job))).await;
    }
}

#[tokio::test]
async fn a_record_lasts_until_its_job_is_told_and_then_as_long_as_configured() {
    let one = One::new();
    let nonce = Nonce::new("n".to_owned());
    one.ledger.begin(one.entry(), 1, &nonce, &BeginPrecondition::Read).await.unwrap();
    assert_eq!(one.expires_in().await, -1, "an unfinished record expires");
    one.ledger.mark_published(one.entry(), &Bytes::from_static(b"{}"), false).await.unwrap();
    assert_eq!(one.expires_in().await, -1, "told without an outcome");
    one.ledger
        .freeze(one.entry(), &FreezePrecondition::Unfinished, Bytes::from_static(b"e"), true)
        .await
        .unwrap();
    assert_eq!(one.expires_in().await, -1, "not told yet");
    one.ledger
        .mark_published(JobRef { round: 2, ..one.entry() }, &Bytes::from_static(b"{}"), false)
        .await
        .unwrap();
    assert_eq!(one.expires_in().await, -1, "told for another round");
    one.ledger.mark_published(one.entry(), &Bytes::from_static(b"{}"), false).await.unwrap();
    let left = one.expires_in().await;
    assert!(left > 0 && left <= 600_000, "{left}");
    let corrected = Digest::new("other".to_owned());
    let entry = JobRef { digest: &corrected, round: 2, ..one.entry() };
    one.ledger.begin(entry, 1, &nonce, &BeginPrecondition::Read).await.unwrap();
    assert_eq!(one.expires_in().await, -1, "a corrected job's record would vanish while it runs");
    one.remove().await;
}

#[tokio::test]
async fn a_record_that_ends_with_its_telling_keeps_no_event_and_expires() {
    let one = One::new();
    one.ledger.begin(one.entry(), 1, &Nonce::new("n".to_owned()), &BeginPrecondition::Unread).await.unwrap();
    one.ledger.accept(one.entry(), 1, &comet_worker::job::TaskId::new("t").unwrap()).await.unwrap();
    one.ledger.mark_published(one.entry(), &Bytes::from_static(EVENT), true).await.unwrap();
    let left = one.expires_in().await;
    assert!(left > 0 && left <= 600_000, "{left}");
    let key = one.ledger.key(&one.job);
    let mut kept: Vec<String> = query(&one.url, redis::cmd("HKEYS").arg(&key)).await;
    kept.sort();
    assert_eq!(kept, ["digest", "event_id", "round", "stage", "version"]);
    one.remove().await;
}

#[tokio::test]
async fn a_pace_is_forgotten_some_time_after_its_last_word() {
    let url = redis_url();
    let prefix = fresh_prefix();
    let ledger = ledger_at(&url, &prefix);
    ledger.slow_down(Duration::from_secs(60), 2000).await.unwrap();
    let key = format!("{{{prefix}}}:pace");
    let left: i64 = query(&url, redis::cmd("PTTL").arg(&key)).await;
    assert!(left > 120_000 && left <= 180_000, "{left}");
    let _: i64 = query(&url, redis::cmd("DEL").arg(&key)).await;
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_reported_and_left_alone() {
    let one = One::new();
    let key = one.ledger.key(&one.job);
    let stored = ["version", "3", "stage", "begun", "digest", "d"];
    let _: i64 = query(&one.url, redis::cmd("HSET").arg(&key).arg(&stored)).await;
    let before: Vec<(String, String)> = query(&one.url, redis::cmd("HGETALL").arg(&key)).await;
    let newer = |result: Option<LedgerError>| {
        assert!(matches!(result, Some(LedgerError::Unreadable(Unreadable::Newer(_)))), "{result:?}");
    };
    let nonce = Nonce::new("n".to_owned());
    let task = comet_worker::job::TaskId::new("t").unwrap();
    newer(one.ledger.read(&one.job, Slots::NONE).await.err());
    newer(one.ledger.begin(one.entry(), 1, &nonce, &BeginPrecondition::Read).await.err());
    newer(one.ledger.reopen(&one.job, 1, Some(&nonce)).await.err());
    newer(one.ledger.accept(one.entry(), 1, &task).await.err());
    newer(
        one.ledger
            .freeze(one.entry(), &FreezePrecondition::Unfinished, Bytes::from_static(b"e"), false)
            .await
            .err(),
    );
    newer(one.ledger.mark_published(one.entry(), &Bytes::from_static(EVENT), true).await.err());
    let after: Vec<(String, String)> = query(&one.url, redis::cmd("HGETALL").arg(&key)).await;
    assert_eq!(before, after);
    one.remove().await;
}

#[tokio::test]
async fn scripts_run_also_after_the_server_has_forgotten_them() {
    let redis = PrivateRedis::start().await;
    let ledger = ledger_at(&redis.url(), "forgotten");
    let job: JobId = "one".parse().unwrap();
    assert_eq!(ledger.read(&job, Slots::NONE).await.unwrap(), Snapshot::default());
    let _: String = query(&redis.url(), redis::cmd("SCRIPT").arg("FLUSH")).await;
    assert_eq!(ledger.read(&job, Slots::NONE).await.unwrap(), Snapshot::default());
}

#[tokio::test]
async fn a_connection_is_made_anew_after_it_was_cut_and_after_the_server_froze() {
    let redis = PrivateRedis::start().await;
    let reconnects = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&reconnects);
    let connection = Connection::new(&redis.url(), Duration::from_millis(300), move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let ledger = RedisLedger::new(connection.unwrap(), "cut", REMEMBER);
    ledger.probe().await.unwrap();
    let _: i64 = query(&redis.url(), redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"])).await;
    crate::support::wait_for("the ledger after a cut", async || ledger.probe().await.ok()).await;
    assert!(reconnects.load(std::sync::atomic::Ordering::Relaxed) >= 1);

    let _: String = query(&redis.url(), redis::cmd("CLIENT").arg(&["PAUSE", "2000", "ALL"])).await;
    crate::support::wait_for("a timeout", async || ledger.probe().await.err()).await;
    crate::support::wait_for("the ledger after a freeze", async || ledger.probe().await.ok()).await;
}

#[tokio::test]
async fn a_job_that_was_cancelled_before_it_was_seen_is_remembered_for_a_while_and_then_as_any_other() {
    let redis = PrivateRedis::start().await;
    let ledger = ledger_at(&redis.url(), "tombstone");
    let job: JobId = "one".parse().unwrap();
    let time_to_live = || async {
        query::<i64>(&redis.url(), redis::cmd("PTTL").arg(ledger.key(&"one".parse().unwrap()))).await
    };
    ledger.cancel(&job).await.unwrap();
    let bounds = 1..=i64::try_from(REMEMBER.as_millis()).unwrap();
    assert!(bounds.contains(&time_to_live().await));
    let digest = Digest::new("digest".to_owned());
    let entry = JobRef {
        job: &job,
        digest: &digest,
        route: RouteName::default_route(),
        round: 1,
        failed: FailedTasks::none(),
        under: None,
        slots: Slots::NONE,
    };
    ledger.begin(entry, 1, &Nonce::new("n".to_owned()), &BeginPrecondition::Read).await.unwrap();
    assert_eq!(time_to_live().await, -1, "an unfinished job never expires");
}

#[tokio::test]
async fn a_correction_takes_no_more_from_a_day_than_is_left_there() {
    let redis = PrivateRedis::start().await;
    let at = jiff::Timestamp::now();
    let event = |outcome: &str, beside: &str, data: &str| {
        Bytes::from(format!(
            r#"{{"id":"one/{outcome}","type":"comet.job.{outcome}","time":"{at}"{beside},"data":{{"job_id":"one",
            "metadata":{{"customer":"a","team":"b"}}{data}}}}}"#
        ))
    };
    let end = event("failed", "", r#","charged":"unknown""#);
    let correction = event("succeeded", r#","supersedes":"one/failed""#, r#","units":"1""#);
    let (job, digest) = ("one".parse().unwrap(), Digest::new("d".to_owned()));
    // Between the two, another key became the label, or the day was deleted by hand.
    for (prefix, is_deleted, labels) in
        [("label", false, vec![("a", "8"), ("b", "0")]), ("deleted", true, vec![("a", "0")])]
    {
        let by = |label: &str| SpendRules {
            per_job: Some(Units::whole(8)),
            label: label.to_owned(),
            ..SpendRules::default()
        };
        let publish = async |label: &str, event: &Bytes| {
            let ledger = ledger_at(&redis.url(), prefix).with_spend(by(label));
            let entry = JobRef::new(&job, &digest, RouteName::default_route());
            ledger.mark_published(entry, event, true).await.unwrap();
        };
        publish("customer", &end).await;
        let day = SpendRules::default().day(at.as_millisecond());
        if is_deleted {
            let key = format!("{{{prefix}}}:spend:{}", day.number());
            let _: i64 = query(&redis.url(), redis::cmd("DEL").arg(key)).await;
        }
        publish(if is_deleted { "customer" } else { "team" }, &correction).await;

        let connection = Connection::new(&redis.url(), Duration::from_secs(5), || {}).unwrap();
        let books = RedisSpend::new(connection, prefix, by("customer"), REMEMBER);
        let found = books.days(day, 1).await.unwrap().remove(0);
        assert_eq!((found.units.as_str(), found.estimated.as_str()), ("1", "0"), "{prefix}");
        let seen: Vec<(&str, &str)> =
            found.labels.iter().map(|(label, spend)| (label.as_str(), spend.units.as_str())).collect();
        assert_eq!(seen, labels, "{prefix}");
        assert_eq!(found.perhaps, 0, "{prefix}");
        books.today().await.unwrap();
    }
}
