//! Since when this process knows of an open attempt: the quiet period's beginning.

use std::time::Duration;

use super::Machine;

/// When this process first knew that somebody had asked at the gate of an attempt, on its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentSeen {
    attempt: u32,
    at: Duration,
}

impl Machine {
    /// What an earlier life of this process knew of an open attempt: the quiet period goes on, and
    /// doesn't begin anew with every connection.
    #[must_use]
    pub fn with_sight(mut self, sight: Option<IntentSeen>) -> Self {
        self.sight = sight;
        self
    }

    /// For a later life of this process.
    #[must_use]
    pub fn sight(&self) -> Option<IntentSeen> {
        self.sight
    }

    /// Somebody has asked at the gate of `attempt`, as is known since `at` or since before that.
    pub(super) fn sighted(&mut self, attempt: u32, at: Duration) -> Duration {
        match self.sight {
            Some(sight) if sight.attempt == attempt => sight.at,
            Some(_) | None => {
                self.sight = Some(IntentSeen { attempt, at });
                at
            }
        }
    }

    /// This life's own POST of `attempt` is open: nothing that was known before counts.
    pub(super) fn posted(&mut self, attempt: u32, asked: Duration) {
        self.sight = Some(IntentSeen { attempt, at: asked });
    }
}
