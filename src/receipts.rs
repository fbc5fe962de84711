//! The receipts: what the store of the images remembers of each paid attempt. One of them, the intent, is the gate
//! before the POST. From the others Redis is rebuilt when it has lost its data.
//!
//! A receipt is created only if it is absent, and never changed. "Already there" means: read it and compare. A create
//! whose answer was lost may have succeeded, so every method here may be repeated. An empty or unreadable receipt
//! still belongs to another life.
//!
//! The receipts are stored under `receipts/`, spread over 256 folders by the hash of the job id:
//! `receipts/3f/order-8812.intent-1`. Their names are in [`ReceiptName`].

mod ended;
mod gate;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutOptions};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fleet::job::DatedReceipt;
use crate::job::event::may_be_corrected;
use crate::job::receipt::history::{Attempt, FailedTask, History};
use crate::job::receipt::notes::{DecisionNote, FailureNote, Intent, TaskNote};
use crate::job::receipt::{Decision, Gate, IntentFacts, ReceiptName, Shut};
use crate::job::record::Nonce;
use crate::job::{Charged, JobId, TaskId};
use crate::storage::{Storage, StoreError, bounded};

pub use gate::StoreId;

/// The number of histories that are read at the same time.
const READERS_MAX: usize = 256;
/// How often a create is repeated if the store says "already there" and then has no such object (S3 answers like this
/// to two creates at the same time).
const CONFLICTS_MAX: u32 = 5;
/// The wait before the second try; the waits before the later tries are longer.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

enum Created {
    Now,
    Before(Bytes),
}

/// The receipts of all jobs, in the store of the images.
#[derive(Debug, Clone)]
pub struct Receipts {
    storage: Storage,
    readers: Arc<Semaphore>,
}

