//! The routes that make videos. Which model takes which mode, length or sound changes from month to month, and a job
//! that the provider refuses costs nothing: so the fields are checked for their kinds and widest bounds, and the rest
//! is the provider's to refuse (docs/provider.md, "Routes").

use super::{
    ANY_PROFILE, CALLBACK_URL, CFG_SCALE, EXTERNAL_TASK_ID, MODEL, NEGATIVE_PROMPT, NO_SUBJECTS, PICTURE,
    PROMPT, WATERMARK_INFO, WORDS,
};
use crate::job::FileKind;
use crate::job::route::{Certainty, Check, Edition, Field, RouteData, Together};

const MODE: Field = Field::optional(
    "mode",
    Check::OneOf(&["std", "pro", "4k"]),
    "How fine, and how dear. Not with every model.",
);
pub(super) const TWO_MODES: Check = Check::OneOf(&["std", "pro"]);
const SOUND: Field = Field::optional(
    "sound",
    Check::OneOf(&["on", "off"]),
    "Whether the video has sound. Not with every model.",
);
const VOICES: Field = Field::optional(
    "voice_list",
    Check::Objects(1..=2),
    "Voices for the prompt, as objects with a voice_id.",
);
pub(super) const ELEMENTS: &str = "Things known to the account, as objects with an element_id.";
const CAMERA: Field =
    Field::optional("camera_control", Check::Object, "How the camera moves. Not with every model.");
const MULTI_SHOT: Field = Field::optional("multi_shot", Check::Flag, "Whether the video has several shots.");
const SHOT_TYPE: Field = Field::optional(
    "shot_type",
    Check::OneOf(&["customize", "intelligence"]),
    "Who divides it into shots: multi_prompt, or the model.",
);
const MULTI_PROMPT: Field = Field::optional(
    "multi_prompt",
    Check::Objects(1..=6),
    "The shots, as objects with index, prompt and duration.",
);
const SHOTS: [Together; 2] =
    [Together::Needs("shot_type", "multi_shot"), Together::Needs("multi_prompt", "shot_type")];
const SHOTS_OR_WORDS: [Together; 4] =
    [SHOTS[0], SHOTS[1], Together::AnyOf("prompt", "multi_prompt"), Together::Needs("voice_list", "sound")];
const SECONDS: Field = Field::optional(
    "duration",
    Check::OneOf(&["3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"]),
    "Seconds, as a string; 5 by default, and the price grows with them. Most models have 5 and 10 alone.",
);
const ASPECT_RATIO: Field = Field::optional(
    "aspect_ratio",
    Check::OneOf(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3"]),
    "Width to height. The provider's default is 16:9.",
);
const MODELS: [&str; 9] = [
    "kling-v3",
    "kling-v2-6",
    "kling-v2-5-turbo",
    "kling-v2-1-master",
    "kling-v2-1",
    "kling-v2-master",
    "kling-v1-6",
    "kling-v1-5",
    "kling-v1",
];

pub static TEXT_TO_VIDEO: RouteData = RouteData {
    name: "text_to_video",
    about: "A video is made from words.",
    submit_path: "/kling/v1/videos/text2video",
    query_path: "/kling/v1/videos/text2video/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &MODELS,
        default_model: "kling-v3",
        subject_images: NO_SUBJECTS,
    }],
    fields: &[
        PROMPT,
        NEGATIVE_PROMPT,
        MODEL,
        MODE,
        SECONDS,
        SOUND,
        VOICES,
        CFG_SCALE,
        CAMERA,
        ASPECT_RATIO,
        MULTI_SHOT,
        SHOT_TYPE,
        MULTI_PROMPT,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &SHOTS_OR_WORDS,
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Page,
};

