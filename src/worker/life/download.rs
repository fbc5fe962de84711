//! The download of one file of a task, with its retries, and whose fault it is when it fails.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::Actor;
use super::store::{COUNTING_MAX, lock};
use crate::images::Body;
use crate::job::StoredMedia;
use crate::job::answers::ResultFile;
use crate::job::image::{FetchError, Image};
use crate::job::step::{Blame, Others, Unstored};
use crate::storage::{MediaFault, StoreError};
use crate::worker::breaker::Cause;
use crate::worker::downloads::DownloadPermit;
use crate::worker::transfer;

/// After this time without a byte, a file is waited for, and not stored.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// An image, and the right to have it in memory.
pub(super) struct Downloaded {
    pub(super) image: Image,
    pub(super) permit: DownloadPermit,
}

/// What comes of the bytes of a file.
type Fetched<'a, T> = BoxFuture<'a, Result<T, FetchError>>;

/// A body that counts this life only while bytes come.
struct Uncounted<'a> {
    body: Box<dyn Body>,
    life: &'a Actor<'a>,
    /// A file that only passes through can't kill the process.
    counts: bool,
}

impl Actor<'_> {
    /// Downloads an image.
    pub(super) async fn download_image(&self, file: &ResultFile) -> Result<Downloaded, Unstored> {
        let (image, permit) = self.download(file, Self::read_image).await?;
        Ok(Downloaded { image, permit })
    }

    /// Downloads a video or a sound into the store, which may not take it.
    pub(super) async fn pass_on(
        &self,
        file: &ResultFile,
    ) -> Result<Result<StoredMedia, StoreError>, Unstored> {
        self.download(file, Self::stream).await.map(|(stored, _)| stored)
    }

    /// Downloads one file with its retries; `read` takes its bytes.
    async fn download<T>(
        &self,
        file: &ResultFile,
        read: for<'a> fn(&'a Self, &'a ResultFile, Box<dyn Body>) -> Fetched<'a, T>,
    ) -> Result<(T, DownloadPermit), Unstored> {
        let host = file.url.host_str().unwrap_or_default();
        let breaker = &self.shared.breaker;
        let mut attempt = 1;
        loop {
            let turn = lock(&self.storing.turn).take();
            if turn.is_none() && breaker.stands(Cause::Downloads) {
                lock(&self.storing.held).get_or_insert_with(|| breaker.hold(Cause::Downloads));
                return Err(waits_for_others());
            }
            let waiting = async {
                let permit = self.shared.downloads.place().await;
                let way = self.shared.limits.download().await;
                (permit, way, self.shared.images.open(&file.url, file.kind).await)
            };
            let (permit, way, opened) = self.uncounted_if_long(waiting).await;
            let fetched = match opened {
                Ok(body) => read(self, file, body).await,
                Err(error) => Err(error),
            };
            drop(way);
            match fetched {
                Ok(file) => {
                    self.shared.metrics.downloaded(true);
                    self.shared.downloads.note(&self.job.id, host);
                    breaker.worked(Cause::Downloads);
                    return Ok((file, permit));
                }
                Err(error) => {
                    self.shared.metrics.downloaded(false);
                    drop(permit);
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

    fn read_image<'a>(&'a self, _: &'a ResultFile, body: Box<dyn Body>) -> Fetched<'a, Image> {
        Box::pin(async move {
            let mut body = Uncounted { body, life: self, counts: true };
            while let Some(chunk) = body.chunk().await? {
                body.take(chunk);
            }
            body.body.image()
        })
    }

    fn stream<'a>(
        &'a self,
        file: &'a ResultFile,
        body: Box<dyn Body>,
    ) -> Fetched<'a, Result<StoredMedia, StoreError>> {
        Box::pin(async move {
            self.leave().await;
            let storage = &self.shared.storage;
            let identity = format!("{} {}", self.storing.task, body.identity());
            let upload = storage.begin_media(&self.job.id, file.kind, file.index, &identity);
            match transfer::stream(&mut Uncounted { body, life: self, counts: false }, upload).await {
                Ok(stored) => Ok(Ok(stored)),
                Err(MediaFault::Store(error)) => Ok(Err(error)),
                Err(MediaFault::File(error)) => Err(error),
            }
        })
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
}

#[async_trait]
impl Body for Uncounted<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let chunk = self.life.uncounted_if_long(self.body.chunk()).await?;
        if self.counts {
            self.life.count_again().await;
        }
        Ok(chunk)
    }

    fn identity(&self) -> String {
        self.body.identity()
    }

    fn located(&self, error: FetchError) -> FetchError {
        self.body.located(error)
    }

    fn take(&mut self, chunk: Bytes) {
        self.body.take(chunk);
    }

    fn image(self: Box<Self>) -> Result<Image, FetchError> {
        self.body.image()
    }
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
