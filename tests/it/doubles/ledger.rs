//! The ledger in memory: a table with the scripts' moves, and an async interface for it that can fail before or after
//! a move.

mod ends;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::event::may_run_on;
use comet_worker::job::record::{Nonce, Record, Snapshot, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{BeginPrecondition, MoveResult, RestorePrecondition};
use comet_worker::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
use comet_worker::ledger::JobRef;
use comet_worker::ledger::slots::Slots;

pub use self::memory::{MemoryLedger, Trouble};

use super::pace::Pace;
use super::slots::SlotTable;

/// A stored record. A generation's age is stored as the moment of its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kept {
    digest: Digest,
    /// `None` once the job has ended.
    route: Option<RouteName>,
    round: u32,
    stage: Stage,
    /// Identifies a repeated `reopen`.
    nonce: Option<Nonce>,
    since: Duration,
    corrects: Option<Bytes>,
    failed: FailedTasks,
    under: Option<SentUnder>,
    entries: u32,
    /// The names of the lives that are storing its images; `None` if only the life that submitted it has entered.
    entered: Option<Vec<String>>,
    /// For how long the images have been tried for in vain.
    tried: Option<Duration>,
}

/// All moves of the ledger, without time or failure: the model of the Lua scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Table {
    pub records: BTreeMap<String, Kept>,
    /// The jobs that users have cancelled, including jobs that no worker has seen yet.
    cancelled: BTreeSet<String>,
    /// The store that belongs to this ledger.
    store: Option<String>,
    pub slots: SlotTable,
    pace: Option<Pace>,
    /// Whether the safeguard of `begin` is removed.
    pub begin_compares_nothing: bool,
    /// Whether the safeguard of `freeze` is removed.
    pub freeze_overwrites: bool,
}

impl Kept {
    fn inside(&self) -> Vec<String> {
        let submitter = || if self.entries > 0 { vec![String::new()] } else { Vec::new() };
        self.entered.clone().unwrap_or_else(submitter)
    }
}

impl Table {
    pub fn flush(&mut self) {
        self.records.clear();
        self.cancelled.clear();
        self.slots.flush();
        self.pace = None;
    }

    /// A worker that reads that a job generates goes on with it.
    pub fn look(&mut self, job: &JobId, slots: Slots, now: Duration) -> Snapshot {
        if let Some(kept) = self.records.get(job.as_str())
            && matches!(kept.stage, Stage::Generating { .. })
            && kept.entered.is_none()
        {
            let until = (kept.since + slots.keep).max(now + slots.keep / 4);
            self.slots.hold(job.as_str(), slots, until, now);
        }
        self.known(job, now)
    }

    pub fn known(&self, job: &JobId, now: Duration) -> Snapshot {
        Snapshot {
            record: self.read(job, now).map(Box::new),
            cancelled: self.cancelled.contains(job.as_str()),
        }
    }

    pub fn cancel(&mut self, job: &JobId, now: Duration) -> Snapshot {
        let known = self.known(job, now);
        let ended = known
            .record
            .as_ref()
            .is_some_and(|record| matches!(record.stage, Stage::Done { .. } | Stage::Told { .. }));
        if !ended {
            self.cancelled.insert(job.as_str().to_owned());
        }
        known
    }

    pub fn enter(&mut self, job: &JobId, life: &str, now: Duration) -> Snapshot {
        if let Some(kept) = self.records.get_mut(job.as_str())
            && matches!(kept.stage, Stage::Generating { .. })
        {
            let mut inside = kept.inside();
            if !inside.iter().any(|there| there == life) {
                kept.entries += 1;
                inside.push(life.to_owned());
            }
            kept.entered = Some(inside);
            self.slots.release(job.as_str());
        }
        self.known(job, now)
    }

    pub fn leave(&mut self, job: &JobId, life: &str, tried: Option<Duration>) {
        if let Some(kept) = self.records.get_mut(job.as_str())
            && matches!(kept.stage, Stage::Generating { .. })
        {
            kept.tried = kept.tried.max(tried);
            let mut inside = kept.inside();
            if let Some(place) = inside.iter().position(|there| there == life) {
                inside.remove(place);
                kept.entries -= 1;
                kept.entered = Some(inside);
            }
        }
    }

