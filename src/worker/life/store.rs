//! The files of a task are stored. Lives that get here after the first one are counted, because an image that kills the
//! process does so here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::Actor;
use super::download::Downloaded;
use super::record::readable;
use crate::job::answers::ResultFile;
use crate::job::stage::JobStage;
use crate::job::step::{Input, RequeueReason, Stored, Storing, Unstored, together};
use crate::job::{FileKind, Made, StoredFile, StoredImage, StoredMedia};
use crate::storage::StoreError;
use crate::worker::breaker::{Cause, Held, Turn};

/// A count that isn't made or taken back within this time stays as it is.
pub(super) const COUNTING_MAX: Duration = Duration::from_secs(1);

/// The state of this life while it stores the job's files.
pub(super) struct FileStoring {
    /// The name under which this entry is counted. `None` before it has one; `""` for the life that submitted the
    /// job, which is counted together with its task.
    pub(super) word: Option<String>,
    pub(super) counted: AtomicBool,
    /// A job whose lives have died here enters alone, so that no other job is counted for its death.
    alone: Option<OwnedMutexGuard<()>>,
    /// The task whose files they are.
    pub(super) task: String,
    /// The job's files that are stored already, while others are retried. A job has files of one task only.
    kept: Mutex<BTreeMap<(FileKind, u32), StoredFile>>,
    /// When a download of this job first failed in this life.
    pub(super) failing_since: Mutex<Option<Instant>>,
    /// For how long the files have been tried in vain, as the ledger knows it.
    told: Mutex<Option<Duration>>,
    /// This job's turn to try, while downloads work for no job.
    pub(super) turn: Mutex<Option<Turn>>,
    /// Set while this job is held because a download failed.
    pub(super) held: Mutex<Option<Held>>,
}

