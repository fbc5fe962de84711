//! What is known of the job: reading the record and the receipts.

use super::Actor;
use crate::job::record::{Snapshot, Unreadable};
use crate::job::step::{Input, Rebuilt, Recall, RequeueReason, RestorePrecondition};
use crate::ledger::{JobRef, LedgerError};
use crate::worker::breaker::Cause;

impl Actor<'_> {
    pub(super) async fn read(&mut self) -> Result<Input, RequeueReason> {
        let ledger = &self.shared.ledger;
        let reading = self.until_known(|| ledger.read(&self.job.id, self.slots));
        Ok(readable(self.interrupts.or(reading).await??, Input::Record))
    }

    /// Reads the record for a life whose task runs. If Redis has lost the record, this restores it, and Redis counts
    /// the task among the account's tasks.
    pub(super) async fn look(&self) -> Result<Snapshot, LedgerError> {
        let ledger = &self.shared.ledger;
        let known = ledger.read(&self.job.id, self.slots).await?;
        if let Some((stage, corrects)) = self.machine.running()
            && known.record.is_none()
        {
            let entry = self.job_ref(self.machine.round());
            return ledger.restore(entry, RestorePrecondition::Nothing, &stage, corrects.as_ref()).await;
        }
        Ok(known)
    }

    pub(super) async fn recall(&mut self, why: Recall) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        let history = if why == Recall::Everything {
            let history = self.interrupts.or(receipts.history(&self.job.id)).await?;
            history.map_err(|error| {
                self.shared.breaker.fault(Cause::Storage, &error);
                RequeueReason::Paused
            })?
        } else {
            let recalling = self.until_stored(|| receipts.history(&self.job.id));
            self.interrupts.or(recalling).await??
        };
        Ok(Input::Receipts(Box::new(history)))
    }

    /// Reads the event that the record leaves to the receipts.
    pub(super) async fn read_again(&mut self) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        let reading = self.until_stored(|| receipts.last_word(&self.job.id));
        Ok(Input::LastEvent(self.interrupts.or(reading).await??))
    }

    pub(super) async fn restore(
        &mut self,
        over: RestorePrecondition,
        rebuilt: Rebuilt,
    ) -> Result<Input, RequeueReason> {
        let ledger = &self.shared.ledger;
        let digest = rebuilt.digest.as_ref().unwrap_or(&self.job.digest);
        let route = rebuilt.route.as_ref().unwrap_or(self.job.route_name());
        let entry = JobRef {
            digest,
            route,
            failed: &rebuilt.failed,
            under: rebuilt.under.as_ref(),
            ..self.job_ref(rebuilt.round)
        };
        let restoring =
            self.until_known(|| ledger.restore(entry, over, &rebuilt.stage, rebuilt.corrects.as_ref()));
        let restored = self.interrupts.or(restoring).await??;
        if restored.is_ok() {
            tracing::info!("the record was rebuilt from the receipts");
        }
        Ok(readable(restored, Input::Record))
    }
}

/// The input for what the ledger returned, if this worker can read it.
pub(super) fn readable<T>(returned: Result<T, Unreadable>, input: impl FnOnce(T) -> Input) -> Input {
    match returned {
        Ok(value) => input(value),
        Err(unreadable) => {
            tracing::warn!("the job goes back to the queue: {unreadable}");
            Input::Unreadable
        }
    }
}
