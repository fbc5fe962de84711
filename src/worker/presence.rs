//! The worker's heartbeat in the fleet: every few seconds it writes into Redis that it lives, what it holds, and what it
//! waits for, so that `comet-worker status` and the page can show all workers without asking any of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::held_jobs::HeldJob;
use super::standstills::CurrentStandstill;
use super::suspects::Suspects;
use crate::clock;
use crate::fleet::{StandstillState, WaitingJob, WorkerState};
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::event::rfc_3339;
use crate::job::stage::JobStage;
use crate::ledger::fleet::{HeartbeatReply, RedisFleet};

/// A heartbeat is kept for four of these.
const EVERY: Duration = Duration::from_secs(5);
/// How many of the jobs that wait to be submitted are named.
const WAITING_MAX: usize = 50;
/// A job that takes longer to store, or to publish the end of, is shown as such.
const MOMENT: Duration = Duration::from_secs(1);
/// How many of those one heartbeat shows; the others follow with the next ones.
const LASTING_MAX: usize = 500;
/// At a stop, the worker takes its leave within this time, or its heartbeat expires.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// Who this worker is.
#[derive(Debug, Clone)]
pub struct Identity {
    id: String,
    host: String,
    pid: u32,
    started_ms: i64,
}

impl Identity {
    /// A new one for each process.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A new one for this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { id, host, pid: std::process::id(), started_ms: clock::unix_ms() }
    }
}

/// What there is to say of this worker.
pub struct Presence {
    pub identity: Identity,
    pub shared: Shared,
    pub suspects: Suspects,
    pub fleet: RedisFleet,
    /// Whether it has an admin port, at which it could show what is true of the whole fleet.
    pub has_port: bool,
    /// Whether it is the worker that does.
    pub shows_fleet: Arc<AtomicBool>,
}

/// What the heartbeats have met so far.
#[derive(Debug, Default)]
struct Seen {
    epoch: Option<String>,
    /// How far the index has been looked through.
    pruned_to: usize,
}

impl Presence {
    /// Writes heartbeats until `stop`, and takes leave then. Where Redis has lost its data, the records of running jobs are
    /// restored: otherwise they would be missing in what is shown until their ends.
    pub async fn keep(&self, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => heartbeat.touch(),
            }
            // The stop waits for no answer of Redis.
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.turn(&mut seen) => {}
            }
        }
        let _ = timeout(LEAVE_MAX, self.fleet.leave(&self.identity.id)).await;
    }

    /// Writes one heartbeat, and does what its answer asks for.
    async fn turn(&self, seen: &mut Seen) {
        let held = self.shared.held_jobs.jobs();
        let (state, lasting) = (self.state(&held), lasting(&held));
        match self.fleet.heartbeat(&state, self.has_port, &lasting).await {
            Ok(HeartbeatReply { epoch, shows_fleet }) => {
                self.shows_fleet.store(shows_fleet, Ordering::Relaxed);
                if seen.epoch.as_ref().is_some_and(|before| *before != epoch) {
                    // Each life that reads its record again restores it where it is missing.
                    tracing::info!("Redis has lost its data: the jobs look at their records");
                    self.shared.hints.wake_all();
                }
                seen.epoch = Some(epoch);
                if shows_fleet {
                    seen.pruned_to = self.fleet.prune(seen.pruned_to).await.unwrap_or(0);
                }
            }
            // The breaker says what a Redis that is away means for the jobs.
            Err(error) => {
                self.shows_fleet.store(false, Ordering::Relaxed);
                tracing::debug!("this worker's heartbeat was not written: {error}");
            }
        }
    }

    fn state(&self, held: &[HeldJob]) -> WorkerState {
        let Identity { id, host, pid, started_ms } = &self.identity;
        let now_ms = clock::unix_ms();
        let mut at = BTreeMap::new();
        for job in held {
            *at.entry(job.stage).or_insert(0) += 1;
        }
        WorkerState {
            id: id.clone(),
            host: host.clone(),
            pid: *pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: rfc_3339(*started_ms),
            seen: rfc_3339(now_ms),
            in_flight: held.len(),
            held: at,
            waiting: waiting(held, now_ms),
            standstills: self.standing().into_iter().map(|stands| state_of(stands, now_ms)).collect(),
        }
    }

    fn standing(&self) -> Vec<CurrentStandstill> {
        let mut standing = self.shared.breaker.standing();
        standing.extend(self.shared.standstills.standing());
        standing.extend(self.suspects.standing());
        standing
    }
}

/// The jobs that have waited for longest to be submitted.
fn waiting(held: &[HeldJob], now_ms: i64) -> Vec<WaitingJob> {
    let mut waiting: Vec<&HeldJob> = held.iter().filter(|job| job.stage == JobStage::Waiting).collect();
    waiting.sort_by(|one, other| other.age.cmp(&one.age).then_with(|| one.job.cmp(&other.job)));
    let named = waiting.into_iter().take(WAITING_MAX);
    named.map(|job| WaitingJob { job_id: job.job.to_string(), since: ago(now_ms, job.age) }).collect()
}

/// The jobs that take more than a moment to store, or to publish the end of, the oldest first.
fn lasting(held: &[HeldJob]) -> Vec<(JobId, JobStage, Duration)> {
    let is_last = |stage| matches!(stage, JobStage::Storing | JobStage::Publishing);
    let lasting = held.iter().filter(|job| is_last(job.stage) && job.age >= MOMENT);
    let mut lasting: Vec<_> = lasting.map(|job| (job.job.clone(), job.stage, job.age)).collect();
    lasting.sort_by_key(|(_, _, age)| std::cmp::Reverse(*age));
    lasting.truncate(LASTING_MAX);
    lasting
}

fn state_of(stands: CurrentStandstill, now_ms: i64) -> StandstillState {
    StandstillState {
        what: stands.what.to_owned(),
        since: ago(now_ms, stands.since.elapsed()),
        detail: stands.detail,
        r#do: stands.remedy,
    }
}

fn ago(now_ms: i64, age: Duration) -> String {
    rfc_3339(now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(job: &str, stage: JobStage, age_s: u64) -> HeldJob {
        HeldJob { job: job.parse().unwrap(), stage, age: Duration::from_secs(age_s) }
    }

    #[test]
    fn of_many_waiting_jobs_the_oldest_are_named() {
        let mut jobs: Vec<HeldJob> = (0..60).map(|n| held(&format!("w{n}"), JobStage::Waiting, n)).collect();
        jobs.push(held("g", JobStage::Generating, 1000));
        let named = waiting(&jobs, 100_000);
        assert_eq!(named.len(), WAITING_MAX);
        assert_eq!((named[0].job_id.as_str(), named[0].since.as_str()), ("w59", "1970-01-01T00:00:41.000Z"));
    }

    #[test]
    fn only_what_is_not_stored_or_published_within_a_moment_is_shown_as_that() {
        let jobs = [
            held("quick", JobStage::Publishing, 0),
            held("slow", JobStage::Publishing, 2),
            held("slower", JobStage::Publishing, 3),
            held("stored", JobStage::Storing, 9),
            held("generated", JobStage::Generating, 99),
        ];
        let names: Vec<String> = lasting(&jobs).into_iter().map(|(job, _, _)| job.to_string()).collect();
        assert_eq!(names, ["stored", "slower", "slow"]);
    }
}
