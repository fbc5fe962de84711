//! The bodies of the routes beside multi-image to image.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    GenerationRequest, IMAGES_MAX, PROMPT_CHARS_MAX, Rules, add, aspect_ratio, callback_url, count,
    external_task_id, given, hex, text,
};
use crate::picture::AspectRatio;

/// Where a request was posted, as far as it matters: tasks of one are not found at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Multi-image to image at both of its paths, and image generation, which has one of them too.
    Images,
    Omni,
    TryOn,
    /// One of the others, by its place in [`OTHERS`].
    Other(usize),
}

/// What a task makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Makes {
    Pictures,
    Video,
    /// In two formats.
    Sound,
    VideoAndSound,
}

/// A route that is held to little more than the fields that it needs.
#[derive(Debug)]
pub(crate) struct Other {
    /// Its query is at the same path with `/` and the id.
    pub(crate) path: &'static str,
    makes: Makes,
    needs: &'static [&'static str],
    /// One of these at least.
    needs_one: &'static [&'static str],
    /// Fields with a picture.
    pictures: &'static [&'static str],
}

const fn video(
    path: &'static str,
    needs: &'static [&'static str],
    needs_one: &'static [&'static str],
    pictures: &'static [&'static str],
) -> Other {
    Other { path, makes: Makes::Video, needs, needs_one, pictures }
}

pub(crate) static OTHERS: &[Other] = &[
    video("/kling/v1/videos/text2video", &[], &["prompt", "multi_prompt"], &[]),
    video(
        "/kling/v1/videos/image2video",
        &[],
        &["image", "image_tail"],
        &["image", "image_tail", "static_mask"],
    ),
    video("/kling/v1/videos/multi-image2video", &["image_list", "prompt"], &[], &[]),
    video("/kling/v1/videos/omni-video", &[], &["prompt", "multi_prompt"], &[]),
    video("/kling/v1/videos/effects", &["effect_scene", "input"], &[], &[]),
    video("/kling/v1/videos/avatar/image2video", &["image"], &["audio_id", "sound_file"], &["image"]),
    video(
        "/kling/v1/videos/motion-control",
        &["image_url", "video_url", "character_orientation", "mode"],
        &[],
        &["image_url"],
    ),
    video("/kling/v1/videos/video-extend", &["video_id", "task_id"], &[], &[]),
    video("/kling/v1/videos/advanced-lip-sync", &["session_id", "face_choose"], &[], &[]),
    Other {
        path: "/kling/v1/audio/text-to-audio",
        makes: Makes::Sound,
        needs: &["prompt", "duration"],
        needs_one: &[],
        pictures: &[],
    },
    Other {
        path: "/kling/v1/audio/video-to-audio",
        makes: Makes::VideoAndSound,
        needs: &[],
        needs_one: &["video_id", "video_url"],
        pictures: &[],
    },
    Other {
        path: "/kling/v1/images/editing/expand",
        makes: Makes::Pictures,
        needs: &["image", "up_expansion_ratio", "left_expansion_ratio", "right_expansion_ratio"],
        needs_one: &["bottom_expansion_ratio", "down_expansion_ratio"],
        pictures: &["image"],
    },
];

/// The images of `series_amount: "auto"`.
const AUTO_AMOUNT: u8 = 3;
const SERIES_DEFAULT: u8 = 4;
const PICTURES_MAX: usize = 10;

impl Rules {
    /// Text to image, or one image to image.
    pub(super) fn read_generation(&self, fields: &Map<String, Value>) -> Result<GenerationRequest, String> {
        let mut digest = Sha256::new();
        add(&mut digest, required_prompt(fields)?);
        self.picture(fields, "image", &mut digest)?;
        one_of(fields, "resolution", &["1k", "2k"])?;
        one_of(fields, "image_reference", &["subject", "face"])?;
        if given(fields, "image").is_some() && given(fields, "negative_prompt").is_some() {
            return Err("negative_prompt is not supported with image".to_owned());
        }
        fraction(fields, "image_fidelity")?;
        fraction(fields, "human_fidelity")?;
        let known = [
            "model_name",
            "prompt",
            "negative_prompt",
            "image",
            "image_reference",
            "image_fidelity",
            "human_fidelity",
            "resolution",
            "aspect_ratio",
            "n",
            "watermark_info",
            "callback_url",
            "external_task_id",
        ];
        let (n, aspect_ratio) = (count(fields)?, aspect_ratio(fields)?);
        request(fields, Family::Images, n, false, aspect_ratio, digest, &known)
    }

    pub(super) fn read_omni(&self, fields: &Map<String, Value>) -> Result<GenerationRequest, String> {
        let mut digest = Sha256::new();
        add(&mut digest, required_prompt(fields)?);
        let none = Vec::new();
        let pictures = match given(fields, "image_list") {
            None => &none,
            Some(Value::Array(list)) if list.len() <= PICTURES_MAX => list,
            Some(_) => return Err(format!("image_list must be an array of at most {PICTURES_MAX}")),
        };
        for picture in pictures {
            let picture = picture.get("image").and_then(Value::as_str);
            let picture = picture.ok_or("image_list must hold objects with an image")?;
            self.check_image("image", picture)?;
            add(&mut digest, picture);
        }
        one_of(fields, "resolution", &["1k", "2k", "4k"])?;
        one_of(fields, "result_type", &["single", "series"])?;
        let is_series = text(fields, "result_type")? == Some("series");
        let n = if is_series { series_amount(fields)? } else { count(fields)? };
        let aspect_ratio = match text(fields, "aspect_ratio")? {
            Some("auto") | None => AspectRatio::DEFAULT,
            Some(_) => aspect_ratio(fields)?,
        };
        let known = [
            "model_name",
            "prompt",
            "image_list",
            "resolution",
            "result_type",
            "n",
            "series_amount",
            "aspect_ratio",
            "watermark_info",
            "callback_url",
            "external_task_id",
        ];
        request(fields, Family::Omni, n, is_series, aspect_ratio, digest, &known)
    }