    fn read(&self, job: &JobId, now: Duration) -> Option<Record> {
        let kept = self.records.get(job.as_str())?;
        let mut stage = kept.stage.clone();
        if let Stage::Generating { age, .. } = &mut stage {
            *age = now.saturating_sub(kept.since);
        }
        Some(Record {
            digest: kept.digest.clone(),
            route: kept.route.clone(),
            round: kept.round,
            stage,
            corrects: kept.corrects.clone(),
            failed: kept.failed.clone(),
            under: kept.under.clone(),
            entries: kept.entries,
            tried: kept.tried,
        })
    }

    pub fn begin(
        &mut self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
        now: Duration,
    ) -> MoveResult {
        let record = self.read(entry.job, now);
        let allowed = match record.as_ref().map(|record| (&record.stage, record)) {
            _ if self.begin_compares_nothing => true,
            None => attempt == 1,
            Some((Stage::Submitting { nonce: known, .. }, _)) if known == nonce => {
                return self.yes(entry.job);
            }
            Some(_) if *basis == BeginPrecondition::Unread => false,
            Some((Stage::New { attempt: known }, record)) => {
                *known == attempt && record.digest == *entry.digest
            }
            Some((Stage::Done { replaceable, .. }, record)) => {
                *replaceable && entry.round == record.round + 1 && attempt == 1
            }
            Some((Stage::Submitting { attempt: known, nonce }, record)) => {
                *basis == BeginPrecondition::NeverAsked(nonce.clone())
                    && *known == attempt
                    && record.digest == *entry.digest
            }
            Some((Stage::Generating { .. } | Stage::Told { .. }, _)) => false,
        };
        if !allowed {
            return MoveResult::No(self.known(entry.job, now));
        }
        // A life that takes no slots won't post.
        let posts = entry.slots.count > 0;
        if let Some(pace) = Pace::of(self.pace.as_ref(), now)
            && let Some(wait) = pace.wait(now)
            && posts
        {
            return MoveResult::Paced { wait };
        }
        if !self.slots.take(entry.job.as_str(), entry.slots, now) {
            return MoveResult::Full;
        }
        if let Some(pace) = &mut self.pace
            && posts
        {
            pace.pass(now);
        }
        self.put(entry, Stage::Submitting { attempt, nonce: nonce.clone() }, Some(nonce.clone()), now);
        self.kept(entry.job).under = entry.under.cloned();
        self.yes(entry.job)
    }

    fn yes(&self, job: &JobId) -> MoveResult {
        MoveResult::Yes { cancelled: self.cancelled.contains(job.as_str()) }
    }

    pub fn reopen(&mut self, job: &JobId, attempt: u32, nonce: Option<&Nonce>, now: Duration) -> MoveResult {
        let known = self.known(job, now);
        let yes = self.yes(job);
        let Some(kept) = self.records.get_mut(job.as_str()) else { return MoveResult::No(known) };
        let ours = nonce.is_none() || kept.nonce.as_ref() == nonce;
        match &kept.stage {
            Stage::New { attempt: open } if *open == attempt + 1 && ours => yes,
            Stage::Submitting { attempt: known, .. } if *known == attempt && ours => {
                kept.stage = Stage::New { attempt: attempt + 1 };
                kept.under = None;
                self.slots.release(job.as_str());
                yes
            }
            Stage::New { .. }
            | Stage::Submitting { .. }
            | Stage::Generating { .. }
            | Stage::Done { .. }
            | Stage::Told { .. } => MoveResult::No(known),
        }
    }

