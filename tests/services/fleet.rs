//! What is seen of the fleet: the index of the unfinished jobs, the workers' heartbeats, `comet-worker status`, and the
//! interface of the admin port.

mod api;
mod books;
mod seen;

use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Nonce, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::stage::JobStage;
use comet_worker::job::step::{BeginPrecondition, FreezePrecondition, RestorePrecondition};
use comet_worker::job::{Charged, Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::fleet::RedisFleet;
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger as _, RedisLedger};
use serde_json::Value;

use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Place, Sim, connected};

const EVENT: &str = r#"{"id": "a/failed", "type": "comet.job.failed", "time": "2026-11-28T07:00:00.000Z",
    "data": {"job_id": "a", "reason": "rejected", "message": "no", "charged": "no"}}"#;

struct Bench {
    ledger: RedisLedger,
    fleet: RedisFleet,
    digest: Digest,
}

impl Bench {
    fn on(place: &Place) -> Self {
        let connection =
            || Connection::new(place.redis_url.as_str(), Duration::from_secs(30), || {}).unwrap();
        Self {
            ledger: RedisLedger::new(connection(), &place.prefix, Duration::from_secs(600)),
            fleet: RedisFleet::new(connection(), &place.prefix),
            digest: Digest::new("d".to_owned()),
        }
    }

    fn entry<'a>(&'a self, job: &'a JobId) -> JobRef<'a> {
        JobRef::new(job, &self.digest, RouteName::default_route())
    }

    async fn begin(&self, job: &JobId, attempt: u32) {
        let nonce = Nonce::new(format!("n-{attempt}"));
        let begun = self.ledger.begin(self.entry(job), attempt, &nonce, &BeginPrecondition::Read).await;
        begun.unwrap();
    }

    async fn stage(&self, job: &JobId) -> Option<JobStage> {
        let listed = self.fleet.job(job.as_str()).await.unwrap().map(|job| job.stage);
        let seen = self.fleet.snapshot(10).await.unwrap();
        let counted: Vec<JobStage> =
            seen.jobs.iter().filter(|(_, n)| **n > 0).map(|(stage, _)| *stage).collect();
        assert_eq!(counted, listed.into_iter().collect::<Vec<_>>(), "it is the only job");
        assert_eq!(seen.oldest.map(|oldest| oldest.stage), listed);
        assert_eq!(self.fleet.jobs(listed, 10).await.unwrap().len(), listed.iter().count());
        listed
    }
}

#[tokio::test]
async fn the_index_follows_a_job_through_all_its_moves_and_ends_with_it() {
    Place::run("index", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        let task = TaskId::new("t-1").unwrap();
        assert_eq!(bench.stage(&job).await, None);
        bench.begin(&job, 1).await;
        assert_eq!(bench.stage(&job).await, Some(JobStage::Submitting));
        bench.ledger.reopen(&job, 1, Some(&Nonce::new("n-1".to_owned()))).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Waiting));
        bench.begin(&job, 2).await;
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Recovering), "another life has found it");
        bench.ledger.accept(bench.entry(&job), 2, &task).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        bench.ledger.cancel(&job).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
        let failed = FailedTasks::NONE.and(task, Charged::No);
        bench.ledger.follow(&job, 2, &failed).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Waiting));
        bench.begin(&job, 3).await;
        let second = TaskId::new("t-2").unwrap();
        bench.ledger.accept(bench.entry(&job), 3, &second).await.unwrap();
        bench.ledger.enter(&job, "").await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Storing));
        let since = bench.fleet.job("a").await.unwrap();
        bench.ledger.enter(&job, "another").await.unwrap();
        bench.ledger.leave(&job, "another", None).await.unwrap();
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.fleet.job("a").await.unwrap(), since, "since the first life that stores");
        let event = Bytes::from_static(EVENT.as_bytes());
        let unfinished = FreezePrecondition::Unfinished;
        bench.ledger.freeze(bench.entry(&job), &unfinished, event.clone(), false).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Publishing));
        for _ in 0..2 {
            bench.ledger.mark_published(bench.entry(&job), &event, false).await.unwrap();
            assert_eq!(bench.stage(&job).await, None);
            bench.ledger.read(&job, Slots::NONE).await.unwrap();
            assert_eq!(bench.stage(&job).await, None, "an end that is still remembered is looked at");
        }
        let recent = bench.fleet.snapshot(10).await.unwrap().recent;
        assert_eq!(recent.len(), 1, "an end that is published twice is one end: {recent:?}");
        assert_eq!((recent[0].job_id.as_str(), recent[0].outcome.as_str()), ("a", "failed"));
        assert_eq!(recent[0].reason.as_deref(), Some("rejected"));
    })
    .await;
}

