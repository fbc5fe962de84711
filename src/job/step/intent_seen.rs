//! Since when this process has known of an open attempt: the quiet period begins there.

use std::time::Duration;

use super::Machine;

/// When this process first knew that a life had asked at the gate of an attempt, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentSeen {
    attempt: u32,
    at: Duration,
}

impl Machine {
    /// Takes over what an earlier life of this process knew of an open attempt, so that the quiet period continues
    /// and doesn't start again with every connection.
    #[must_use]
    pub fn with_sight(mut self, sight: Option<IntentSeen>) -> Self {
        self.sight = sight;
        self
    }

    /// What a later life of this process can take over.
    #[must_use]
    pub fn sight(&self) -> Option<IntentSeen> {
        self.sight
    }

    /// Records that a life has asked at the gate of `attempt`, at `at` or earlier; returns the earliest time known.
    pub(super) fn sighted(&mut self, attempt: u32, at: Duration) -> Duration {
        match self.sight {
            Some(sight) if sight.attempt == attempt => sight.at,
            Some(_) | None => {
                self.sight = Some(IntentSeen { attempt, at });
                at
            }
        }
    }

    /// This life's own POST of `attempt` is open, so nothing that was known before counts.
    pub(super) fn posted(&mut self, attempt: u32, asked: Duration) {
        self.sight = Some(IntentSeen { attempt, at: asked });
    }
}
