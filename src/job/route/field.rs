//! What a field of a route may be. For a new kind of field, add a [`Check`]; the compiler names what has to know it.

use std::ops::RangeInclusive;

/// A field of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub check: Check,
    pub required: bool,
    /// For the schema of a job.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    /// The subjects: an array of objects, each with a picture under this name. The edition says how many.
    Pictures {
        member: &'static str,
    },
    Picture,
    /// A picture under one of [`RouteData::scene_names`](super::RouteData::scene_names), which are the same field.
    Scene,
    /// One of the edition's models.
    Model,
    /// Any model; the edition's are those that are known.
    AnyModel,
    OneOf(&'static [&'static str]),
    /// A text, bounded in characters, not bytes.
    Text {
        chars_max: usize,
    },
    /// The number of images to make, which is the job's cost and the number of the account's slots that it takes.
    /// Without such a field, a job takes one.
    Images(RangeInclusive<u32>),
    /// How many images a series has, or `auto`. It counts as [`Check::Images`] does if the field `chosen_by` is
    /// `series`, and then in place of it. A series without it has `default`, and one of `auto` as many as the most.
    Series {
        range: RangeInclusive<u32>,
        default: u32,
        chosen_by: &'static str,
    },
    /// A number between these hundredths.
    Fraction(RangeInclusive<u32>),
    /// `true` or `false`.
    Flag,
    /// An object, passed on as it is.
    Object,
    /// So many objects, passed on as they are.
    Objects(RangeInclusive<usize>),
    /// A URL that the provider fetches.
    Url,
    /// A sound: a URL, or base64 of at most [`SOUND_BYTES_MAX`].
    Sound,
    /// An object; its `enabled`, if present, is true or false.
    Switch,
    CallbackUrl,
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

impl Field {
    #[must_use]
    pub const fn required(name: &'static str, check: Check, about: &'static str) -> Self {
        Self { name, check, required: true, about }
    }

    #[must_use]
    pub const fn optional(name: &'static str, check: Check, about: &'static str) -> Self {
        Self { name, check, required: false, about }
    }
}

/// A rule for two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// A job has one of them at most.
    Excludes(&'static str, &'static str),
    /// The first is nothing without the second.
    Needs(&'static str, &'static str),
    /// A job has one of them at least.
    AnyOf(&'static str, &'static str),
}

/// The most bytes of a sound within a job (docs/provider.md, "Routes").
pub const SOUND_BYTES_MAX: usize = 5 * 1024 * 1024;
