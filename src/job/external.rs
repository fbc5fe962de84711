//! `external_task_id`: our name for a generation at the provider, and which task found under it is this job's.
//!
//! Anybody can name anybody's id, and two fleets may work on one account. So the id is made of what no other job has: the id of the
//! fleet's store (which no producer knows), the job's id, the digest of its input, and the number of the generation. A producer may
//! name an id of its own all the same. It goes out as it is, but a task that is found under it proves nothing by itself.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Digest, JobId};

/// Our name for the generation, sent along with the submit: `external_task_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ExternalTaskId(String);

impl ExternalTaskId {
    /// Clients of Kling cut it at 64 characters (docs/provider.md, "Request fields").
    pub const MAX_LENGTH: usize = 64;

    /// `None` unless it is 1 to 64 characters of `[A-Za-z0-9_-]`, which is what is known to pass through every gateway.
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
    /// What the producer has named in the input, for the first generation.
    own: Option<ExternalTaskId>,
    /// A hash of what no other job has.
    job: [u8; 32],
}

impl ExternalIds {
    /// `store` is the id of the store that has the receipts; empty where there are none, and two fleets on one account may then meet
    /// in a job with the same id and the same input.
    #[must_use]
    pub fn new(own: Option<ExternalTaskId>, store: &str, job: &JobId, digest: &Digest) -> Self {
        let mut hash = Sha256::new();
        for part in [store, job.as_str(), digest.as_str()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { own, job: hash.finalize().into() }
    }

    /// The same for all attempts at the generation of that number, on every worker and after every restart.
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

    /// Whether the producer has named the id of that generation.
    #[must_use]
    pub fn is_own(&self, number: u32) -> bool {
        self.own.is_some() && number <= 1
    }
}

/// What a POST went out under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SentUnder {
    pub id: ExternalTaskId,
    pub adopts: Adopts,
}

/// Which task, found under the id, is the job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adopts {
    /// Any: no other job has this id.
    Any,
    /// The id is the producer's own: a task that was made at this time or later, by the provider's clock in Unix milliseconds. The
    /// job's intent is younger than that.
    MadeFrom(i64),
    /// The id is the producer's own, and what the provider's clock was is unknown.
    None,
}

impl SentUnder {
    /// Whether the producer has named the id.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self.adopts {
            Adopts::Any => false,
            Adopts::MadeFrom(_) | Adopts::None => true,
        }
    }

    /// Whether a task that is found under the id is this job's; `made_ms` is the latest time at which it can have been made, by the
    /// provider's clock.
    #[must_use]
    pub fn takes(&self, made_ms: Option<i64>) -> bool {
        match self.adopts {
            Adopts::Any => true,
            Adopts::MadeFrom(from_ms) => made_ms.is_some_and(|made_ms| made_ms >= from_ms),
            Adopts::None => false,
        }
    }

    /// As one or two words with a space between them, which no id has.
    #[must_use]
    pub fn to_words(&self) -> String {
        let id = self.id.as_str();
        match self.adopts {
            Adopts::Any => id.to_owned(),
            Adopts::MadeFrom(from_ms) => format!("{id} {from_ms}"),
            Adopts::None => format!("{id} -"),
        }
    }

    /// What [`Self::to_words`] has made; `None` for anything else.
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
