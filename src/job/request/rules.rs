//! What the provider takes: an edition of its contract, and what the configuration says otherwise.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use crate::job::callback::Callbacks;
use crate::job::operation::{CURRENT, Edition, MULTI_IMAGE_TO_IMAGE, Operation, PAGE};

/// What a job's input is held to, and how it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub operation: &'static Operation,
    /// Values of `model_name`.
    pub models: Vec<String>,
    /// Sent where the job names none; always one of `models`.
    pub default_model: String,
    /// How many subject images.
    pub subject_images: RangeInclusive<usize>,
    /// The spellings under which the scene image goes out, whichever it came in by. The provider drops an
    /// unknown name silently, and a dropped scene is a picture paid for and wrong (docs/provider.md,
    /// "The two editions of the page").
    pub scene_names_sent: &'static [&'static str],
    /// `generation.max_running`: a job that asks for more images than that could never run. 0: no cap.
    pub slots: u32,
    /// The store that has the receipts, for the external ids.
    pub store: StoreName,
    /// Where the provider calls back for a job that names no place of its own; `None`: nowhere.
    pub callbacks: Option<Callbacks>,
}

/// The id of the store that has the receipts: known once the store was reached, and the same in all copies of these rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreName(Arc<OnceLock<String>>);

impl StoreName {
    /// The first call counts.
    pub fn set(&self, id: &str) {
        self.0.get_or_init(|| id.to_owned());
    }

    /// Empty where there are no receipts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

impl Rules {
    /// An edition as it is; the scene goes out under all of its names.
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

    /// With another model for jobs that name none; jobs may name it too.
    #[must_use]
    pub fn with_default_model(mut self, model: &str) -> Self {
        if !self.models.iter().any(|known| known == model) {
            self.models.push(model.to_owned());
        }
        model.clone_into(&mut self.default_model);
        self
    }

    /// `api.profile = "page"`.
    #[must_use]
    pub fn page() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &PAGE)
    }

    /// `api.profile = "current"`.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &CURRENT)
    }
}
