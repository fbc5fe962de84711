//! The running task: its polls, and the generation after one that failed.

use std::time::Duration;

use super::record::readable;
use super::{Actor, Kept};
use crate::job::answers::TaskStatus;
use crate::job::stage::JobStage;
use crate::job::step::{Input, MoveResult, RequeueReason};
use crate::job::{Charged, FailedTasks, TaskId};
use crate::ledger::hints::Hint;
use crate::provider::NO_TASK;

impl Actor<'_> {
    /// Waits for the next poll, and polls. `None` if the record could not be read after a hint.
    pub(super) async fn poll(&mut self, task: TaskId, at: Duration) -> Result<Option<Input>, RequeueReason> {
        self.held.at(JobStage::Generating);
        let holds_body = matches!(self.submission, Kept::InMessage);
        if !holds_body && (!self.shared.settings.rules.receipts || self.machine.is_noted()) {
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
                return Ok(Some(Input::Called));
            }
            None => {}
        }
        let route = self.route()?;
        let querying = async {
            let _place = self.shared.polls.acquire().await;
            let asked = self.shared.clock.now();
            (self.shared.provider.query(&route, &task).await, asked)
        };
        let (status, asked) = self.interrupts.or(querying).await?;
        self.shared.metrics.polled(&status);
        if let TaskStatus::Unavailable { fault: Some(fault), .. } = &status {
            self.shared.breaker.account_fault(fault);
        }
        if !matches!(&status, TaskStatus::Succeeded { .. }) {
            self.leave_turn();
        }
        self.learn(&status, asked);
        Ok(Some(Input::Polled { status, asked }))
    }

    async fn due(&self, at: Duration) {
        self.shared.clock.sleep_until(at).await;
        self.turn_to_download().await;
    }

    /// Asks for a task that doesn't exist: can the provider say that there is no such task?
    pub(super) async fn query_other(&mut self, task: &TaskId, message: &str) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Generating);
        let route = self.route()?;
        let querying = async {
            let _place = self.shared.polls.acquire().await;
            let Some(no_task) = TaskId::new(NO_TASK) else { return false };
            matches!(self.shared.provider.query(&route, &no_task).await, TaskStatus::NotFound { .. })
        };
        let about_others = self.interrupts.or(querying).await?;
        if about_others {
            tracing::info!(task_id = %task, "overdue, and no answer about this task alone: {message}");
        }
        Ok(Input::AnswersAboutOthers(about_others))
    }

    /// Learns from a poll at `asked` how long tasks take.
    fn learn(&mut self, status: &TaskStatus, asked: Duration) {
        let Some(age) = self.machine.age(asked) else { return };
        match status {
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
    pub(super) async fn heed(&mut self) -> Result<Option<Input>, RequeueReason> {
        Ok(self.interrupts.or(self.look()).await?.ok().map(Input::Record))
    }

    /// Notes that the task failed and another generation may follow.
    pub(super) async fn note_failure(
        &mut self,
        attempt: u32,
        task: TaskId,
        charged: Charged,
    ) -> Result<Input, RequeueReason> {
        let receipts = &self.shared.receipts;
        self.until_stored(|| receipts.note_failure(&self.job.id, attempt, &task, charged)).await?;
        Ok(Input::Done)
    }

    pub(super) async fn follow(&mut self, attempt: u32, failed: FailedTasks) -> Result<Input, RequeueReason> {
        let ledger = &self.shared.ledger;
        let followed = self.until_known(|| ledger.follow(&self.job.id, attempt, &failed)).await?;
        if let Ok(MoveResult::Yes { .. }) = &followed {
            let failed_task = failed.tasks().last().map(TaskId::as_str);
            tracing::info!(failed_task, generation = failed.generation(), "failed, and is generated again");
            self.shared.metrics.generated_again();
        }
        Ok(readable(followed, Input::Moved))
    }
}
