//! Decides whose fault a 403 is that isn't about money.
//!
//! It can be the account's fault (a banned user, an IP address that isn't on the list) or one job's (its model, or
//! words that a firewall before the API rejects), and the reply doesn't say which (docs/provider.md, "Whose fault a
//! 403 is"). A fault of the account must not give a job an outcome; a fault of a job must not stop the other jobs for
//! good. What the account was allowed meanwhile distinguishes them: if a job is forbidden again after another job was
//! accepted, it is its own fault. Until then it is the account's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::job::answers::{AccountFault, AccountFaultKind, Refusal, SubmitOutcome};
use crate::job::submission::Submission;
use crate::job::{ExternalTaskId, JobId};

/// How many forbidden jobs are remembered. If one is forgotten, the intake pauses once more.
const JOBS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Forbidden(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The number of POSTs accepted so far.
    accepted: u64,
    /// Each forbidden POST ([`Submission::key`]), and the number of POSTs accepted before it.
    jobs: HashMap<(JobId, ExternalTaskId), u64>,
}

impl Forbidden {
    /// Returns the answer to this POST with its meaning after the answers before it.
    pub(super) fn judge(&self, submission: &Submission, answer: SubmitOutcome) -> SubmitOutcome {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Forbidden, message }) => {
                let job = submission.key();
                let accepted = seen.accepted;
                if seen.jobs.len() >= JOBS_MAX {
                    seen.jobs.clear();
                }
                let before = *seen.jobs.entry(job.clone()).or_insert(accepted);
                if before == accepted {
                    return SubmitOutcome::Account(AccountFault {
                        kind: AccountFaultKind::Forbidden,
                        message,
                    });
                }
                seen.jobs.remove(&job);
                let refusal =
                    Refusal { content_policy: false, no_model: false, message, provider_code: None };
                SubmitOutcome::Refused(refusal)
            }
            SubmitOutcome::Accepted(_) => {
                seen.accepted += 1;
                answer
            }
            SubmitOutcome::Later(_)
            | SubmitOutcome::Account(_)
            | SubmitOutcome::Refused(_)
            | SubmitOutcome::Unknown { .. } => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TaskId;

    fn job(id: &str) -> Submission {
        Submission::sample(id, "kling-v2")
    }

    fn forbidden() -> SubmitOutcome {
        let message = "HTTP 403: no".to_owned();
        SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Forbidden, message })
    }

    fn accepted() -> SubmitOutcome {
        SubmitOutcome::Accepted(TaskId::new("7").unwrap())
    }

    #[test]
    fn a_job_forbidden_again_while_others_are_accepted_is_refused_for_itself() {
        let seen = Forbidden::default();
        assert_eq!(seen.judge(&job("good"), accepted()), accepted());
        assert_eq!(seen.judge(&job("bad"), forbidden()), forbidden(), "the account may have changed since");
        assert_eq!(seen.judge(&job("good-too"), accepted()), accepted());
        assert!(matches!(seen.judge(&job("bad"), forbidden()), SubmitOutcome::Refused(_)));
        assert_eq!(seen.judge(&job("bad-too"), forbidden()), forbidden(), "each job has its own count");
    }

    #[test]
    fn an_account_that_is_allowed_nothing_refuses_no_job() {
        let seen = Forbidden::default();
        assert_eq!(seen.judge(&job("good"), accepted()), accepted());
        for _ in 0..10 {
            for id in ["a", "b", "c"] {
                assert_eq!(seen.judge(&job(id), forbidden()), forbidden());
            }
        }
    }

    #[test]
    fn so_many_jobs_are_remembered_and_no_more() {
        let seen = Forbidden::default();
        for number in 0..5_000 {
            seen.judge(&job(&number.to_string()), forbidden());
            assert!(seen.0.lock().unwrap().jobs.len() <= JOBS_MAX);
        }
    }
}
