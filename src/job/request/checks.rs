//! The checks of `input`: everything that can be known to be wrong before paying, and the body if nothing is wrong.
//!
//! Known fields are checked, unknown ones pass through. An optional field that is `null` or `""` is omitted, since
//! gateways take `""` for a value (docs/provider.md, "Request fields").

use std::collections::BTreeMap;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::faults::{Faults, found, member};
use super::picture;
use super::rules::Rules;
use super::values::{any_model, fraction, number, objects, one_of, series, text};
use crate::job::route::{Check, Field, Route, Together};
use crate::job::submission::Submission;
use crate::job::{Digest, ExternalIds, ExternalTaskId, JobId};

/// The result of the checks.
#[derive(Default)]
pub(super) struct Checked {
    /// `None` if a fault was found.
    pub(super) taken: Option<Taken>,
    /// The ids, with the user's own, also for a job that is wrong elsewhere; `None` if there is no input at all.
    pub(super) external_ids: Option<ExternalIds>,
}

pub(super) struct Taken {
    pub(super) submission: Submission,
    pub(super) slots: u32,
    /// Whether the provider calls back at a URL of ours.
    pub(super) calls_back: bool,
}

type Input = Map<String, Value>;

pub(super) fn check(
    input: Option<Value>,
    id: &JobId,
    digest: &Digest,
    route: &Arc<Route>,
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
    leave_out_empty(&mut input, route);

    let (mut model, mut scene, mut images, mut callback_url, mut own) =
        (None, None, route.data.slots, None, None);
    for field in route.data.fields {
        let Field { name, check, required, about: _ } = field;
        if !route.data.names_of(field).iter().any(|name| input.contains_key(*name)) {
            if *required {
                faults.add(member("/input", name), wrong(check, route, "nothing"));
            }
            continue;
        }
        let value = input.get(*name).unwrap_or(&Value::Null);
        let checked = match check {
            Check::Pictures { member } => {
                pictures(&mut input, name, member, check, route, faults);
                Ok(())
            }
            Check::Picture => {
                image(&mut input, name, route, faults);
                Ok(())
            }
            Check::Scene => {
                scene = scene_image(&mut input, route, faults);
                Ok(())
            }
            Check::Switch => {
                switch(value, name, check, route, faults);
                Ok(())
            }
            Check::CallbackUrl => {
                callback_url = url(value, name, check, route, faults);
                Ok(())
            }
            Check::Url => {
                url(value, name, check, route, faults);
                Ok(())
            }
            Check::Sound => {
                sound(value, name, check, route, faults);
                Ok(())
            }
            Check::Flag => value.as_bool().map(drop).ok_or_else(|| found(value)),
            Check::Object => value.as_object().map(drop).ok_or_else(|| found(value)),
            Check::Objects(number) => objects(value, number),
            Check::Model => one_of(value, &route.models).map(|own| model = Some(own)),
            Check::AnyModel => any_model(value).map(|own| model = Some(own)),
            Check::OneOf(choices) => one_of(value, choices).map(drop),
            Check::Text { chars_max } => text(value, *chars_max),
            Check::Images(range) => number(value, range).map(|number| images = number),
            Check::Series { range, .. } => series(value, range).map(drop),
            Check::Fraction(hundredths) => fraction(value, hundredths),
            Check::ExternalTaskId => match value.as_str().and_then(ExternalTaskId::new) {
                Some(id) => {
                    own = Some(id);
                    Ok(())
                }
                None => Err(found(value)),
            },
        };
        if let Err(found) = checked {
            faults.add(member("/input", name), wrong(check, route, &found));
        }
    }
    together(&input, route, faults);
    let (name, slots) = series_of(&input, route).unwrap_or(("n", images));
    fits_account(name, slots, rules, faults);
    for name in Submission::OWN_MEMBERS {
        let is_of_route = route.data.fields.iter().any(|field| field.name == name);
        if input.remove(name).is_some() && !is_of_route {
            faults.add(member("/input", name), format!("is no field of {}", route.name));
        }
    }

    let external_ids = ExternalIds::new(own, rules.store.as_str(), id, digest);
    if !faults.is_empty() {
        return Checked { taken: None, external_ids: Some(external_ids) };
    }
    // The digest doesn't include our callback URL: a job is the same on a fleet that listens at another URL or at none.
    let ours = rules.callbacks.as_ref().filter(|_| callback_url.is_none());
    let calls_back = ours.is_some();
    let submission = Submission {
        job: id.clone(),
        route: Arc::clone(route),
        model: model.unwrap_or_else(|| route.default_model.clone()),
        external_id: external_ids.of_generation(1),
        callback_url: callback_url.or_else(|| ours.map(|callbacks| callbacks.url(id))),
        fields: fields(&input, scene.as_ref(), route).into(),
    };
    Checked { taken: Some(Taken { submission, slots, calls_back }), external_ids: Some(external_ids) }
}

