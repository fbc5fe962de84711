//! The acts of storing the images, which a life that was not the first to come so far is counted for:
//! what takes the process down takes it down here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::Actor;
use crate::job::answers::ResultImage;
use crate::job::image::{FetchError, Image};
use crate::job::step::{Blame, Others, RequeueReason, Stored, Unstored, together};
use crate::job::{StoredImage, TaskId};
use crate::worker::breaker::{Cause, Held, Turn};
use crate::worker::downloads::DownloadPermit;

/// A count that isn't taken back in time stays.
const LEAVING_MAX: Duration = Duration::from_secs(1);

/// This life among those that may have entered the storing of the job's images.
pub(super) struct ImageStoring {
    /// `None` before it has one; `""` for the life that submitted the job, which is counted with its task.
    word: Option<String>,
    counted: AtomicBool,
    /// A job whose lives have died there enters alone, so that none is counted for another's death.
    alone: Option<OwnedMutexGuard<()>>,
    /// Its images that are stored already, while others are tried again. A job has images of one task only.
    kept: Mutex<BTreeMap<u32, StoredImage>>,
    /// When a download of this job failed first, in this life.
    failing_since: Mutex<Option<Instant>>,
    /// For how long the images have been tried for in vain, as the ledger knows.
    told: Mutex<Option<Duration>>,
    /// While downloads work for no job: this one's turn to try.
    turn: Mutex<Option<Turn>>,
    /// This job is held with a download that failed.
    held: Mutex<Option<Held>>,
}