    pub(super) fn read_try_on(&self, fields: &Map<String, Value>) -> Result<GenerationRequest, String> {
        let mut digest = Sha256::new();
        for name in ["human_image", "cloth_image"] {
            if !self.picture(fields, name, &mut digest)? {
                return Err(format!("{name} must not be empty"));
            }
        }
        let known = ["model_name", "human_image", "cloth_image", "callback_url", "external_task_id"];
        request(fields, Family::TryOn, 1, false, AspectRatio::DEFAULT, digest, &known)
    }

    pub(super) fn read_other(
        &self,
        place: usize,
        fields: &Map<String, Value>,
    ) -> Result<GenerationRequest, String> {
        let route = OTHERS.get(place).ok_or("no such route")?;
        if let Some(name) = route.needs.iter().find(|name| given(fields, name).is_none()) {
            return Err(format!("{name} must not be empty"));
        }
        if !route.needs_one.is_empty() && !route.needs_one.iter().any(|name| given(fields, name).is_some()) {
            return Err(format!("one of {} must not be empty", route.needs_one.join(", ")));
        }
        let mut digest = Sha256::new();
        for name in route.pictures {
            self.picture(fields, name, &mut digest)?;
        }
        for (name, value) in fields.iter().filter(|(name, _)| *name != "callback_url") {
            add(&mut digest, name);
            add(&mut digest, &value.to_string());
        }
        one_of(fields, "mode", &["std", "pro", "4k"])?;
        // A number here is what the provider's own page warns of.
        if fields.contains_key("duration") && route.makes == Makes::Video {
            text(fields, "duration")?;
        }
        let (n, ratio) = match route.makes {
            Makes::Pictures => (count(fields)?, AspectRatio::DEFAULT),
            Makes::Video | Makes::Sound | Makes::VideoAndSound => (1, aspect_ratio(fields)?),
        };
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        let request = request(fields, Family::Other(place), n, false, ratio, digest, &known)?;
        Ok(GenerationRequest { makes: route.makes, ..request })
    }

    /// Whether there is one.
    fn picture(&self, fields: &Map<String, Value>, name: &str, digest: &mut Sha256) -> Result<bool, String> {
        let picture = text(fields, name)?;
        if let Some(picture) = picture {
            self.check_image(name, picture)?;
        }
        add(digest, picture.unwrap_or_default());
        Ok(picture.is_some())
    }
}

fn request(
    fields: &Map<String, Value>,
    family: Family,
    n: u8,
    is_series: bool,
    aspect_ratio: AspectRatio,
    digest: Sha256,
    known: &[&str],
) -> Result<GenerationRequest, String> {
    let ignored = fields.keys().filter(|name| !known.contains(&name.as_str()));
    Ok(GenerationRequest {
        family,
        makes: Makes::Pictures,
        is_series,
        external_task_id: external_task_id(fields)?,
        n,
        aspect_ratio,
        callback_url: callback_url(fields)?,
        digest: format!("sha256:{}", hex(&digest.finalize())).into(),
        ignored: ignored.map(|name| name.chars().take(64).collect()).collect(),
    })
}

fn required_prompt(fields: &Map<String, Value>) -> Result<&str, String> {
    match text(fields, "prompt")? {
        Some(prompt) if !prompt.is_empty() && prompt.chars().count() <= PROMPT_CHARS_MAX => Ok(prompt),
        Some(_) | None => Err(format!("prompt must have 1 to {PROMPT_CHARS_MAX} characters")),
    }
}

fn one_of(fields: &Map<String, Value>, name: &str, choices: &[&str]) -> Result<(), String> {
    match text(fields, name)? {
        Some(value) if !choices.contains(&value) => Err(format!("{name} value '{value}' is invalid")),
        Some(_) | None => Ok(()),
    }
}

fn fraction(fields: &Map<String, Value>, name: &str) -> Result<(), String> {
    match given(fields, name).map(Value::as_f64) {
        None => Ok(()),
        Some(Some(number)) if (0.0..=1.0).contains(&number) => Ok(()),
        Some(_) => Err(format!("{name} must be a number from 0 to 1")),
    }
}

fn series_amount(fields: &Map<String, Value>) -> Result<u8, String> {
    match given(fields, "series_amount") {
        None => Ok(SERIES_DEFAULT),
        Some(value) if value == "auto" => Ok(AUTO_AMOUNT),
        Some(value) => value
            .as_u64()
            .filter(|amount| (2..=IMAGES_MAX).contains(amount))
            .and_then(|amount| u8::try_from(amount).ok())
            .ok_or_else(|| format!("series_amount must be auto, or an integer from 2 to {IMAGES_MAX}")),
    }
}
