//! What CometAPI accepts. A request body is read strictly, or refused with the provider's words.
//!
//! There are two sets of rules, because there are two pages. `page` is the one that the project started from
//! (Multi-Image to Image: 2 to 4 subject images, kling-v2, `scence_image`); `current` is CometAPI's newer one (1 to
//! 4, kling-v2-1, `scene_image`, `negative_prompt`, `watermark_info`). Fields that the rules don't know are ignored,
//! as the provider does. They are counted, because an ignored image is a wrong picture that was paid for.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub(crate) use self::routes::{Family, Makes, OTHERS};
use crate::{picture::AspectRatio, refusal::Refusal};

mod routes;

const PROMPT_CHARS_MAX: usize = 2500;
const EXTERNAL_TASK_ID_CHARS_MAX: usize = 64;
const IMAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
const IMAGE_SIDE_PX_MIN: usize = 300;
const SUBJECT_IMAGES_MAX: usize = 4;
const IMAGES_MAX: u64 = 9;

/// Which page the provider keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// the page that the project started from: 2 to 4 subject images, kling-v2, scence_image
    Page,
    /// CometAPI's newer page: 1 to 4 subject images, also kling-v2-1, scene_image, negative_prompt, watermark_info
    Current,
}

/// The rules that a request body is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) page: Page,
    /// Inline images must also be PNG or JPEG of at least 300 px a side, not longer than 2.5 times their width.
    pub(crate) check_pixels: bool,
}

/// A request that may be generated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerationRequest {
    pub(crate) family: Family,
    pub(crate) makes: Makes,
    /// Its images are told as a series.
    pub(crate) is_series: bool,
    pub(crate) external_task_id: Option<Arc<str>>,
    /// Images to make, 1 to 9. Also the slots that the task takes.
    pub(crate) n: u8,
    pub(crate) aspect_ratio: AspectRatio,
    pub(crate) callback_url: Option<Arc<str>>,
    /// `sha256:…` over prompts and images: tells jobs apart that have no external id.
    pub(crate) digest: Arc<str>,
    /// Fields of the body that had no effect.
    pub(crate) ignored: Vec<String>,
}

impl GenerationRequest {
    /// What its charge is counted under: the external id, or else the digest.
    pub(crate) fn job(&self) -> Arc<str> {
        Arc::clone(self.external_task_id.as_ref().unwrap_or(&self.digest))
    }
}

impl Rules {
    pub(crate) fn read(&self, family: Family, body: &[u8]) -> Result<GenerationRequest, Refusal> {
        let value: Value = serde_json::from_slice(body).map_err(|e| Refusal::NotJson(e.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(Refusal::NotJson("the body must be a JSON object".to_owned()));
        };
        let read = match family {
            // One path takes the bodies of two routes; a body without subjects and without a prompt is wrong for both.
            Family::Images if !fields.contains_key("subject_image_list") && fields.contains_key("prompt") => {
                self.read_generation(&fields)
            }
            Family::Images => self.read_fields(&fields),
            Family::Omni => self.read_omni(&fields),
            Family::TryOn => self.read_try_on(&fields),
            Family::Other(place) => self.read_other(place, &fields),
        };
        read.map_err(Refusal::Invalid)
    }

    fn read_fields(&self, fields: &Map<String, Value>) -> Result<GenerationRequest, String> {
        let mut digest = Sha256::new();
        for name in self.prompts() {
            let prompt = text(fields, name)?.unwrap_or_default();
            if prompt.chars().count() > PROMPT_CHARS_MAX {
                return Err(format!("{name} must not be longer than {PROMPT_CHARS_MAX} characters"));
            }
            add(&mut digest, prompt);
        }
        for image in self.subject_images(fields)? {
            add(&mut digest, image);
        }
        for name in [self.scene_field(), "style_image"] {
            let image = text(fields, name)?;
            if let Some(image) = image {
                self.check_image(name, image)?;
            }
            add(&mut digest, image.unwrap_or_default());
        }
        self.check_model(fields)?;
        if self.page == Page::Current {
            check_watermark(fields)?;
        }
        Ok(GenerationRequest {
            family: Family::Images,
            makes: Makes::Pictures,
            is_series: false,
            external_task_id: external_task_id(fields)?,
            n: count(fields)?,
            aspect_ratio: aspect_ratio(fields)?,
            callback_url: callback_url(fields)?,
            digest: format!("sha256:{}", hex(&digest.finalize())).into(),
            ignored: self.ignored(fields),
        })
    }

    fn prompts(&self) -> &'static [&'static str] {
        match self.page {
            Page::Page => &["prompt"],
            Page::Current => &["prompt", "negative_prompt"],
        }
    }

