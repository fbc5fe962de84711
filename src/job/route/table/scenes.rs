//! The routes that make a video of a scene, a face, a sound or another video (docs/provider.md, "Routes").

use super::videos::{ELEMENTS, NO_MODEL, TWO_MODES};
use super::{
    ANY_PROFILE, CALLBACK_URL, CFG_SCALE, EXTERNAL_TASK_ID, MODEL, NEGATIVE_PROMPT, NO_SUBJECTS, PICTURE,
    PROMPT, WATERMARK_INFO, WORDS,
};
use crate::job::FileKind;
use crate::job::route::{Certainty, Check, Edition, Field, RouteData, Together};

/// The scenes change every week, and what a scene needs is in its `input`: both are the provider's to check.
pub static VIDEO_EFFECTS: RouteData = RouteData {
    name: "video_effects",
    about: "One or two pictures play a scene of Kling's catalogue.",
    submit_path: "/kling/v1/videos/effects",
    query_path: "/kling/v1/videos/effects/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required(
            "effect_scene",
            Check::Text { chars_max: 128 },
            "The scene's name, such as bloombloom.",
        ),
        Field::required(
            "input",
            Check::Object,
            "What the scene needs: image, or images with two of them; duration, mode. Passed on unchecked.",
        ),
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

pub static AVATAR: RouteData = RouteData {
    name: "avatar",
    about: "A face speaks or sings what a sound says.",
    submit_path: "/kling/v1/videos/avatar/image2video",
    query_path: "/kling/v1/videos/avatar/image2video/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required("image", Check::Picture, "The face."),
        Field::optional(
            "sound_file",
            Check::Sound,
            "What it says: MP3, WAV, M4A or AAC, of 2 to 300 seconds.",
        ),
        Field::optional(
            "audio_id",
            Check::Text { chars_max: 128 },
            "In place of sound_file, a sound of the account.",
        ),
        Field::optional("prompt", WORDS, "How it behaves. CometAPI's newer page refuses a job without it."),
        Field::optional("mode", TWO_MODES, "How fine, and how dear."),
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[Together::AnyOf("sound_file", "audio_id"), Together::Excludes("sound_file", "audio_id")],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Page,
};

pub static MOTION_CONTROL: RouteData = RouteData {
    name: "motion_control",
    about: "A person in a picture moves as the one in a video.",
    submit_path: "/kling/v1/videos/motion-control",
    query_path: "/kling/v1/videos/motion-control/{task_id}",
    other_query_path: None,
    editions: &[&Edition {
        profile: ANY_PROFILE,
        models: &["kling-v2-6", "kling-v3"],
        default_model: "kling-v2-6",
        subject_images: NO_SUBJECTS,
    }],
    fields: &[
        Field::required("image_url", Check::Picture, "The person."),
        Field::required(
            "video_url",
            Check::Url,
            "The motion: MP4 or MOV, at most 100 MB, of 3 to 30 seconds.",
        ),
        Field::required(
            "character_orientation",
            Check::OneOf(&["image", "video"]),
            "Whose way of facing counts; of image, the video has 10 seconds at most.",
        ),
        Field::required("mode", TWO_MODES, "How fine, and how dear."),
        MODEL,
        Field::optional("prompt", WORDS, "What else is to be seen. Counted in characters."),
        Field::optional(
            "keep_original_sound",
            Check::OneOf(&["yes", "no"]),
            "The provider's default is yes.",
        ),
        Field::optional("element_list", Check::Objects(1..=1), ELEMENTS),
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Guessed,
};

pub static VIDEO_EXTENSION: RouteData = RouteData {
    name: "video_extension",
    about: "A video of the same account gets some seconds more; the result is the whole of it.",
    submit_path: "/kling/v1/videos/video-extend",
    query_path: "/kling/v1/videos/video-extend/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required("video_id", Check::Text { chars_max: 128 }, "The video's id, as Kling names it."),
        Field::required(
            "task_id",
            Check::Text { chars_max: 128 },
            "The task that made it, for CometAPI to find its account.",
        ),
        PROMPT,
        NEGATIVE_PROMPT,
        CFG_SCALE,
        WATERMARK_INFO,
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Video],
    slots: 1,
    certainty: Certainty::Page,
};

/// `identify-face`, which gives the session and the faces, is answered at once and so is no route of a queue.
pub static LIP_SYNC: RouteData = RouteData {
    name: "lip_sync",
    about: "A face in a video speaks what a sound says (advanced-lip-sync).",
    submit_path: "/kling/v1/videos/advanced-lip-sync",
    query_path: "/kling/v1/videos/advanced-lip-sync/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required("session_id", Check::Text { chars_max: 128 }, "Of identify-face; good for 24 hours."),
        Field::required(
            "face_choose",
            Check::Objects(1..=10),
            "The faces with their sounds, as objects with face_id, audio_id or sound_file, and times. Passed on unchecked.",
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
    certainty: Certainty::Page,
};