impl Receipts {
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage, readers: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// The store of the receipts, which is that of the images.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Waits for a permit to read a job's history, which is held during the read. Each read needs kilobytes and a
    /// thread, and after a start all jobs of a worker come at once.
    pub async fn reader(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.readers).acquire_owned().await.ok()
    }

    /// Asks at the gate of attempt `attempt`. After [`Gate::Mine`], no other nonce gets that answer.
    ///
    /// # Errors
    ///
    /// Those of the store; it is then unknown whether the receipt was created. Repeat with the same nonce.
    pub async fn intend(&self, of: IntentFacts<'_>, attempt: u32, nonce: &Nonce) -> Result<Gate, StoreError> {
        let intent = Intent::of(of, nonce.as_str());
        match self.create(&self.key(of.job, ReceiptName::Intent(attempt)), json(&intent)).await? {
            Created::Now => Ok(Gate::Mine),
            Created::Before(bytes) => match serde_json::from_slice::<Intent>(&bytes) {
                Ok(before) if before.nonce == nonce.as_str() && !before.shut => Ok(Gate::Mine),
                Ok(_) | Err(_) => Ok(Gate::Taken),
            },
        }
    }

    /// Shuts the gate of attempt `attempt`, so that no worker posts it after the job was given up or `cancelled`.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat.
    pub async fn shut(&self, of: IntentFacts<'_>, attempt: u32, cancelled: bool) -> Result<Shut, StoreError> {
        let intent = Intent { shut: true, cancelled, ..Intent::of(of, "") };
        match self.create(&self.key(of.job, ReceiptName::Intent(attempt)), json(&intent)).await? {
            Created::Now => Ok(Shut::Shut),
            Created::Before(bytes) => match serde_json::from_slice::<Intent>(&bytes) {
                Ok(before) if before.shut => Ok(Shut::Shut),
                Ok(_) | Err(_) => Ok(Shut::Taken),
            },
        }
    }

    /// Whether any life has asked at the gate of attempt `attempt`.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn is_intended(&self, job: &JobId, attempt: u32) -> Result<bool, StoreError> {
        Ok(self.read(&self.key(job, ReceiptName::Intent(attempt))).await?.is_some())
    }

    /// Notes that attempt `attempt` was certainly not accepted, or never sent.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat.
    pub async fn refuse(&self, job: &JobId, attempt: u32) -> Result<(), StoreError> {
        let key = self.key(job, ReceiptName::Refused(attempt));
        self.create(&key, Bytes::from_static(b"{\"version\":1}")).await?;
        Ok(())
    }

    /// Notes the accepted task. If another task of the same attempt was noted before, that one stays.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat.
    pub async fn note_task(&self, job: &JobId, attempt: u32, task: &TaskId) -> Result<(), StoreError> {
        let note = TaskNote::of(task);
        self.create(&self.key(job, ReceiptName::Task(attempt)), json(&note)).await?;
        Ok(())
    }

    /// Notes that the task of attempt `attempt` has failed, if another generation may follow. An earlier note stays.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat.
    pub async fn note_failure(
        &self,
        job: &JobId,
        attempt: u32,
        task: &TaskId,
        charged: Charged,
    ) -> Result<(), StoreError> {
        let note = FailureNote::of(task, charged);
        self.create(&self.key(job, ReceiptName::Failed(attempt)), json(&note)).await?;
        Ok(())
    }

    async fn failure(&self, job: &JobId, attempt: u32) -> Result<Option<FailedTask>, StoreError> {
        let bytes = self.read(&self.key(job, ReceiptName::Failed(attempt))).await?;
        let note = bytes.and_then(|bytes| serde_json::from_slice::<FailureNote>(&bytes).ok());
        Ok(note.and_then(|note| {
            let task = TaskId::new(&note.task_id)?;
            Some(FailedTask { task, charged: note.charged })
        }))
    }

    /// Seals the outcome as the bytes of its event. Afterwards every call gets the bytes of the first call.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat with the same bytes.
    pub async fn seal(&self, job: &JobId, event: Bytes) -> Result<Bytes, StoreError> {
        match self.create(&self.key(job, ReceiptName::Result), event.clone()).await? {
            Created::Now => Ok(event),
            Created::Before(bytes) => Ok(bytes),
        }
    }

    /// Returns the sealed outcome.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn result(&self, job: &JobId) -> Result<Option<Bytes>, StoreError> {
        self.read(&self.key(job, ReceiptName::Result)).await
    }

    /// Seals the correction of an unknown outcome, in the same way as [`Self::seal`].
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat with the same bytes.
    pub async fn seal_correction(&self, job: &JobId, event: Bytes) -> Result<Bytes, StoreError> {
        match self.create(&self.key(job, ReceiptName::Correction), event.clone()).await? {
            Created::Now => Ok(event),
            Created::Before(bytes) => Ok(bytes),
        }
    }

    /// Notes a person's decision about a job whose gate `attempt` was shut when it was given up. Returns the decision
    /// that counts, which is the first.
    ///
    /// # Errors
    ///
    /// Those of the store. Repeat.
    pub async fn decide(
        &self,
        job: &JobId,
        attempt: u32,
        decision: Decision,
    ) -> Result<Decision, StoreError> {
        let note = DecisionNote::of(decision);
        let key = self.key(job, ReceiptName::Decision(attempt));
        match self.create(&key, json(&note)).await? {
            Created::Now => Ok(decision),
            Created::Before(bytes) => serde_json::from_slice::<DecisionNote>(&bytes)
                .map(|note| note.decision)
                .map_err(|error| StoreError::new(&format!("{key} can't be read"), &error)),
        }
    }

    async fn decision(&self, job: &JobId, attempt: u32) -> Result<Option<Decision>, StoreError> {
        let bytes = self.read(&self.key(job, ReceiptName::Decision(attempt))).await?;
        let note = bytes.and_then(|bytes| serde_json::from_slice::<DecisionNote>(&bytes).ok());
        Ok(note.map(|note| note.decision))
    }

    /// Returns everything that the store remembers of a job. For a job that was never posted this is a single read.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn history(&self, job: &JobId) -> Result<History, StoreError> {
        let mut history = History::default();
        let mut attempt = 1;
        while let Some(bytes) = self.read(&self.key(job, ReceiptName::Intent(attempt))).await? {
            let task = self.read(&self.key(job, ReceiptName::Task(attempt))).await?;
            let note = task.and_then(|bytes| serde_json::from_slice::<TaskNote>(&bytes).ok());
            let intent: Option<Intent> = serde_json::from_slice(&bytes).ok();
            let is_shut = intent.as_ref().is_some_and(|intent| intent.shut);
            let may_follow = history.max_attempts().or(intent.as_ref().map(|intent| intent.max_attempts));
            history.attempts.push(Attempt {
                decision: if is_shut { self.decision(job, attempt).await? } else { None },
                failed: if may_follow > Some(1) { self.failure(job, attempt).await? } else { None },
                intent,
                task: note.and_then(|note| TaskId::new(&note.task_id)),
                refused: self.read(&self.key(job, ReceiptName::Refused(attempt))).await?.is_some(),
            });
            attempt += 1;
        }
        if !history.attempts.is_empty() {
            history.result = self.result(job).await?;
            history.resolved = self.correction_of(job, history.result.as_ref()).await?;
        }
        Ok(history)
    }

    /// All receipts of a job, each with when it was written, for a person to look at.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn dated(&self, job: &JobId) -> Result<Vec<DatedReceipt>, StoreError> {
        let mut found = Vec::new();
        for attempt in 1.. {
            let Some(intent) = self.dated_one(job, ReceiptName::Intent(attempt)).await? else { break };
            found.push(intent);
            let others =
                [ReceiptName::Task, ReceiptName::Refused, ReceiptName::Failed, ReceiptName::Decision];
            for other in others {
                found.extend(self.dated_one(job, other(attempt)).await?);
            }
        }
        for end in [ReceiptName::Result, ReceiptName::Correction] {
            found.extend(self.dated_one(job, end).await?);
        }
        Ok(found)
    }

    async fn dated_one(&self, job: &JobId, name: ReceiptName) -> Result<Option<DatedReceipt>, StoreError> {
        let key = self.key(job, name);
        let found = self.storage.find_dated(&format!("can't read {key}"), &key).await?;
        Ok(found.map(|(body, at_ms)| DatedReceipt { name, at_ms, body }))
    }

    /// Returns the last of the job's terminal events.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn last_word(&self, job: &JobId) -> Result<Option<Bytes>, StoreError> {
        let result = self.result(job).await?;
        Ok(self.correction_of(job, result.as_ref()).await?.or(result))
    }

    async fn correction_of(&self, job: &JobId, result: Option<&Bytes>) -> Result<Option<Bytes>, StoreError> {
        if !result.is_some_and(|event| may_be_corrected(event)) {
            return Ok(None);
        }
        self.read(&self.key(job, ReceiptName::Correction)).await
    }

    async fn create(&self, key: &Path, body: Bytes) -> Result<Created, StoreError> {
        let created = self.try_create(key, &body).await;
        self.storage.note_put(body.len(), created.as_ref().err());
        created
    }

    async fn try_create(&self, key: &Path, body: &Bytes) -> Result<Created, StoreError> {
        let what = format!("can't create {key}");
        for conflicts in 1..=CONFLICTS_MAX {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.storage.objects().put_opts(key, body.clone().into(), options);
            let put = async {
                match put.await {
                    Ok(_) => Ok(true),
                    Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if bounded(&what, put).await? {
                return Ok(Created::Now);
            }
            if let Some(bytes) = self.read(key).await? {
                return Ok(Created::Before(bytes));
            }
            tokio::time::sleep(CONFLICT_PAUSE * conflicts).await;
        }
        let message = format!("{key} is said to be there and isn't");
        Err(StoreError::new(&message, &"the store contradicts itself"))
    }

    async fn read(&self, key: &Path) -> Result<Option<Bytes>, StoreError> {
        self.storage.find(&format!("can't read {key}"), key).await
    }

    fn key(&self, job: &JobId, name: ReceiptName) -> Path {
        let hash = Sha256::digest(job.as_str().as_bytes());
        let folder = hex::encode(hash.get(..1).unwrap_or_default());
        self.storage.key(["receipts", &folder, &format!("{job}.{name}")])
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // This can't fail, since the values are plain structs of texts and numbers.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
