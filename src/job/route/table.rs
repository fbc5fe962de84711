//! The table of routes. An entry is all that a route needs whose fields are of known kinds, beside an example job in
//! `tests/fixtures/jobs` and its tests. For a new kind of field, add a [`Check`].

mod scenes;
mod sounds;
mod videos;

use std::ops::RangeInclusive;

use super::{Certainty, Check, Edition, Field, PictureRules, RouteData, Together};
use crate::job::FileKind;
use scenes::{AVATAR, LIP_SYNC, MOTION_CONTROL, VIDEO_EFFECTS, VIDEO_EXTENSION};
use sounds::{TEXT_TO_AUDIO, VIDEO_TO_AUDIO};
use videos::{IMAGE_TO_VIDEO, MULTI_IMAGE_TO_VIDEO, NO_MODEL, OMNI_VIDEO, TEXT_TO_VIDEO};

/// All routes; the first one is the default.
pub static ROUTES: [&RouteData; 16] = [
    &MULTI_IMAGE_TO_IMAGE,
    &IMAGE_GENERATION,
    &OMNI_IMAGE,
    &VIRTUAL_TRY_ON,
    &IMAGE_EXPANSION,
    &TEXT_TO_VIDEO,
    &IMAGE_TO_VIDEO,
    &MULTI_IMAGE_TO_VIDEO,
    &OMNI_VIDEO,
    &VIDEO_EFFECTS,
    &AVATAR,
    &MOTION_CONTROL,
    &VIDEO_EXTENSION,
    &LIP_SYNC,
    &TEXT_TO_AUDIO,
    &VIDEO_TO_AUDIO,
];

/// The same for every image route (docs/provider.md, "Input images").
pub const PICTURE: PictureRules =
    PictureRules { url_bytes_max: 8192, bytes_max: 10 * 1024 * 1024, side_px_min: 300, ratio_tenths_max: 25 };

/// The fields that most routes have (docs/provider.md, "Routes").
const ASPECT_RATIO: Field = Field::optional(
    "aspect_ratio",
    Check::OneOf(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]),
    "Width to height. The provider's default is 16:9.",
);
const N: Field = Field::optional(
    "n",
    Check::Images(1..=9),
    "How many images to generate. Each takes one of the account's slots.",
);
/// How much a picture may grow at one side: up to twice itself.
const GROWTH: Check = Check::Fraction(0..=200);
/// For both prompts of every route.
pub const WORDS: Check = Check::Text { chars_max: 2500 };
const PROMPT: Field = Field::optional("prompt", WORDS, "What is to be seen. Counted in characters.");
const NEGATIVE_PROMPT: Field = Field::optional("negative_prompt", WORDS, "What is not to be seen.");
const MODEL: Field = Field::optional("model_name", Check::AnyModel, "");
const CFG_SCALE: Field = Field::optional(
    "cfg_scale",
    Check::Fraction(0..=100),
    "How closely the words are followed; 0.5 by default.",
);
const CALLBACK_URL: Field = Field::optional("callback_url", Check::CallbackUrl, "");
const EXTERNAL_TASK_ID: Field = Field::optional("external_task_id", Check::ExternalTaskId, "");
const WATERMARK_INFO: Field = Field::optional("watermark_info", Check::Switch, "Watermark options.");

/// The profile of a route that has one edition.
const ANY_PROFILE: &str = "any";
/// Not for the subjects of a list.
const NO_SUBJECTS: RangeInclusive<usize> = 0..=0;

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
pub static MULTI_IMAGE_TO_IMAGE: RouteData = RouteData {
    name: "multi_image_to_image",
    about: "Several subjects, a scene and a style become one picture.",
    submit_path: "/kling/v1/images/generations",
    query_path: "/kling/v1/images/generations/{task_id}",
    other_query_path: Some("/kling/v1/images/multi-image2image/{task_id}"),
    editions: &[&PAGE, &CURRENT],
    fields: &[
        Field::required(
            "subject_image_list",
            Check::Pictures { member: "subject_image" },
            "The subjects to combine.",
        ),
        Field::optional("scene_image", Check::Scene, "The scene to place the subjects in."),
        Field::optional("style_image", Check::Picture, "The style to follow."),
        Field::optional("model_name", Check::Model, ""),
        ASPECT_RATIO,
        Field::optional("prompt", WORDS, "What the picture shows. Counted in characters."),
        Field::optional(
            "negative_prompt",
            WORDS,
            "What the picture should not show. Of the profile current; passed on with both.",
        ),
        N,
        Field::optional(
            "watermark_info",
            Check::Switch,
            "Watermark options, of the profile current; passed on with both.",
        ),
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &["scence_image", "scene_image"],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Page,
};

/// Text to image, or one image to image. The limits are Kling's own of 2026-09; CometAPI's older page has shorter ones
/// (docs/provider.md, "Routes").
pub static IMAGE_GENERATION: RouteData = RouteData {
    name: "image_generation",
    about: "A picture is made from words, or from one picture and words.",
    submit_path: "/kling/v1/images/generations",
    query_path: "/kling/v1/images/generations/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kling-v3", "kling-v2-1", "kling-v2-new", "kling-v2", "kling-v1-5", "kling-v1"],
        default_model: "kling-v3",
        subject_images: NO_SUBJECTS,
    }],
    fields: &[
        Field::required("prompt", WORDS, "What the picture shows. Counted in characters."),
        Field::optional("negative_prompt", WORDS, "What the picture should not show."),
        Field::optional("image", Check::Picture, "The picture to start from."),
        Field::optional(
            "image_reference",
            Check::OneOf(&["subject", "face"]),
            "What of the picture counts. Not with every model.",
        ),
        Field::optional(
            "image_fidelity",
            Check::Fraction(0..=100),
            "How close to the picture; 0.5 by default. Not with every model.",
        ),
        Field::optional(
            "human_fidelity",
            Check::Fraction(0..=100),
            "How close to the face; 0.45 by default. Not with every model.",
        ),
        MODEL,
        Field::optional("resolution", Check::OneOf(&["1k", "2k"]), "The provider's default is 1k."),
        ASPECT_RATIO,
        N,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[Together::Excludes("negative_prompt", "image"), Together::Needs("image_reference", "image")],
    picture: PICTURE,
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Page,
};

