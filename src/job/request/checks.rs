//! The checks of `input`: everything that can be known to be wrong before paying, and the body if nothing is wrong.
//!
//! Known fields are checked, unknown ones pass through. An optional field that is `null` or `""` is omitted, since
//! gateways take `""` for a value (docs/provider.md, "Request fields").

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::faults::{Faults, found, member};
use super::picture;
use super::rules::Rules;
use crate::job::operation::{Check, Field};
use crate::job::{Digest, ExternalIds, ExternalTaskId, JobId};

/// The result of the checks. Only the ids are valid if a fault was found.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) body: Bytes,
    pub(super) images: u32,
    pub(super) model: String,
    /// Whether the body has a callback URL of ours.
    pub(super) calls_back: bool,
    /// The ids, with the user's own, also for a job that is wrong elsewhere; `None` if there is no input at all.
    pub(super) external_ids: Option<ExternalIds>,
}

type Input = Map<String, Value>;

pub(super) fn check(
    input: Option<Value>,
    id: &JobId,
    digest: &Digest,
    rules: &Rules,
    faults: &mut Faults,
) -> Checked {
    let mut input = match input {
        Some(Value::Object(input)) => input,
        None => {
            faults.add("/input", "expected an object with the provider's fields, found nothing");
            return Checked::default();
        }
        Some(other) => {
            let found = found(&other);
            faults.add("/input", format!("expected an object with the provider's fields, found {found}"));
            return Checked::default();
        }
    };
    leave_out_empty(&mut input, rules);

    let (mut scene, mut images, mut own) = (None, 1, None);
    for Field { name, check } in rules.operation.fields {
        match check {
            Check::Pictures { member } => pictures(&mut input, name, member, rules, faults),
            Check::Picture => image(&mut input, name, rules, faults),
            Check::Scene => scene = scene_image(&mut input, rules, faults),
            Check::Model => one_of(&input, name, &rules.models, faults),
            Check::OneOf(choices) => one_of(&input, name, choices, faults),
            Check::Text { chars_max } => text(&input, name, *chars_max, faults),
            Check::Images(range) => {
                images = number(&input, name, range, faults);
                fits_account(name, images, rules, faults);
            }
            Check::Switch => switch(&input, name, faults),
            Check::Url => url(&input, name, rules, faults),
            Check::ExternalTaskId => own = own_id(&input, name, faults),
        }
    }

    let external_ids = ExternalIds::new(own, rules.store.as_str(), id, digest);
    let external = external_ids.of_generation(1);
    let body =
        if faults.is_empty() { body(&input, scene.as_ref(), id, &external, rules) } else { Bytes::new() };
    let own_model = input.get("model_name").and_then(Value::as_str);
    let model = own_model.unwrap_or(&rules.default_model).to_owned();
    let calls_back = rules.callbacks.is_some() && !input.contains_key("callback_url");
    Checked { body, images, model, calls_back, external_ids: Some(external_ids) }
}

/// Each image takes one of the account's slots, and all images of a job run at the same time.
fn fits_account(name: &str, images: u32, rules: &Rules, faults: &mut Faults) {
    if rules.slots > 0 && images > rules.slots {
        let cap = rules.slots;
        faults.add(
            member("/input", name),
            format!("expected at most {cap}, all that this account may run at a time (generation.max_running), found {images}"),
        );
    }
}

/// A sorted view of the input: its images are copied only once, into the body.
fn body(input: &Input, scene: Option<&Value>, id: &JobId, external: &ExternalTaskId, rules: &Rules) -> Bytes {
    let model = Value::from(rules.default_model.as_str());
    let callback = rules.callbacks.as_ref().map(|callbacks| Value::from(callbacks.url(id)));
    let external = Value::from(external.as_str());
    let mut view: BTreeMap<&str, &Value> = BTreeMap::new();
    view.insert("model_name", &model);
    // The digest doesn't include it: a job is the same on a fleet that listens at another URL or at none.
    view.extend(callback.iter().map(|callback| ("callback_url", callback)));
    view.extend(input.iter().map(|(name, value)| (name.as_str(), value)));
    view.insert("external_task_id", &external);
    if let Some(scene) = scene {
        view.extend(rules.scene_names_sent.iter().map(|name| (*name, scene)));
    }
    serde_json::to_vec(&view).expect("values with string keys are JSON").into()
}

fn leave_out_empty(input: &mut Input, rules: &Rules) {
    let known = rules.operation.fields.iter().filter(|field| match field.check {
        Check::Pictures { .. } => false,
        Check::Picture
        | Check::Scene
        | Check::Model
        | Check::OneOf(_)
        | Check::Text { .. }
        | Check::Images(_)
        | Check::Switch
        | Check::Url
        | Check::ExternalTaskId => true,
    });
    for name in known.map(|field| field.name).chain(rules.operation.scene_names.iter().copied()) {
        if input.get(name).is_some_and(|value| value.is_null() || value == "") {
            input.remove(name);
        }
    }
}

