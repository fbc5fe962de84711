//! The checks of `input`: everything that can be known to be wrong before paying, and the body that
//! is left when nothing is.
//!
//! What we know is checked, what we don't know passes through. An optional field that is `null` or
//! `""` is left out: gateways treat `""` as given (fact sheet, section 7).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::faults::{Faults, found, member};
use super::picture;
use super::rules::Rules;
use crate::job::{ExternalTaskId, JobId};

/// What an input comes to. Body and images mean something only if no fault was found.
pub(super) struct Checked {
    pub(super) body: Bytes,
    pub(super) images: u32,
    /// The user's own, also that of a job that is wrong elsewhere.
    pub(super) external_task_id: Option<ExternalTaskId>,
}

type Input = Map<String, Value>;

pub(super) fn check(input: Option<Value>, id: &JobId, rules: &Rules, faults: &mut Faults) -> Checked {
    let mut input = match input {
        Some(Value::Object(input)) => input,
        None => {
            faults.add("/input", "expected an object with the provider's fields, found nothing");
            return Checked { body: Bytes::new(), images: 1, external_task_id: None };
        }
        Some(other) => {
            let found = found(&other);
            faults.add("/input", format!("expected an object with the provider's fields, found {found}"));
            return Checked { body: Bytes::new(), images: 1, external_task_id: None };
        }
    };
    leave_out_empty(&mut input, rules);

    subject_images(&mut input, rules, faults);
    let scene = scene_image(&mut input, rules, faults);
    image(&mut input, "style_image", rules, faults);
    one_of(&input, "model_name", rules.models, faults);
    one_of(&input, "aspect_ratio", rules.aspect_ratios, faults);
    prompt(&input, "prompt", rules, faults);
    prompt(&input, "negative_prompt", rules, faults);
    let images = images(&input, rules, faults);
    callback_url(&input, rules, faults);
    let external_task_id = external_task_id(&input, faults);

    let external = external_task_id.clone().unwrap_or_else(|| id.external_task_id());
    let body =
        if faults.is_empty() { body(&input, scene.as_ref(), id, &external, rules) } else { Bytes::new() };
    Checked { body, images, external_task_id }
}

/// A view over the input, sorted: the images in it are copied once, into the body.
fn body(input: &Input, scene: Option<&Value>, id: &JobId, external: &ExternalTaskId, rules: &Rules) -> Bytes {
    let model = Value::from(rules.default_model);
    let callback = rules.callbacks.as_ref().map(|callbacks| Value::from(callbacks.url(id)));
    let external = Value::from(external.as_str());
    let mut view: BTreeMap<&str, &Value> = BTreeMap::new();
    view.insert("model_name", &model);
    // Not in the digest: the same job is the same on a fleet that listens elsewhere, or not at all.
    view.extend(callback.iter().map(|callback| ("callback_url", callback)));
    view.extend(input.iter().map(|(name, value)| (name.as_str(), value)));
    view.insert("external_task_id", &external);
    if let Some(scene) = scene {
        view.extend(rules.scene_names_sent.iter().map(|name| (*name, scene)));
    }
    serde_json::to_vec(&view).expect("values with string keys are JSON").into()
}

fn leave_out_empty(input: &mut Input, rules: &Rules) {
    const OPTIONAL: [&str; 8] = [
        "aspect_ratio",
        "callback_url",
        "external_task_id",
        "model_name",
        "n",
        "negative_prompt",
        "prompt",
        "style_image",
    ];
    for name in OPTIONAL.iter().chain(rules.scene_names) {
        if input.get(*name).is_some_and(|value| value.is_null() || value == "") {
            input.remove(*name);
        }
    }
}

fn subject_images(input: &mut Input, rules: &Rules, faults: &mut Faults) {
    const PATH: &str = "/input/subject_image_list";
    let (min, max) = (rules.subject_images.start(), rules.subject_images.end());
    let expected = format!("expected an array of {min} to {max} objects with a subject_image each");

    let list = match input.get_mut("subject_image_list") {
        Some(Value::Array(list)) => list,
        None => return faults.add(PATH, format!("{expected}, found nothing")),
        Some(other) => return faults.add(PATH, format!("{expected}, found {}", found(other))),
    };
    if !rules.subject_images.contains(&list.len()) {
        faults.add(PATH, format!("{expected}, found {}", list.len()));
    }
    for (index, entry) in list.iter_mut().enumerate() {
        let path = format!("{PATH}/{index}");
        let Value::Object(entry) = entry else {
            let found = found_image(entry);
            faults.add(path, format!("expected an object with a subject_image, found {found}"));
            continue;
        };
        let path = member(&path, "subject_image");
        match entry.get_mut("subject_image") {
            Some(value) => check_image(&path, value, rules, faults),
            None => faults.add(path, format!("{IMAGE_EXPECTED}, found nothing")),
        }
    }
}