    /// The spelling that has an effect; the other one is an unknown field.
    fn scene_field(&self) -> &'static str {
        match self.page {
            Page::Page => "scence_image",
            Page::Current => "scene_image",
        }
    }

    fn models(&self) -> &'static [&'static str] {
        match self.page {
            Page::Page => &["kling-v2"],
            Page::Current => &["kling-v2", "kling-v2-1"],
        }
    }

    fn subject_images_min(&self) -> usize {
        match self.page {
            Page::Page => 2,
            Page::Current => 1,
        }
    }

    fn check_model(&self, fields: &Map<String, Value>) -> Result<(), String> {
        match text(fields, "model_name")? {
            Some(model) if !self.models().contains(&model) => {
                Err(format!("model_name value '{model}' is invalid"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn subject_images<'a>(&self, fields: &'a Map<String, Value>) -> Result<Vec<&'a str>, String> {
        let list = match given(fields, "subject_image_list") {
            Some(Value::Array(list)) => list,
            Some(_) => return Err("subject_image_list must be an array".to_owned()),
            None => return Err("subject_image_list must not be empty".to_owned()),
        };
        let wanted = self.subject_images_min()..=SUBJECT_IMAGES_MAX;
        if !wanted.contains(&list.len()) {
            let (min, max) = (wanted.start(), wanted.end());
            return Err(format!("subject_image_list must have {min} to {max} images, not {}", list.len()));
        }
        list.iter()
            .map(|element| {
                let image = element.get("subject_image").and_then(Value::as_str);
                let image = image.ok_or("subject_image_list must hold objects with a subject_image")?;
                self.check_image("subject_image", image)?;
                Ok(image)
            })
            .collect()
    }

    /// An http(s) URL, or raw base64 of at most 10 MiB without the `data:` prefix.
    fn check_image(&self, name: &str, image: &str) -> Result<(), String> {
        if image.is_empty() {
            return Err(format!("{name} must not be empty"));
        }
        if image.starts_with("http://") || image.starts_with("https://") {
            return match url::Url::parse(image) {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("{name} is not a valid URL")),
            };
        }
        if image.starts_with("data:") {
            return Err(format!("{name} must be base64 without a data: prefix"));
        }
        let bytes = STANDARD.decode(image).map_err(|_| format!("{name} must be a URL or base64"))?;
        if bytes.len() > IMAGE_BYTES_MAX {
            return Err(format!("{name} must not be larger than 10MB"));
        }
        if self.check_pixels && !pixels_are_valid(&bytes) {
            return Err("Image pixel is invalid".to_owned());
        }
        Ok(())
    }

    fn ignored(&self, fields: &Map<String, Value>) -> Vec<String> {
        const ALWAYS: [&str; 8] = [
            "model_name",
            "prompt",
            "subject_image_list",
            "style_image",
            "n",
            "aspect_ratio",
            "callback_url",
            "external_task_id",
        ];
        let known = |name: &str| {
            ALWAYS.contains(&name)
                || name == self.scene_field()
                || (self.page == Page::Current && ["negative_prompt", "watermark_info"].contains(&name))
        };
        let names = fields.keys().filter(|name| !known(name));
        names.map(|name| name.chars().take(64).collect()).collect()
    }
}

/// The value of a field; `null` counts as not given, an empty string as given.
fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match given(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

fn count(fields: &Map<String, Value>) -> Result<u8, String> {
    match given(fields, "n") {
        None => Ok(1),
        Some(value) => value
            .as_u64()
            .filter(|n| (1..=IMAGES_MAX).contains(n))
            .and_then(|n| u8::try_from(n).ok())
            .ok_or_else(|| format!("n must be an integer from 1 to {IMAGES_MAX}")),
    }
}

fn aspect_ratio(fields: &Map<String, Value>) -> Result<AspectRatio, String> {
    match text(fields, "aspect_ratio")? {
        None => Ok(AspectRatio::DEFAULT),
        Some(ratio) => {
            AspectRatio::named(ratio).ok_or_else(|| format!("aspect_ratio value '{ratio}' is invalid"))
        }
    }
}

fn external_task_id(fields: &Map<String, Value>) -> Result<Option<Arc<str>>, String> {
    match text(fields, "external_task_id")? {
        None => Ok(None),
        Some("") => Err("external_task_id must not be empty".to_owned()),
        Some(id) if id.chars().count() > EXTERNAL_TASK_ID_CHARS_MAX => {
            Err(format!("external_task_id must not be longer than {EXTERNAL_TASK_ID_CHARS_MAX} characters"))
        }
        Some(id) => Ok(Some(id.into())),
    }
}

fn callback_url(fields: &Map<String, Value>) -> Result<Option<Arc<str>>, String> {
    match text(fields, "callback_url")?.map(url::Url::parse) {
        None => Ok(None),
        Some(Ok(url)) if ["http", "https"].contains(&url.scheme()) => Ok(Some(url.as_str().into())),
        Some(_) => Err("callback_url is not a valid URL".to_owned()),
    }
}

fn check_watermark(fields: &Map<String, Value>) -> Result<(), String> {
    match given(fields, "watermark_info") {
        None => Ok(()),
        Some(info) if info.get("enabled").is_some_and(Value::is_boolean) => Ok(()),
        Some(_) => Err("watermark_info must be an object with a boolean enabled".to_owned()),
    }
}

fn pixels_are_valid(bytes: &[u8]) -> bool {
    let kind = infer::get(bytes).map(|kind| kind.mime_type());
    let size = imagesize::blob_size(bytes).ok();
    matches!(kind, Some("image/png" | "image/jpeg"))
        && size.is_some_and(|size| {
            let (short, long) = (size.width.min(size.height), size.width.max(size.height));
            short >= IMAGE_SIDE_PX_MIN && long * 2 <= short * 5
        })
}

/// Parts with their lengths, so that no two requests run together into one digest.
fn add(digest: &mut Sha256, part: &str) {
    digest.update(part.len().to_be_bytes());
    digest.update(part);
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| DIGITS.get(usize::from(nibble))).collect()
}

#[cfg(test)]
mod tests;
