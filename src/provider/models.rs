//! Whose fault is a model that isn't there?
//!
//! The provider says so in two ways. "No channel has it" may be an outage that passes, or a model that is
//! gone (503); "discontinued" or "invalid model" is final (1201 and 1203): docs/provider.md,
//! "Models that are not there". And a model is the job's own choice, or the one that this worker sends
//! where a job names none (`api.model`): then no job is to blame.
//!
//! | said | of a job's own model | of `api.model` |
//! |---|---|---|
//! | no channel | the job waits by itself; refused when others were accepted between [`TRIES_MAX`] of its tries, over [`TRIES_FOR`] | the job waits by itself |
//! | no channel, [`IN_A_ROW_MAX`] POSTs in a row | the provider is down: intake stops | the same |
//! | gone | refused at once | a fault of the configuration; refused when the same model was accepted for another job in between |
//!
//! So one job's model never holds the others up, and an outage costs no job its outcome.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::forbidden::hash_of;
use crate::job::answers::{AccountFault, AccountFaultKind, Later, Refusal, SubmitOutcome};
use crate::job::pace::{Seed, backoff};
use crate::redact::for_people;

/// Tries of one job, each after another job was accepted, that show that its model isn't coming back.
const TRIES_MAX: u32 = 5;
/// And over at least so long: what passes sooner is an outage.
const TRIES_FOR: Duration = Duration::from_secs(300);
/// So many POSTs in a row that no channel took are no fault of any job's.
const IN_A_ROW_MAX: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many jobs without a model are remembered. A forgotten one is counted anew.
const JOBS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Models {
    /// `api.model`
    default: String,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// POSTs accepted by now, while any job is remembered.
    accepted: u64,
    /// Those of the default model.
    accepted_default: u64,
    /// POSTs since the last acceptance that no channel took.
    in_a_row: u32,
    /// By the body of their POST, hashed.
    jobs: HashMap<u64, Tries>,
}

/// What one job was told.
#[derive(Debug, Clone, Copy)]
struct Tries {
    first: Instant,
    count: u32,
    /// Those before which another job was accepted.
    beside_others: u32,
    /// `Seen::accepted` at the last one.
    accepted: u64,
    /// `Seen::accepted_default` when it was first told that its model is gone.
    gone: Option<u64>,
}

impl Models {
    pub(super) fn new(default: &str) -> Self {
        Self { default: default.to_owned(), seen: Mutex::default() }
    }

    /// The answer to the POST of `body`, as it is meant in the light of those before it.
    pub(super) fn judge(&self, body: &[u8], answer: SubmitOutcome) -> SubmitOutcome {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            SubmitOutcome::Later(later) if later.this_job_only => {
                self.without_channel(&mut seen, body, later)
            }
            SubmitOutcome::Refused(refusal) if refusal.no_model => self.gone(&mut seen, body, refusal),
            SubmitOutcome::Accepted(_) => {
                seen.in_a_row = 0;
                // Bodies are large, and read only where somebody waits to learn from them.
                if !seen.jobs.is_empty() {
                    seen.accepted += 1;
                    seen.accepted_default += u64::from(model_of(body) == self.default);
                    seen.jobs.remove(&hash_of(body));
                }
                answer
            }
            SubmitOutcome::Later(_)
            | SubmitOutcome::Account(_)
            | SubmitOutcome::Refused(_)
            | SubmitOutcome::Unknown { .. } => answer,
        }
    }

    fn without_channel(&self, seen: &mut Seen, body: &[u8], later: Later) -> SubmitOutcome {
        let model = model_of(body);
        let (job, tries) = seen.tried(body);
        seen.in_a_row = seen.in_a_row.saturating_add(1);
        let message = for_people(&format!("no channel has the model {model}: {}", later.message));
        if model != self.default && tries.beside_others >= TRIES_MAX && tries.first.elapsed() >= TRIES_FOR {
            seen.jobs.remove(&job);
            let message =
                for_people(&format!("{message} (told {} times, while others were accepted)", tries.count));
            return refused(message, later.provider_code);
        }
        if seen.in_a_row >= IN_A_ROW_MAX {
            let message = format!("{message}; if it stays so, check api.model");
            return SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Unreachable, message });
        }
        let wait = backoff(tries.count, FIRST_WAIT, LONGEST_WAIT, Seed::from_text(&job.to_string()));
        SubmitOutcome::Later(Later { message, after: later.after.max(Some(wait)), ..later })
    }

    fn gone(&self, seen: &mut Seen, body: &[u8], refusal: Refusal) -> SubmitOutcome {
        let model = model_of(body);
        let message = for_people(&format!("the model {model} isn't there: {}", refusal.message));
        if model != self.default {
            return refused(message, refusal.provider_code);
        }
        let (job, _) = seen.tried(body);
        let accepted = seen.accepted_default;
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
    fn tried(&mut self, body: &[u8]) -> (u64, Tries) {
        let job = hash_of(body);
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
        (job, *tries)
    }
}

fn refused(message: String, provider_code: Option<String>) -> SubmitOutcome {
    SubmitOutcome::Refused(Refusal { content_policy: false, no_model: true, message, provider_code })
}

/// `model_name` of the body of a POST.
fn model_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        model_name: String,
    }
    serde_json::from_slice::<Named>(body).map(|named| named.model_name).unwrap_or_default()
}

#[cfg(test)]
mod tests;
