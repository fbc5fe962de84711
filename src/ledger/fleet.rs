//! What Redis knows of the whole fleet: the index of the unfinished jobs and the list of the latest ends, which the
//! scripts that move jobs keep, and a heartbeat of each worker.
//!
//! Nothing here scans keys, and what is read is bounded. It goes over a connection of its own, so no move of a record
//! waits for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, Script, Value};

use super::connection::{Connection, evalsha};
use super::{LedgerError, unavailable};
use crate::fleet::{Fleet, Minute, Queues, SlotsState, UnfinishedJob, WorkerState};
use crate::job::JobId;
use crate::job::event::{JobEnd, rfc_3339};
use crate::job::record::Snapshot;
use crate::job::stage::JobStage;

/// A worker whose last heartbeat is older is gone.
pub const HEARTBEAT_KEPT: Duration = Duration::from_secs(20);
/// How many minutes are shown.
const HOUR: u64 = 60;
/// How many entries of the index are looked at together.
const PRUNED_AT_A_TIME: usize = 50;
/// The scores of two stages in the index are this far apart: see `common.lua`.
const STAGE_APART: u64 = 10_000_000_000_000;

/// The state of the fleet in Redis, under `{<prefix>}:unfinished`, `:ends`, `:minutes`, `:workers`, `:worker:<id>`,
/// `:shows` and `:epoch`.
#[derive(Debug)]
pub struct RedisFleet {
    connection: Connection,
    prefix: String,
    heartbeat: Script,
    snapshot: Script,
    prune: Script,
}

/// What Redis answers to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// A text that Redis loses only with everything else: if it is another one than before, all records are lost.
    pub epoch: String,
    /// Whether this worker is the one that shows what is true of the whole fleet, so that it is shown once.
    pub shows_fleet: bool,
}

/// What Redis knows at one moment.
#[derive(Debug, Clone)]
pub struct FleetSnapshot {
    /// By Redis's clock, Unix milliseconds.
    pub now_ms: u64,
    pub workers: Vec<WorkerState>,
    /// How many jobs have a record at each stage.
    pub jobs: BTreeMap<JobStage, u64>,
    pub oldest: Option<UnfinishedJob>,
    /// The newest first.
    pub recent: Vec<JobEnd>,
    pub slots_taken: u64,
    /// In submits a second, if the provider has asked for a slower pace.
    pub pace_per_s: Option<f64>,
}

impl FleetSnapshot {
    /// Together with what RabbitMQ knows, and with `generation.max_running`.
    #[must_use]
    pub fn with(mut self, queues: Queues, slots_max: u32) -> Fleet {
        // Before its first submit a job has no record, but a worker that holds it.
        let held: usize = self.workers.iter().filter_map(|worker| worker.held.get(&JobStage::Waiting)).sum();
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let waiting = self.jobs.entry(JobStage::Waiting).or_default();
        *waiting = held.max(*waiting);
        Fleet {
            time: rfc_3339(i64::try_from(self.now_ms).unwrap_or(i64::MAX)),
            workers: self.workers,
            jobs: self.jobs,
            queues,
            slots: SlotsState { taken: if slots_max == 0 { 0 } else { self.slots_taken }, max: slots_max },
            pace_per_s: self.pace_per_s,
            oldest: self.oldest,
            recent: self.recent,
            spend: None,
        }
    }
}

