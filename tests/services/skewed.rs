//! Times that Redis stored before its clock was set back by an hour: nothing waits for longer than it could have
//! waited without that.

use std::time::Duration;

use comet_worker::job::record::Nonce;
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{BeginPrecondition, MoveResult};
use comet_worker::job::{Digest, FailedTasks, JobId};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::slots::{Account, Slots};
use comet_worker::ledger::{JobRef, Ledger, RedisLedger};

use crate::private::PrivateRedis;
use crate::support::wait_for;

const HOUR_MS: u64 = 3_600_000;
const PREFIX: &str = "skewed";

struct Skewed {
    redis: PrivateRedis,
    ledger: RedisLedger,
}

impl Skewed {
    async fn start(cap: u32) -> Self {
        let redis = PrivateRedis::start().await;
        let connection = Connection::new(&redis.url(), Duration::from_secs(5), || {}).unwrap();
        let ledger = RedisLedger::new(connection, PREFIX, Duration::from_secs(60));
        let account = Account { cap, recount: Duration::from_millis(500) };
        let skewed = Self { redis, ledger: ledger.with_account(account) };
        skewed.ledger.begin_count().await.unwrap();
        skewed
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = crate::support::connected(&client).await.unwrap();
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query_async(&mut connection).await.unwrap()
    }

    /// An hour ahead, by Redis's clock.
    async fn in_an_hour(&self) -> u64 {
        let (seconds, micros): (u64, u64) = self.query(&["TIME"]).await;
        seconds * 1000 + micros / 1000 + HOUR_MS
    }

    fn key(part: &str) -> String {
        format!("{{{PREFIX}}}:{part}")
    }

    async fn set(&self, part: &str, field: &str, value: &str) {
        let _: i64 = self.query(&["HSET", &Self::key(part), field, value]).await;
    }

    async fn ask(&self) -> MoveResult {
        let (job, digest): (JobId, _) = ("asks".parse().unwrap(), Digest::new("d".to_owned()));
        let slots = Slots { count: 1, keep: Duration::from_secs(60) };
        let entry = JobRef {
            job: &job,
            digest: &digest,
            route: RouteName::default_route(),
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots,
        };
        self.ledger.begin(entry, 1, &Nonce::new("n".to_owned()), &BeginPrecondition::Read).await.unwrap()
    }

    /// Checks that it may post in the end.
    async fn is_let_through(&self) {
        wait_for("the right to post", async || {
            matches!(self.ask().await, MoveResult::Yes { .. }).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pause_that_the_provider_asked_for_is_no_longer_than_it_was() {
    let skewed = Skewed::start(4).await;
    let then = skewed.in_an_hour().await;
    for (field, value) in
        [("rate", 2000), ("since_ms", then), ("until_ms", then + 1000), ("next_ms", then + 1500)]
    {
        skewed.set("pace", field, &value.to_string()).await;
    }
    let MoveResult::Paced { wait } = skewed.ask().await else { panic!("the pause is not over") };
    assert!(wait <= Duration::from_millis(1500), "{wait:?}");
    skewed.is_let_through().await;
}

#[tokio::test]
async fn a_pace_that_lies_far_ahead_by_any_of_its_moments_holds_no_one_up() {
    for field in ["until_ms", "next_ms", "since_ms"] {
        let skewed = Skewed::start(4).await;
        let then = skewed.in_an_hour().await;
        let now = then - HOUR_MS;
        for (field, value) in [("rate", 2000), ("since_ms", now), ("until_ms", now), ("next_ms", now)] {
            skewed.set("pace", field, &value.to_string()).await;
        }
        skewed.set("pace", field, &then.to_string()).await;
        match skewed.ask().await {
            MoveResult::Paced { wait } => assert!(wait <= Duration::from_secs(601), "{field}: {wait:?}"),
            MoveResult::Yes { .. } => {}
            moved @ (MoveResult::Full | MoveResult::Spent(_) | MoveResult::No(_)) => {
                panic!("{field}: {moved:?}")
            }
        }
        let stored: u64 = skewed.query(&["HGET", &Skewed::key("pace"), field]).await;
        assert!(stored <= now + 700_000, "{field}: the next one is not held up again");
    }
}

#[tokio::test]
async fn a_slow_down_behind_a_jump_slows_from_now_on() {
    let skewed = Skewed::start(4).await;
    let then = skewed.in_an_hour().await;
    for (field, value) in [("rate", 2000), ("since_ms", then), ("until_ms", then + 1000), ("next_ms", 0)] {
        skewed.set("pace", field, &value.to_string()).await;
    }
    skewed.ledger.slow_down(Duration::from_secs(2), 2000).await.unwrap();
    let MoveResult::Paced { wait } = skewed.ask().await else { panic!("not slowed") };
    assert!(wait <= Duration::from_secs(3), "{wait:?}");
}

#[tokio::test]
async fn a_count_that_was_lost_is_trusted_again_no_later_than_usual() {
    let skewed = Skewed::start(4).await;
    let then = skewed.in_an_hour().await;
    skewed.set("slots:count", "trusted_ms", &then.to_string()).await;
    assert!(matches!(skewed.ask().await, MoveResult::Full));
    skewed.is_let_through().await;
}

#[tokio::test]
async fn slots_of_a_task_that_is_given_up_are_free_no_later_than_usual() {
    let skewed = Skewed::start(2).await;
    let then = skewed.in_an_hour().await;
    for gone in ["one", "other"] {
        skewed.set("slots", gone, "1 700").await;
        let _: i64 = skewed.query(&["ZADD", &Skewed::key("slots:until"), &then.to_string(), gone]).await;
    }
    skewed.set("slots:count", "taken", "2").await;
    assert!(matches!(skewed.ask().await, MoveResult::Full));
    skewed.is_let_through().await;
}

#[tokio::test]
async fn a_head_of_the_line_that_is_gone_reserves_nothing_for_longer_than_usual() {
    let skewed = Skewed::start(1).await;
    let then = skewed.in_an_hour().await;
    let waits = format!("{} {then} 1", then - 2 * HOUR_MS);
    skewed.set("slots:line", "gone", &waits).await;
    assert!(matches!(skewed.ask().await, MoveResult::Full));
    skewed.is_let_through().await;
}
