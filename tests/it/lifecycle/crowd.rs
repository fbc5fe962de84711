//! Many jobs at once, with every possible answer: each has one end, and is paid for at most once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use comet_worker::job::answers::AccountFaultKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble as DownloadTrouble;
use comet_worker::job::stage::JobStage;

use fastrand::Rng;

use crate::chance::stream;
use crate::doubles::broker::{PublishFault, Settled};
use crate::doubles::ledger::Trouble;
use crate::doubles::provider::{End, Reply};
use crate::seed::seed;
use crate::workbench::{Workbench, external, job};

const JOBS: usize = 200;
/// Fewer than would keep every quiet period from passing.
const FLUSHES: u32 = 30;

/// Shared by all jobs of a crowd.
#[derive(Clone)]
struct Dice(Arc<Mutex<Rng>>);

impl Dice {
    /// In `0..sides`.
    fn throw(&self, sides: u64) -> u64 {
        self.0.lock().unwrap().u64(0..sides)
    }

    fn reply(&self) -> (Reply, End) {
        let reply = match self.throw(100) {
            0..=69 => Reply::Accept,
            70..=79 => Reply::Later(None),
            80..=82 => Reply::Account(AccountFaultKind::Money),
            83..=85 => Reply::Account(AccountFaultKind::Unreachable),
            86..=91 => Reply::Refuse { content_policy: self.throw(2) == 0 },
            _ => Reply::Lost { made: self.throw(2) == 0 },
        };
        let end = match self.throw(20) {
            0 => End::Empty,
            1 => End::Never,
            2 | 3 => End::Fails,
            _ => End::Succeeds,
        };
        (reply, end)
    }
}

fn spread_faults(bench: &Workbench, dice: &Dice) {
    let side = || if dice.throw(2) == 0 { Trouble::Before } else { Trouble::After };
    for name in ["read", "begin", "accept", "reopen", "freeze"] {
        for _ in 0..5 {
            bench.ledger.trouble(name, &[side()]);
        }
    }
    for kind in ["intent-1", "refused-1", "task-1", "image", "result"] {
        for _ in 0..5 {
            bench.store.trouble(kind, &[side()]);
        }
    }
    let faults = [PublishFault::NotTaken, PublishFault::TakenUnconfirmed];
    bench.broker.fail((0..20).map(|number| faults[number % 2]));
    bench.images.fail((0..20).map(|number| match number % 3 {
        0 => FetchError::new(DownloadTrouble::Spent(403), "HTTP 403"),
        _ => FetchError::new(DownloadTrouble::Failing(503), "HTTP 503"),
    }));
}

/// Delivers a job again and again, as RabbitMQ does, sometimes to a process that dies, until it is acknowledged.
async fn run_to_the_end(bench: Arc<Workbench>, id: String, dice: Dice) {
    for _ in 0..10_000 {
        let delivery = bench.deliver(job(&id));
        let settled = if dice.throw(5) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.throw(30_000))).await;
            delivery.kill().await
        } else {
            delivery.ended().await
        };
        if settled == Some(Settled::Acked) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100 + dice.throw(1000))).await;
    }
    panic!("{id} comes to no end");
}

/// Runs all of them with faults in every service.
async fn run_all(bench: Workbench, flushes: u32) -> Arc<Workbench> {
    let seed = seed();
    println!("COMET_SEED={seed}");
    let dice = Dice(Arc::new(Mutex::new(stream(seed, "crowd"))));
    let bench = Arc::new(bench);
    bench.watch_breaker();
    spread_faults(&bench, &dice);
    let replies = dice.clone();
    bench.provider.program(move |_| replies.reply());

    let running: Vec<_> =
        ids().map(|id| tokio::spawn(run_to_the_end(Arc::clone(&bench), id, dice.clone()))).collect();
    let flushing = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            for _ in 0..flushes {
                tokio::time::sleep(Duration::from_millis(dice.throw(10_000))).await;
                bench.flush();
            }
        }
    });
    for job in running {
        job.await.unwrap();
    }
    flushing.abort();
    bench
}

fn ids() -> impl Iterator<Item = String> {
    (0..JOBS).map(|number| format!("job-{number}"))
}

/// Checks that each job has one end, none is charged twice, and nothing is held any more. Returns how many ended as
/// unknown.
fn check(bench: &Workbench) -> usize {
    let charges = bench.provider.charges();
    let (mut succeeded, mut unknown) = (0, 0);
    for id in ids() {
        let end = bench.broker.end(&id);
        let charged = charges.get(&external(&id)).copied().unwrap_or(0);
        assert!(charged <= 1, "{id} was paid for {charged} times");
        if end.reason.is_none() {
            succeeded += 1;
            assert_eq!((charged, end.images.len()), (1, 1), "{id}");
        }
        if end.charged.as_deref() == Some("no") {
            assert_eq!(charged, 0, "{id} was charged, and its event says no");
        }
        let parked = bench.broker.queue("comet.jobs.dead").iter().any(|dead| dead.body == job(&id).body);
        let is_unknown = end.reason.as_deref() == Some("outcome_unknown");
        assert_eq!(parked, is_unknown, "{id}: a copy for a person where it can't be known, and only there");
        unknown += usize::from(is_unknown);
    }
    assert!(succeeded > JOBS / 3, "{succeeded} successes show nothing");
    assert_eq!(bench.shared.lives.count(), 0);
    for stage in JobStage::ALL.map(JobStage::as_str) {
        assert!(bench.measures(&format!("comet_jobs_held{{stage=\"{stage}\"}} 0")), "{stage}");
    }
    unknown
}

#[tokio::test(start_paused = true)]
async fn two_hundred_jobs_with_mixed_answers_have_one_end_each_and_no_double_charge() {
    let bench = run_all(Workbench::new(), 0).await;
    assert!(check(&bench) > 0, "no lost answer shows nothing");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_jobs_have_one_end_each_and_no_double_charge_while_redis_is_flushed() {
    let bench = run_all(Workbench::new(), FLUSHES).await;
    check(&bench);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_jobs_of_a_provider_that_finds_them_never_end_unknown() {
    let bench = run_all(Workbench::trusting(), FLUSHES).await;
    assert_eq!(check(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_jobs_without_receipts_have_one_end_each_and_no_double_charge() {
    let bench = run_all(Workbench::without_receipts(), 0).await;
    check(&bench);
}
