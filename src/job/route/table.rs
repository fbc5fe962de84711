//! The table of routes. An entry is all that a route needs whose fields are of known kinds, beside an example job in
//! `tests/fixtures/jobs` and its tests. For a new kind of field, add a [`Check`].

use super::{Check, Edition, Field, Makes, PictureRules, RouteData};

/// All routes; the first one is the default.
pub static ROUTES: [&RouteData; 1] = [&MULTI_IMAGE_TO_IMAGE];

/// The same for every image route (docs/provider.md, "Input images").
const PICTURE: PictureRules =
    PictureRules { url_bytes_max: 8192, bytes_max: 10 * 1024 * 1024, side_px_min: 300, ratio_tenths_max: 25 };

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
        Field::optional(
            "aspect_ratio",
            Check::OneOf(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]),
            "Width to height. The provider's default is 16:9.",
        ),
        Field::optional(
            "prompt",
            Check::Text { chars_max: 2500 },
            "What the picture shows. Counted in characters.",
        ),
        Field::optional(
            "negative_prompt",
            Check::Text { chars_max: 2500 },
            "What the picture should not show. Of the profile current; passed on with both.",
        ),
        Field::optional(
            "n",
            Check::Images(1..=9),
            "How many images to generate. Each takes one of the account's slots.",
        ),
        Field::optional(
            "watermark_info",
            Check::Switch,
            "Watermark options, of the profile current; passed on with both.",
        ),
        Field::optional("callback_url", Check::CallbackUrl, ""),
        Field::optional("external_task_id", Check::ExternalTaskId, ""),
    ],
    scene_names: &["scence_image", "scene_image"],
    picture: PICTURE,
    makes: Makes::Images,
};
