//! What the provider accepts: an edition of its contract, and what the configuration changes.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use crate::job::callback::Callbacks;
use crate::job::operation::{CURRENT, Edition, MULTI_IMAGE_TO_IMAGE, Operation, PAGE};

/// The rules for a job's input and for the body that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub operation: &'static Operation,
    /// Values of `model_name`.
    pub models: Vec<String>,
    /// The model that is sent if the job names none; always one of `models`.
    pub default_model: String,
    /// How many subject images are allowed.
    pub subject_images: RangeInclusive<usize>,
    /// The names under which the scene image is sent, whichever name the job uses. The provider silently drops an
    /// unknown name, and without its scene the picture is paid for and wrong (docs/provider.md, "The two editions of
    /// the page").
    pub scene_names_sent: &'static [&'static str],
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
    /// The rules of an edition, unchanged; the scene is sent under all of its names.
    #[must_use]
    pub fn of(operation: &'static Operation, edition: &Edition) -> Self {
        Self {
            operation,
            models: edition.models.iter().map(|model| (*model).to_owned()).collect(),
            default_model: edition.default_model.to_owned(),
            subject_images: edition.subject_images.clone(),
            scene_names_sent: operation.scene_names,
            slots: 0,
            store: StoreName::default(),
            callbacks: None,
        }
    }

    /// Sets another model for jobs that name none; jobs may also name it.
    #[must_use]
    pub fn with_default_model(mut self, model: &str) -> Self {
        if !self.models.iter().any(|known| known == model) {
            self.models.push(model.to_owned());
        }
        model.clone_into(&mut self.default_model);
        self
    }

    /// The rules for `api.profile = "page"`.
    #[must_use]
    pub fn page() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &PAGE)
    }

    /// The rules for `api.profile = "current"`.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &CURRENT)
    }
}
