//! The acts of storing the images, which a life that was not the first to come so far is counted for:
//! what takes the process down takes it down here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::Actor;
use crate::images::{FetchError, Image};
use crate::job::step::{HandBack, Stored};
use crate::job::{StoredImage, TaskId};
use crate::provider::ResultImage;
use crate::worker::breaker::Cause;

/// A count that isn't taken back in time stays.
const LEAVING_MAX: Duration = Duration::from_secs(1);

/// This life among those that may have entered the storing of the job's images.
pub(super) struct Entry {
    /// `""` for the life that submitted the job, which is counted with its task.
    word: String,
    counted: AtomicBool,
    /// A job whose lives have died there enters alone, so that none is counted for another's death.
    alone: Option<OwnedMutexGuard<()>>,
    /// Its images that are stored already, while others are tried again. A job has images of one task only.
    kept: Mutex<BTreeMap<u32, StoredImage>>,
}

impl Entry {
    pub(super) fn none() -> Self {
        Self { word: String::new(), counted: AtomicBool::new(false), alone: None, kept: Mutex::default() }
    }

    /// The job's task was noted by this life, and this life was counted along.
    pub(super) fn with_task(&mut self) {
        self.counted = AtomicBool::new(true);
    }
}

impl Actor<'_> {
    pub(super) async fn enter(&mut self) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("storing");
        if self.life.is_suspect() {
            self.entry.alone = Some(self.interrupts.or(self.shared.lives.suspects()).await?);
        }
        self.entry.word = uuid::Uuid::new_v4().simple().to_string();
        let (ledger, word) = (&self.shared.ledger, &self.entry.word);
        let entering = self.until_known(|| ledger.enter(&self.job.id, word));
        match self.interrupts.or(entering).await?? {
            Ok(known) => {
                self.entry.counted = AtomicBool::new(true);
                self.life.entered(known, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    /// A hint is heeded while the images are on their way: its user may want them no more.
    pub(super) async fn store(&mut self, task: TaskId, images: Vec<ResultImage>) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("storing");
        let started = self.shared.clock.now();
        let all = async {
            tokio::select! {
                biased;
                all = join_all(images.iter().map(|image| self.store_one(image))) => Some(all.into_iter().collect()),
                () = self.cancelled() => None,
            }
        };
        let stored = match self.interrupts.or(all).await {
            Ok(Some(Ok::<Vec<_>, Stored>(images))) => Stored::All(images),
            Ok(Some(Err(problem))) => {
                tracing::info!(task_id = %task, "the result is not stored yet: {problem:?}");
                problem
            }
            Ok(None) => return self.heed().await,
            Err(why) => {
                self.leave().await;
                return Err(why);
            }
        };
        self.entry.alone = None;
        let now = self.shared.clock.now();
        let took = now.saturating_sub(started);
        if matches!(stored, Stored::All(_)) {
            self.shared.metrics.stored(took);
        }
        self.life.stored(stored, took, now);
        Ok(())
    }

    /// One image: downloaded, checked, and in the store under its final name.
    async fn store_one(&self, image: &ResultImage) -> Result<StoredImage, Stored> {
        let kept = || self.entry.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = kept().get(&image.index) {
            return Ok(stored.clone());
        }
        let downloaded = self.download(image).await?;
        let mut failures = 0;
        loop {
            match self.shared.storage.put_image(&self.job.id, image.index, &downloaded).await {
                Ok(stored) => {
                    kept().insert(image.index, stored.clone());
                    return Ok(stored);
                }
                Err(error) => self.shared.breaker.fault(Cause::Storage, &error.to_string()),
            }
            // Whoever dies from here on has died waiting.
            self.leave().await;
            failures += 1;
            self.rest(failures).await;
        }
    }

    async fn download(&self, image: &ResultImage) -> Result<Image, Stored> {
        let mut attempt = 1;
        loop {
            let place = self.shared.downloads.acquire().await;
            let way = self.shared.limits.download().await;
            let fetched = self.shared.images.fetch(&image.url).await;
            drop((way, place));
            match fetched {
                Ok(image) => return Ok(image),
                Err(FetchError::Gone(message)) => return Err(Stored::Gone(message)),
                Err(FetchError::Invalid(message)) => return Err(Stored::Invalid(message)),
                Err(FetchError::Again(message)) if attempt >= self.shared.settings.download_attempts => {
                    return Err(Stored::Failed(message));
                }
                Err(FetchError::Again(_)) => self.rest(attempt).await,
            }
            attempt += 1;
        }
    }

    /// Until the ledger says that the user wants the job no more; asked only when a hint comes.
    async fn cancelled(&self) {
        loop {
            self.hints.look().await;
            if self.look().await.is_ok_and(|known| known.cancelled) {
                return;
            }
        }
    }

    /// Alive, and without an end: this entry is none that counts.
    async fn leave(&self) {
        if self.entry.counted.swap(false, Ordering::Relaxed) {
            let leaving = self.shared.ledger.leave(&self.job.id, &self.entry.word);
            let _ = timeout(LEAVING_MAX, leaving).await;
        }
    }
}
