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
}

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