impl FileStoring {
    pub(super) fn none() -> Self {
        Self {
            word: None,
            counted: AtomicBool::new(false),
            alone: None,
            task: String::new(),
            kept: Mutex::default(),
            failing_since: Mutex::default(),
            told: Mutex::default(),
            turn: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// This life has noted the job's task, and was counted in the same move.
    pub(super) fn with_task(&mut self) {
        self.word = Some(String::new());
        self.counted = AtomicBool::new(true);
    }
}

impl Actor<'_> {
    pub(super) async fn enter(&mut self, storing: &Storing) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Storing);
        if storing.is_suspect() {
            self.storing.alone = Some(self.interrupts.or(self.shared.lives.suspects()).await?);
        }
        let word = self.storing.word.take().unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let ledger = &self.shared.ledger;
        let entering = self.until_known(|| ledger.enter(&self.job.id, &word));
        let entered = self.interrupts.or(entering).await;
        self.storing.word = Some(word);
        let entered = entered??;
        if entered.is_ok() {
            self.storing.counted = AtomicBool::new(true);
        }
        Ok(readable(entered, Input::Record))
    }

    /// Stores the files. It reacts to a hint meanwhile, because the user may have cancelled the job; `None` if the
    /// record could not be read then.
    pub(super) async fn store(&mut self, storing: &Storing) -> Result<Option<Input>, RequeueReason> {
        self.held.at(JobStage::Storing);
        storing.task().as_str().clone_into(&mut self.storing.task);
        let started = self.shared.clock.now();
        let all = async {
            tokio::select! {
                biased;
                all = join_all(storing.files().iter().map(|file| self.store_one(file))) => Some(all),
                () = self.cancelled() => None,
            }
        };
        let stored = match self.interrupts.or(all).await {
            Ok(Some(files)) => match together(files) {
                Ok(files) => Stored::All(Made::of(files)),
                Err(why) => Stored::Not(why),
            },
            Ok(None) => return self.heed().await,
            Err(why) => {
                self.leave().await;
                return Err(why);
            }
        };
        self.storing.alone = None;
        let now = self.shared.clock.now();
        let took = now.saturating_sub(started);
        match &stored {
            Stored::All(_) => self.shared.metrics.stored(took),
            Stored::Not(why) if self.machine.tried().is_none() => {
                tracing::info!(task_id = %storing.task(), "the results are not stored yet, and are tried again: {}", why.message);
            }
            Stored::Not(why) => {
                tracing::debug!(task_id = %storing.task(), "the results are not stored yet: {}", why.message);
            }
        }
        Ok(Some(Input::Stored { stored, took }))
    }

    /// Downloads one file, checks it, and stores it under its final name.
    async fn store_one(&self, file: &ResultFile) -> Result<StoredFile, Unstored> {
        let kept = || lock(&self.storing.kept);
        let name = (file.kind, file.index);
        if let Some(stored) = kept().get(&name) {
            return Ok(stored.clone());
        }
        let (stored, bytes) = match file.kind {
            FileKind::Image => {
                let image = self.store_image(file).await?;
                let bytes = image.bytes;
                (StoredFile::Image(image), bytes)
            }
            FileKind::Video => {
                let video = self.store_media(file).await?;
                let bytes = video.bytes;
                (StoredFile::Video(video), bytes)
            }
            FileKind::Audio => {
                let audio = self.store_media(file).await?;
                let bytes = audio.bytes;
                (StoredFile::Audio(audio), bytes)
            }
        };
        self.shared.metrics.file_stored(bytes);
        kept().insert(name, stored.clone());
        Ok(stored)
    }

    async fn store_image(&self, file: &ResultFile) -> Result<StoredImage, Unstored> {
        // The permit is kept until the image is stored, so few images are in memory while the store accepts none.
        let Downloaded { image, permit: _permit } = self.download_image(file).await?;
        let breaker = &self.shared.breaker;
        let mut held = None;
        loop {
            let turn = self.turn_to_store().await;
            match self.shared.storage.put_image(&self.job.id, file.index, &image).await {
                Ok(stored) => {
                    self.was_taken(turn).await;
                    return Ok(stored);
                }
                Err(error) => {
                    held.get_or_insert_with(|| breaker.hold(Cause::Images));
                    self.refused(turn, &error);
                }
            }
        }
    }

    /// A video or a sound isn't kept in memory while the store fails, so it is downloaded again once the store works.
    async fn store_media(&self, file: &ResultFile) -> Result<StoredMedia, Unstored> {
        let breaker = &self.shared.breaker;
        let mut held = None;
        loop {
            let turn = self.turn_to_store().await;
            // The store is tried with a small thing before all of a large one is fetched for it, and the turn is not
            // kept while that one comes.
            let probed = if turn.is_probe() { self.shared.storage.probe().await.map(drop) } else { Ok(()) };
            match probed {
                Ok(()) if turn.is_probe() => turn.worked(),
                Ok(()) => drop(turn),
                Err(error) => {
                    held.get_or_insert_with(|| breaker.hold(Cause::Images));
                    self.refused(turn, &error);
                    continue;
                }
            }
            match self.pass_on(file).await? {
                Ok(stored) => return Ok(stored),
                Err(error) => {
                    held.get_or_insert_with(|| breaker.hold(Cause::Images));
                    breaker.fault(Cause::Images, &error);
                }
            }
        }
    }

    async fn turn_to_store(&self) -> Turn {
        if self.shared.breaker.stands(Cause::Images) {
            // A life that dies from here on was only waiting.
            self.leave().await;
        }
        self.shared.breaker.turn(Cause::Images).await
    }

    /// The store has refused a file, which will be tried again.
    fn refused(&self, turn: Turn, error: &StoreError) {
        turn.failed(error);
        self.shared.breaker.fault(Cause::Images, error);
    }

    /// Decides whether an accepted image ends the cause: it says nothing about a larger image that was refused, for
    /// example by a nearly full store.
    async fn was_taken(&self, turn: Turn) {
        let storage = &self.shared.storage;
        if storage.refused_bytes() == 0 {
            turn.worked();
        } else if turn.is_probe() {
            match storage.probe().await {
                Ok(_) => turn.worked(),
                Err(error) => turn.failed(&error),
            }
        }
    }

    /// Waits until the ledger says that the user has cancelled the job. It asks only after a hint.
    async fn cancelled(&self) {
        loop {
            self.hints.look().await;
            if self.look().await.is_ok_and(|known| known.cancelled) {
                return;
            }
        }
    }

    /// Takes this life's count back: it is alive and no image has killed it. The same move stores for how long the
    /// images have been tried.
    pub(super) async fn leave(&self) {
        let tried = self.machine.tried();
        let told = || lock(&self.storing.told);
        let is_told = tried.is_none() || *told() == tried;
        if self.storing.counted.swap(false, Ordering::Relaxed) || !is_told {
            let word = self.storing.word.as_deref().unwrap_or_default();
            let leaving = self.shared.ledger.leave(&self.job.id, word, tried);
            if matches!(timeout(COUNTING_MAX, leaving).await, Ok(Ok(()))) {
                *told() = tried;
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
