//! From the outcome to the acknowledgement.

use std::time::Duration;

use bytes::Bytes;

use super::Actor;
use super::record::readable;
use crate::clock;
use crate::job::event::{Context, Event};
use crate::job::request::{DeadLetter, DeadReason};
use crate::job::stage::JobStage;
use crate::job::step::{EventSource, FreezePrecondition, FreezeResult, Input, RequeueReason, Unanswerable};
use crate::job::{Charged, Outcome, Reason, TaskId, Timings};

/// A job whose record or route this worker doesn't understand is requeued after this pause, so that other workers get time for it.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

/// How often the end of a record that keeps its event is tried. Nothing but the record's own end hangs on it.
const MARK_TRIES: u32 = 3;

impl Actor<'_> {
    /// Seals the outcome; the first life to seal wins. The event is worded before that, from what this life saw.
    pub(super) async fn seal(
        &mut self,
        outcome: Outcome,
        corrects: Option<Bytes>,
    ) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Publishing);
        let supersedes = corrects.and_then(Event::from_stored).map(|event| event.id);
        let event = self.event(&outcome, supersedes.as_deref());
        let receipts = &self.shared.receipts;
        let id = &self.job.id;
        let sealed = match supersedes {
            Some(_) => self.until_stored(|| receipts.seal_correction(id, event.clone())).await?,
            None => self.until_stored(|| receipts.seal(id, event.clone())).await?,
        };
        if sealed == event {
            self.note_outcome(&outcome);
        }
        Ok(Input::Sealed(sealed))
    }

    /// Freezes the event; the first life to freeze wins. An event that a receipt has sealed was already decided.
    pub(super) async fn freeze(
        &mut self,
        source: EventSource,
        expect: FreezePrecondition,
    ) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Publishing);
        let (event, outcome) = match source {
            EventSource::Sealed(event) => (event, None),
            EventSource::New(outcome) => (self.event(&outcome, None), Some(outcome)),
        };
        let entry = self.job_ref(self.machine.round());
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
        if let (Some(outcome), Ok(frozen)) = (outcome, &frozen)
            && *frozen == FreezeResult::Event(event)
        {
            self.note_outcome(&outcome);
        }
        Ok(readable(frozen, Input::Frozen))
    }

    fn event(&self, outcome: &Outcome, supersedes: Option<&str>) -> Bytes {
        let external = self.under().id;
        let context = Context {
            source: &self.shared.settings.source,
            time_ms: clock::unix_ms(),
            round: self.machine.round(),
            timings: self.machine.timings(),
            polls: self.machine.polls(),
            external: &external,
            failed: self.machine.failed(),
            supersedes,
        };
        Event::terminal(&self.job, outcome, &context).body
    }

    pub(super) async fn publish(&mut self, event: Bytes) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Publishing);
        self.trace.carry(&mut self.job.envelope);
        self.shared.publishing.event(&self.job, event.clone(), self.interrupts).await?;
        self.published = Some(event);
        Ok(Input::Done)
    }

    /// Lets the record of a job begin to expire after its event was published. If this write is lost more than a few
    /// times, the record stays, and is shown as unfinished. With a `sealed` event the record ends with this move, so
    /// the move is repeated until it is made.
    pub(super) async fn remember(&mut self, sealed: Option<Bytes>) -> Result<Input, RequeueReason> {
        let ledger = &self.shared.ledger;
        let entry = self.job_ref(self.machine.round());
        if let Some(event) = &sealed {
            let remembering = self.until_known(|| ledger.mark_published(entry, event, true));
            if let Err(unreadable) = self.or_a_little_later(remembering).await?? {
                tracing::warn!("the event is published, and the record is left as it is: {unreadable}");
            }
        } else if let Some(event) = &self.published {
            for failures in 1..=MARK_TRIES {
                let Err(error) = ledger.mark_published(entry, event, false).await else { break };
                tracing::debug!("the record doesn't expire yet: {error}");
                if failures < MARK_TRIES && self.interrupts.or(self.rest(failures)).await.is_err() {
                    break;
                }
            }
        }
        Ok(Input::Done)
    }

    fn note_outcome(&mut self, outcome: &Outcome) {
        self.trace.outcome(outcome);
        let timings = self.machine.timings();
        self.shared.metrics.job_finished(outcome);
        match outcome {
            Outcome::Succeeded(success) => {
                let Timings { generate, store, .. } = timings;
                let files = success.made.count();
                tracing::info!(task_id = %success.task_id, files, generate_ms = generate, store_ms = store, "succeeded");
            }
            Outcome::Failed(failure) => {
                let task_id = failure.task_id.as_ref().map(TaskId::as_str);
                tracing::info!(task_id, reason = failure.reason.as_str(), "failed: {}", failure.message);
            }
            Outcome::Cancelled(cancellation) => {
                let task_id = cancellation.task_id.as_ref().map(TaskId::as_str);
                tracing::info!(task_id, "{}", cancellation.message);
            }
        }
        let model = self.job.route.as_ref().map_or("other", |route| route.data.known_model(&self.job.model));
        self.shared.metrics.paid(outcome, model);
        self.shared.metrics.timings(&timings);
        self.shared.metrics.looked_at(self.machine.polls());
    }

    pub(super) async fn dead_letter(&mut self, why: Unanswerable) -> Result<Input, RequeueReason> {
        let (reason, detail) = match why {
            Unanswerable::Conflict => {
                (DeadReason::Conflict, "another job with this job_id and another input was there before")
            }
            Unanswerable::Forgotten => (
                DeadReason::Forgotten,
                "this job has ended and was told, and the receipt that had its event was removed; to have it generated once more, send it under another job_id",
            ),
        };
        let dead = DeadLetter { reason, detail: detail.to_owned() };
        tracing::warn!(reason = dead.reason.as_str(), "dead letter: {}", dead.detail);
        let Some(original) = &self.original else {
            // The job had a task already, and Redis lost its record to another job. The next delivery brings the
            // message that can be dead-lettered.
            tracing::error!("this job's record was lost, and another job has its id: look at its task ids");
            return Err(RequeueReason::Unreadable);
        };
        self.shared.publishing.dead_letter(original, &dead, self.interrupts).await?;
        Ok(Input::Done)
    }

    /// Returns why the delivery is requeued, after the pause that this takes.
    pub(super) async fn before_requeue(&self, why: RequeueReason) -> RequeueReason {
        match why {
            RequeueReason::Unreadable => {}
            RequeueReason::UnknownRoute => {
                let operation = self.job.route_name().as_str();
                tracing::warn!(
                    operation,
                    "the job goes back to the queue, since this version doesn't know its route: run one that does"
                );
            }
            RequeueReason::Paused
            | RequeueReason::Stopping
            | RequeueReason::NeedsMessage
            | RequeueReason::HeldLong
            | RequeueReason::Disconnected => return why,
        }
        self.interrupts.or(tokio::time::sleep(UNREADABLE_PAUSE)).await.err().unwrap_or(why)
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
