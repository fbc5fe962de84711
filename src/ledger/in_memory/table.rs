//! The table of records and the moves in it: what the Lua scripts do in Redis, as functions of the table and the time.

mod ends;
mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::DueHint;
use super::expiry::Expiry;
use super::pace::Pace;
use super::slots::SlotTable;
use super::spend::SpendTable;
use crate::job::event::may_run_on;
use crate::job::record::{Nonce, Record, Snapshot, Stage};
use crate::job::route::RouteName;
use crate::job::spend::{SpendRules, SpendToday};
use crate::job::step::{BeginPrecondition, MoveResult, RestorePrecondition};
use crate::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
use crate::ledger::JobRef;
use crate::ledger::slots::Account;

/// All that the ledger knows, without a clock: each move takes the time as a value. Two tables are equal if they know
/// the same.
///
/// By default it forgets no job and counts no slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Table {
    records: BTreeMap<JobId, Kept>,
    /// The jobs that users have cancelled, including jobs that no worker has seen yet.
    cancelled: BTreeSet<JobId>,
    /// Which of these jobs will be forgotten.
    expiry: Expiry,
    /// The store that belongs to this ledger.
    store: Option<String>,
    slots: SlotTable,
    pace: Option<Pace>,
    spend: SpendTable,
    /// The wall clock's time at the present move, in Unix milliseconds: it decides the day of the spend.
    unix_ms: i64,
    /// The hints that the moves have made due since they were taken last.
    hints: Vec<DueHint>,
}

/// A stored record. A generation's age is stored as the moment of its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kept {
    digest: Digest,
    /// `None` once the job has ended.
    route: Option<RouteName>,
    round: u32,
    stage: Stage,
    /// Identifies a repeated `reopen`.
    nonce: Option<Nonce>,
    since: Duration,
    /// A caller waits for the record to move.
    watched: bool,
    marks: Marks,
}

/// What a record says beside its stage. Most of it stays from one stage to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Marks {
    corrects: Option<Bytes>,
    failed: FailedTasks,
    under: Option<SentUnder>,
    entries: u32,
    /// The names of the lives that are storing its images; `None` if only the life that submitted it has entered.
    entered: Option<Vec<String>>,
    /// For how long the images have been tried for in vain.
    tried: Option<Duration>,
}

impl Table {
    /// `remember`: how long a job is known after its event was confirmed, as `redis.remember_s`. `account`: `None` if
    /// it has no cap.
    #[must_use]
    pub fn new(remember: Duration, account: Option<Account>) -> Self {
        Self { expiry: Expiry::after(remember), slots: SlotTable::of(account), ..Self::default() }
    }

    /// Counts what jobs cost by these rules.
    #[must_use]
    pub fn with_spend(self, rules: SpendRules) -> Self {
        Self { spend: SpendTable::by(rules), ..self }
    }

    /// The wall clock's time from now on, in Unix milliseconds. It matters only where a day's spend has a cap.
    pub fn set_time(&mut self, unix_ms: i64) {
        if self.spend.rules.cap.is_some() {
            self.unix_ms = unix_ms;
        }
    }

    /// What is known of the day, with all jobs that run but `but`.
    #[must_use]
    pub fn spend_today(&self, but: Option<&JobId>) -> SpendToday {
        let running = self.records.iter().filter(|(job, kept)| {
            let runs = match kept.stage {
                Stage::Submitting { .. } | Stage::Generating { .. } => true,
                // Its end is counted when it is published.
                Stage::Done { .. } => !self.expiry.has(job),
                Stage::New { .. } | Stage::Published { .. } => false,
            };
            runs && Some(*job) != but
        });
        SpendToday {
            spent: self.spend.spent(self.spend.rules.day(self.unix_ms)),
            running: u64::try_from(running.count()).unwrap_or(u64::MAX),
            per_job: self.spend.per_job(),
            complete: true,
        }
    }

    /// What is known of the job; nothing changes.
    #[must_use]
    pub fn known(&self, job: &JobId, now: Duration) -> Snapshot {
        let record = self.records.get(job).map(|kept| Box::new(kept.record(now)));
        Snapshot { record, cancelled: self.cancelled.contains(job) }
    }

    /// Forgets all about the job except for its slots.
    pub fn forget(&mut self, job: &JobId) {
        self.records.remove(job);
        self.cancelled.remove(job);
        self.spend.forget(job);
        self.expiry.stop(job);
    }

    /// Forgets what has been remembered for long enough.
    pub fn forget_due(&mut self, now: Duration) {
        while let Some(job) = self.expiry.next_due(now) {
            self.forget(&job);
        }
        self.pace.take_if(|pace| pace.is_over(now));
    }

    /// The hints that have become due since the last call.
    pub fn take_hints(&mut self) -> Vec<DueHint> {
        std::mem::take(&mut self.hints)
    }

