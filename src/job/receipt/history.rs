//! How far a job is, as its receipts say. Pure.

use bytes::Bytes;

use super::{Decision, Intent};
use crate::job::record::{Nonce, Stage};
use crate::job::route::RouteName;
use crate::job::step::Rebuilt;
use crate::job::{Charged, Digest, FailedTasks, SentUnder, TaskId};

/// The receipts of one job, in the order in which they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// In order, from attempt 1 on.
    pub attempts: Vec<Attempt>,
    /// The bytes of the terminal event.
    pub result: Option<Bytes>,
    /// The bytes of the event that corrects the result, if the result said that the outcome is unknown.
    pub resolved: Option<Bytes>,
}

/// One attempt, which has an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// `None` if it is unreadable: another life owns the attempt then.
    pub intent: Option<Intent>,
    pub task: Option<TaskId>,
    pub refused: bool,
    /// The attempt's task, if it failed and another generation may follow.
    pub failed: Option<FailedTask>,
    /// A person's decision, if this gate was shut when the job was given up.
    pub decision: Option<Decision>,
}

/// The facts of a failed task in its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FailedTask {
    pub task: TaskId,
    pub charged: Charged,
}

impl Attempt {
    /// Whether no life posts this attempt.
    fn is_shut(&self) -> bool {
        self.intent.as_ref().is_some_and(|intent| intent.shut)
    }

    /// Whether it was shut because the user had cancelled the job while no submit was under way.
    fn is_cancelled(&self) -> bool {
        self.intent.as_ref().is_some_and(|intent| intent.shut && intent.cancelled)
    }

    /// Whether a person has had the job submitted again after this gate.
    fn is_behind_us(&self) -> bool {
        self.is_shut() && self.decision == Some(Decision::SubmitAgain)
    }
}

impl History {
    /// The record that these receipts stand for; `None` for a job that was never posted.
    ///
    /// A result is the end, unless it said "unknown" and a person has had the job submitted again. A noted task is
    /// running. The highest intent without a refusal is open. A shut gate is no attempt, and the attempt before it
    /// stays open until its outcome is sealed.
    #[must_use]
    pub fn rebuilt(&self) -> Option<Rebuilt> {
        let named = self.attempts.iter().find_map(|attempt| attempt.intent.as_ref());
        let stage = self.stage()?;
        let is_done = matches!(stage, Stage::Done { .. });
        Some(Rebuilt {
            digest: named.map(|intent| Digest::new(intent.digest.clone())),
            route: self.route(),
            round: named.map_or(1, |intent| intent.round),
            corrects: self.result.clone().filter(|_| !is_done),
            failed: self.failed_before(&stage),
            under: match &stage {
                Stage::Submitting { attempt, .. } | Stage::Generating { attempt, .. } => {
                    self.sent_under(*attempt)
                }
                Stage::New { .. } | Stage::Done { .. } | Stage::Published { .. } => None,
            },
            stage,
        })
    }

    /// The route of the job; `None` if no readable receipt names it.
    #[must_use]
    pub fn route(&self) -> Option<RouteName> {
        let named = self.attempts.iter().find_map(|attempt| attempt.intent.as_ref());
        RouteName::new(&named?.route)
    }

