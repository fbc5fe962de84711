//! The ledger in memory: a table whose moves are the scripts', and an async face for it that can
//! fail before or after a move.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::step::{Expect, Frozen, Moved};
use comet_worker::job::{Digest, JobId, TaskId};
use comet_worker::ledger::record::{Nonce, Record, Stage};
use comet_worker::ledger::{Entry, Ledger, LedgerError};
use tokio::time::Instant;

/// A record as it is kept: a generation's age as the moment of its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kept {
    digest: Digest,
    round: u32,
    stage: Stage,
    /// For a repeated `reopen` to know itself by.
    nonce: Option<Nonce>,
    since: Duration,
}

/// All moves of the ledger, without time or failure: the model of the Lua scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Table {
    pub records: BTreeMap<String, Kept>,
    /// The store that goes with this ledger.
    store: Option<String>,
    /// Whether the safeguard of `begin` is taken out.
    pub begin_compares_nothing: bool,
    /// Whether the safeguard of `freeze` is taken out.
    pub freeze_overwrites: bool,
}

impl Table {
    pub fn read(&self, job: &JobId, now: Duration) -> Option<Record> {
        let kept = self.records.get(job.as_str())?;
        let mut stage = kept.stage.clone();
        if let Stage::Generating { age, .. } = &mut stage {
            *age = now.saturating_sub(kept.since);
        }
        Some(Record { digest: kept.digest.clone(), round: kept.round, stage })
    }

    pub fn begin(
        &mut self,
        entry: Entry<'_>,
        attempt: u32,
        nonce: &Nonce,
        instead_of: Option<&Nonce>,
        now: Duration,
    ) -> Moved {
        let record = self.read(entry.job, now);
        let allowed = match record.as_ref().map(|record| (&record.stage, record)) {
            _ if self.begin_compares_nothing => true,
            None => attempt == 1,
            Some((Stage::Submitting { nonce: known, .. }, _)) if known == nonce => {
                return Moved::Yes;
            }
            Some((Stage::New { attempt: known }, record)) => {
                *known == attempt && record.digest == *entry.digest
            }
            Some((Stage::Done { replaceable, .. }, record)) => {
                *replaceable && entry.round == record.round + 1 && attempt == 1
            }
            Some((Stage::Submitting { attempt: known, nonce }, record)) => {
                instead_of == Some(nonce) && *known == attempt && record.digest == *entry.digest
            }
            Some((Stage::Generating { .. }, _)) => false,
        };
        if !allowed {
            return Moved::No(record);
        }
        self.put(entry, Stage::Submitting { attempt, nonce: nonce.clone() }, Some(nonce.clone()), now);
        Moved::Yes
    }

    pub fn reopen(&mut self, job: &JobId, attempt: u32, nonce: Option<&Nonce>, now: Duration) -> Moved {
        let record = self.read(job, now);
        let Some(kept) = self.records.get_mut(job.as_str()) else { return Moved::No(None) };
        let ours = nonce.is_none() || kept.nonce.as_ref() == nonce;
        match &kept.stage {
            Stage::New { attempt: known } if *known == attempt + 1 && ours => Moved::Yes,
            Stage::Submitting { attempt: known, .. } if *known == attempt && ours => {
                kept.stage = Stage::New { attempt: attempt + 1 };
                Moved::Yes
            }
            Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. } | Stage::Done { .. } => {
                Moved::No(record)
            }
        }
    }

    pub fn restore(
        &mut self,
        entry: Entry<'_>,
        open: Option<u32>,
        stage: &Stage,
        now: Duration,
    ) -> Option<Record> {
        let record = self.read(entry.job, now);
        let replaced = match (&record, open) {
            (None, None) => true,
            (Some(Record { stage: Stage::Submitting { attempt, .. }, .. }), Some(open)) => *attempt == open,
            (None, Some(_)) | (Some(_), _) => false,
        };
        if replaced {
            let nonce = if let Stage::Submitting { nonce, .. } = stage { Some(nonce.clone()) } else { None };
            self.put(entry, stage.clone(), nonce, now);
        }
        self.read(entry.job, now)
    }

    pub fn accept(&mut self, entry: Entry<'_>, attempt: u32, task: &TaskId, now: Duration) -> Record {
        if let Some(record) = self.read(entry.job, now)
            && matches!(record.stage, Stage::Generating { .. } | Stage::Done { .. })
        {
            return record;
        }
        let stage = Stage::Generating { attempt, task: task.clone(), age: Duration::ZERO };
        self.put(entry, stage, None, now);
        self.read(entry.job, now).unwrap()
    }

    pub fn freeze(
        &mut self,
        entry: Entry<'_>,
        expect: &Expect,
        event: Bytes,
        replaceable: bool,
        now: Duration,
    ) -> Frozen {
        if let Some(record) = self.read(entry.job, now)
            && !self.freeze_overwrites
        {
            let same = record.digest == *entry.digest;
            let allowed = match (&record.stage, expect) {
                (Stage::Done { event, .. }, _) if same => return Frozen::Event(event.clone()),
                (Stage::Done { replaceable, .. }, expect) => {
                    *expect == Expect::Unposted && *replaceable && entry.round == record.round + 1
                }
                (Stage::New { .. }, Expect::Unposted) => same,
                (Stage::Submitting { .. } | Stage::Generating { .. }, Expect::Unposted) => false,
                (Stage::Submitting { nonce: known, .. }, Expect::Submitting { nonce }) => {
                    same && known == nonce
                }
                (Stage::New { .. } | Stage::Generating { .. }, Expect::Submitting { .. }) => false,
                (
                    Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. },
                    Expect::Unfinished,
                ) => same,
            };
            if !allowed {
                return Frozen::Moved(Some(record));
            }
        }
        self.put(entry, Stage::Done { event: event.clone(), replaceable }, None, now);
        Frozen::Event(event)
    }

    fn put(&mut self, entry: Entry<'_>, stage: Stage, nonce: Option<Nonce>, now: Duration) {
        let kept = Kept { digest: entry.digest.clone(), round: entry.round, stage, nonce, since: now };
        self.records.insert(entry.job.as_str().to_owned(), kept);
    }
}