    /// See [`Ledger::begin`](crate::ledger::Ledger::begin).
    pub fn begin(
        &mut self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
        now: Duration,
    ) -> MoveResult {
        let allowed = match self.records.get(entry.job).map(|kept| (&kept.stage, kept)) {
            None => attempt == 1,
            Some((Stage::Submitting { nonce: known, .. }, _)) if known == nonce => {
                return self.yes(entry.job);
            }
            Some(_) if *basis == BeginPrecondition::Unread => false,
            Some((Stage::New { attempt: known }, kept)) => *known == attempt && kept.digest == *entry.digest,
            Some((Stage::Done { replaceable, .. }, kept)) => {
                *replaceable && entry.round == kept.round + 1 && attempt == 1
            }
            Some((Stage::Submitting { attempt: known, nonce }, kept)) => {
                *basis == BeginPrecondition::NeverAsked(nonce.clone())
                    && *known == attempt
                    && kept.digest == *entry.digest
            }
            Some((Stage::Generating { .. } | Stage::Published { .. }, _)) => false,
        };
        if !allowed {
            return MoveResult::No(self.known(entry.job, now));
        }
        // A caller that takes no slots won't post.
        let posts = entry.slots.count > 0;
        if posts && self.spend.rules.cap.is_some() {
            let today = self.spend_today(Some(entry.job));
            if self.spend.rules.refusal(&today).is_some() {
                return MoveResult::Spent(today);
            }
        }
        if posts && let Some(wait) = self.pace.as_ref().and_then(|pace| pace.wait(now)) {
            return MoveResult::Paced { wait };
        }
        if !self.slots.take(entry.job, entry.slots, now, &mut self.hints) {
            return MoveResult::Full;
        }
        if posts && let Some(pace) = &mut self.pace {
            pace.pass(now);
        }
        let marks = self.records.get(entry.job).map(|kept| kept.marks.clone()).unwrap_or_default();
        let marks = Marks { under: entry.under.cloned(), ..marks };
        self.put(entry, Stage::Submitting { attempt, nonce: nonce.clone() }, marks, now);
        self.yes(entry.job)
    }

    /// See [`Ledger::reopen`](crate::ledger::Ledger::reopen).
    pub fn reopen(&mut self, job: &JobId, attempt: u32, nonce: Option<&Nonce>, now: Duration) -> MoveResult {
        let Some(kept) = self.records.get_mut(job) else { return MoveResult::No(self.known(job, now)) };
        let ours = nonce.is_none() || kept.nonce.as_ref() == nonce;
        match &kept.stage {
            Stage::New { attempt: open } if *open == attempt + 1 && ours => {}
            Stage::Submitting { attempt: known, .. } if *known == attempt && ours => {
                // The nonce stays, so that a repeated call is recognized.
                kept.stage = Stage::New { attempt: attempt + 1 };
                kept.marks.under = None;
                self.open_again(job, now);
            }
            Stage::New { .. }
            | Stage::Submitting { .. }
            | Stage::Generating { .. }
            | Stage::Done { .. }
            | Stage::Published { .. } => return MoveResult::No(self.known(job, now)),
        }
        self.yes(job)
    }

    /// See [`Ledger::restore`](crate::ledger::Ledger::restore).
    pub fn restore(
        &mut self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
        now: Duration,
    ) -> Snapshot {
        let replaced = match (self.records.get(entry.job).map(|kept| &kept.stage), over) {
            (None, RestorePrecondition::Nothing | RestorePrecondition::Ended) => true,
            (Some(Stage::Submitting { attempt, .. }), RestorePrecondition::Open(open)) => *attempt == open,
            (Some(Stage::Done { event, .. }), RestorePrecondition::Ended) => Some(event) == corrects,
            (None, RestorePrecondition::Open(_)) | (Some(_), _) => false,
        };
        if replaced {
            let marks = Marks {
                corrects: corrects.cloned(),
                failed: entry.failed.clone(),
                under: entry.under.cloned(),
                ..Marks::default()
            };
            self.put(entry, stage.clone(), marks, now);
            match stage {
                Stage::Submitting { .. } | Stage::Generating { .. } => self.hold_slots(entry, now),
                Stage::Done { event, .. } if may_run_on(event) => {}
                Stage::New { .. } | Stage::Done { .. } | Stage::Published { .. } => {
                    self.free_slots(entry.job, now);
                }
            }
        }
        self.known(entry.job, now)
    }

