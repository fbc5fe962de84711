//! The routes of the API as data: everything in which one route differs from another.
//!
//! There is one, [`MULTI_IMAGE_TO_IMAGE`], in two editions, since the provider has two pages about it
//! (docs/provider.md, "The two editions of the page"). No code asks which edition it is; the code reads the edition's
//! values.
//!
//! To add another image route of Kling's (docs/provider.md, "Other routes"), add an [`Operation`] here, a fixture of
//! its body in `tests/fixtures/jobs`, and a test beside them; for a new kind of field, add a [`Check`]. Two things
//! are missing, which data can't provide and a single route doesn't need: a way for a job to say which route it
//! means, and a note of the route in the record, since a task is polled at the route where it was submitted.

use std::ops::RangeInclusive;

/// One route.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    pub name: &'static str,
    /// Default of `api.submit_path`.
    pub submit_path: &'static str,
    /// Default of `api.query_path`.
    pub query_path: &'static str,
    /// Another path that may know a task of this route: Kling's own, and that of every sibling gateway
    /// (docs/provider.md, "Routes").
    pub other_query_path: &'static str,
    /// The first one is the default of `api.profile`.
    pub editions: &'static [&'static Edition],
    /// The known fields of its input, in the order in which faults are listed. Other fields pass through unchecked.
    pub fields: &'static [Field],
    /// The spellings of [`Check::Scene`].
    pub scene_names: &'static [&'static str],
    pub picture: PictureRules,
    /// The member of `task_result` that lists the results.
    pub result: &'static str,
}

/// What differs between the provider's pages.
#[derive(Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its name in `api.profile`.
    pub profile: &'static str,
    /// Values of `model_name`.
    pub models: &'static [&'static str],
    /// The model that is sent if the job names none, since the provider's own default has changed before.
    pub default_model: &'static str,
    pub subject_images: RangeInclusive<usize>,
}

/// A field of the input. Every field but [`Check::Pictures`] is optional.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub check: Check,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    /// The subjects: an array of objects, each with a picture under this name. The edition says how many.
    Pictures {
        member: &'static str,
    },
    Picture,
    /// A picture under one of [`Operation::scene_names`], which are the same field.
    Scene,
    /// One of the edition's models.
    Model,
    OneOf(&'static [&'static str]),
    /// A text, bounded in characters, not bytes.
    Text {
        chars_max: usize,
    },
    /// The number of images to make, which is the job's cost.
    Images(RangeInclusive<u32>),
    /// An object; its `enabled`, if present, is true or false.
    Switch,
    Url,
    ExternalTaskId,
}

/// The rules for every input image (docs/provider.md, "Input images").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRules {
    /// The limit for a URL, of an image or for a callback.
    pub url_bytes_max: usize,
    /// The limit for the decoded image.
    pub bytes_max: usize,
    /// The least number of pixels of each side.
    pub side_px_min: usize,
    /// The largest ratio of the long side to the short one, in tenths: 25 is 2.5 to 1.
    pub ratio_tenths_max: usize,
}

/// The page that the project started from.
pub static PAGE: Edition =
    Edition { profile: "page", models: &["kling-v2"], default_model: "kling-v2", subject_images: 2..=4 };

/// CometAPI's newer page, which is also Kling's own page today.
pub static CURRENT: Edition = Edition {
    profile: "current",
    models: &["kling-v2", "kling-v2-1"],
    default_model: "kling-v2-1",
    subject_images: 1..=4,
};

/// What one page leaves open (the range of `n`, the limits of an image) or doesn't have (`negative_prompt`,
/// `watermark_info`) is taken from the other page or from Kling's own (docs/provider.md, "Request fields" and "Input
/// images").
pub static MULTI_IMAGE_TO_IMAGE: Operation = Operation {
    name: "multi_image_to_image",
    submit_path: "/kling/v1/images/generations",
    query_path: "/kling/v1/images/generations/{task_id}",
    other_query_path: "/kling/v1/images/multi-image2image/{task_id}",
    editions: &[&PAGE, &CURRENT],
    fields: &[
        Field { name: "subject_image_list", check: Check::Pictures { member: "subject_image" } },
        Field { name: "scene_image", check: Check::Scene },
        Field { name: "style_image", check: Check::Picture },
        Field { name: "model_name", check: Check::Model },
        Field {
            name: "aspect_ratio",
            check: Check::OneOf(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]),
        },
        Field { name: "prompt", check: Check::Text { chars_max: 2500 } },
        Field { name: "negative_prompt", check: Check::Text { chars_max: 2500 } },
        Field { name: "n", check: Check::Images(1..=9) },
        Field { name: "watermark_info", check: Check::Switch },
        Field { name: "callback_url", check: Check::Url },
        Field { name: "external_task_id", check: Check::ExternalTaskId },
    ],
    scene_names: &["scence_image", "scene_image"],
    picture: PictureRules {
        url_bytes_max: 8192,
        bytes_max: 10 * 1024 * 1024,
        side_px_min: 300,
        ratio_tenths_max: 25,
    },
    result: "images",
};