/// How the next calls go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The call never arrives.
    Before,
    /// The move happens and the answer is lost.
    After,
}

/// The table behind the trait, on tokio's clock.
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    pub table: Arc<Mutex<Table>>,
    troubles: Arc<Mutex<Vec<Trouble>>>,
    start: Instant,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self { table: Arc::default(), troubles: Arc::default(), start: Instant::now() }
    }
}

impl MemoryLedger {
    /// The next calls fail so, one after the other.
    pub fn trouble(&self, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().extend(troubles.iter().rev());
    }

    async fn act<T>(&self, act: impl FnOnce(&mut Table, Duration) -> T) -> Result<T, LedgerError> {
        tokio::task::yield_now().await;
        let trouble = self.troubles.lock().unwrap().pop();
        if trouble == Some(Trouble::Before) {
            return Err(LedgerError::Unavailable("cut off".to_owned()));
        }
        let value = act(&mut self.table.lock().unwrap(), self.start.elapsed());
        match trouble {
            Some(Trouble::After) => Err(LedgerError::Unavailable("no answer".to_owned())),
            Some(Trouble::Before) | None => Ok(value),
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self, job: &JobId) -> Result<Option<Record>, LedgerError> {
        self.act(|table, now| table.read(job, now)).await
    }

    async fn begin(
        &self,
        entry: Entry<'_>,
        attempt: u32,
        nonce: &Nonce,
        instead_of: Option<&Nonce>,
    ) -> Result<Moved, LedgerError> {
        self.act(|table, now| table.begin(entry, attempt, nonce, instead_of, now)).await
    }

    async fn restore(
        &self,
        entry: Entry<'_>,
        open: Option<u32>,
        stage: &Stage,
    ) -> Result<Option<Record>, LedgerError> {
        self.act(|table, now| table.restore(entry, open, stage, now)).await
    }

    async fn reopen(&self, job: &JobId, attempt: u32, nonce: Option<&Nonce>) -> Result<Moved, LedgerError> {
        self.act(|table, now| table.reopen(job, attempt, nonce, now)).await
    }

    async fn accept(&self, entry: Entry<'_>, attempt: u32, task: &TaskId) -> Result<Record, LedgerError> {
        self.act(|table, now| table.accept(entry, attempt, task, now)).await
    }

    async fn freeze(
        &self,
        entry: Entry<'_>,
        expect: &Expect,
        event: Bytes,
        replaceable: bool,
    ) -> Result<Frozen, LedgerError> {
        self.act(|table, now| table.freeze(entry, expect, event, replaceable, now)).await
    }

    async fn told(&self, _job: &JobId, _round: u32) -> Result<(), LedgerError> {
        self.act(|_, _| ()).await
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        self.act(|table, _| table.store.get_or_insert(id.to_owned()).clone()).await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        self.act(|_, _| ()).await
    }
}