/// Both spellings are one field, so the same value under both is no contradiction.
fn scene_image(input: &mut Input, rules: &Rules, faults: &mut Faults) -> Option<Value> {
    let mut given = rules.scene_names.iter().filter_map(|name| Some((*name, input.remove(*name)?)));
    let (first_name, mut first) = given.next()?;
    let mut others: Vec<_> = given.filter(|(_, other)| *other != first).collect();

    check_image(&member("/input", first_name), &mut first, rules, faults);
    for (name, other) in &mut others {
        let path = member("/input", name);
        check_image(&path, other, rules, faults);
        if *other != first {
            faults.add(path, format!("differs from {first_name}; both spellings are one field"));
        }
    }
    Some(first)
}

fn image(input: &mut Input, name: &str, rules: &Rules, faults: &mut Faults) {
    if let Some(value) = input.get_mut(name) {
        check_image(&member("/input", name), value, rules, faults);
    }
}

const IMAGE_EXPECTED: &str = "expected an http or https URL, or base64, of a PNG or JPEG image";

fn check_image(path: &str, value: &mut Value, rules: &Rules, faults: &mut Faults) {
    if let Value::String(text) = value
        && !text.is_empty()
    {
        picture::check(path, text, &rules.picture, faults);
    } else {
        faults.add(path, format!("{IMAGE_EXPECTED}, found {}", found_image(value)));
    }
}

/// Like [`found`], but what could be an image or a signed URL is not quoted.
fn found_image(value: &Value) -> String {
    if value.as_str().is_some_and(|text| !text.is_empty()) { "a string".to_owned() } else { found(value) }
}

fn one_of(input: &Input, name: &str, choices: &[&str], faults: &mut Faults) {
    let Some(value) = input.get(name) else { return };
    if !value.as_str().is_some_and(|text| choices.contains(&text)) {
        let expected = match choices {
            [only] => (*only).to_owned(),
            _ => format!("one of {}", choices.join(", ")),
        };
        faults.add(member("/input", name), format!("expected {expected}, found {}", found(value)));
    }
}

fn prompt(input: &Input, name: &str, rules: &Rules, faults: &mut Faults) {
    let max = rules.prompt_chars_max;
    let found = match input.get(name) {
        None => return,
        Some(Value::String(text)) => match text.chars().count() {
            length if length <= max => return,
            length => length.to_string(),
        },
        Some(other) => found(other),
    };
    faults
        .add(member("/input", name), format!("expected a string of at most {max} characters, found {found}"));
}

fn images(input: &Input, rules: &Rules, faults: &mut Faults) -> u32 {
    let Some(value) = input.get("n") else {
        return *rules.images.start();
    };
    let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
    if let Some(n) = n.filter(|n| rules.images.contains(n)) {
        return n;
    }
    let (min, max) = (rules.images.start(), rules.images.end());
    let found = found(value);
    faults.add("/input/n", format!("expected an integer from {min} to {max}, found {found}"));
    1
}

fn callback_url(input: &Input, rules: &Rules, faults: &mut Faults) {
    let checked = match input.get("callback_url") {
        None => return,
        Some(Value::String(text)) => picture::check_url(text, &rules.picture),
        Some(other) => Err(format!("expected an http or https URL, found {}", found(other))),
    };
    if let Err(message) = checked {
        faults.add("/input/callback_url", message);
    }
}

fn external_task_id(input: &Input, faults: &mut Faults) -> Option<ExternalTaskId> {
    let value = input.get("external_task_id")?;
    let id = value.as_str().and_then(ExternalTaskId::new);
    if id.is_none() {
        let (max, found) = (ExternalTaskId::MAX_LENGTH, found(value));
        faults.add(
            "/input/external_task_id",
            format!("expected 1 to {max} characters of A-Z a-z 0-9 _ -, found {found}"),
        );
    }
    id
}