impl ImageStoring {
    pub(super) fn none() -> Self {
        Self {
            word: None,
            counted: AtomicBool::new(false),
            alone: None,
            kept: Mutex::default(),
            failing_since: Mutex::default(),
            told: Mutex::default(),
            turn: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// The job's task was noted by this life, and this life was counted along.
    pub(super) fn with_task(&mut self) {
        self.word = Some(String::new());
        self.counted = AtomicBool::new(true);
    }
}

/// An image, and the right to have it in memory.
struct Downloaded {
    image: Image,
    place: DownloadPermit,
}

impl Actor<'_> {
    pub(super) async fn enter(&mut self) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("storing");
        if self.life.is_suspect() {
            self.entry.alone = Some(self.interrupts.or(self.shared.lives.suspects()).await?);
        }
        let word = self.entry.word.take().unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let ledger = &self.shared.ledger;
        let entering = self.until_known(|| ledger.enter(&self.job.id, &word));
        let entered = self.interrupts.or(entering).await;
        self.entry.word = Some(word);
        match entered?? {
            Ok(known) => {
                self.entry.counted = AtomicBool::new(true);
                self.life.entered(known, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    /// A hint is heeded while the images are on their way: its user may want them no more.
    pub(super) async fn store(
        &mut self,
        task: TaskId,
        images: Vec<ResultImage>,
    ) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("storing");
        let started = self.shared.clock.now();
        let all = async {
            tokio::select! {
                biased;
                all = join_all(images.iter().map(|image| self.store_one(image))) => Some(all),
                () = self.cancelled() => None,
            }
        };
        let stored = match self.interrupts.or(all).await {
            Ok(Some(images)) => together(images).map_or_else(Stored::Not, Stored::All),
            Ok(None) => return self.heed().await,
            Err(why) => {
                self.leave().await;
                return Err(why);
            }
        };
        self.entry.alone = None;
        let now = self.shared.clock.now();
        let took = now.saturating_sub(started);
        match &stored {
            Stored::All(_) => self.shared.metrics.stored(took),
            Stored::Not(why) if self.life.tried().is_none() => {
                tracing::info!(task_id = %task, "the images are not stored yet, and are tried again: {}", why.message);
            }
            Stored::Not(why) => {
                tracing::debug!(task_id = %task, "the images are not stored yet: {}", why.message);
            }
        }
        self.life.stored(stored, took, now);
        // It waits from here on, and a life that dies waiting is none that its images have killed.
        if self.life.tried().is_some() {
            self.leave().await;
        }
        Ok(())
    }

    /// One image: downloaded, checked, and in the store under its final name.
    async fn store_one(&self, image: &ResultImage) -> Result<StoredImage, Unstored> {
        let kept = || lock(&self.entry.kept);
        if let Some(stored) = kept().get(&image.index) {
            return Ok(stored.clone());
        }
        // The place is kept until the image is stored, so a store that takes none leaves few images in memory.
        let Downloaded { image: downloaded, place: _place } = self.download(image).await?;
        let breaker = &self.shared.breaker;
        let mut held = None;
        loop {
            if breaker.stands(Cause::Images) {
                // Whoever dies from here on has died waiting.
                self.leave().await;
            }
            let turn = breaker.turn(Cause::Images).await;
            match self.shared.storage.put_image(&self.job.id, image.index, &downloaded).await {
                Ok(stored) => {
                    self.was_taken(turn).await;
                    kept().insert(image.index, stored.clone());
                    return Ok(stored);
                }
                Err(error) => {
                    let message = error.to_string();
                    turn.failed(&message);
                    held.get_or_insert_with(|| breaker.hold(Cause::Images));
                    breaker.fault(Cause::Images, &message);
                }
            }
        }
    }

    /// An image that is taken says nothing about a larger one that was refused, as by a store that is nearly full.
    async fn was_taken(&self, turn: Turn) {
        let storage = &self.shared.storage;
        if storage.refused_bytes() == 0 {
            turn.worked();
        } else if turn.is_probe() {
            match storage.probe().await {
                Ok(_) => turn.worked(),
                Err(error) => turn.failed(&error.to_string()),
            }
        }
    }

    async fn download(&self, image: &ResultImage) -> Result<Downloaded, Unstored> {
        let host = image.url.host_str().unwrap_or_default();
        let breaker = &self.shared.breaker;
        let mut attempt = 1;
        loop {
            let turn = lock(&self.entry.turn).take();
            if turn.is_none() && breaker.stands(Cause::Downloads) {
                lock(&self.entry.held).get_or_insert_with(|| breaker.hold(Cause::Downloads));
                return Err(waits_for_others());
            }
            let place = self.shared.downloads.place().await;
            let way = self.shared.limits.download().await;
            let fetched = self.shared.images.fetch(&image.url).await;
            drop(way);
            match fetched {
                Ok(image) => {
                    self.shared.downloads.note(&self.job.id, host);
                    breaker.worked(Cause::Downloads);
                    return Ok(Downloaded { image, place });
                }
                Err(error) => {
                    drop(place);
                    // No image is here: a life that dies from here on has died of something else.
                    self.leave().await;
                    let failing = self.failing();
                    // An image that is none has come by a way that works.
                    match (turn, error.trouble.blame()) {
                        (Some(turn), Blame::Host | Blame::Network) => turn.failed(&error.message),
                        (Some(turn), Blame::Job) => drop(turn),
                        (None, Blame::Job | Blame::Host | Blame::Network) => {}
                    }
                    lock(&self.entry.held).get_or_insert_with(|| breaker.hold(Cause::Downloads));
                    let (job, trouble) = (&self.job.id, error.trouble);
                    if let Some(outage) = self.shared.downloads.failed(job, trouble, failing, &error.message)
                    {
                        breaker.fault(Cause::Downloads, &outage);
                    }
                    let paused = breaker.stands(Cause::Downloads);
                    let is_last = attempt >= self.shared.settings.download_attempts;
                    if paused || is_last || !error.trouble.may_pass() {
                        return Err(unstored(
                            error,
                            self.shared.downloads.others(job, host, failing),
                            paused,
                        ));
                    }
                }
            }
            self.rest(attempt).await;
            attempt += 1;
        }
    }

    /// Since when this job's downloads fail, in this life.
    fn failing(&self) -> Instant {
        *lock(&self.entry.failing_since).get_or_insert_with(Instant::now)
    }

    /// It is another's turn, where this job had it.
    pub(super) fn leave_turn(&self) {
        drop(lock(&self.entry.turn).take());
    }

    /// Until it is this job's turn to try, where downloads work for none. Its URLs are asked for after that.
    pub(super) async fn turn_to_download(&self) {
        self.leave_turn();
        if self.life.tried().is_some() && self.shared.breaker.stands(Cause::Downloads) {
            let turn = Box::pin(self.shared.breaker.turn(Cause::Downloads)).await;
            *lock(&self.entry.turn) = turn.is_probe().then_some(turn);
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

    /// Alive, and without an end: this entry is none that counts. For how long the images have been tried for is handed on
    /// with that.
    pub(super) async fn leave(&self) {
        let tried = self.life.tried();
        let told = || lock(&self.entry.told);
        let is_told = tried.is_none() || *told() == tried;
        if self.entry.counted.swap(false, Ordering::Relaxed) || !is_told {
            let word = self.entry.word.as_deref().unwrap_or_default();
            let leaving = self.shared.ledger.leave(&self.job.id, word, tried);
            if matches!(timeout(LEAVING_MAX, leaving).await, Ok(Ok(()))) {
                *told() = tried;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Downloads work for no job, and another one tries.
fn waits_for_others() -> Unstored {
    Unstored {
        blame: Blame::Network,
        is_no_image: false,
        needs_fresh_url: false,
        others: Others::None,
        paused: true,
        message: "downloads work for no job just now".to_owned(),
    }
}

fn unstored(error: FetchError, others: Others, paused: bool) -> Unstored {
    let FetchError { trouble, message } = error;
    Unstored {
        blame: trouble.blame(),
        is_no_image: trouble.is_no_image(),
        needs_fresh_url: trouble.spends_url(),
        others,
        paused,
        message,
    }
}
