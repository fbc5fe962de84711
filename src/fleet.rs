//! What is true of the fleet: its workers, its unfinished jobs, its queues, and how the latest jobs have ended.
//!
//! The shapes of `comet-worker status --json` and `GET /api/fleet`. Fields are only ever added.

pub mod job;
pub mod spend;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spend::SpendState;

use crate::job::event::JobEnd;
use crate::job::stage::JobStage;

/// A worker, as its heartbeat in Redis shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerState {
    /// A new one for each process.
    pub id: String,
    pub host: String,
    pub pid: u32,
    pub version: String,
    /// RFC 3339, like all times here.
    pub started: String,
    /// When its last heartbeat was written.
    pub seen: String,
    /// How many jobs it holds.
    pub in_flight: usize,
    /// How many of them are at each stage.
    #[serde(default)]
    pub held: BTreeMap<JobStage, usize>,
    /// The oldest of those that wait to be submitted: Redis has no record of most of them.
    #[serde(default)]
    pub waiting: Vec<WaitingJob>,
    /// What keeps it from its work, and for how long.
    pub standstills: Vec<StandstillState>,
}

/// A job that waits to be submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingJob {
    pub job_id: String,
    pub since: String,
}

/// Something that has stood still for longer than a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandstillState {
    /// The label of the metric `comet_standstill`.
    pub what: String,
    pub since: String,
    pub detail: String,
    /// What a person can do about it.
    pub r#do: String,
}

/// The whole fleet at one moment, by Redis's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub time: String,
    /// Those whose heartbeat has not expired, the oldest first.
    pub workers: Vec<WorkerState>,
    /// Unfinished jobs at each stage. Those that wait are held by a worker; all others have a record in Redis.
    pub jobs: BTreeMap<JobStage, u64>,
    pub queues: Queues,
    pub slots: SlotsState,
    /// How many submits a second the provider's last "slower" allows all workers together; `null`: no bound.
    pub pace_per_s: Option<f64>,
    /// The job that has been at its stage for longest.
    pub oldest: Option<UnfinishedJob>,
    /// The latest ends, the newest first.
    pub recent: Vec<JobEnd>,
    /// What is spent today.
    #[serde(default)]
    pub spend: Option<SpendState>,
}

/// How many messages are ready in each queue; `null` where RabbitMQ could not be asked, or has no such queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    pub jobs: Option<u32>,
    pub dead: Option<u32>,
    pub unrouted: Option<u32>,
}

/// The account's slots, over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsState {
    pub taken: u64,
    /// `generation.max_running`; 0: there is no cap, and nothing is counted.
    pub max: u32,
}

/// The ends of one minute, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Unix time, in minutes.
    pub minute: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// How long these jobs were queued on average, where their producers said when they were sent.
    pub queued_ms: Option<u64>,
}

/// A job that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedJob {
    pub job_id: String,
    pub stage: JobStage,
    /// Since when it has been at that stage.
    pub since: String,
}

impl Fleet {
    /// All jobs that the fleet is at.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.jobs.values().sum()
    }

    /// How many jobs all workers hold.
    #[must_use]
    pub fn held(&self) -> u64 {
        let held: usize = self.workers.iter().map(|worker| worker.in_flight).sum();
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// The standstills of all workers, each with how many workers are in it: those that most workers are in come
    /// first. Two of the same kind are one, unless something else has to be done about them.
    #[must_use]
    pub fn standstills(&self) -> Vec<(&StandstillState, usize)> {
        let mut of_kind: BTreeMap<(&str, &str), (&StandstillState, BTreeSet<&str>)> = BTreeMap::new();
        for worker in &self.workers {
            for standstill in &worker.standstills {
                let kind = (standstill.what.as_str(), standstill.r#do.as_str());
                let entry = of_kind.entry(kind).or_insert((standstill, BTreeSet::new()));
                entry.1.insert(&worker.id);
                if standstill.since < entry.0.since {
                    entry.0 = standstill;
                }
            }
        }
        let counted = of_kind.into_values().map(|(standstill, workers)| (standstill, workers.len()));
        let mut all: Vec<_> = counted.collect();
        all.sort_by_key(|(_, workers)| std::cmp::Reverse(*workers));
        all
    }
}
