//! `external_task_id`: our name for a generation at the provider, and which task found under it is this job's.
//!
//! Any client can use any id, and two fleets may use one account. So the id is made of facts that no other job
//! shares: the id of the fleet's store (which no producer knows), the job's id, the digest of its input, and the
//! number of the generation. A producer may still choose an id. It is sent unchanged, but a task that is found under
//! it proves nothing by itself.

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Digest, JobId};

/// Our name for the generation, which is sent with the submit: `external_task_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "external_task_id",
    description = "The id under which the provider knows the job: made from the job_id, or your own."
)]
pub struct ExternalTaskId(#[schemars(length(min = 1, max = ExternalTaskId::MAX_LENGTH))] String);

impl ExternalTaskId {
    /// Clients of Kling cut it at 64 characters (docs/provider.md, "Request fields").
    pub const MAX_LENGTH: usize = 64;

    /// `None` unless it is 1 to 64 characters of `[A-Za-z0-9_-]`, which are known to pass every gateway.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        ((1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed))
            .then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The external ids of one job's generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalIds {
    /// The id in the input that the producer chose, for the first generation.
    own: Option<ExternalTaskId>,
    /// A hash of facts that no other job shares.
    job: [u8; 32],
}

impl ExternalIds {
    /// `store` is the id of the store with the receipts. It is empty without receipts; then a job with the same id
    /// and the same input in another fleet on the account has the same external id.
    #[must_use]
    pub fn new(own: Option<ExternalTaskId>, store: &str, job: &JobId, digest: &Digest) -> Self {
        let mut hash = Sha256::new();
        for part in [store, job.as_str(), digest.as_str()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { own, job: hash.finalize().into() }
    }

    /// The id for all attempts at the generation of that number. It is the same on every worker and after every
    /// restart.
    #[must_use]
    pub fn of_generation(&self, number: u32) -> ExternalTaskId {
        match &self.own {
            Some(own) if number <= 1 => own.clone(),
            Some(_) | None => {
                let hash = Sha256::new().chain_update(self.job).chain_update(number.to_be_bytes()).finalize();
                ExternalTaskId(format!("cw-{}", hex::encode(hash.get(..20).unwrap_or_default())))
            }
        }
    }

    /// Whether the producer chose the id of that generation.
    #[must_use]
    pub fn is_own(&self, number: u32) -> bool {
        self.own.is_some() && number <= 1
    }
}

/// The external id of a POST, and which tasks under it are the job's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SentUnder {
    pub id: ExternalTaskId,
    pub adopts: Adopts,
}

/// Which task under the external id is the job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adopts {
    /// Any task: no other job has this id.
    Any,
    /// The producer chose the id: a task that was made at this time or later, by the provider's clock in Unix
    /// milliseconds. The time is earlier than the job's intent.
    MadeFrom(i64),
    /// The producer chose the id, and the time of the provider's clock is unknown: no task.
    None,
}

impl SentUnder {
    /// Whether the producer chose the id.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self.adopts {
            Adopts::Any => false,
            Adopts::MadeFrom(_) | Adopts::None => true,
        }
    }

    /// Whether a task that is found under the id is this job's. `made_ms` is the latest time at which the task can
    /// have been made, by the provider's clock.
    #[must_use]
    pub fn takes(&self, made_ms: Option<i64>) -> bool {
        match self.adopts {
            Adopts::Any => true,
            Adopts::MadeFrom(from_ms) => made_ms.is_some_and(|made_ms| made_ms >= from_ms),
            Adopts::None => false,
        }
    }

    /// One or two words with a space between them, which no id contains.
    #[must_use]
    pub fn to_words(&self) -> String {
        let id = self.id.as_str();
        match self.adopts {
            Adopts::Any => id.to_owned(),
            Adopts::MadeFrom(from_ms) => format!("{id} {from_ms}"),
            Adopts::None => format!("{id} -"),
        }
    }

    /// Reads what [`Self::to_words`] has written; `None` for anything else.
    #[must_use]
    pub fn from_words(words: &str) -> Option<Self> {
        let (id, adopts) = match words.split_once(' ') {
            None => (words, Adopts::Any),
            Some((id, "-")) => (id, Adopts::None),
            Some((id, from_ms)) => (id, Adopts::MadeFrom(from_ms.parse().ok()?)),
        };
        Some(Self { id: ExternalTaskId::new(id)?, adopts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(own: Option<&str>, store: &str, job: &str, digest: &str) -> ExternalIds {
        let own = own.map(|own| ExternalTaskId::new(own).unwrap());
        ExternalIds::new(own, store, &job.parse().unwrap(), &Digest::new(digest.to_owned()))
    }

    #[test]
    fn no_two_stores_jobs_inputs_or_generations_have_one_id() {
        let mut seen = std::collections::HashSet::new();
        for store in ["", "s", "sa"] {
            for job in ["a", "ab", "order-8812"] {
                for digest in ["", "d", "bd"] {
                    for number in 1..4 {
                        let id = ids(None, store, job, digest).of_generation(number);
                        assert_eq!(ExternalTaskId::new(id.as_str()), Some(id.clone()));
                        assert!(seen.insert(id), "{store} {job} {digest} {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_producers_own_id_goes_out_as_it_is_and_a_further_generation_has_one_that_only_this_job_has() {
        let (one, other) = (ids(Some("mine"), "s", "a", "d"), ids(Some("mine"), "s", "b", "d"));
        assert_eq!(one.of_generation(1).as_str(), "mine");
        assert!(one.is_own(1) && !one.is_own(2));
        assert_ne!(one.of_generation(2), other.of_generation(2));
        assert_ne!(one.of_generation(2), one.of_generation(3));
    }

    #[test]
    fn under_a_producers_id_a_task_is_adopted_only_if_it_was_made_behind_the_intent() {
        let under = |adopts| SentUnder { id: ExternalTaskId::new("mine").unwrap(), adopts };
        for (adopts, made_ms, takes) in [
            (Adopts::Any, None, true),
            (Adopts::Any, Some(0), true),
            (Adopts::MadeFrom(1000), Some(1000), true),
            (Adopts::MadeFrom(1000), Some(999), false),
            (Adopts::MadeFrom(1000), None, false),
            (Adopts::None, Some(i64::MAX), false),
        ] {
            assert_eq!(under(adopts).takes(made_ms), takes, "{adopts:?} {made_ms:?}");
            assert_eq!(SentUnder::from_words(&under(adopts).to_words()), Some(under(adopts)));
        }
        for damaged in ["", "a b", "ü", "a 1 2"] {
            assert_eq!(SentUnder::from_words(damaged), None, "{damaged}");
        }
    }
}
