//! The routes that make sounds (docs/provider.md, "Routes").

use super::videos::NO_MODEL;
use super::{CALLBACK_URL, EXTERNAL_TASK_ID, PICTURE};
use crate::job::FileKind;
use crate::job::route::{Certainty, Check, Field, RouteData, Together};

/// For the prompts of both routes.
const FEW_WORDS: Check = Check::Text { chars_max: 200 };

pub static TEXT_TO_AUDIO: RouteData = RouteData {
    name: "text_to_audio",
    about: "A sound is made from words, as MP3 and as WAV.",
    submit_path: "/kling/v1/audio/text-to-audio",
    query_path: "/kling/v1/audio/text-to-audio/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::required("prompt", FEW_WORDS, "What is heard. Counted in characters."),
        Field::required("duration", Check::Fraction(300..=1000), "Seconds, with one decimal."),
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[],
    picture: PICTURE,
    makes: &[FileKind::Audio],
    slots: 1,
    certainty: Certainty::Seen,
};

pub static VIDEO_TO_AUDIO: RouteData = RouteData {
    name: "video_to_audio",
    about: "A video gets a sound; the sound comes by itself too.",
    submit_path: "/kling/v1/audio/video-to-audio",
    query_path: "/kling/v1/audio/video-to-audio/{task_id}",
    other_query_path: None,
    editions: &[&NO_MODEL],
    fields: &[
        Field::optional(
            "video_url",
            Check::Url,
            "The video: MP4 or MOV, at most 100 MB, of 3 to 20 seconds.",
        ),
        Field::optional(
            "video_id",
            Check::Text { chars_max: 128 },
            "In place of video_url, a video of the account.",
        ),
        Field::optional("sound_effect_prompt", FEW_WORDS, "Which noises are heard. Counted in characters."),
        Field::optional("bgm_prompt", FEW_WORDS, "Which music is heard. Counted in characters."),
        Field::optional("asmr_mode", Check::Flag, "Whether the noises are very near."),
        CALLBACK_URL,
        EXTERNAL_TASK_ID,
    ],
    scene_names: &[],
    together: &[Together::AnyOf("video_url", "video_id"), Together::Excludes("video_url", "video_id")],
    picture: PICTURE,
    makes: &[FileKind::Video, FileKind::Audio],
    slots: 1,
    certainty: Certainty::Page,
};
