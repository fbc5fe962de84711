//! From the gate to the noted task, or back to the next attempt.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::record::readable;
use super::{Actor, Interrupts, Kept, SubmitRight};
use crate::clock;
use crate::job::answers::SubmitOutcome;
use crate::job::event::{Context, Event, says_unknown};
use crate::job::pace::Watch;
use crate::job::receipt::IntentFacts;
use crate::job::record::{Nonce, Stage};
use crate::job::stage::JobStage;
use crate::job::step::{Input, RequeueReason};
use crate::job::{Adopts, SentUnder, TaskId, request};
use crate::ledger::{JobRef, LedgerError};
use crate::queue::message;
use crate::worker::breaker::{Cause, Mode};
use crate::worker::submits::SlowDown;

impl Actor<'_> {
    /// Asks at the gate. It repeats the create with the same nonce until the store has answered, because a create
    /// whose answer was lost may have succeeded.
    pub(super) async fn ask(&mut self, attempt: u32, nonce: Nonce) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Submitting);
        self.submission = self.made_ready().ok_or(RequeueReason::NeedsMessage)?;
        let receipts = &self.shared.receipts;
        let under = self.under();
        let facts = self.intent_facts(&under);
        let gate = self.until_stored(|| receipts.intend(facts, attempt, &nonce)).await?;
        Ok(Input::Gate(gate))
    }

    /// Whether the right to post came too late: its time is over, this worker stops, or every job is refused by now.
    fn must_not_post(&self, until: Duration) -> bool {
        let late = self.shared.clock.now() > until;
        let ending = self.interrupts.stop.is_cancelled() || self.interrupts.lost.is_cancelled();
        let breaker = &self.shared.breaker;
        let closed = |right: &SubmitRight| !breaker.still_lets(&right.pass);
        late || ending || self.right.as_ref().map_or(breaker.mode() == Mode::Closed, closed)
    }

    /// Prepares the submission before the gate, because after the gate every moment counts.
    fn made_ready(&self) -> Option<Kept> {
        match &self.submission {
            Kept::Ready(submission) => Some(Kept::Ready(submission.clone())),
            Kept::InMessage => {
                let original = self.original.as_ref()?;
                let properties = message::properties(&original.properties);
                let read = request::parse(&original.body, &properties, &self.shared.settings.request_rules);
                Some(Kept::Ready(read.ok()?.submission.ok()?))
            }
            Kept::Gone => None,
        }
    }

    /// Sends the POST, the one act that costs money. Neither a stop nor a lost connection interrupts it.
    pub(super) async fn post(&mut self, until: Duration) -> Result<Input, RequeueReason> {
        if self.must_not_post(until) {
            return Ok(Input::NotPosted);
        }
        self.held.at(JobStage::Submitting);
        let ready = std::mem::replace(&mut self.submission, Kept::Gone);
        let Kept::Ready(submission) = ready else { return Err(RequeueReason::NeedsMessage) };
        self.submission = Kept::of(submission.clone());
        let submission = submission.under(self.under().id);
        let started = self.shared.clock.now();
        let answer = self.shared.provider.submit(&submission).await;
        let took = self.shared.clock.now().saturating_sub(started);
        self.shared.metrics.submitted(&answer, took);
        self.slow_down = self.shared.submits.note(&answer);
        let sent = self.right.as_ref().map(|right| right.pass.sent()).unwrap_or_default();
        self.shared.breaker.note(&answer, sent);
        self.unanswered = matches!(answer, SubmitOutcome::Unknown { exists: false, .. }).then_some(sent);
        self.no_post_before = match &answer {
            SubmitOutcome::Later(later) if later.this_job_only => {
                later.after.map(|after| self.shared.clock.now() + after)
            }
            SubmitOutcome::Later(_)
            | SubmitOutcome::Accepted(_)
            | SubmitOutcome::Account(_)
            | SubmitOutcome::Refused(_)
            | SubmitOutcome::Unknown { .. } => None,
        };
        match &answer {
            SubmitOutcome::Accepted(task) => {
                self.watch = Watch::own();
                tracing::info!(task_id = %task, "submitted");
            }
            SubmitOutcome::Later(later) => tracing::debug!("not now: {}", later.message),
            SubmitOutcome::Account(fault) => tracing::debug!("not accepted: {}", fault.message),
            SubmitOutcome::Refused(refusal) => tracing::info!("refused: {}", refusal.message),
            SubmitOutcome::Unknown { message, .. } => {
                tracing::warn!("whether it was accepted is unknown: {message}")
            }
        }
        Ok(Input::Answered { answer, took })
    }

    /// Notes a paid task id. It tries Redis until the write succeeds, and also the receipts while Redis is away. A
    /// worker that stops may exit once one of them has the task id.
    pub(super) async fn accept(&mut self, attempt: u32, task: TaskId) -> Result<Input, RequeueReason> {
        let job = self.job_ref(self.machine.round());
        let mut noted = false;
        let mut failures = 0;
        let accepted = loop {
            match self.shared.ledger.accept(job, attempt, &task).await {
                Ok(stage) => break stage,
                Err(LedgerError::Unreadable(unreadable)) => {
                    tracing::error!(task_id = %task, "a paid task that Redis can't note: {unreadable}");
                    return Ok(Input::Unreadable);
                }
                Err(LedgerError::Unavailable(message)) => self.shared.breaker.fault(Cause::Redis, &message),
            }
            let receipts = self.shared.settings.rules.receipts && !noted;
            noted |= receipts && self.shared.receipts.note_task(&self.job.id, attempt, &task).await.is_ok();
            if noted && self.interrupts.stop.is_cancelled() {
                return Err(RequeueReason::Stopping);
            }
            failures += 1;
            self.rest(failures).await;
        };
        self.right = None;
        match &accepted {
            Stage::Generating { task: known, .. } if *known == task => {
                self.storing.with_task();
                self.publish_submitted(&task);
            }
            Stage::Generating { task: known, .. } => {
                tracing::error!(task_id = %task, known_task_id = %known, "this job has two tasks: paid for twice");
            }
            Stage::Done { .. } => {
                tracing::warn!(task_id = %task, "accepted after the job was ended; its event is corrected");
            }
            Stage::Published { .. } => {
                tracing::warn!(task_id = %task, "accepted after the job was ended and its event was published");
            }
            Stage::New { .. } | Stage::Submitting { .. } => {}
        }
        Ok(Input::Accepted { stage: accepted, noted, learned: self.shared.learning.schedule(&self.job) })
    }

    pub(super) async fn note_task(&mut self, attempt: u32, task: TaskId) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Generating);
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.note_task(&self.job.id, attempt, &task)).await?;
        Ok(Input::Done)
    }

    /// Republishes a job that was given up while its POST was under way. The worker that gave it up has acknowledged
    /// it, and this delivery, if it still exists, may be gone at the next wait. The worker that gets the new message
    /// finds the task in its receipt and corrects the event.
    ///
    /// The task was noted before the result is read here, because the worker that gives the job up seals the result
    /// first and then looks for the task once more. Without `if_unknown` the record has said that a correction is
    /// due. It can't say so if Redis forgot it.
    pub(super) async fn redeliver(&mut self, if_unknown: bool) -> Result<Input, RequeueReason> {
        if if_unknown {
            let receipts = &self.shared.receipts;
            let result = self.until_stored(|| receipts.result(&self.job.id)).await?;
            if !result.as_deref().is_some_and(says_unknown) {
                return Ok(Input::Done);
            }
        }
        if let Some(original) = &self.original {
            let hold = self.shared.settings.rules.hold;
            let despite_loss = Interrupts::new(self.interrupts.stop.clone(), CancellationToken::new(), hold);
            self.shared.publishing.republish(original, &despite_loss).await?;
        }
        Ok(Input::Done)
    }

    pub(super) async fn refuse(&mut self, attempt: u32) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.refuse(&self.job.id, attempt)).await?;
        Ok(Input::Done)
    }

    pub(super) async fn reopen(
        &mut self,
        attempt: u32,
        nonce: Option<Nonce>,
    ) -> Result<Input, RequeueReason> {
        let ledger = &self.shared.ledger;
        let reopened = self.until_known(|| ledger.reopen(&self.job.id, attempt, nonce.as_ref())).await?;
        // The attempt is closed first, because a worker that dies before that leaves the attempt's outcome unknown.
        if let Some(SlowDown { pause, rate }) = self.slow_down.take()
            && let Ok(Err(error)) = self.interrupts.or(ledger.slow_down(pause, rate)).await
        {
            // If Redis is away, this worker keeps its own pause.
            tracing::debug!("the other workers don't slow down: {error}");
        }
        Ok(readable(reopened, Input::Moved))
    }

    pub(super) fn intent_facts<'a>(&'a self, under: &'a SentUnder) -> IntentFacts<'a> {
        IntentFacts {
            job: &self.job.id,
            digest: &self.job.digest,
            route: self.job.route_name(),
            round: self.machine.round(),
            under,
            max_attempts: self.shared.settings.rules.max_attempts,
        }
    }

    pub(super) fn job_ref(&self, round: u32) -> JobRef<'_> {
        JobRef {
            job: &self.job.id,
            digest: &self.job.digest,
            route: self.job.route_name(),
            round,
            failed: self.machine.failed(),
            under: self.machine.sent_under(),
            slots: self.slots,
        }
    }

    /// The external id under which this life's attempt was sent, or would be sent. If the id is a producer's own, no
    /// task is adopted unless an intent vouches for it.
    pub(super) fn under(&self) -> SentUnder {
        let by_rule = || {
            let number = self.machine.failed().generation();
            let ids = &self.job.external_ids;
            let adopts = if ids.is_own(number) { Adopts::None } else { Adopts::Any };
            SentUnder { id: ids.of_generation(number), adopts }
        };
        self.machine.sent_under().cloned().unwrap_or_else(by_rule)
    }

    /// The external id under which a new attempt is sent.
    pub(super) async fn goes_out_under(&self) -> SentUnder {
        let number = self.machine.failed().generation();
        let ids = &self.job.external_ids;
        let adopts = if ids.is_own(number) {
            self.shared.provider.clock_ms().await.map_or(Adopts::None, Adopts::MadeFrom)
        } else {
            Adopts::Any
        };
        SentUnder { id: ids.of_generation(number), adopts }
    }

    fn publish_submitted(&self, task: &TaskId) {
        if self.shared.settings.tell_submitted {
            let context = Context {
                source: &self.shared.settings.source,
                time_ms: clock::unix_ms(),
                round: self.machine.round(),
                timings: self.machine.timings(),
                polls: 0,
                external: &self.under().id,
                failed: self.machine.failed(),
                supersedes: None,
            };
            self.shared.publishing.unawaited(&self.job, Event::submitted(&self.job, task, &context));
        }
    }
}