    /// See [`Ledger::accept`](crate::ledger::Ledger::accept).
    pub fn accept(&mut self, entry: JobRef<'_>, attempt: u32, task: &TaskId, now: Duration) -> Stage {
        let before = self.records.get(entry.job);
        if let Some(kept) = before {
            let knows_more = match kept.stage {
                Stage::Generating { .. } | Stage::Done { .. } | Stage::Published { .. } => true,
                Stage::New { .. } | Stage::Submitting { .. } => false,
            };
            if knows_more || kept.marks.failed.contains(task) {
                return kept.record(now).stage;
            }
        }
        let from_entry =
            || Marks { failed: entry.failed.clone(), under: entry.under.cloned(), ..Marks::default() };
        let marks = before.map_or_else(from_entry, |kept| kept.marks.clone());
        let stage = Stage::Generating { attempt, task: task.clone(), age: Duration::ZERO };
        self.put(entry, stage.clone(), Marks { entries: 1, ..marks }, now);
        self.hold_slots(entry, now);
        stage
    }

    /// See [`Ledger::follow`](crate::ledger::Ledger::follow).
    pub fn follow(&mut self, job: &JobId, attempt: u32, failed: &FailedTasks, now: Duration) -> MoveResult {
        let Some(kept) = self.records.get_mut(job) else { return MoveResult::No(self.known(job, now)) };
        match &kept.stage {
            Stage::New { attempt: open }
                if *open == attempt + 1 && kept.marks.failed.tasks() == failed.tasks() => {}
            Stage::Generating { attempt: known, task, .. }
                if *known == attempt && failed.tasks().last() == Some(task) =>
            {
                kept.stage = Stage::New { attempt: attempt + 1 };
                let corrects = kept.marks.corrects.take();
                kept.marks = Marks { corrects, failed: failed.clone(), ..Marks::default() };
                self.open_again(job, now);
            }
            Stage::New { .. }
            | Stage::Submitting { .. }
            | Stage::Generating { .. }
            | Stage::Done { .. }
            | Stage::Published { .. } => return MoveResult::No(self.known(job, now)),
        }
        self.yes(job)
    }

    /// See [`Ledger::meet_store`](crate::ledger::Ledger::meet_store).
    pub fn meet_store(&mut self, id: &str) -> String {
        self.store.get_or_insert_with(|| id.to_owned()).clone()
    }

    /// See [`Ledger::slow_down`](crate::ledger::Ledger::slow_down).
    pub fn slow_down(&mut self, pause: Duration, rate: u64, now: Duration) {
        self.pace = Some(Pace::slowed(self.pace.as_ref(), pause, rate, now));
    }

    /// See [`Ledger::begin_count`](crate::ledger::Ledger::begin_count).
    pub fn begin_count(&mut self) {
        self.slots.begin_count();
    }

    fn yes(&self, job: &JobId) -> MoveResult {
        MoveResult::Yes { cancelled: self.cancelled.contains(job) }
    }

    /// Writes the record and wakes the callers that wait for it to move.
    fn put(&mut self, entry: JobRef<'_>, stage: Stage, marks: Marks, now: Duration) {
        let nonce = match &stage {
            Stage::Submitting { nonce, .. } => Some(nonce.clone()),
            Stage::New { .. } | Stage::Generating { .. } | Stage::Done { .. } | Stage::Published { .. } => {
                None
            }
        };
        let kept = Kept {
            digest: entry.digest.clone(),
            route: (!has_ended(&stage)).then(|| entry.route.clone()),
            round: entry.round,
            stage,
            nonce,
            since: now,
            watched: false,
            marks,
        };
        let before = self.records.insert(entry.job.clone(), kept);
        self.expiry.stop(entry.job);
        if before.is_some_and(|kept| kept.watched) {
            self.hints.push(DueHint::Look(entry.job.clone()));
        }
    }

    /// After an attempt that has no task, or none that runs: wakes the callers that wait, and frees the slots.
    fn open_again(&mut self, job: &JobId, now: Duration) {
        if self.records.get_mut(job).is_some_and(|kept| std::mem::take(&mut kept.watched)) {
            self.hints.push(DueHint::Look(job.clone()));
        }
        self.free_slots(job, now);
    }

    fn hold_slots(&mut self, entry: JobRef<'_>, now: Duration) {
        self.slots.hold_anew(entry.job, entry.slots, now, &mut self.hints);
    }

    fn free_slots(&mut self, job: &JobId, now: Duration) {
        self.slots.release(job, now, &mut self.hints);
    }
}

impl Kept {
    fn record(&self, now: Duration) -> Record {
        let mut stage = self.stage.clone();
        if let Stage::Generating { age, .. } = &mut stage {
            *age = now.saturating_sub(self.since);
        }
        let marks = &self.marks;
        Record {
            digest: self.digest.clone(),
            route: self.route.clone(),
            round: self.round,
            stage,
            corrects: marks.corrects.clone(),
            failed: marks.failed.clone(),
            under: marks.under.clone(),
            entries: marks.entries,
            tried: marks.tried,
        }
    }
}

fn has_ended(stage: &Stage) -> bool {
    match stage {
        Stage::Done { .. } | Stage::Published { .. } => true,
        Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. } => false,
    }
}
