//! The images of a task are downloaded and stored. Lives that get here after the first one are counted, because an
//! image that kills the process does so here.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::Actor;
use super::record::readable;
use crate::images::Body;
use crate::job::answers::ResultFile;
use crate::job::image::{FetchError, Image};
use crate::job::route::Makes;
use crate::job::stage::JobStage;
use crate::job::step::{Blame, Input, Others, RequeueReason, Stored, Storing, Unstored, together};
use crate::job::{Made, StoredImage};
use crate::worker::breaker::{Cause, Held, Turn};
use crate::worker::downloads::DownloadPermit;

/// A count that isn't made or taken back within this time stays as it is.
const COUNTING_MAX: Duration = Duration::from_secs(1);
/// After this time without a byte, an image is waited for, and not stored.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// The state of this life while it stores the job's images.
pub(super) struct ImageStoring {
    /// The name under which this entry is counted. `None` before it has one; `""` for the life that submitted the
    /// job, which is counted together with its task.
    word: Option<String>,
    counted: AtomicBool,
    /// A job whose lives have died here enters alone, so that no other job is counted for its death.
    alone: Option<OwnedMutexGuard<()>>,
    /// The job's images that are stored already, while others are retried. A job has images of one task only.
    kept: Mutex<BTreeMap<u32, StoredImage>>,
    /// When a download of this job first failed in this life.
    failing_since: Mutex<Option<Instant>>,
    /// For how long the images have been tried in vain, as the ledger knows it.
    told: Mutex<Option<Duration>>,
    /// This job's turn to try, while downloads work for no job.
    turn: Mutex<Option<Turn>>,
    /// Set while this job is held because a download failed.
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

    /// This life has noted the job's task, and was counted in the same move.
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

    /// Stores the images. It reacts to a hint meanwhile, because the user may have cancelled the job; `None` if the
    /// record could not be read then.
    pub(super) async fn store(&mut self, storing: &Storing) -> Result<Option<Input>, RequeueReason> {
        self.held.at(JobStage::Storing);
        let makes = self.route()?.data.makes;
        let started = self.shared.clock.now();
        let all = async {
            tokio::select! {
                biased;
                all = join_all(storing.files().iter().map(|image| self.store_one(image))) => Some(all),
                () = self.cancelled() => None,
            }
        };
        let stored = match self.interrupts.or(all).await {
            Ok(Some(images)) => match (together(images), makes) {
                (Ok(images), Makes::Images) => Stored::All(Made::Images(images)),
                (Err(why), _) => Stored::Not(why),
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
                tracing::info!(task_id = %storing.task(), "the images are not stored yet, and are tried again: {}", why.message);
            }
            Stored::Not(why) => {
                tracing::debug!(task_id = %storing.task(), "the images are not stored yet: {}", why.message);
            }
        }
        Ok(Some(Input::Stored { stored, took }))
    }

