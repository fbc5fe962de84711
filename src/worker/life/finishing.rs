//! The acts from the first poll to the acknowledgement.

use std::time::Duration;

use bytes::Bytes;

use super::{Actor, Submission};
use crate::clock;
use crate::job::answers::TaskStatus;
use crate::job::event::{Context, Event};
use crate::job::record::Unreadable;
use crate::job::step::{EventSource, FreezePrecondition, FreezeResult, RequeueReason};
use crate::job::{Charged, Outcome, Reason, TaskId, Timings};
use crate::ledger::hints::Hint;
use crate::provider::NOBODYS_TASK;

impl Actor<'_> {
    pub(super) async fn poll(&mut self, task: TaskId, at: Duration) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("generating");
        let holds_body = matches!(self.submission, Submission::InMessage);
        if !holds_body && (!self.shared.settings.receipts || self.life.is_noted()) {
            self.original = None;
        }
        let hinted = async {
            tokio::select! {
                biased;
                () = self.due(at) => None,
                hint = self.hints.hint() => Some(hint),
            }
        };
        match self.interrupts.or(hinted).await? {
            Some(Hint::Look) => return self.heed().await,
            Some(Hint::Poll) => {
                self.watch.called();
                self.life.pulled(self.shared.clock.now());
                return Ok(());
            }
            None => {}
        }
        let querying = async {
            let _place = self.shared.polls.acquire().await;
            let asked = self.shared.clock.now();
            (self.shared.provider.query(&task).await, asked)
        };
        let (view, asked) = self.interrupts.or(querying).await?;
        self.shared.metrics.polled(view_label(&view));
        if let TaskStatus::Unavailable { fault: Some(fault), .. } = &view {
            self.shared.breaker.account_fault(fault);
        }
        if !matches!(&view, TaskStatus::Succeeded { .. }) {
            self.leave_turn();
        }
        self.learn(&view, asked);
        match view {
            TaskStatus::Unavailable { message, fault: None, .. }
                if self.life.is_overdue(asked)
                    && self.interrupts.or(Box::pin(self.answers_about_others())).await? =>
            {
                tracing::info!(task_id = %task, "overdue, and no answer about this task alone: {message}");
                self.life.viewed_in_vain(message, asked, self.shared.clock.now());
            }
            TaskStatus::Running
            | TaskStatus::Succeeded { .. }
            | TaskStatus::Failed { .. }
            | TaskStatus::NotFound { .. }
            | TaskStatus::Unavailable { .. } => self.life.viewed(view, asked, self.shared.clock.now()),
        }
        Ok(())
    }

    async fn due(&self, at: Duration) {
        self.shared.clock.sleep_until(at).await;
        self.turn_to_download().await;
    }

    /// Whether the provider can say of a task id that doesn't exist that there is no such task.
    async fn answers_about_others(&self) -> bool {
        let _place = self.shared.polls.acquire().await;
        let Some(nobodys) = TaskId::new(NOBODYS_TASK) else { return false };
        matches!(self.shared.provider.query(&nobodys).await, TaskStatus::NotFound { .. })
    }

    /// Learns from a poll at `asked` how long tasks take.
    fn learn(&mut self, view: &TaskStatus, asked: Duration) {
        let Some(age) = self.life.age(asked) else { return };
        match view {
            TaskStatus::Running | TaskStatus::NotFound { .. } => self.watch.running(age),
            TaskStatus::Succeeded { .. } | TaskStatus::Failed { .. } => {
                let called = self.watch.was_called();
                if let Some(ended) = self.watch.ended(age) {
                    self.shared.learning.saw(&self.job, ended, called);
                    if !called {
                        self.shared.metrics.end_seen(ended.until.saturating_sub(ended.after));
                    }
                }
            }
            TaskStatus::Unavailable { .. } => {}
        }
    }

    /// Reads the record after a hint: the user may have cancelled the job, and the ledger must count the task. If the
    /// read fails, the generation goes on; when Redis is back, another hint follows.
    pub(super) async fn heed(&mut self) -> Result<(), RequeueReason> {
        if let Ok(known) = self.interrupts.or(self.look()).await? {
            self.life.hinted(&known);
        }
        Ok(())
    }

    /// Seals the outcome; the first life to seal wins. The event is worded before that, from what this life saw.
    pub(super) async fn seal(
        &mut self,
        outcome: Outcome,
        corrects: Option<Bytes>,
    ) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("telling");
        let supersedes = corrects.and_then(Event::from_stored).map(|event| event.id);
        let event = self.words(&outcome, supersedes.as_deref());
        let receipts = &self.shared.receipts;
        let id = &self.job.id;
        let sealed = match supersedes {
            Some(_) => self.until_stored(|| receipts.seal_correction(id, event.clone())).await?,
            None => self.until_stored(|| receipts.seal(id, event.clone())).await?,
        };
        if sealed == event {
            self.note_outcome(&outcome);
        }
        self.life.sealed(sealed);
        Ok(())
    }

    /// Freezes the event; the first life to freeze wins. An event that a receipt has sealed was already decided.
    pub(super) async fn freeze(
        &mut self,
        words: EventSource,
        expect: FreezePrecondition,
    ) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("telling");
        let (event, outcome) = match words {
            EventSource::Sealed(event) => (event, None),
            EventSource::New(outcome) => (self.words(&outcome, None), Some(outcome)),
        };
        let entry = self.entry(self.life.round());
        let replaceable = outcome.as_deref().is_some_and(is_replaceable);
        let ledger = &self.shared.ledger;
        let freezing = self.until_known(|| ledger.freeze(entry, &expect, event.clone(), replaceable));
        // The outcome of our own POST is noted like an acceptance, or it would be unknown to the next life.
        let frozen = match &expect {
            FreezePrecondition::Submitting { .. } => freezing.await?,
            FreezePrecondition::Unposted
            | FreezePrecondition::Unfinished
            | FreezePrecondition::Correcting { .. } => self.interrupts.or(freezing).await??,
        };
        match frozen {
            Ok(frozen) => {
                if let Some(outcome) = outcome
                    && frozen == FreezeResult::Event(event)
                {
                    self.note_outcome(&outcome);
                }
                self.life.frozen(frozen, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    fn words(&self, outcome: &Outcome, supersedes: Option<&str>) -> Bytes {
        let external = self.under().id;
        let context = Context {
            source: &self.shared.settings.source,
            time_ms: clock::unix_ms(),
            round: self.life.round(),
            timings: self.life.timings(),
            polls: self.life.polls(),
            external: &external,
            failed: self.life.failed(),
            supersedes,
        };
        Event::terminal(&self.job, outcome, &context).body
    }

    /// Lets the record of a job begin to expire after its event was published. If this write is lost, the record only
    /// stays longer. With a `sealed` event the record ends with this move, so the move is repeated until it is made.
    pub(super) async fn remember(&mut self, sealed: Option<Bytes>) -> Result<(), RequeueReason> {
        let ledger = &self.shared.ledger;
        let entry = self.entry(self.life.round());
        if sealed.is_some() {
            let remembering = self.until_known(|| ledger.told(entry, sealed.as_ref()));
            if let Err(unreadable) = self.or_a_little_later(remembering).await?? {
                tracing::warn!("the event is told, and the record is left as it is: {unreadable}");
            }
        } else if let Err(error) = ledger.told(entry, None).await {
            tracing::debug!("the record will not expire: {error}");
        }
        self.life.remembered();
        Ok(())
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
            Outcome::Cancelled(cancellation) => {
                self.shared.metrics.job_finished("cancelled", "");
                let task_id = cancellation.task_id.as_ref().map(TaskId::as_str);
                tracing::info!(task_id, "{}", cancellation.message);
            }
        }
        self.shared.metrics.timings(&timings);
        self.shared.metrics.looked_at(self.life.polls());
    }

    pub(super) fn unreadable(&mut self, unreadable: &Unreadable) {
        tracing::warn!("the job goes back to the queue: {unreadable}");
        self.life.unreadable();
    }
}

/// Whether a corrected input may replace this job: the job was invalid and cost nothing.
fn is_replaceable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Succeeded(_) | Outcome::Cancelled(_) => false,
        Outcome::Failed(failure) => {
            failure.reason == Reason::InvalidRequest && failure.charged == Charged::No
        }
    }
}

fn view_label(view: &TaskStatus) -> &'static str {
    match view {
        TaskStatus::Running => "running",
        TaskStatus::Succeeded { .. } => "succeeded",
        TaskStatus::Failed { .. } => "failed",
        TaskStatus::NotFound { .. } => "not_found",
        TaskStatus::Unavailable { .. } => "unavailable",
    }
}
