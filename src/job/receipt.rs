//! The receipts of a job: their forms, and what they say together. They are kept by [`receipts`](crate::receipts).

pub mod history;
pub mod notes;

use super::{Digest, JobId, SentUnder};

pub use notes::{Decision, Intent};

/// What came of the ask at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Nobody else passes for this attempt.
    Mine,
    /// Another ask was first.
    Taken,
}

/// What came of shutting a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// Nobody passes any more, by this call or an earlier one.
    Shut,
    /// Somebody has passed: follow that attempt.
    Taken,
}

/// Whose receipt it is.
#[derive(Debug, Clone, Copy)]
pub struct IntentFacts<'a> {
    pub job: &'a JobId,
    pub digest: &'a Digest,
    pub round: u32,
    /// What the attempt goes out under.
    pub under: &'a SentUnder,
    /// `generation.max_attempts`
    pub max_attempts: u32,
}