    /// Downloads one image, checks it, and stores it under its final name.
    async fn store_one(&self, image: &ResultFile) -> Result<StoredImage, Unstored> {
        let kept = || lock(&self.storing.kept);
        if let Some(stored) = kept().get(&image.index) {
            return Ok(stored.clone());
        }
        // The permit is kept until the image is stored, so few images are in memory while the store accepts none.
        let Downloaded { image: downloaded, place: _place } = self.download(image).await?;
        let breaker = &self.shared.breaker;
        let mut held = None;
        loop {
            if breaker.stands(Cause::Images) {
                // A life that dies from here on was only waiting.
                self.leave().await;
            }
            let turn = breaker.turn(Cause::Images).await;
            match self.shared.storage.put_image(&self.job.id, image.index, &downloaded).await {
                Ok(stored) => {
                    self.shared.metrics.file_stored(stored.bytes);
                    self.was_taken(turn).await;
                    kept().insert(image.index, stored.clone());
                    return Ok(stored);
                }
                Err(error) => {
                    turn.failed(&error);
                    held.get_or_insert_with(|| breaker.hold(Cause::Images));
                    breaker.fault(Cause::Images, &error);
                }
            }
        }
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

    async fn download(&self, image: &ResultFile) -> Result<Downloaded, Unstored> {
        let host = image.url.host_str().unwrap_or_default();
        let breaker = &self.shared.breaker;
        let mut attempt = 1;
        loop {
            let turn = lock(&self.storing.turn).take();
            if turn.is_none() && breaker.stands(Cause::Downloads) {
                lock(&self.storing.held).get_or_insert_with(|| breaker.hold(Cause::Downloads));
                return Err(waits_for_others());
            }
            let waiting = async {
                let place = self.shared.downloads.place().await;
                let way = self.shared.limits.download().await;
                (place, way, self.shared.images.open(&image.url).await)
            };
            let (place, way, opened) = self.uncounted_if_long(waiting).await;
            let fetched = match opened {
                Ok(body) => self.read_image(body).await,
                Err(error) => Err(error),
            };
            drop(way);
            match fetched {
                Ok(image) => {
                    self.shared.metrics.downloaded(true);
                    self.shared.downloads.note(&self.job.id, host);
                    breaker.worked(Cause::Downloads);
                    return Ok(Downloaded { image, place });
                }
                Err(error) => {
                    self.shared.metrics.downloaded(false);
                    drop(place);
                    // No image is in memory, so a life that dies from here on was not killed by one.
                    self.leave().await;
                    let failing = self.failing();
                    // A file that is not an image has still arrived, so the network and the host work.
                    match (turn, error.trouble.blame()) {
                        (Some(turn), Blame::Host | Blame::Network) => turn.failed(&error),
                        (Some(turn), Blame::Job) => drop(turn),
                        (None, Blame::Job | Blame::Host | Blame::Network) => {}
                    }
                    lock(&self.storing.held).get_or_insert_with(|| breaker.hold(Cause::Downloads));
                    let job = &self.job.id;
                    if let Some(outage) = self.shared.downloads.failed(job, &error, failing) {
                        breaker.fault(Cause::Downloads, outage);
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

    async fn read_image(&self, mut body: Box<dyn Body>) -> Result<Image, FetchError> {
        loop {
            let chunk = self.uncounted_if_long(body.chunk()).await?;
            self.count_again().await;
            match chunk {
                Some(chunk) => body.take(chunk)?,
                None => return body.image(),
            }
        }
    }

    /// Waits for the network. If that takes long, this life's count is taken back meanwhile: a life that dies then
    /// was not killed by an image.
    async fn uncounted_if_long<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        match timeout(LONG_WAIT, waiting.as_mut()).await {
            Ok(value) => value,
            Err(_elapsed) => {
                self.leave().await;
                waiting.await
            }
        }
    }

    /// Counts this life again after a long wait, before it has bytes of an image in its hands.
    async fn count_again(&self) {
        if !self.storing.counted.swap(true, Ordering::Relaxed) {
            let word = self.storing.word.as_deref().unwrap_or_default();
            // If Redis doesn't answer, the bytes that have come are worth more than the count.
            let _ = timeout(COUNTING_MAX, self.shared.ledger.enter(&self.job.id, word)).await;
        }
    }

    /// Since when this job's downloads fail in this life.
    fn failing(&self) -> Instant {
        *lock(&self.storing.failing_since).get_or_insert_with(Instant::now)
    }

    /// Gives this job's turn, if it has one, to another job.
    pub(super) fn leave_turn(&self) {
        drop(lock(&self.storing.turn).take());
    }

    /// Waits for this job's turn to try while downloads work for no job. The life asks for the URLs after that.
    pub(super) async fn turn_to_download(&self) {
        self.leave_turn();
        if self.machine.tried().is_some() && self.shared.breaker.stands(Cause::Downloads) {
            let turn = Box::pin(self.shared.breaker.turn(Cause::Downloads)).await;
            *lock(&self.storing.turn) = turn.is_probe().then_some(turn);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The failure of a job that waits while downloads work for no job and another job tries.
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