/// The fault of a field that is not what it should be.
fn wrong(check: &Check, route: &Route, found: &str) -> String {
    format!("expected {}, found {found}", expected(check, route))
}

/// What a field should be.
fn expected(check: &Check, route: &Route) -> String {
    match check {
        Check::Pictures { member } => {
            let (min, max) = (route.subject_images.start(), route.subject_images.end());
            let number = if min == max { min.to_string() } else { format!("{min} to {max}") };
            format!("an array of {number} objects with a {member} each")
        }
        Check::Picture | Check::Scene => IMAGE.to_owned(),
        Check::Model => choice(&route.models),
        Check::AnyModel => format!("the name of a model, such as {}", route.default_model),
        Check::OneOf(choices) => choice(choices),
        Check::Text { chars_max } => format!("a string of at most {chars_max} characters"),
        Check::Images(range) => format!("an integer from {} to {}", range.start(), range.end()),
        Check::Series { range, .. } => {
            format!("auto, or an integer from {} to {}", range.start(), range.end())
        }
        Check::Fraction(hundredths) => {
            let number = |hundredths: &u32| f64::from(*hundredths) / 100.0;
            format!("a number from {} to {}", number(hundredths.start()), number(hundredths.end()))
        }
        Check::Flag => "true or false".to_owned(),
        Check::Object => "an object".to_owned(),
        Check::Objects(number) if number.start() == number.end() => {
            format!("an array of {} object", number.start())
        }
        Check::Objects(number) => format!("an array of {} to {} objects", number.start(), number.end()),
        Check::Sound => "an http or https URL, or base64, of a sound".to_owned(),
        Check::Switch => "an object with enabled, true or false".to_owned(),
        Check::Url | Check::CallbackUrl => "an http or https URL".to_owned(),
        Check::ExternalTaskId => format!("1 to {} characters of A-Z a-z 0-9 _ -", ExternalTaskId::MAX_LENGTH),
    }
}

/// What is expected where there is a choice.
pub(super) fn choice(choices: &[impl AsRef<str>]) -> String {
    let choices: Vec<&str> = choices.iter().map(AsRef::as_ref).collect();
    match choices.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
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

/// The fields as they are sent, in a fixed order: the images are copied only here.
fn fields(input: &Input, scene: Option<&Value>, route: &Route) -> Vec<u8> {
    let mut view: BTreeMap<&str, &Value> = input.iter().map(|(name, value)| (name.as_str(), value)).collect();
    if let Some(scene) = scene {
        view.extend(route.scene_names_sent.iter().map(|name| (*name, scene)));
    }
    serde_json::to_vec(&view).expect("values with string keys are JSON")
}

fn leave_out_empty(input: &mut Input, route: &Route) {
    let known = route.data.fields.iter().filter(|field| match field.check {
        Check::Pictures { .. } => false,
        Check::Picture
        | Check::Scene
        | Check::Model
        | Check::AnyModel
        | Check::OneOf(_)
        | Check::Text { .. }
        | Check::Images(_)
        | Check::Series { .. }
        | Check::Fraction(_)
        | Check::Flag
        | Check::Object
        | Check::Objects(_)
        | Check::Url
        | Check::Sound
        | Check::Switch
        | Check::CallbackUrl
        | Check::ExternalTaskId => true,
    });
    for name in known.flat_map(|field| route.data.names_of(field)) {
        if input.get(*name).is_some_and(|value| value.is_null() || value == "") {
            input.remove(*name);
        }
    }
}

fn pictures(input: &mut Input, name: &str, picture: &str, check: &Check, route: &Route, faults: &mut Faults) {
    // The path is only built for a fault.
    let list_path = || member("/input", name);
    let list = match input.get_mut(name) {
        None => return,
        Some(Value::Array(list)) => list,
        Some(other) => return faults.add(list_path(), wrong(check, route, &found(other))),
    };
    if !route.subject_images.contains(&list.len()) {
        faults.add(list_path(), wrong(check, route, &list.len().to_string()));
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
            Some(value) => check_image(&path, value, route, faults),
            None => faults.add(path(), format!("expected {IMAGE}, found nothing")),
        }
    }
}

