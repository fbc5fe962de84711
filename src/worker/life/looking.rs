//! The acts that find out about a job: reading the record and the receipts, and asking the provider about an open
//! submit.

use std::time::Duration;

use super::Actor;
use crate::job::answers::Lookup;
use crate::job::record::Snapshot;
use crate::job::request::{DeadLetter, DeadReason};
use crate::job::step::{Rebuilt, RequeueReason, RestorePrecondition, Unanswerable};
use crate::ledger::hints::Hint;
use crate::ledger::{JobRef, LedgerError};
use crate::worker::breaker::Cause;
use crate::worker::publish;

impl Actor<'_> {
    pub(super) async fn read(&mut self) -> Result<(), RequeueReason> {
        let ledger = &self.shared.ledger;
        let reading = self.until_known(|| ledger.read(&self.job.id, self.slots));
        match self.interrupts.or(reading).await?? {
            Ok(known) => self.life.read(known, self.shared.clock.now()),
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    /// Reads the record for a life whose task runs. If Redis has lost the record, this restores it, and Redis counts
    /// the task among the account's tasks.
    pub(super) async fn look(&self) -> Result<Snapshot, LedgerError> {
        let ledger = &self.shared.ledger;
        let known = ledger.read(&self.job.id, self.slots).await?;
        if let Some((stage, corrects)) = self.life.running()
            && self.shared.slots.is_capped()
            && known.record.is_none()
        {
            let entry = self.entry(self.life.round());
            return ledger.restore(entry, RestorePrecondition::Nothing, &stage, corrects.as_ref()).await;
        }
        Ok(known)
    }

    pub(super) async fn recall(&mut self) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        let history = if self.life.has_not_begun() {
            let history = self.interrupts.or(receipts.history(&self.job.id)).await?;
            history.map_err(|error| {
                self.shared.breaker.fault(Cause::Storage, &error.to_string());
                RequeueReason::Paused
            })?
        } else {
            let recalling = self.until_stored(|| receipts.history(&self.job.id));
            self.interrupts.or(recalling).await??
        };
        self.life.recalled(&history, self.shared.clock.now());
        Ok(())
    }

    /// Reads the event that the record leaves to the receipts.
    pub(super) async fn read_again(&mut self) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        let reading = self.until_stored(|| receipts.last_word(&self.job.id));
        let event = self.interrupts.or(reading).await??;
        self.life.read_again(event);
        Ok(())
    }

    pub(super) async fn restore(
        &mut self,
        over: RestorePrecondition,
        rebuilt: Rebuilt,
    ) -> Result<(), RequeueReason> {
        let ledger = &self.shared.ledger;
        let digest = rebuilt.digest.as_ref().unwrap_or(&self.job.digest);
        let entry = JobRef {
            digest,
            failed: &rebuilt.failed,
            under: rebuilt.under.as_ref(),
            ..self.entry(rebuilt.round)
        };
        let restoring =
            self.until_known(|| ledger.restore(entry, over, &rebuilt.stage, rebuilt.corrects.as_ref()));
        match self.interrupts.or(restoring).await?? {
            Ok(known) => {
                tracing::info!("the record was rebuilt from the receipts");
                self.life.restored(known, self.shared.clock.now());
            }
            Err(unreadable) => self.unreadable(&unreadable),
        }
        Ok(())
    }

    pub(super) async fn see_intent(&mut self, attempt: u32) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        let looking = self.until_stored(|| receipts.is_intended(&self.job.id, attempt));
        let intended = self.interrupts.or(looking).await??;
        self.life.saw_intent(intended, self.shared.clock.now());
        Ok(())
    }

    pub(super) async fn look_up(&mut self) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("looking_on");
        self.right = None;
        let under = self.under();
        let looking = async {
            let _place = self.shared.polls.acquire().await;
            let asked = self.shared.clock.now();
            (self.shared.provider.lookup(&under).await, asked)
        };
        let (found, asked) = self.interrupts.or(looking).await?;
        match &found {
            Lookup::Found(task) => {
                if let Some(sent) = self.unanswered.take() {
                    self.shared.breaker.found(sent);
                }
                tracing::info!(task_id = %task, "found by its external id");
            }
            Lookup::NotFound { message } | Lookup::Another { message } => {
                tracing::debug!("not found by its external id: {message}")
            }
            Lookup::Unavailable { fault, .. } => {
                if let Some(fault) = fault {
                    self.shared.breaker.account_fault(fault);
                }
            }
        }
        self.life.looked_up(found, asked, self.shared.clock.now());
        Ok(())
    }

    pub(super) async fn look_on(&mut self, until: Duration) -> Result<(), RequeueReason> {
        let _held = self.shared.metrics.held("looking_on");
        let either = async {
            tokio::select! {
                hint = self.hints.hint() => hint,
                () = self.shared.clock.sleep_until(until) => Hint::Look,
            }
        };
        match self.interrupts.or(either).await? {
            Hint::Look => self.life.looked_on(),
            Hint::Poll => self.life.pulled(self.shared.clock.now()),
        }
        Ok(())
    }

    pub(super) async fn shut(&mut self, attempt: u32, cancels: bool) -> Result<(), RequeueReason> {
        let receipts = &self.shared.receipts;
        let under = self.under();
        let of = self.of(&under);
        let shut = self.until_stored(|| receipts.shut(of, attempt, cancels)).await?;
        self.life.shut(shut);
        Ok(())
    }

    /// Publishes the copy for a person. If the worker dies right after that, there may be two copies.
    pub(super) async fn park(&mut self) -> Result<(), RequeueReason> {
        let detail = "it is not known whether the provider accepted it; look for its external_task_id there"
            .to_owned();
        let dead = DeadLetter { reason: DeadReason::OutcomeUnknown, detail };
        let Some(original) = &self.original else { return Err(RequeueReason::Unreadable) };
        publish::dead_letter(self.shared, original, &dead, self.interrupts).await?;
        self.life.parked();
        Ok(())
    }

    pub(super) async fn dead_letter(&mut self, why: Unanswerable) -> Result<(), RequeueReason> {
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
        publish::dead_letter(self.shared, original, &dead, self.interrupts).await?;
        self.life.published();
        Ok(())
    }
}