    /// The attempt that was, or may have been, accepted and has no end; `None` if there is none.
    #[must_use]
    pub fn open_attempt(&self) -> Option<&Attempt> {
        let number = match self.stage()? {
            Stage::Submitting { attempt, .. } | Stage::Generating { attempt, .. } => attempt,
            Stage::New { .. } | Stage::Done { .. } | Stage::Published { .. } => return None,
        };
        self.attempts.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    fn stage(&self) -> Option<Stage> {
        let reopened = self.attempts.iter().rposition(Attempt::is_behind_us);
        // If the job was given up again, the outcome is the same as before.
        let given_up_since = self
            .attempts
            .last()
            .is_some_and(|last| last.is_shut() && !last.is_behind_us() && !last.is_cancelled());
        let ended = self.resolved.as_ref().or(self.result.as_ref());
        if let Some(event) = ended
            && (self.resolved.is_some() || reopened.is_none() || given_up_since)
        {
            return Some(Stage::Done { event: event.clone(), replaceable: false });
        }
        if let Some((attempt, task)) = self.task() {
            return Some(Stage::Generating { attempt, task, age: std::time::Duration::ZERO });
        }
        let last = self.attempts.iter().rposition(|attempt| !attempt.is_shut());
        if let Some(shut) = reopened.filter(|shut| last.is_none_or(|last| last < *shut)) {
            return Some(Stage::New { attempt: number(shut) + 1 });
        }
        // If a gate was shut for a user who cancels, the next life that asks there finds it shut.
        if let Some(shut) = self.attempts.iter().position(Attempt::is_cancelled) {
            return Some(Stage::New { attempt: number(shut) });
        }
        let index = last?;
        let attempt = self.attempts.get(index)?;
        if attempt.failed.is_some() {
            return Some(Stage::New { attempt: number(index) + 1 });
        }
        // No attempt follows a shut gate, whatever is known of the last attempt now.
        if attempt.refused && !self.is_shut_behind(number(index)) {
            return Some(Stage::New { attempt: number(index) + 1 });
        }
        let nonce = attempt.intent.as_ref().map(|intent| intent.nonce.clone()).unwrap_or_default();
        Some(Stage::Submitting { attempt: number(index), nonce: Nonce::new(nonce) })
    }

    /// The external id of attempt `attempt`.
    #[must_use]
    pub fn sent_under(&self, attempt: u32) -> Option<SentUnder> {
        let index = usize::try_from(attempt).unwrap_or(usize::MAX).checked_sub(1)?;
        self.attempts.get(index)?.intent.as_ref()?.sent_under()
    }

    /// The task of this job that counts, and its attempt. A failed task counts if no generation follows it, since a
    /// life has given the job up after it.
    #[must_use]
    pub fn task(&self) -> Option<(u32, TaskId)> {
        let mut attempts = self.attempts.iter().enumerate();
        attempts.find_map(|(index, attempt)| {
            let number = number(index);
            let failed = attempt.failed.as_ref().map(|failed| &failed.task);
            let task = failed.or(attempt.task.as_ref()).cloned()?;
            (failed.is_none() || self.is_given_up_behind(number)).then_some((number, task))
        })
    }

    /// How many generations the job may have, as its first intent says; `None` if no receipt says it.
    #[must_use]
    pub fn max_attempts(&self) -> Option<u32> {
        self.attempts.first()?.intent.as_ref().map(|intent| intent.max_attempts)
    }

    /// Whether another generation may follow the one of attempt `attempt` if its task fails.
    #[must_use]
    pub fn allows_another(&self, attempt: u32) -> bool {
        let open = usize::try_from(attempt).unwrap_or(usize::MAX);
        let failed = self.attempts.iter().take(open.saturating_sub(1)).filter(|one| one.failed.is_some());
        let generation = u32::try_from(failed.count()).unwrap_or(u32::MAX).saturating_add(1);
        self.result.is_none()
            && open <= self.attempts.len()
            && self.max_attempts().is_some_and(|max| generation < max)
            && !self.is_shut_behind(attempt)
    }

    /// The failed tasks of the attempts up to `attempt`, if the task of `attempt` is one of them.
    #[must_use]
    pub fn failed_at(&self, attempt: u32) -> Option<FailedTasks> {
        let number = usize::try_from(attempt).unwrap_or(usize::MAX);
        self.attempts.get(number.checked_sub(1)?)?.failed.as_ref()?;
        Some(self.failed_among(number))
    }

    /// All failed tasks.
    #[must_use]
    pub fn failed(&self) -> FailedTasks {
        self.failed_among(self.attempts.len())
    }

    fn failed_before(&self, stage: &Stage) -> FailedTasks {
        let attempt = match stage {
            Stage::New { attempt }
            | Stage::Submitting { attempt, .. }
            | Stage::Generating { attempt, .. } => *attempt,
            Stage::Done { .. } | Stage::Published { .. } => return FailedTasks::NONE,
        };
        self.failed_among(usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1))
    }

    fn failed_among(&self, first: usize) -> FailedTasks {
        let failed = self.attempts.iter().take(first).filter_map(|attempt| attempt.failed.clone());
        failed.fold(FailedTasks::NONE, |all, one| all.and(one.task, one.charged))
    }

    /// Whether these receipts say more than that attempt `attempt` is open.
    #[must_use]
    pub fn knows_more_than(&self, attempt: u32) -> bool {
        match self.rebuilt().map(|rebuilt| rebuilt.stage) {
            Some(Stage::Submitting { attempt: open, .. }) => open != attempt,
            Some(
                Stage::New { .. } | Stage::Generating { .. } | Stage::Done { .. } | Stage::Published { .. },
            ) => true,
            None => false,
        }
    }

    /// Whether a life has given the job up and shut the gate of attempt `attempt`, and the job has not continued
    /// nevertheless.
    #[must_use]
    pub fn is_given_up_at(&self, attempt: u32) -> bool {
        let is_running = self.result.is_some() || self.task().is_some();
        !is_running && attempt > 0 && self.is_shut_behind(attempt - 1)
    }

    /// Whether the gate of attempt `attempt` was shut because the user had cancelled the job.
    #[must_use]
    pub fn is_cancelled_at(&self, attempt: u32) -> bool {
        let index = usize::try_from(attempt).unwrap_or(usize::MAX).checked_sub(1);
        index.and_then(|index| self.attempts.get(index)).is_some_and(Attempt::is_cancelled)
    }