impl RedisFleet {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str) -> Self {
        Self {
            connection,
            prefix: prefix.to_owned(),
            heartbeat: Script::new(include_str!("heartbeat.lua")),
            prune: Script::new(include_str!("prune.lua")),
            snapshot: Script::new(concat!(include_str!("pace.lua"), include_str!("fleet.lua"))),
        }
    }

    /// Writes a worker's heartbeat, which is kept for [`HEARTBEAT_KEPT`]. `lasting` are jobs that it has
    /// been storing, or publishing the end of, for more than a moment, each with for how long: the index shows them as that. `can_show`:
    /// it has a port at which it could show what is true of the whole fleet.
    ///
    /// # Errors
    ///
    /// Redis gave no answer. The next heartbeat makes up for it.
    pub async fn heartbeat(
        &self,
        worker: &WorkerState,
        can_show: bool,
        lasting: &[(JobId, JobStage, Duration)],
    ) -> Result<HeartbeatReply, LedgerError> {
        let state =
            serde_json::to_string(worker).map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        let (kept, can_show) = (HEARTBEAT_KEPT.as_millis().to_string(), if can_show { "1" } else { "0" });
        let epoch = uuid::Uuid::new_v4().simple().to_string();
        let mut args = vec![worker.id.clone(), kept, state, can_show.to_owned(), epoch];
        for (job, stage, age) in lasting {
            args.extend([job.to_string(), (stage.index() + 1).to_string(), age.as_millis().to_string()]);
        }
        let keys = [
            self.key("workers"),
            self.worker_key(&worker.id),
            self.key("unfinished"),
            self.key("shows"),
            self.key("epoch"),
        ];
        let call = evalsha(&self.heartbeat, &keys.each_ref().map(String::as_str), &args);
        let (epoch, shows_fleet) =
            self.connection.invoke(&self.heartbeat, &call).await.map_err(unavailable)?;
        Ok(HeartbeatReply { epoch, shows_fleet })
    }

    /// Looks at the next entries of the index, from `cursor` on, and takes out those whose jobs have ended. Returns the
    /// cursor for the next call: after many calls all entries were looked at.
    ///
    /// # Errors
    ///
    /// Redis gave no answer.
    pub async fn prune(&self, cursor: usize) -> Result<usize, LedgerError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(self.key("unfinished")).arg(cursor).arg(cursor + PRUNED_AT_A_TIME - 1);
        let ids: Vec<String> = self.query(&range).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let records: Vec<String> = ids.iter().map(|id| self.key(&format!("job:{id}"))).collect();
        let index = self.key("unfinished");
        let keys: Vec<&str> =
            [index.as_str()].into_iter().chain(records.iter().map(String::as_str)).collect();
        let call = evalsha(&self.prune, &keys, &ids);
        let ended: usize = self.connection.invoke(&self.prune, &call).await.map_err(unavailable)?;
        Ok(cursor + ids.len().saturating_sub(ended))
    }

    /// Removes a worker that ends.
    ///
    /// # Errors
    ///
    /// Redis gave no answer. The heartbeat expires by itself.
    pub async fn leave(&self, id: &str) -> Result<(), LedgerError> {
        let (mut delete, mut unlist) = (redis::cmd("DEL"), redis::cmd("ZREM"));
        delete.arg(self.worker_key(id));
        unlist.arg(self.key("workers")).arg(id);
        let mut holder = redis::cmd("GET");
        holder.arg(self.key("shows"));
        if self.query::<Option<String>>(&holder).await?.as_deref() == Some(id) {
            delete.arg(self.key("shows"));
        }
        self.query::<Value>(&delete).await?;
        self.query::<Value>(&unlist).await.map(drop)
    }

    /// Reads the state of the fleet, with at most `recent` of the latest ends.
    ///
    /// # Errors
    ///
    /// Redis gave no answer, or a wrong one.
    pub async fn snapshot(&self, recent: usize) -> Result<FleetSnapshot, LedgerError> {
        type Answer = (u64, Vec<u64>, Vec<String>, Vec<String>, Vec<String>, u64, Option<String>);
        let names = ["unfinished", "ends", "workers", "slots:count", "pace"].map(|name| self.key(name));
        let call = evalsha(&self.snapshot, &names.each_ref().map(String::as_str), &[recent.to_string()]);
        let answer: Answer = self.connection.invoke(&self.snapshot, &call).await.map_err(unavailable)?;
        let (now_ms, counts, oldest, ends, ids, slots_taken, pace) = answer;
        Ok(FleetSnapshot {
            now_ms,
            workers: self.workers(&ids).await?,
            jobs: JobStage::ALL.into_iter().zip(counts).collect(),
            oldest: match oldest.as_slice() {
                [id, score] => unfinished(id, score),
                _ => None,
            },
            // What a newer worker has written in another form is left out.
            recent: ends.iter().filter_map(|end| serde_json::from_str(end).ok()).collect(),
            slots_taken,
            // The scripts count it in 1000 seconds.
            pace_per_s: pace.and_then(|pace| pace.parse::<f64>().ok()).map(|pace| pace / 1000.0),
        })
    }

    async fn workers(&self, ids: &[String]) -> Result<Vec<WorkerState>, LedgerError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = redis::cmd("MGET");
        for id in ids {
            get.arg(self.worker_key(id));
        }
        let states: Vec<Option<String>> = self.query(&get).await?;
        let mut workers: Vec<WorkerState> =
            states.iter().flatten().filter_map(|state| serde_json::from_str(state).ok()).collect();
        workers.sort_by(|one, other| (&one.started, &one.id).cmp(&(&other.started, &other.id)));
        Ok(workers)
    }

    /// The unfinished jobs that have a record, at `stage` or at any, the oldest at their stage first.
    ///
    /// # Errors
    ///
    /// Redis gave no answer.
    pub async fn jobs(
        &self,
        stage: Option<JobStage>,
        limit: usize,
    ) -> Result<Vec<UnfinishedJob>, LedgerError> {
        let stages = stage.map_or_else(|| JobStage::ALL.to_vec(), |stage| vec![stage]);
        let mut found = Vec::new();
        for stage in stages {
            let from = score_of(stage);
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(self.key("unfinished")).arg(from).arg(format!("({}", from + STAGE_APART));
            range.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
            let entries: Vec<(String, String)> = self.query(&range).await?;
            found.extend(entries.iter().filter_map(|(id, score)| unfinished(id, score)));
        }
        found.sort_by(|one, other| (&one.since, &one.job_id).cmp(&(&other.since, &other.job_id)));
        found.truncate(limit);
        Ok(found)
    }

    /// The ends of each of the last 60 minutes, the present one last. A minute without an end is there with zeros.
    ///
    /// # Errors
    ///
    /// Redis gave no answer.
    pub async fn hour(&self) -> Result<Vec<Minute>, LedgerError> {
        let (seconds, _): (u64, u64) = self.query(&redis::cmd("TIME")).await?;
        let mut all = redis::cmd("HVALS");
        all.arg(self.key("minutes"));
        let stored: Vec<String> = self.query(&all).await?;
        let stored: HashMap<u64, Minute> =
            stored.iter().filter_map(|text| minute(text)).map(|minute| (minute.minute, minute)).collect();
        let now = seconds / 60;
        let empty = |minute| Minute { minute, succeeded: 0, failed: 0, cancelled: 0, queued_ms: None };
        let hour = now.saturating_sub(HOUR - 1)..=now;
        Ok(hour.map(|minute| stored.get(&minute).copied().unwrap_or_else(|| empty(minute))).collect())
    }

    /// Where the job is in the index; `None` if it has no record, or has ended.
    ///
    /// # Errors
    ///
    /// Redis gave no answer.
    pub async fn job(&self, job: &str) -> Result<Option<UnfinishedJob>, LedgerError> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(self.key("unfinished")).arg(job);
        let score: Option<String> = self.query(&score).await?;
        Ok(score.and_then(|score| unfinished(job, &score)))
    }

    /// A job's record; reading it changes nothing, unlike a worker's [`read`](super::Ledger::read).
    ///
    /// # Errors
    ///
    /// Redis gave no answer, or the record can't be read.
    pub async fn record(&self, job: &JobId) -> Result<Snapshot, LedgerError> {
        let (seconds, micros): (u64, u64) = self.query(&redis::cmd("TIME")).await?;
        let mut all = redis::cmd("HGETALL");
        all.arg(self.key(&format!("job:{job}")));
        let fields: HashMap<String, Vec<u8>> = self.query(&all).await?;
        let fields = fields.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect();
        Ok(Snapshot::from_fields(&fields, seconds * 1000 + micros / 1000)?)
    }

    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LedgerError> {
        self.connection.query(command).await.map_err(unavailable)
    }

    fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }

    fn worker_key(&self, id: &str) -> String {
        self.key(&format!("worker:{id}"))
    }
}

