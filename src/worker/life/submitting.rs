//! The acts from the gate to the noted task.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Actor, Interrupts, Submission, SubmitRight};
use crate::job::answers::SubmitOutcome;
use crate::job::event::{Context, Event, says_unknown};
use crate::job::pace::Watch;
use crate::job::receipt::IntentFacts;
use crate::job::record::{Nonce, Stage};
use crate::job::step::{MoveResult, RequeueReason};
use crate::job::{Adopts, Charged, FailedTasks, SentUnder, TaskId, request};
use crate::ledger::{JobRef, LedgerError};
use crate::queue::message;
use crate::worker::breaker::{Cause, Mode};
use crate::worker::submits::SlowDown;
use crate::{clock, worker::publish};

impl Actor<'_> {
    /// Asks at the gate. It repeats the create with the same nonce until the store has answered, because a create
    /// whose answer was lost may have succeeded.
    pub(super) async fn ask(&mut self, attempt: u32, nonce: Nonce) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("submitting");
        self.submission = self.made_ready().ok_or(RequeueReason::NeedsMessage)?;
        let receipts = &self.shared.receipts;
        let under = self.under();
        let of = self.of(&under);
        let gate = self.until_stored(|| receipts.intend(of, attempt, &nonce)).await?;
        self.life.gated(gate, self.shared.clock.now());
        Ok(())
    }

    /// Whether the right to post came too late: this worker stops, or every job is refused by now.
    pub(super) fn must_not_post(&self) -> bool {
        let ending = self.interrupts.stop.is_cancelled() || self.interrupts.lost.is_cancelled();
        let breaker = &self.shared.breaker;
        let closed = |right: &SubmitRight| !breaker.still_lets(&right.pass);
        ending || self.right.as_ref().map_or(breaker.mode() == Mode::Closed, closed)
    }

    /// Prepares the body before the gate, because after the gate every moment counts.
    fn made_ready(&self) -> Option<Submission> {
        match &self.submission {
            Submission::Ready(body) => Some(Submission::Ready(body.clone())),
            Submission::InMessage => {
                let original = self.original.as_ref()?;
                let properties = message::properties(&original.properties);
                let read = request::parse(&original.body, &properties, &self.shared.settings.request_rules);
                Some(Submission::Ready(read.ok()?.body.ok()?))
            }
            Submission::Gone => None,
        }
    }

    /// Sends the POST, the one act that costs money. Neither a stop nor a lost connection interrupts it.
    pub(super) async fn post(&mut self) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("submitting");
        let ready = std::mem::replace(&mut self.submission, Submission::Gone);
        let Submission::Ready(mut body) = ready else { return Err(RequeueReason::NeedsMessage) };
        self.submission = Submission::of(body.clone());
        let external = self.under().id;
        if external != self.job.external_ids.of_generation(1) {
            body = request::under_id(&body, &external);
        }
        let started = self.shared.clock.now();
        let answer = self.shared.provider.submit(body).await;
        let took = self.shared.clock.now().saturating_sub(started);
        self.shared.metrics.submitted(label(&answer), took);
        self.slow_down = self.shared.submits.note(&answer);
        let sent = self.right.as_ref().map(|right| right.pass.sent()).unwrap_or_default();
        self.shared.breaker.note(&answer, sent);
        self.unanswered = matches!(answer, SubmitOutcome::Unknown { exists: false, .. }).then_some(sent);
        self.rests_until = match &answer {
            SubmitOutcome::Later(later) if later.this_job_only => {
                later.after.map(|after| Instant::now() + after)
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
        self.life.answered(answer, took);
        Ok(())
    }

    /// Notes a paid task id. It tries Redis until the write succeeds, and also the receipts while Redis is away. A
    /// worker that stops may exit once one of them has the task id.
    pub(super) async fn accept(&mut self, attempt: u32, task: TaskId) -> Result<(), RequeueReason> {
        let entry = self.entry(self.life.round());
        let mut noted = false;
        let mut failures = 0;
        let accepted = loop {
            match self.shared.ledger.accept(entry, attempt, &task).await {
                Ok(stage) => break Ok(stage),
                Err(LedgerError::Unreadable(unreadable)) => break Err(unreadable),
                Err(LedgerError::Unavailable(message)) => self.shared.breaker.fault(Cause::Redis, &message),
            }
            let receipts = self.shared.settings.receipts && !noted;
            noted |= receipts && self.shared.receipts.note_task(&self.job.id, attempt, &task).await.is_ok();
            if noted && self.interrupts.stop.is_cancelled() {
                return Err(RequeueReason::Stopping);
            }
            failures += 1;
            self.rest(failures).await;
        };
        self.right = None;
        match accepted {
            Ok(stage) => {
                match &stage {
                    Stage::Generating { task: known, .. } if *known == task => {
                        self.entry.with_task();
                        self.tell_submitted(&task);
                    }
                    Stage::Generating { task: known, .. } => {
                        tracing::error!(task_id = %task, known_task_id = %known, "this job has two tasks: paid for twice");
                        if self.shared.settings.receipts {
                            let receipts = &self.shared.receipts;
                            self.until_stored(|| receipts.note_task(&self.job.id, attempt, &task)).await?;
                        }
                    }
                    Stage::Done { .. } => {
                        tracing::warn!(task_id = %task, "accepted after the job was ended; its event is corrected");
                    }
                    Stage::Told { .. } => {
                        tracing::warn!(task_id = %task, "accepted after the job was ended and told");
                    }
                    Stage::New { .. } | Stage::Submitting { .. } => {}
                }
                self.life.look_by(self.shared.learning.schedule(&self.job));
                self.life.accepted(stage, noted, self.shared.clock.now());
                let owes = self.life.owes_a_correction();
                if owes || self.life.may_have_been_given_up(self.shared.clock.now()) {
                    let receipts = &self.shared.receipts;
                    self.until_stored(|| receipts.note_task(&self.job.id, attempt, &task)).await?;
                    self.life.note(task);
                    self.deliver_late(owes).await?;
                }
            }
            Err(unreadable) => {
                tracing::error!(task_id = %task, "a paid task that Redis can't note: {unreadable}");
                self.life.unreadable();
            }
        }
        Ok(())
    }

    /// Republishes a job that was given up while its POST was under way. The worker that gave it up has acknowledged
    /// it, and this delivery, if it still exists, may be gone at the next wait. The worker that gets the new message
    /// finds the task in its receipt and corrects the event.
    ///
    /// The task is noted before the result is read, because the worker that gives the job up seals the result first
    /// and then looks for the task once more. `owes`: the record has said already that a correction is due. It can't
    /// say so if Redis forgot it.
    async fn deliver_late(&self, owes: bool) -> Result<(), RequeueReason> {
        if !owes {
            let receipts = &self.shared.receipts;
            let result = self.until_stored(|| receipts.result(&self.job.id)).await?;
            if !result.as_deref().is_some_and(says_unknown) {
                return Ok(());
            }
        }
        let Some(original) = &self.original else { return Ok(()) };
        let held_until = Instant::now() + self.shared.settings.hold;
        let despite_loss =
            Interrupts::new(self.interrupts.stop.clone(), CancellationToken::new(), held_until);
        publish::republish(self.shared, original, &despite_loss).await
    }

    pub(super) async fn note_task(&mut self, attempt: u32, task: TaskId) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("generating");
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.note_task(&self.job.id, attempt, &task)).await?;
        self.life.noted();
        if self.life.may_have_been_given_up(self.shared.clock.now()) {
            self.deliver_late(false).await?;
        }
        Ok(())
    }

    pub(super) async fn refuse(&mut self, attempt: u32) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.refuse(&self.job.id, attempt)).await?;
        self.life.refused();
        Ok(())
    }

    /// Notes that the task failed and another generation may follow.
    pub(super) async fn note_failure(
        &mut self,
        attempt: u32,
        task: TaskId,
        charged: Charged,
    ) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.note_failure(&self.job.id, attempt, &task, charged)).await?;
        self.life.failure_noted();
        Ok(())
    }

    pub(super) async fn follow(&mut self, attempt: u32, failed: FailedTasks) -> Result<(), RequeueReason> {
        let ledger = &self.shared.ledger;
        match self.until_known(|| ledger.follow(&self.job.id, attempt, &failed)).await? {
            Ok(moved) => {
                if matches!(moved, MoveResult::Yes { .. }) {
                    let failed_task = failed.tasks().last().map(TaskId::as_str);
                    tracing::info!(
                        failed_task,
                        generation = failed.generation(),
                        "failed, and is generated again"
                    );
                    self.shared.metrics.generated_again();
                }
                self.life.followed(moved, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    pub(super) async fn reopen(&mut self, attempt: u32, nonce: Option<Nonce>) -> Result<(), RequeueReason> {
        let ledger = &self.shared.ledger;
        match self.until_known(|| ledger.reopen(&self.job.id, attempt, nonce.as_ref())).await? {
            Ok(moved) => self.life.reopened(moved, self.shared.clock.now()),
            Err(unreadable) => self.unreadable(&unreadable),
        }
        // The attempt is closed first, because a worker that dies before that leaves the attempt's outcome unknown.
        if let Some(SlowDown { pause, rate }) = self.slow_down.take()
            && let Err(error) = self.interrupts.or(ledger.slow_down(pause, rate)).await?
        {
            // If Redis is away, this worker keeps its own pause.
            tracing::debug!("the other workers don't slow down: {error}");
        }
        Ok(())
    }

    pub(super) fn of<'a>(&'a self, under: &'a SentUnder) -> IntentFacts<'a> {
        IntentFacts {
            job: &self.job.id,
            digest: &self.job.digest,
            round: self.life.round(),
            under,
            max_attempts: self.shared.settings.max_attempts,
        }
    }

    pub(super) fn entry(&self, round: u32) -> JobRef<'_> {
        JobRef {
            job: &self.job.id,
            digest: &self.job.digest,
            round,
            failed: self.life.failed(),
            under: self.life.sent_under(),
            slots: self.slots,
        }
    }

    /// The external id under which this life's attempt was sent, or would be sent. If the id is a producer's own, no
    /// task is adopted unless an intent vouches for it.
    pub(super) fn under(&self) -> SentUnder {
        let by_rule = || {
            let number = self.life.failed().generation();
            let ids = &self.job.external_ids;
            let adopts = if ids.is_own(number) { Adopts::None } else { Adopts::Any };
            SentUnder { id: ids.of_generation(number), adopts }
        };
        self.life.sent_under().cloned().unwrap_or_else(by_rule)
    }

    /// The external id under which a new attempt is sent.
    pub(super) async fn goes_out_under(&self) -> SentUnder {
        let number = self.life.failed().generation();
        let ids = &self.job.external_ids;
        let adopts = if ids.is_own(number) {
            self.shared.provider.clock_ms().await.map_or(Adopts::None, Adopts::MadeFrom)
        } else {
            Adopts::Any
        };
        SentUnder { id: ids.of_generation(number), adopts }
    }

    fn tell_submitted(&self, task: &TaskId) {
        if self.shared.settings.tell_submitted {
            let context = Context {
                source: &self.shared.settings.source,
                time_ms: clock::unix_ms(),
                round: self.life.round(),
                timings: self.life.timings(),
                polls: 0,
                external: &self.under().id,
                failed: self.life.failed(),
                supersedes: None,
            };
            publish::unawaited(self.shared, &self.job, Event::submitted(&self.job, task, &context));
        }
    }
}

fn label(answer: &SubmitOutcome) -> &'static str {
    match answer {
        SubmitOutcome::Accepted(_) => "accepted",
        SubmitOutcome::Later(_) => "later",
        SubmitOutcome::Account(_) => "account",
        SubmitOutcome::Refused(_) => "refused",
        SubmitOutcome::Unknown { .. } => "unknown",
    }
}