/// Both spellings are one field, so the same value under both is not a contradiction.
fn scene_image(input: &mut Input, route: &Route, faults: &mut Faults) -> Option<Value> {
    let mut given = route.data.scene_names.iter().filter_map(|name| Some((*name, input.remove(*name)?)));
    let (first_name, mut first) = given.next()?;
    let mut others: Vec<_> = given.filter(|(_, other)| *other != first).collect();

    check_image(&|| member("/input", first_name), &mut first, route, faults);
    for (name, other) in &mut others {
        let path = || member("/input", name);
        check_image(&path, other, route, faults);
        if *other != first {
            faults.add(path(), format!("differs from {first_name}; both spellings are one field"));
        }
    }
    Some(first)
}

fn image(input: &mut Input, name: &str, route: &Route, faults: &mut Faults) {
    if let Some(value) = input.get_mut(name) {
        check_image(&|| member("/input", name), value, route, faults);
    }
}

const IMAGE: &str = "an http or https URL, or base64, of a PNG or JPEG image";

fn check_image(path: &dyn Fn() -> String, value: &mut Value, route: &Route, faults: &mut Faults) {
    if let Value::String(text) = value
        && !text.is_empty()
    {
        picture::check(path, text, &route.data.picture, faults);
    } else {
        faults.add(path(), format!("expected {IMAGE}, found {}", found_image(value)));
    }
}

/// Like [`found`], but it doesn't quote what may be an image or a signed URL.
fn found_image(value: &Value) -> String {
    if value.as_str().is_some_and(|text| !text.is_empty()) { "a string".to_owned() } else { found(value) }
}

/// The field that says how many images a series has, and how many; `None` if the job is no series.
fn series_of(input: &Input, route: &Route) -> Option<(&'static str, u32)> {
    route.data.fields.iter().find_map(|field| {
        let Check::Series { range, default, chosen_by } = &field.check else { return None };
        input.get(*chosen_by).filter(|chosen| *chosen == "series")?;
        let amount = input.get(field.name).map_or(Some(*default), |value| series(value, range).ok());
        Some((field.name, amount?))
    })
}

fn together(input: &Input, route: &Route, faults: &mut Faults) {
    for rule in route.data.together {
        match rule {
            Together::Excludes(one, other) if input.contains_key(*one) && input.contains_key(*other) => {
                faults.add(member("/input", one), format!("can't be combined with {other}"));
            }
            Together::Needs(one, other) if input.contains_key(*one) && !input.contains_key(*other) => {
                faults.add(member("/input", one), format!("needs {other}"));
            }
            Together::AnyOf(one, other) if !input.contains_key(*one) && !input.contains_key(*other) => {
                faults.add("/input", format!("expected {one} or {other}, found neither"));
            }
            Together::Excludes(..) | Together::Needs(..) | Together::AnyOf(..) => {}
        }
    }
}

fn switch(value: &Value, name: &str, check: &Check, route: &Route, faults: &mut Faults) {
    match value.as_object().map(|members| members.get("enabled")) {
        None => faults.add(member("/input", name), wrong(check, route, &found(value))),
        Some(None | Some(Value::Bool(_))) => {}
        Some(Some(other)) => {
            let path = member(&member("/input", name), "enabled");
            faults.add(path, format!("expected true or false, found {}", found(other)));
        }
    }
}

fn sound(value: &Value, name: &str, check: &Check, route: &Route, faults: &mut Faults) {
    let checked = match value.as_str() {
        Some(text) => picture::check_sound(text, &route.data.picture),
        None => Err(wrong(check, route, &found(value))),
    };
    if let Err(message) = checked {
        faults.add(member("/input", name), message);
    }
}

fn url(value: &Value, name: &str, check: &Check, route: &Route, faults: &mut Faults) -> Option<String> {
    let checked = match value.as_str() {
        Some(text) => picture::check_url(text, &route.data.picture).map(|_| text.to_owned()),
        None => Err(wrong(check, route, &found(value))),
    };
    checked.map_err(|message| faults.add(member("/input", name), message)).ok()
}