/// As `published.lua` writes it.
fn minute(text: &str) -> Option<Minute> {
    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [minute, succeeded, failed, cancelled, queued, jobs] = *numbers else { return None };
    Some(Minute { minute, succeeded, failed, cancelled, queued_ms: queued.checked_div(jobs) })
}

fn score_of(stage: JobStage) -> u64 {
    u64::try_from(stage.index() + 1).unwrap_or_default() * STAGE_APART
}

/// An entry of the index.
fn unfinished(id: &str, score: &str) -> Option<UnfinishedJob> {
    // Redis writes a score of this size with or without an exponent.
    let score = score.parse::<f64>().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below 2^53, and no fraction"
    )]
    let score = score as u64;
    let index = usize::try_from(score / STAGE_APART).ok()?.checked_sub(1)?;
    let since_ms = i64::try_from(score % STAGE_APART).ok()?;
    Some(UnfinishedJob {
        job_id: id.to_owned(),
        stage: *JobStage::ALL.get(index)?,
        since: rfc_3339(since_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_stage_and_a_time_in_whichever_way_redis_writes_it() {
        let job = |stage| UnfinishedJob {
            job_id: "a".to_owned(),
            stage,
            since: "2026-11-28T07:13:20.001Z".to_owned(),
        };
        for text in ["41795850000001", "4.1795850000001e13", "4.1795850000001e+13"] {
            assert_eq!(unfinished("a", text), Some(job(JobStage::Generating)), "{text}");
        }
        assert_eq!(unfinished("a", "1795850000001"), None, "no stage");
        assert_eq!(unfinished("a", "91795850000001"), None, "a stage of a newer worker");
    }

    #[test]
    fn the_stages_of_the_index_are_those_of_the_scripts() {
        let text = include_str!("common.lua");
        let table = text.split("local STAGES = {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
        let pairs: Vec<(&str, usize)> = table
            .split(", ")
            .map(|pair| pair.split_once(" = ").map(|(name, number)| (name, number.parse().unwrap())).unwrap())
            .collect();
        let named = |stage: JobStage| match stage {
            JobStage::Waiting => "new",
            JobStage::Publishing => "done",
            JobStage::Submitting | JobStage::Recovering | JobStage::Generating | JobStage::Storing => {
                stage.as_str()
            }
        };
        assert_eq!(pairs, JobStage::ALL.map(|stage| (named(stage), stage.index() + 1)));
        assert!(text.contains("* 1e13 +") && STAGE_APART == 10_u64.pow(13));
    }
}
