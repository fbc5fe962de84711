//! What the provider accepts: its routes, and what the configuration changes.

use std::sync::{Arc, OnceLock};

use crate::job::callback::Callbacks;
use crate::job::route::{Route, Routes};

/// The rules for a job's input and for what is submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub routes: Routes,
    /// `generation.max_running`: a job with more images than this could never run. 0 means no limit.
    pub slots: u32,
    /// The store with the receipts, for the external ids.
    pub store: StoreName,
    /// Makes the callback URL for a job that has none of its own; `None` means no callbacks.
    pub callbacks: Option<Callbacks>,
}

/// The id of the store with the receipts. It is known after the first contact with the store, and all copies of these
/// rules share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreName(Arc<OnceLock<String>>);

impl StoreName {
    /// Only the first call has an effect.
    pub fn set(&self, id: &str) {
        self.0.get_or_init(|| id.to_owned());
    }

    /// Empty without receipts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

impl Rules {
    #[must_use]
    pub fn of(routes: Routes) -> Self {
        Self { routes, slots: 0, store: StoreName::default(), callbacks: None }
    }

    /// The rules for `api.profile = "page"`.
    #[must_use]
    pub fn page() -> Self {
        Self::of(Routes::new(Route::page(), "page"))
    }

    /// The rules for `api.profile = "current"`.
    #[must_use]
    pub fn current() -> Self {
        Self::of(Routes::new(Route::current(), "current"))
    }
}
