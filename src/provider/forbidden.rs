//! Whose fault is a 403 that isn't about money?
//!
//! It can be the account's (a banned user, an IP address that isn't on the list) or one job's (its model,
//! or words that a firewall before the API doesn't like), and the reply doesn't tell which
//! (docs/provider.md, "Whose fault a 403 is"). The account's must cost no job its outcome; the job's must
//! not stop the others for good. What tells them apart is what the account was allowed meanwhile: a job
//! that is forbidden again, after another one was accepted in between, is to blame itself. Until then the
//! account is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::job::answers::{AccountFault, AccountFaultKind, Refusal, SubmitOutcome};

/// So many forbidden jobs are remembered. A forgotten one costs another pause of the intake.
const JOBS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Forbidden(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// POSTs accepted by now.
    accepted: u64,
    /// A forbidden POST's body, hashed, and how many were accepted before it.
    jobs: HashMap<u64, u64>,
}

impl Forbidden {
    /// The answer to the POST of `body`, as it is meant in the light of those before it.
    pub(super) fn judge(&self, body: &[u8], answer: SubmitOutcome) -> SubmitOutcome {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Forbidden, message }) => {
                let job = hash_of(body);
                let accepted = seen.accepted;
                if seen.jobs.len() >= JOBS_MAX {
                    seen.jobs.clear();
                }
                let before = *seen.jobs.entry(job).or_insert(accepted);
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

/// Attempts at one job have one body.
pub(super) fn hash_of(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TaskId;

    fn forbidden() -> SubmitOutcome {
        let message = "HTTP 403: no".to_owned();
        SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Forbidden, message })
    }

    fn accepted() -> SubmitOutcome {
        SubmitOutcome::Accepted(TaskId::new("7").unwrap())
    }

    #[test]
    fn a_job_forbidden_again_while_others_are_accepted_is_refused_for_itself() {
        let bounded_listener = Forbidden::default();
        assert_eq!(bounded_listener.judge(b"good", accepted()), accepted());
        assert_eq!(
            bounded_listener.judge(b"bad", forbidden()),
            forbidden(),
            "the account may have changed since"
        );
        assert_eq!(bounded_listener.judge(b"good too", accepted()), accepted());
        assert!(matches!(bounded_listener.judge(b"bad", forbidden()), SubmitOutcome::Refused(_)));
        assert_eq!(
            bounded_listener.judge(b"bad too", forbidden()),
            forbidden(),
            "each job has its own count"
        );
    }

    #[test]
    fn an_account_that_is_allowed_nothing_refuses_no_job() {
        let bounded_listener = Forbidden::default();
        assert_eq!(bounded_listener.judge(b"good", accepted()), accepted());
        for _ in 0..10 {
            for job in ["a", "b", "c"] {
                assert_eq!(bounded_listener.judge(job.as_bytes(), forbidden()), forbidden());
            }
        }
    }

    #[test]
    fn so_many_jobs_are_remembered_and_no_more() {
        let bounded_listener = Forbidden::default();
        for job in 0..5_000_u32 {
            bounded_listener.judge(&job.to_be_bytes(), forbidden());
            assert!(bounded_listener.0.lock().unwrap().jobs.len() <= JOBS_MAX);
        }
    }
}
