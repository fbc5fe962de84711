//! The receipts of a job: their formats, and what they mean together. [`receipts`](crate::receipts) stores them.

pub mod history;
mod name;
pub mod notes;

use super::route::RouteName;
use super::{Digest, JobId, SentUnder};

pub use name::ReceiptName;
pub use notes::{Decision, Intent};

/// The result of an ask at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// No other life passes for this attempt.
    Mine,
    /// Another ask came first.
    Taken,
}

/// The result of shutting a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// No life can pass any more; this call or an earlier one has shut the gate.
    Shut,
    /// A life has passed: follow its attempt.
    Taken,
}

/// The facts of an intent.
#[derive(Debug, Clone, Copy)]
pub struct IntentFacts<'a> {
    pub job: &'a JobId,
    pub digest: &'a Digest,
    pub route: &'a RouteName,
    pub round: u32,
    /// The external id of the attempt.
    pub under: &'a SentUnder,
    /// `generation.max_attempts`
    pub max_attempts: u32,
}