#[tokio::test]
async fn an_outcome_that_a_receipt_has_leaves_the_index_with_its_event() {
    Place::run("sealed", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        bench.begin(&job, 1).await;
        bench.ledger.accept(bench.entry(&job), 1, &TaskId::new("t").unwrap()).await.unwrap();
        let event = Bytes::from_static(EVENT.as_bytes());
        bench.ledger.mark_published(bench.entry(&job), &event, true).await.unwrap();
        assert_eq!(bench.stage(&job).await, None);
        assert_eq!(bench.fleet.snapshot(10).await.unwrap().recent.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_index_that_redis_has_lost_comes_back_with_the_records_and_without_them() {
    Place::run("lost", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        let task = TaskId::new("t").unwrap();
        bench.begin(&job, 1).await;
        bench.ledger.accept(bench.entry(&job), 1, &task).await.unwrap();
        let before = bench.fleet.job("a").await.unwrap();
        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let index = format!("{{{}}}:unfinished", place.prefix);
        let _: i64 = redis::cmd("DEL").arg(&index).query_async(&mut redis).await.unwrap();
        assert_eq!(bench.stage(&job).await, None);
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.fleet.job("a").await.unwrap(), before, "with the time of its acceptance");

        let keys = [index, bench.ledger.key(&job)];
        let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut redis).await.unwrap();
        let running = Stage::Generating { attempt: 1, task, age: Duration::ZERO };
        let nothing = RestorePrecondition::Nothing;
        bench.ledger.restore(bench.entry(&job), nothing, &running, None).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
    })
    .await;
}

#[tokio::test]
async fn what_has_ended_is_taken_out_of_the_index_by_the_worker_that_shows_the_fleet() {
    Place::run("mend", async |place| {
        let bench = Bench::on(place);
        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let runs: JobId = "runs".parse().unwrap();
        bench.begin(&runs, 1).await;
        let event = Bytes::from_static(EVENT.as_bytes());
        let (told, done, kept): (JobId, JobId, JobId) =
            ("told".parse().unwrap(), "done".parse().unwrap(), "kept".parse().unwrap());
        for (job, sealed) in [(&told, true), (&done, false)] {
            bench.begin(job, 1).await;
            if !sealed {
                let unfinished = FreezePrecondition::Unfinished;
                bench.ledger.freeze(bench.entry(job), &unfinished, event.clone(), false).await.unwrap();
            }
            bench.ledger.mark_published(bench.entry(job), &event, sealed).await.unwrap();
        }
        bench.begin(&kept, 1).await;
        let unfinished = FreezePrecondition::Unfinished;
        bench.ledger.freeze(bench.entry(&kept), &unfinished, event, false).await.unwrap();
        // As a worker of an older version leaves them, and one whose record is gone.
        let mut left = redis::cmd("ZADD");
        left.arg(format!("{{{}}}:unfinished", place.prefix));
        for id in ["told", "done", "gone"] {
            left.arg(41_795_850_000_000_u64).arg(id);
        }
        let _: i64 = left.query_async(&mut redis).await.unwrap();
        assert_eq!(bench.fleet.jobs(None, 10).await.unwrap().len(), 5);
        assert_eq!(bench.fleet.prune(0).await.unwrap(), 2, "what is left was looked at");
        let mut left: Vec<String> =
            bench.fleet.jobs(None, 10).await.unwrap().into_iter().map(|job| job.job_id).collect();
        left.sort();
        assert_eq!(left, ["kept", "runs"]);
        assert_eq!(bench.fleet.prune(2).await.unwrap(), 0, "from the beginning again");
    })
    .await;
}

async fn status(place: &Place, sim: &Sim, arguments: &[&str]) -> Value {
    tool(&environment(place, &sim.url), &[&["status", "--json"], arguments].concat()).await.json()
}