fn pictures(input: &mut Input, name: &str, picture: &str, rules: &Rules, faults: &mut Faults) {
    // The path is only built for a fault.
    let list_path = || member("/input", name);
    let (min, max) = (rules.subject_images.start(), rules.subject_images.end());
    let expected = || {
        let number = if min == max { min.to_string() } else { format!("{min} to {max}") };
        format!("expected an array of {number} objects with a {picture} each")
    };

    let list = match input.get_mut(name) {
        Some(Value::Array(list)) => list,
        None => return faults.add(list_path(), format!("{}, found nothing", expected())),
        Some(other) => return faults.add(list_path(), format!("{}, found {}", expected(), found(other))),
    };
    if !rules.subject_images.contains(&list.len()) {
        faults.add(list_path(), format!("{}, found {}", expected(), list.len()));
    }
    for (index, entry) in list.iter_mut().enumerate() {
        let path = || format!("{}/{index}", list_path());
        let Value::Object(entry) = entry else {
            let found = found_image(entry);
            faults.add(path(), format!("expected an object with a {picture}, found {found}"));
            continue;
        };
        let path = || member(&path(), picture);
        match entry.get_mut(picture) {
            Some(value) => check_image(&path, value, rules, faults),
            None => faults.add(path(), format!("{IMAGE_EXPECTED}, found nothing")),
        }
    }
}

/// Both spellings are one field, so the same value under both is not a contradiction.
fn scene_image(input: &mut Input, rules: &Rules, faults: &mut Faults) -> Option<Value> {
    let mut given = rules.operation.scene_names.iter().filter_map(|name| Some((*name, input.remove(*name)?)));
    let (first_name, mut first) = given.next()?;
    let mut others: Vec<_> = given.filter(|(_, other)| *other != first).collect();

    check_image(&|| member("/input", first_name), &mut first, rules, faults);
    for (name, other) in &mut others {
        let path = || member("/input", name);
        check_image(&path, other, rules, faults);
        if *other != first {
            faults.add(path(), format!("differs from {first_name}; both spellings are one field"));
        }
    }
    Some(first)
}

fn image(input: &mut Input, name: &str, rules: &Rules, faults: &mut Faults) {
    if let Some(value) = input.get_mut(name) {
        check_image(&|| member("/input", name), value, rules, faults);
    }
}

const IMAGE_EXPECTED: &str = "expected an http or https URL, or base64, of a PNG or JPEG image";

fn check_image(path: &dyn Fn() -> String, value: &mut Value, rules: &Rules, faults: &mut Faults) {
    if let Value::String(text) = value
        && !text.is_empty()
    {
        picture::check(path, text, &rules.operation.picture, faults);
    } else {
        faults.add(path(), format!("{IMAGE_EXPECTED}, found {}", found_image(value)));
    }
}

/// Like [`found`], but it doesn't quote what may be an image or a signed URL.
fn found_image(value: &Value) -> String {
    if value.as_str().is_some_and(|text| !text.is_empty()) { "a string".to_owned() } else { found(value) }
}

fn one_of(input: &Input, name: &str, choices: &[impl AsRef<str>], faults: &mut Faults) {
    let Some(value) = input.get(name) else { return };
    if !value.as_str().is_some_and(|text| choices.iter().any(|choice| choice.as_ref() == text)) {
        let choices: Vec<&str> = choices.iter().map(AsRef::as_ref).collect();
        let expected = match choices.as_slice() {
            [only] => (*only).to_owned(),
            several => format!("one of {}", several.join(", ")),
        };
        faults.add(member("/input", name), format!("expected {expected}, found {}", found(value)));
    }
}

fn text(input: &Input, name: &str, chars_max: usize, faults: &mut Faults) {
    let found = match input.get(name) {
        None => return,
        Some(Value::String(text)) => match text.chars().count() {
            length if length <= chars_max => return,
            length => length.to_string(),
        },
        Some(other) => found(other),
    };
    let expected = format!("expected a string of at most {chars_max} characters");
    faults.add(member("/input", name), format!("{expected}, found {found}"));
}

fn number(input: &Input, name: &str, range: &RangeInclusive<u32>, faults: &mut Faults) -> u32 {
    let Some(value) = input.get(name) else {
        return *range.start();
    };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    if let Some(number) = number.filter(|number| range.contains(number)) {
        return number;
    }
    let (min, max, found) = (range.start(), range.end(), found(value));
    faults.add(member("/input", name), format!("expected an integer from {min} to {max}, found {found}"));
    1
}

fn switch(input: &Input, name: &str, faults: &mut Faults) {
    let (path, expected, value) = match input.get(name) {
        None => return,
        Some(Value::Object(members)) => match members.get("enabled") {
            None | Some(Value::Bool(_)) => return,
            Some(other) => (member(&member("/input", name), "enabled"), "true or false", other),
        },
        Some(other) => (member("/input", name), "an object with enabled, true or false", other),
    };
    faults.add(path, format!("expected {expected}, found {}", found(value)));
}

fn url(input: &Input, name: &str, rules: &Rules, faults: &mut Faults) {
    let checked = match input.get(name) {
        None => return,
        Some(Value::String(text)) => picture::check_url(text, &rules.operation.picture),
        Some(other) => Err(format!("expected an http or https URL, found {}", found(other))),
    };
    if let Err(message) = checked {
        faults.add(member("/input", name), message);
    }
}

fn own_id(input: &Input, name: &str, faults: &mut Faults) -> Option<ExternalTaskId> {
    let value = input.get(name)?;
    let id = value.as_str().and_then(ExternalTaskId::new);
    if id.is_none() {
        let (max, found) = (ExternalTaskId::MAX_LENGTH, found(value));
        let expected = format!("expected 1 to {max} characters of A-Z a-z 0-9 _ -");
        faults.add(member("/input", name), format!("{expected}, found {found}"));
    }
    id
}