pub static IMAGE_TO_VIDEO: RouteData = RouteData {
    name: "image_to_video",
    about: "A picture begins to move; it is the first frame, or the last, or there are both.",
    submit_path: "/kling/v1/videos/image2video",
    query_path: "/kling/v1/videos/image2video/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &MODELS,
        default_model: "kling-v3",
        subject_images: NO_SUBJECTS,
    }],
    fields: &[
        Field::optional("image", Check::Picture, "The first frame."),
        Field::optional("image_tail", Check::Picture, "The last frame. Not with every model and mode."),
        PROMPT,
        NEGATIVE_PROMPT,
        MODEL,
        MODE,
        SECONDS,
        SOUND,
        VOICES,
        CFG_SCALE,
        Field::optional("static_mask", Check::Picture, "What stays as it is. Old models alone."),
        Field::optional(
            "dynamic_masks",
            Check::Objects(1..=6),
            "What moves, and where to. Old models alone.",
        ),
        CAMERA,
        Field::optional("element_list", Check::Objects(1..=3), ELEMENTS),
        MULTI_SHOT,
        SHOT_TYPE,
        MULTI_PROMPT,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[
        Together::AnyOf("image", "image_tail"),
        Together::Excludes("image_tail", "static_mask"),
        Together::Excludes("image_tail", "dynamic_masks"),
        Together::Excludes("image_tail", "camera_control"),
        Together::Excludes("static_mask", "camera_control"),
        Together::Excludes("dynamic_masks", "camera_control"),
        Together::Excludes("element_list", "voice_list"),
        Together::Needs("voice_list", "sound"),
        SHOTS[0],
        SHOTS[1],
    ],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Seen,
};

pub static OMNI_VIDEO: RouteData = RouteData {
    name: "omni_video",
    about: "Words with pictures, elements or a video become a video.",
    submit_path: "/kling/v1/videos/omni-video",
    query_path: "/kling/v1/videos/omni-video/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kling-video-o1", "kling-v3-omni"],
        default_model: "kling-video-o1",
        subject_images: 1..=7,
    }],
    fields: &[
        Field::optional(
            "prompt",
            WORDS,
            "What the video shows; it may name <<<image_1>>>, <<<element_1>>> and <<<video_1>>>. Counted in characters.",
        ),
        Field::optional(
            "image_list",
            Check::Pictures { member: "image_url" },
            "Pictures to start from; one may have the type first_frame, another end_frame.",
        ),
        Field::optional("element_list", Check::Objects(1..=7), ELEMENTS),
        Field::optional(
            "video_list",
            Check::Objects(1..=1),
            "A video to edit or to follow, as an object with video_url, refer_type and keep_original_sound.",
        ),
        MODEL,
        Field::optional("mode", Check::OneOf(&["std", "pro", "4k"]), "The provider's default is pro here."),
        SECONDS,
        SOUND,
        Field::optional(
            "aspect_ratio",
            Check::OneOf(&["16:9", "9:16", "1:1"]),
            "Width to height; the provider wants it where there is no first frame and no video to edit.",
        ),
        MULTI_SHOT,
        SHOT_TYPE,
        MULTI_PROMPT,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[Together::AnyOf("prompt", "multi_prompt"), SHOTS[0], SHOTS[1]],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Seen,
};

pub static MULTI_IMAGE_TO_VIDEO: RouteData = RouteData {
    name: "multi_image_to_video",
    about: "Up to four pictures and words become a video.",
    submit_path: "/kling/v1/videos/multi-image2video",
    query_path: "/kling/v1/videos/multi-image2video/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kling-v1-6"],
        default_model: "kling-v1-6",
        subject_images: 1..=4,
    }],
    fields: &[
        Field::required("image_list", Check::Pictures { member: "image" }, "The pictures to combine."),
        Field::required("prompt", WORDS, "What the video shows. Counted in characters."),
        NEGATIVE_PROMPT,
        MODEL,
        Field::optional("mode", TWO_MODES, "How fine, and how dear."),
        Field::optional("duration", Check::OneOf(&["5", "10"]), "Seconds, as a string; 5 by default."),
        Field::optional(
            "aspect_ratio",
            Check::OneOf(&["16:9", "9:16", "1:1"]),
            "The provider's default is 16:9.",
        ),
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Seen,
};

/// Of a route that has no field for a model.
pub(super) static NO_MODEL: Edition =
    Edition { profile: ANY_PROFILE, models: &[], default_model: "", subject_images: NO_SUBJECTS };
