//! The contract of every ledger for what is spent: Redis and the ledger in memory pass the same tests, and pass them
//! again with every call made twice, as after a lost answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::clock::unix_ms;
use comet_worker::job::spend::{SpendRules, SpendToday, Units};
use comet_worker::job::step::{BeginPrecondition, MoveResult};
use comet_worker::ledger::Ledger;
use comet_worker::ledger::slots::Slots;

use crate::slots_bench::{Account, LONG, id, nonce, slots};

const YES: MoveResult = MoveResult::Yes { cancelled: false };
const DAY_MS: i64 = 86_400_000;

/// A ledger whose day has a cap of 20 units.
pub struct Books {
    account: Account,
}

/// A job's terminal event of that time.
fn event(job: &str, outcome: &str, at_ms: i64, data: &str) -> Bytes {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
    let text = format!(
        r#"{{"id":"{job}/{outcome}","type":"comet.job.{outcome}","time":"{at}","data":{{"job_id":"{job}"{data}}}}}"#
    );
    Bytes::from(text)
}

/// The event that corrects a failure of the job.
fn corrected(job: &str, at_ms: i64, data: &str) -> Bytes {
    let event = event(job, "succeeded", at_ms, data);
    let text = std::str::from_utf8(&event).unwrap();
    Bytes::from(text.replacen('{', &format!(r#"{{"supersedes":"{job}/failed","#), 1))
}

impl Books {
    pub async fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { account: Account::new(ledger).await }
    }

    pub fn rules(per_job: Option<u64>) -> SpendRules {
        // The day doesn't end while a test runs.
        let hours = u64::try_from(unix_ms() / 3_600_000).unwrap();
        SpendRules {
            cap: Some(Units::whole(20)),
            per_job: per_job.map(Units::whole),
            day_starts: Duration::from_secs((hours + 12) % 24 * 3600),
            label: String::new(),
            runs_max: LONG,
        }
    }

    async fn begins(&self, job: &str) -> MoveResult {
        self.account.ask(job, 1, slots(1, LONG)).await
    }

    async fn ends(&self, job: &str, event: &Bytes) {
        let job = id(job);
        let entry = self.account.entry(&job, Slots::NONE);
        self.account.ledger.mark_published(entry, event, true).await.unwrap();
    }

    async fn costs(&self, job: &str, data: &str) {
        self.ends(job, &event(job, "succeeded", unix_ms(), data)).await;
    }

    async fn today(&self) -> SpendToday {
        self.account.ledger.spend_today().await.unwrap()
    }

    async fn spent(&self) -> String {
        self.today().await.spent.to_string()
    }
}

pub async fn jobs_begin_until_those_that_run_would_go_beyond_the_cap(books: Books) {
    assert_eq!(books.begins("a").await, YES);
    assert_eq!(books.begins("b").await, YES);
    let today = SpendToday { spent: Units::ZERO, running: 2, per_job: Some(Units::whole(8)), complete: true };
    assert_eq!(books.begins("c").await, MoveResult::Spent(today));
    let known = books.account.ledger.read(&id("c"), Slots::NONE).await.unwrap();
    assert_eq!(known.record, None, "something has changed");
    // One turns out cheaper.
    books.costs("a", r#","units":"3.5""#).await;
    assert_eq!(books.begins("c").await, YES);
    assert_eq!(books.today().await.running, 2);
}

pub async fn a_day_whose_cap_is_reached_takes_no_job_and_disturbs_none_that_runs(books: Books) {
    assert_eq!(books.begins("a").await, YES);
    books.costs("b", r#","units":"20""#).await;
    assert!(matches!(books.begins("c").await, MoveResult::Spent(_)));
    // An ask that is repeated, or made anew for one that never reached the gate, is no other job.
    assert_eq!(books.begins("a").await, YES);
    books.account.accept("a", slots(1, LONG)).await;
    assert_eq!(books.account.ask("c", 1, Slots::NONE).await, YES, "it takes no slots, and won't post");
    books.costs("a", r#","units":"8""#).await;
    assert_eq!(books.spent().await, "28");
}

pub async fn a_job_that_asks_anew_counts_once(books: Books) {
    assert_eq!(books.begins("a").await, YES);
    assert_eq!(books.begins("b").await, YES);
    let (a, basis) = (id("a"), BeginPrecondition::NeverAsked(nonce("n")));
    let entry = books.account.entry(&a, slots(1, LONG));
    let moved = books.account.ledger.begin(entry, 1, &nonce("m"), &basis).await.unwrap();
    assert_eq!(moved, YES);
}

pub async fn an_end_counts_once_however_often_it_is_published(books: Books) {
    assert_eq!(books.begins("a").await, YES);
    let end = event("a", "succeeded", unix_ms(), r#","units":"8""#);
    books.ends("a", &end).await;
    books.ends("a", &end).await;
    assert_eq!(books.spent().await, "8");
    let correction = |units: &str| corrected("a", unix_ms(), &format!(r#","units":"{units}""#));
    for _ in 0..2 {
        books.ends("a", &correction("8.25")).await;
    }
    assert_eq!(books.spent().await, "8.25", "it counts for the difference, once");
    books.ends("a", &end).await;
    assert_eq!(books.spent().await, "8.25", "the end before it comes again");
}

pub async fn a_correction_on_another_day_takes_nothing_from_the_day_of_the_end(books: Books) {
    books.ends("a", &event("a", "failed", unix_ms(), r#","charged":"unknown""#)).await;
    assert_eq!(books.spent().await, "8");
    books.ends("a", &corrected("a", unix_ms() + DAY_MS, r#","units":"9.5""#)).await;
    assert_eq!(books.spent().await, "8", "it stays where it was counted");
}

pub async fn what_costs_nothing_counts_for_nothing_and_what_perhaps_does_counts(books: Books) {
    books.ends("a", &event("a", "failed", unix_ms(), r#","charged":"no""#)).await;
    assert_eq!(books.spent().await, "0");
    books.ends("b", &event("b", "failed", unix_ms(), r#","charged":"yes","units":"4""#)).await;
    assert_eq!(books.spent().await, "4");
    books.ends("c", &event("c", "failed", unix_ms(), r#","charged":"unknown""#)).await;
    assert_eq!(books.spent().await, "12");
    books.costs("d", r#","units":"1","failed_task_ids":["1","2"]"#).await;
    assert_eq!(books.spent().await, "29", "two tasks failed before");
}

pub async fn a_charged_end_without_units_counts_as_what_a_job_is_taken_to_cost(books: Books) {
    books.costs("a", "").await;
    assert_eq!(books.spent().await, "8");
}

pub async fn what_a_job_costs_is_learned_where_it_is_not_configured(books: Books) {
    books.costs("a", "").await;
    assert_eq!(books.spent().await, "0", "nothing is known yet");
    assert_eq!(books.begins("first").await, YES, "the first one tells");
    let unknown = SpendToday { running: 1, complete: true, ..SpendToday::default() };
    assert_eq!(books.begins("second").await, MoveResult::Spent(unknown));
    books.ends("first", &event("first", "failed", unix_ms(), r#","charged":"no""#)).await;
    books.costs("b", r#","units":"6""#).await;
    books.costs("c", r#","units":"6""#).await;
    assert_eq!(books.today().await.per_job, Some(Units::whole(6)));
    books.costs("d", "").await;
    assert_eq!(books.spent().await, "18");
    assert!(matches!(books.begins("e").await, MoveResult::Spent(_)));
}

pub async fn the_ends_of_another_day_are_not_todays(books: Books) {
    books.costs("a", r#","units":"2""#).await;
    books.ends("b", &event("b", "succeeded", unix_ms() + DAY_MS, r#","units":"20""#)).await;
    assert_eq!(books.spent().await, "2");
    assert_eq!(books.begins("c").await, YES);
}

pub async fn an_unfinished_job_runs_until_its_end_is_counted(books: Books) {
    assert_eq!(books.begins("a").await, YES);
    assert_eq!(books.today().await.running, 1);
    books.account.accept("a", slots(1, LONG)).await;
    books.account.ledger.enter(&id("a"), "life").await.unwrap();
    assert_eq!(books.today().await.running, 1);
    let end = event("a", "succeeded", unix_ms(), r#","units":"8""#);
    books.account.end("a", &end).await;
    assert_eq!((books.today().await.running, books.spent().await), (1, "0".to_owned()), "frozen");
    books.ends("b", &event("b", "succeeded", unix_ms(), r#","units":"8""#)).await;
    assert_eq!((books.today().await.running, books.spent().await), (1, "8".to_owned()), "another's");
}

/// One test per property and ledger; `$ledger` makes an `Arc<dyn Ledger>` with these rules, and awaits it.
#[macro_export]
macro_rules! spend_suite {
    ($ledger:expr) => {
        $crate::spend_suite!(@each $ledger, Some(8);
            jobs_begin_until_those_that_run_would_go_beyond_the_cap
            a_day_whose_cap_is_reached_takes_no_job_and_disturbs_none_that_runs
            a_job_that_asks_anew_counts_once
            an_end_counts_once_however_often_it_is_published
            what_costs_nothing_counts_for_nothing_and_what_perhaps_does_counts
            a_correction_on_another_day_takes_nothing_from_the_day_of_the_end
            a_charged_end_without_units_counts_as_what_a_job_is_taken_to_cost
            the_ends_of_another_day_are_not_todays
            an_unfinished_job_runs_until_its_end_is_counted
        );
        $crate::spend_suite!(@each $ledger, None; what_a_job_costs_is_learned_where_it_is_not_configured);
    };
    (@each $ledger:expr, $per_job:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            use $crate::ledger_suite::twice;
            use $crate::spend_suite::{Books, $property};
            let rules = || Books::rules($per_job);
            let ledger: std::sync::Arc<dyn comet_worker::ledger::Ledger> = $ledger(rules()).await;
            $property(Books::new(ledger).await).await;
            let ledger: std::sync::Arc<dyn comet_worker::ledger::Ledger> = $ledger(rules()).await;
            $property(Books::new(std::sync::Arc::new(twice(ledger))).await).await;
        }
    )+};
}
