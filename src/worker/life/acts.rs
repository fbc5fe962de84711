//! Each act of a life, and its report back.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::{Actor, Right};
use crate::clock;
use crate::images::{FetchError, Image};
use crate::job::event::{Context, Event};
use crate::job::pace::{Seed, backoff};
use crate::job::request::{DeadLetter, DeadReason};
use crate::job::step::{Expect, HandBack, Stored};
use crate::job::{Charged, Outcome, Reason, StoredImage, TaskId, Timings};
use crate::ledger::record::{Nonce, Stage, Unreadable};
use crate::ledger::{Entry, LedgerError};
use crate::provider::{Answer, ResultImage, View};
use crate::worker::breaker::{Cause, Mode};
use crate::worker::tell;

/// Between two tries at a service of our own.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// After a stop, a move of the ledger gets this long.
const LAST_MOVE: Duration = Duration::from_secs(2);

impl Actor<'_> {
    pub(super) async fn read(&mut self) -> Result<(), HandBack> {
        let ledger = &self.shared.ledger;
        let reading = self.until_known(|| ledger.read(&self.job.id));
        match self.interrupts.or(reading).await?? {
            Ok(record) => self.life.read(record, self.shared.clock.now()),
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    /// In the line, everything can be given up; once the ledger is asked, its answer is waited for.
    pub(super) async fn begin(&mut self, attempt: u32, round: u32) -> Result<(), HandBack> {
        let held = self.shared.metrics.held("waiting");
        // The right to the attempt before, if there was one, goes to the end of the line.
        self.right = None;
        let in_line = async {
            tokio::select! {
                biased;
                () = self.shared.breaker.closed() => None,
                place = self.shared.submits.place() => Some((place, self.shared.breaker.pass()?)),
            }
        };
        let Some((place, pass)) = self.interrupts.or(in_line).await? else { return Err(HandBack::Paused) };
        drop(held);
        let held = self.shared.metrics.held("submitting");
        let nonce = Nonce::new(uuid::Uuid::new_v4().simple().to_string());
        let asked = self.shared.clock.now();
        let ledger = &self.shared.ledger;
        let entry = Entry { job: &self.job.id, digest: &self.job.digest, round };
        let begun = self.until_known(|| ledger.begin(entry, attempt, &nonce)).await?;
        drop(held);
        match begun {
            Ok(moved) => {
                self.right = Some(Right { _place: place, _pass: pass });
                self.life.begun(moved, asked, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    /// The right to post came too late for this worker: it stops, or every job is refused by now.
    pub(super) fn must_not_post(&self) -> bool {
        let ending = self.interrupts.stop.is_cancelled() || self.interrupts.lost.is_cancelled();
        ending || self.shared.breaker.mode() == Mode::Closed
    }

    /// The one act that costs money: neither a stop nor a lost connection cuts it short.
    pub(super) async fn post(&mut self) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("submitting");
        // Dropped when this life thought that it would not post any more: the next delivery has it.
        let Some(body) = self.body.clone() else { return Err(HandBack::Unreadable) };
        let started = self.shared.clock.now();
        let answer = self.shared.provider.submit(body).await;
        let took = self.shared.clock.now().saturating_sub(started);
        self.shared.metrics.submitted(answer_label(&answer), took);
        self.shared.submits.note(&answer);
        self.shared.breaker.note(&answer);
        match &answer {
            Answer::Accepted(task) => tracing::info!(task_id = %task, "submitted"),
            Answer::Later(later) => tracing::debug!("not now: {}", later.message),
            Answer::Account(fault) => tracing::debug!("not accepted: {}", fault.message),
            Answer::Refused(refusal) => tracing::info!("refused: {}", refusal.message),
            Answer::Unknown { message, .. } => {
                tracing::warn!("whether it was accepted is unknown: {message}")
            }
        }
        self.life.answered(answer, took);
        Ok(())
    }

    pub(super) async fn accept(&mut self, attempt: u32, task: TaskId) -> Result<(), HandBack> {
        let ledger = &self.shared.ledger;
        let entry = Entry { job: &self.job.id, digest: &self.job.digest, round: self.life.round() };
        let noted = self.until_landed(|| ledger.accept(entry, attempt, &task)).await;
        self.right = None;
        match noted {
            Ok(record) => {
                match &record.stage {
                    Stage::Generating { task: known, .. } if *known == task => self.tell_submitted(&task),
                    Stage::Generating { task: known, .. } => {
                        tracing::error!(task_id = %task, known_task_id = %known, "this job has two tasks: paid for twice");
                    }
                    Stage::Done { .. } => {
                        tracing::warn!(task_id = %task, "accepted after the job was ended: a paid task that no event names");
                    }
                    Stage::New { .. } | Stage::Submitting { .. } => {}
                }
                self.life.accepted(record, self.shared.clock.now());
            }
            Err(unreadable) => {
                tracing::error!(task_id = %task, "a paid task that can't be noted: {unreadable}");
                self.life.unreadable();
            }
        }
        Ok(())
    }

    pub(super) async fn reopen(&mut self, attempt: u32, nonce: Nonce) -> Result<(), HandBack> {
        let ledger = &self.shared.ledger;
        match self.until_known(|| ledger.reopen(&self.job.id, attempt, &nonce)).await? {
            Ok(moved) => self.life.reopened(moved, self.shared.clock.now()),
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    pub(super) async fn look_on(&mut self, until: Duration) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("looking_on");
        self.right = None;
        let waiting = self.shared.hints.wait_for(&self.job.id);
        let either = async {
            tokio::select! {
                () = waiting.hint() => {}
                () = self.shared.clock.sleep_until(until) => {}
            }
        };
        self.interrupts.or(either).await?;
        self.read().await
    }

    pub(super) async fn poll(&mut self, task: TaskId, at: Duration) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("generating");
        self.original = None;
        self.interrupts.or(self.shared.clock.sleep_until(at)).await?;
        let querying = async {
            let _place = self.shared.polls.acquire().await;
            let asked = self.shared.clock.now();
            (self.shared.provider.query(&task).await, asked)
        };
        let (view, asked) = self.interrupts.or(querying).await?;
        self.shared.metrics.polled(view_label(&view));
        if let View::Unavailable { fault: Some(fault), .. } = &view {
            self.shared.breaker.account_fault(fault);
        }
        self.life.viewed(view, asked, self.shared.clock.now());
        Ok(())
    }

    pub(super) async fn store(&mut self, task: TaskId, images: Vec<ResultImage>) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("storing");
        let started = self.shared.clock.now();
        let each = images.iter().map(|image| self.store_one(image));
        let stored = match self.interrupts.or(try_join_all(each)).await? {
            Ok(images) => Stored::All(images),
            Err(problem) => {
                tracing::info!(task_id = %task, "the result is not stored yet: {problem:?}");
                problem
            }
        };
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
        let downloaded = self.download(image).await?;
        let mut failures = 0;
        loop {
            match self.shared.storage.put_image(&self.job.id, image.index, &downloaded).await {
                Ok(stored) => return Ok(stored),
                Err(error) => self.shared.breaker.fault(Cause::Storage, &error.to_string()),
            }
            failures += 1;
            self.rest(failures).await;
        }
    }

    async fn download(&self, image: &ResultImage) -> Result<Image, Stored> {
        let mut attempt = 1;
        loop {
            let place = self.shared.downloads.acquire().await;
            let fetched = self.shared.images.fetch(&image.url).await;
            drop(place);
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

    /// The first to freeze wins; the event is built before, from what this life saw.
    pub(super) async fn freeze(&mut self, outcome: Outcome, expect: Expect) -> Result<(), HandBack> {
        let _held = self.shared.metrics.held("telling");
        let round = self.life.round();
        let context = Context {
            source: &self.shared.settings.source,
            time_ms: clock::unix_ms(),
            round,
            timings: self.life.timings(),
            polls: self.life.polls(),
        };
        let event = Event::terminal(&self.job, &outcome, &context).body;
        let entry = Entry { job: &self.job.id, digest: &self.job.digest, round };
        let replaceable = is_replaceable(&outcome);
        let ledger = &self.shared.ledger;
        let freezing = self.until_known(|| ledger.freeze(entry, &expect, event.clone(), replaceable));
        // What our own POST came to is noted like an acceptance: to the next one it would be unknown.
        let frozen = match &expect {
            Expect::Submitting { .. } => freezing.await?,
            Expect::Unposted | Expect::Unfinished => self.interrupts.or(freezing).await??,
        };
        match frozen {
            Ok(frozen) => {
                if frozen == crate::job::step::Frozen::Event(event) {
                    self.note_outcome(&outcome);
                }
                self.life.frozen(frozen, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    pub(super) async fn conflict(&mut self) -> Result<(), HandBack> {
        let detail = "another job with this job_id and another input was there before".to_owned();
        let dead = DeadLetter { reason: DeadReason::Conflict, detail };
        tracing::warn!(reason = dead.reason.as_str(), "dead letter: {}", dead.detail);
        let Some(original) = &self.original else {
            // It had a task already, and Redis lost its record to another job: the next delivery has
            // the message to bury.
            tracing::error!("this job's record was lost, and another job has its id: look at its task ids");
            return Err(HandBack::Unreadable);
        };
        tell::bury(self.shared, original, &dead, self.interrupts).await?;
        self.life.told();
        Ok(())
    }

    /// A told job's record begins to expire. Should this be lost, the record only stays longer.
    pub(super) async fn remember(&self) {
        if let Err(error) = self.shared.ledger.told(&self.job.id, self.life.round()).await {
            tracing::debug!("the record will not expire: {error}");
        }
    }

    fn tell_submitted(&self, task: &TaskId) {
        if self.shared.settings.tell_submitted {
            let context = Context {
                source: &self.shared.settings.source,
                time_ms: clock::unix_ms(),
                round: self.life.round(),
                timings: self.life.timings(),
                polls: 0,
            };
            tell::unawaited(self.shared, &self.job, Event::submitted(&self.job, task, &context));
        }
    }

    fn note_outcome(&self, outcome: &Outcome) {
        let timings = self.life.timings();
        match outcome {
            Outcome::Succeeded(success) => {
                self.shared.metrics.job_finished("succeeded", "");
                let Timings { generate, store, .. } = timings;
                let images = success.images.len();
                tracing::info!(task_id = %success.task_id, images, generate_ms = generate, store_ms = store, "succeeded");
            }
            Outcome::Failed(failure) => {
                self.shared.metrics.job_finished("failed", failure.reason.as_str());
                let task_id = failure.task_id.as_ref().map(TaskId::as_str);
                tracing::info!(task_id, reason = failure.reason.as_str(), "failed: {}", failure.message);
            }
        }
        self.shared.metrics.timings(&timings);
    }

    fn unreadable(&mut self, unreadable: &Unreadable) {
        tracing::warn!("the job goes back to the queue: {unreadable}");
        self.life.unreadable();
    }

    /// Repeats a move of the ledger until its outcome is known; every script may run twice. A worker
    /// that stops while Redis is away doesn't wait for it.
    async fn until_known<T, F>(
        &self,
        ask: impl FnMut() -> F + Send,
    ) -> Result<Result<T, Unreadable>, HandBack>
    where
        F: Future<Output = Result<T, LedgerError>> + Send,
    {
        let patience = async {
            self.interrupts.stop.cancelled().await;
            tokio::time::sleep(LAST_MOVE).await;
        };
        tokio::select! {
            biased;
            result = self.until_landed(ask) => Ok(result),
            () = patience => Err(HandBack::Stopping),
        }
    }

    /// The same for what must not be lost: to the end of the process, if need be.
    async fn until_landed<T, F>(&self, mut ask: impl FnMut() -> F + Send) -> Result<T, Unreadable>
    where
        F: Future<Output = Result<T, LedgerError>> + Send,
    {
        let mut failures = 0;
        loop {
            match ask().await {
                Ok(value) => return Ok(value),
                Err(LedgerError::Unreadable(unreadable)) => return Err(unreadable),
                Err(LedgerError::Unavailable(message)) => self.shared.breaker.fault(Cause::Redis, &message),
            }
            failures += 1;
            self.rest(failures).await;
        }
    }

    async fn rest(&self, failures: u32) {
        tokio::time::sleep(backoff(failures, FIRST_RETRY, LAST_RETRY, Seed::of(&self.job.id))).await;
    }
}

/// A corrected input may take the place of a job that was wrong and cost nothing.
fn is_replaceable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded(_) => false,
        Outcome::Failed(failure) => {
            failure.reason == Reason::InvalidRequest && failure.charged == Charged::No
        }
    }
}

fn answer_label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted(_) => "accepted",
        Answer::Later(_) => "later",
        Answer::Account(_) => "account",
        Answer::Refused(_) => "refused",
        Answer::Unknown { .. } => "unknown",
    }
}

fn view_label(view: &View) -> &'static str {
    match view {
        View::Running => "running",
        View::Succeeded { .. } => "succeeded",
        View::Failed { .. } => "failed",
        View::NotFound { .. } => "not_found",
        View::Unavailable { .. } => "unavailable",
    }
}