    pub fn restore(
        &mut self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
        now: Duration,
    ) -> Snapshot {
        let replaced = match (self.read(entry.job, now).map(|record| record.stage), over) {
            (None, RestorePrecondition::Nothing | RestorePrecondition::Ended) => true,
            (Some(Stage::Submitting { attempt, .. }), RestorePrecondition::Open(open)) => attempt == open,
            (Some(Stage::Done { event, .. }), RestorePrecondition::Ended) => Some(&event) == corrects,
            (None, RestorePrecondition::Open(_)) | (Some(_), _) => false,
        };
        if replaced {
            let nonce = if let Stage::Submitting { nonce, .. } = stage { Some(nonce.clone()) } else { None };
            self.put(entry, stage.clone(), nonce, now);
            let kept = self.kept(entry.job);
            (kept.corrects, kept.failed) = (corrects.cloned(), entry.failed.clone());
            kept.under = entry.under.cloned();
            (kept.entries, kept.entered, kept.tried) = (0, None, None);
            match stage {
                Stage::Submitting { .. } | Stage::Generating { .. } => self.hold_anew(entry, now),
                Stage::Done { event, .. } if may_run_on(event) => {}
                Stage::New { .. } | Stage::Done { .. } | Stage::Told { .. } => {
                    self.slots.release(entry.job.as_str())
                }
            }
        }
        self.known(entry.job, now)
    }

    pub fn slow_down(&mut self, pause: Duration, rate: u64, now: Duration) {
        self.pace = Some(Pace::slowed(self.pace.as_ref(), pause, rate, now));
    }

    fn hold_anew(&mut self, entry: JobRef<'_>, now: Duration) {
        self.slots.hold(entry.job.as_str(), entry.slots, now + entry.slots.keep, now);
    }

    fn kept(&mut self, job: &JobId) -> &mut Kept {
        self.records.get_mut(job.as_str()).unwrap()
    }

    pub fn accept(&mut self, entry: JobRef<'_>, attempt: u32, task: &TaskId, now: Duration) -> Stage {
        let record = self.read(entry.job, now);
        let lost = record.is_none();
        if let Some(record) = record {
            let known =
                matches!(record.stage, Stage::Generating { .. } | Stage::Done { .. } | Stage::Told { .. });
            if known || record.failed.contains(task) {
                return record.stage;
            }
        }
        let stage = Stage::Generating { attempt, task: task.clone(), age: Duration::ZERO };
        self.put(entry, stage, None, now);
        let kept = self.kept(entry.job);
        (kept.entries, kept.entered) = (1, None);
        if lost {
            kept.failed = entry.failed.clone();
            kept.under = entry.under.cloned();
        }
        self.hold_anew(entry, now);
        self.read(entry.job, now).unwrap().stage
    }

    pub fn follow(&mut self, job: &JobId, attempt: u32, failed: &FailedTasks) -> MoveResult {
        let known = self.known(job, Duration::ZERO);
        let yes = self.yes(job);
        let Some(kept) = self.records.get_mut(job.as_str()) else { return MoveResult::No(known) };
        match &kept.stage {
            Stage::New { attempt: open } if *open == attempt + 1 && kept.failed == *failed => yes,
            Stage::Generating { attempt: known, task, .. }
                if *known == attempt && failed.tasks().last() == Some(task) =>
            {
                kept.stage = Stage::New { attempt: attempt + 1 };
                kept.failed = failed.clone();
                kept.under = None;
                (kept.nonce, kept.entries, kept.entered, kept.tried) = (None, 0, None, None);
                self.slots.release(job.as_str());
                yes
            }
            Stage::New { .. }
            | Stage::Submitting { .. }
            | Stage::Generating { .. }
            | Stage::Done { .. }
            | Stage::Told { .. } => MoveResult::No(known),
        }
    }

    fn put(&mut self, entry: JobRef<'_>, stage: Stage, nonce: Option<Nonce>, now: Duration) {
        let before = self.records.remove(entry.job.as_str());
        let (corrects, failed, under, entries, entered, tried) = before
            .map(|kept| (kept.corrects, kept.failed, kept.under, kept.entries, kept.entered, kept.tried))
            .unwrap_or_default();
        let (digest, round) = (entry.digest.clone(), entry.round);
        let ended = matches!(stage, Stage::Done { .. } | Stage::Told { .. });
        let route = (!ended).then(|| entry.route.clone());
        let kept = Kept {
            digest,
            route,
            round,
            stage,
            nonce,
            since: now,
            corrects,
            failed,
            under,
            entries,
            entered,
            tried,
        };
        self.records.insert(entry.job.as_str().to_owned(), kept);
    }
}
