//! An open submit: it is looked up at the provider, and given up by shutting its gate.

use std::time::Duration;

use super::Actor;
use crate::job::answers::Lookup;
use crate::job::request::{DeadLetter, DeadReason};
use crate::job::stage::JobStage;
use crate::job::step::{Input, RequeueReason};
use crate::ledger::hints::Hint;

impl Actor<'_> {
    pub(super) async fn see_intent(&mut self, attempt: u32) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        let looking = self.until_stored(|| receipts.is_intended(&self.job.id, attempt));
        let intended = self.interrupts.or(looking).await??;
        Ok(Input::Intended(intended))
    }

    pub(super) async fn look_up(&mut self) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Recovering);
        self.right = None;
        let (under, route) = (self.under(), self.route()?);
        let looking = async {
            let _place = self.shared.polls.acquire().await;
            let asked = self.shared.clock.now();
            (self.shared.provider.lookup(&route, &under).await, asked)
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
        Ok(Input::LookedUp { found, asked })
    }

    pub(super) async fn look_on(&mut self, until: Duration) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Recovering);
        let either = async {
            tokio::select! {
                hint = self.hints.hint() => hint,
                () = self.shared.clock.sleep_until(until) => Hint::Look,
            }
        };
        Ok(match self.interrupts.or(either).await? {
            Hint::Look => Input::LookAgain,
            Hint::Poll => Input::Called,
        })
    }

    pub(super) async fn shut(&mut self, attempt: u32, cancels: bool) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        let under = self.under();
        let facts = self.intent_facts(&under);
        let shut = self.until_stored(|| receipts.shut(facts, attempt, cancels)).await?;
        Ok(Input::Shut(shut))
    }

    /// Publishes the copy for a person. If the worker dies right after that, there may be two copies.
    pub(super) async fn park(&mut self) -> Result<Input, RequeueReason> {
        let detail = "it is not known whether the provider accepted it; look for its external_task_id there, and say what you \
                      found with comet-worker resolve"
            .to_owned();
        let dead = DeadLetter { reason: DeadReason::OutcomeUnknown, detail };
        let Some(original) = &self.original else { return Err(RequeueReason::Unreadable) };
        self.shared.publishing.dead_letter(original, &dead, self.interrupts).await?;
        tracing::warn!(reason = dead.reason.as_str(), "dead letter: {}", dead.detail);
        Ok(Input::Done)
    }
}