    /// The number of the last gate, if it was shut when the job was given up: a person's decision belongs there.
    #[must_use]
    pub fn last_shut_gate(&self) -> Option<u32> {
        let last = self.attempts.len().checked_sub(1)?;
        let attempt = self.attempts.get(last)?;
        (attempt.is_shut() && !attempt.is_cancelled()).then(|| number(last))
    }

    /// A person's decision about the last gate.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        self.attempts.last()?.decision
    }

    /// Whether the gate after attempt `attempt` was shut, but not because the user had cancelled the job.
    fn is_given_up_behind(&self, attempt: u32) -> bool {
        self.is_shut_behind(attempt) && !self.is_cancelled_at(attempt.saturating_add(1))
    }

    /// Whether a life has given the job up and shut the gate after attempt `attempt`.
    #[must_use]
    pub fn is_shut_behind(&self, attempt: u32) -> bool {
        let next = usize::try_from(attempt).unwrap_or(usize::MAX);
        self.attempts.get(next).is_some_and(|attempt| attempt.is_shut() && !attempt.is_behind_us())
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(shut: bool) -> Option<Intent> {
        let text = format!(
            r#"{{"version":1,"job_id":"a","digest":"d","round":2,"nonce":"n","external_task_id":"cw-1","shut":{shut}}}"#
        );
        Some(serde_json::from_str(&text).unwrap())
    }

    fn open() -> Attempt {
        Attempt { intent: intent(false), task: None, refused: false, failed: None, decision: None }
    }

    fn stage(attempts: &[Attempt]) -> Option<Stage> {
        History { attempts: attempts.to_vec(), ..History::default() }.rebuilt().map(|rebuilt| rebuilt.stage)
    }

    #[test]
    fn the_first_intents_were_all_of_the_default_route() {
        let history = History { attempts: vec![open()], ..History::default() };
        assert_eq!(history.route().as_ref(), Some(RouteName::default_route()));
        let dance = Intent { route: "dance".to_owned(), ..intent(false).unwrap() };
        let history = History { attempts: vec![Attempt { intent: Some(dance), ..open() }], ..history };
        assert_eq!(history.route(), RouteName::new("dance"));
        assert_eq!(history.rebuilt().unwrap().route, RouteName::new("dance"));
    }

    #[test]
    fn no_intent_is_a_job_that_was_never_posted() {
        assert_eq!(stage(&[]), None);
    }

    #[test]
    fn the_highest_attempt_that_is_not_refused_is_open() {
        let refused = Attempt { refused: true, ..open() };
        let nonce = Nonce::new("n".to_owned());
        assert_eq!(stage(&[open()]), Some(Stage::Submitting { attempt: 1, nonce: nonce.clone() }));
        assert_eq!(stage(std::slice::from_ref(&refused)), Some(Stage::New { attempt: 2 }));
        assert_eq!(stage(&[refused, open()]), Some(Stage::Submitting { attempt: 2, nonce }));
    }

    #[test]
    fn an_unreadable_intent_is_another_lifes() {
        let unreadable = Attempt { intent: None, ..open() };
        assert_eq!(
            stage(&[unreadable]),
            Some(Stage::Submitting { attempt: 1, nonce: Nonce::new(String::new()) })
        );
    }

    #[test]
    fn a_shut_gate_is_no_attempt() {
        let shut = Attempt { intent: intent(true), ..open() };
        let history = History { attempts: vec![open(), shut], ..History::default() };
        assert!(matches!(history.rebuilt().unwrap().stage, Stage::Submitting { attempt: 1, .. }));
        assert!(history.is_shut_behind(1) && !history.is_shut_behind(2));
        assert!(!history.knows_more_than(1));
        assert!(history.is_given_up_at(2) && !history.is_given_up_at(1));
    }

    #[test]
    fn an_attempt_that_was_refused_after_the_next_gate_was_shut_is_followed_by_none() {
        let refused = Attempt { refused: true, ..open() };
        let shut = Attempt { intent: intent(true), ..open() };
        let history = History { attempts: vec![refused, shut], ..History::default() };
        assert!(matches!(history.rebuilt().unwrap().stage, Stage::Submitting { attempt: 1, .. }));
        assert!(history.knows_more_than(2) && !history.knows_more_than(1));
    }

    #[test]
    fn a_task_is_running_whatever_came_after_it_and_a_result_is_the_end() {
        let task = TaskId::new("t").unwrap();
        let with_task = Attempt { task: Some(task.clone()), ..open() };
        let Some(Stage::Generating { attempt: 1, task: found, .. }) = stage(&[with_task.clone(), open()])
        else {
            panic!("not running")
        };
        assert_eq!(found, task);
        let ended = History {
            attempts: vec![with_task],
            result: Some(Bytes::from_static(b"e")),
            ..History::default()
        };
        assert!(matches!(ended.rebuilt().unwrap().stage, Stage::Done { .. }));
        assert_eq!(ended.rebuilt().unwrap().round, 2);
    }
}