/// Up to ten pictures and words become one picture or a series (docs/provider.md, "Routes").
pub static OMNI_IMAGE: RouteData = RouteData {
    name: "omni_image",
    about: "Words and up to ten pictures become a picture, or a series of pictures.",
    submit_path: "/kling/v1/images/omni-image",
    query_path: "/kling/v1/images/omni-image/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kling-image-o1", "kling-v3-omni"],
        default_model: "kling-image-o1",
        subject_images: 1..=10,
    }],
    fields: &[
        Field::required(
            "prompt",
            WORDS,
            "What the picture shows; it may name <<<image_1>>> and so on. Counted in characters.",
        ),
        Field::optional("image_list", Check::Pictures { member: "image" }, "The pictures to start from."),
        MODEL,
        Field::optional("resolution", Check::OneOf(&["1k", "2k", "4k"]), "The provider's default is 1k."),
        Field::optional(
            "aspect_ratio",
            Check::OneOf(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto"]),
            "Width to height. The provider's default is auto.",
        ),
        Field::optional(
            "result_type",
            Check::OneOf(&["single", "series"]),
            "One picture n times, or a series. The provider's default is single.",
        ),
        N,
        Field::optional(
            "series_amount",
            Check::Series { range: 2..=9, default: 4, chosen_by: "result_type" },
            "How many pictures a series has; auto takes nine of the account's slots.",
        ),
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Seen,
};

/// A person in other clothes (docs/provider.md, "Routes"). No page names the ratio of the pictures' sides.
pub static VIRTUAL_TRY_ON: RouteData = RouteData {
    name: "virtual_try_on",
    about: "A person wears a piece of clothing.",
    submit_path: "/kling/v1/images/kolors-virtual-try-on",
    query_path: "/kling/v1/images/kolors-virtual-try-on/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5"],
        default_model: "kolors-virtual-try-on-v1",
        subject_images: NO_SUBJECTS,
    }],
    fields: &[
        Field::required("human_image", Check::Picture, "The person."),
        Field::required(
            "cloth_image",
            Check::Picture,
            "The clothing, on a white ground. With v1-5 also an upper and a lower piece in one picture.",
        ),
        MODEL,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Guessed,
};

/// A picture grows at its sides. CometAPI's page names the lower side `bottom`, Kling's own `down`, and the wrong one
/// may be dropped in silence (docs/provider.md, "Routes"): so a job says which it means.
pub static IMAGE_EXPANSION: RouteData = RouteData {
    name: "image_expansion",
    about: "A picture grows at its sides.",
    submit_path: "/kling/v1/images/editing/expand",
    query_path: "/kling/v1/images/editing/expand/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required("image", Check::Picture, "The picture."),
        Field::required("up_expansion_ratio", GROWTH, "By how much of its height it grows upwards."),
        Field::optional("bottom_expansion_ratio", GROWTH, "Downwards, by the name on CometAPI's page."),
        Field::optional("down_expansion_ratio", GROWTH, "Downwards, by Kling's own name."),
        Field::required("left_expansion_ratio", GROWTH, "By how much of its width it grows to the left."),
        Field::required("right_expansion_ratio", GROWTH, "By how much of its width it grows to the right."),
        PROMPT,
        N,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[
        Together::AnyOf("bottom_expansion_ratio", "down_expansion_ratio"),
        Together::Excludes("bottom_expansion_ratio", "down_expansion_ratio"),
    ],
    picture: PICTURE,
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Guessed,
};
