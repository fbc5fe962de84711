//! What the provider takes, as data: one set of values for each version of its contract.

use std::ops::RangeInclusive;

use crate::callback::Callbacks;

/// One version of the provider's contract (`api.profile`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Values of `model_name`.
    pub models: &'static [&'static str],
    /// Sent where the job names none: what the provider takes for a missing name has changed before.
    pub default_model: &'static str,
    /// How many subject images.
    pub subject_images: RangeInclusive<usize>,
    /// The spellings under which a job may bring its scene image. They are one field.
    pub scene_names: &'static [&'static str],
    /// The spellings under which it goes out. The provider drops an unknown name silently, and a
    /// dropped scene is a picture paid for and wrong (fact sheet, section 2.1).
    pub scene_names_sent: &'static [&'static str],
    /// Values of `n`.
    pub images: RangeInclusive<u32>,
    /// Bound of `prompt` and of `negative_prompt`, in characters, not bytes.
    pub prompt_chars_max: usize,
    /// Values of `aspect_ratio`.
    pub aspect_ratios: &'static [&'static str],
    pub picture: PictureRules,
    /// Where the provider calls back for a job that names no place of its own; `None`: nowhere.
    pub callbacks: Option<Callbacks>,
}

/// What holds for every image that goes in (fact sheet, section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRules {
    /// Bound of a URL, to an image or for a callback.
    pub url_bytes_max: usize,
    /// Bound of the image itself, decoded.
    pub bytes_max: usize,
    /// Pixels that each side has at least.
    pub side_px_min: usize,
    /// How much longer the long side may be, in tenths: 25 is 2.5 to 1.
    pub ratio_tenths_max: usize,
}

impl Rules {
    /// `api.profile = "page"`: the page that the project started from. What that page leaves open
    /// (the range of `n`, the bounds of an image) is Kling's own (fact sheet, sections 2.1 and 7).
    #[must_use]
    pub const fn page() -> Self {
        Self {
            models: &["kling-v2"],
            default_model: "kling-v2",
            subject_images: 2..=4,
            scene_names: &["scence_image", "scene_image"],
            scene_names_sent: &["scence_image", "scene_image"],
            images: 1..=9,
            prompt_chars_max: 2500,
            aspect_ratios: &["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"],
            picture: PictureRules {
                url_bytes_max: 8192,
                bytes_max: 10 * 1024 * 1024,
                side_px_min: 300,
                ratio_tenths_max: 25,
            },
            callbacks: None,
        }
    }
}
