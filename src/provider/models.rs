//! Decides whose fault a missing model is.
//!
//! The provider reports it in two ways. "No channel has it" may be a temporary outage or a model that is gone (503);
//! "discontinued" or "invalid model" is final (1201 and 1203): docs/provider.md, "Models that are not there". And a
//! model is either the job's own choice, or the one that this worker sends if a job names none (`api.model`); then it
//! is no job's fault.
//!
//! | the provider says | for a job's own model | for `api.model` |
//! |---|---|---|
//! | no channel | only it waits; refused after [`TRIES_MAX`] tries with others accepted between, over [`TRIES_FOR`] | only it waits |
//! | no channel, [`IN_A_ROW_MAX`] POSTs in a row | the provider is down: the intake stops | the same |
//! | gone | the job is refused at once | a configuration fault; refused if the model was accepted for another job in between |
//!
//! So one job's model never delays the other jobs, and an outage gives no job an outcome.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::job::answers::{AccountFault, AccountFaultKind, Later, Refusal, SubmitOutcome};
use crate::job::pace::{Seed, backoff};
use crate::job::submission::Submission;
use crate::job::{ExternalTaskId, JobId};
use crate::redact::for_people;

/// After this many tries of one job, each after another job was accepted, its model is believed to be gone.
const TRIES_MAX: u32 = 5;
/// And after this time at least: what ends sooner is an outage.
const TRIES_FOR: Duration = Duration::from_secs(300);
/// This many POSTs in a row without a channel are no job's fault.
const IN_A_ROW_MAX: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many jobs without a model are remembered. The count of a forgotten one starts again.
const JOBS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Models(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The number of POSTs accepted so far, counted while any job is remembered.
    accepted: u64,
    /// Those with the default model.
    accepted_default: u64,
    /// The number of POSTs without a channel since the last accepted one.
    in_a_row: u32,
    /// By [`Submission::key`].
    jobs: HashMap<(JobId, ExternalTaskId), Tries>,
}

/// The tries of one job.
#[derive(Debug, Clone, Copy)]
struct Tries {
    first: Instant,
    count: u32,
    /// How many of them came after another job was accepted.
    beside_others: u32,
    /// `Seen::accepted` at the last try.
    accepted: u64,
    /// `Seen::accepted_default` when the provider first said that its model is gone.
    gone: Option<u64>,
}

impl Models {
    /// Returns the answer to this POST with its meaning after the answers before it.
    pub(super) fn judge(&self, submission: &Submission, answer: SubmitOutcome) -> SubmitOutcome {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            SubmitOutcome::Later(later) if later.this_job_only => {
                self.without_channel(&mut seen, submission, later)
            }
            SubmitOutcome::Refused(refusal) if refusal.no_model => self.gone(&mut seen, submission, refusal),
            SubmitOutcome::Accepted(_) => {
                seen.in_a_row = 0;
                if !seen.jobs.is_empty() {
                    seen.accepted += 1;
                    seen.accepted_default += u64::from(submission.has_api_model());
                    seen.jobs.remove(&submission.key());
                }
                answer
            }
            SubmitOutcome::Later(_)
            | SubmitOutcome::Account(_)
            | SubmitOutcome::Refused(_)
            | SubmitOutcome::Unknown { .. } => answer,
        }
    }

    fn without_channel(&self, seen: &mut Seen, submission: &Submission, later: Later) -> SubmitOutcome {
        let model = &submission.model;
        let tries = seen.tried(submission);
        seen.in_a_row = seen.in_a_row.saturating_add(1);
        let message = for_people(&format!("no channel has the model {model}: {}", later.message));
        if !submission.has_api_model()
            && tries.beside_others >= TRIES_MAX
            && tries.first.elapsed() >= TRIES_FOR
        {
            seen.jobs.remove(&submission.key());
            let message =
                for_people(&format!("{message} (told {} times, while others were accepted)", tries.count));
            return refused(message, later.provider_code);
        }
        if seen.in_a_row >= IN_A_ROW_MAX {
            let message = format!("{message}; if it stays so, check api.model");
            return SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Unreachable, message });
        }
        let wait =
            backoff(tries.count, FIRST_WAIT, LONGEST_WAIT, Seed::from_text(submission.external_id.as_str()));
        SubmitOutcome::Later(Later { message, after: later.after.max(Some(wait)), ..later })
    }

    fn gone(&self, seen: &mut Seen, submission: &Submission, refusal: Refusal) -> SubmitOutcome {
        let model = &submission.model;
        let message = for_people(&format!("the model {model} isn't there: {}", refusal.message));
        if !submission.has_api_model() {
            return refused(message, refusal.provider_code);
        }
        seen.tried(submission);
        let (job, accepted) = (submission.key(), seen.accepted_default);
        let first = seen.jobs.get_mut(&job).map_or(accepted, |tries| *tries.gone.get_or_insert(accepted));
        if first < accepted {
            seen.jobs.remove(&job);
            return refused(message, refusal.provider_code);
        }
        let message = format!("{message}; set api.model to one that is");
        SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Configuration, message })
    }
}

impl Seen {
    /// Counts one more try of a job.
    fn tried(&mut self, submission: &Submission) -> Tries {
        let job = submission.key();
        if self.jobs.len() >= JOBS_MAX && !self.jobs.contains_key(&job) {
            self.jobs.clear();
        }
        let accepted = self.accepted;
        let tries = self.jobs.entry(job).or_insert(Tries {
            first: Instant::now(),
            count: 0,
            beside_others: 0,
            accepted,
            gone: None,
        });
        tries.count = tries.count.saturating_add(1);
        tries.beside_others += u32::from(accepted > tries.accepted);
        tries.accepted = accepted;
        *tries
    }
}

fn refused(message: String, provider_code: Option<String>) -> SubmitOutcome {
    SubmitOutcome::Refused(Refusal { content_policy: false, no_model: true, message, provider_code })
}

#[cfg(test)]
mod tests;
