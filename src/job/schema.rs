//! The JSON Schemas (2020-12) of the contract, for producers and consumers: of a job, made from the table of routes, and
//! of the events, made from their types. `schemas/` has what these functions return.

#[cfg(test)]
mod tests;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::event::EventKind;
use super::event::data::{Cancelled, CloudEvent, Failed, Submitted, Succeeded};
use super::request::{DEPTH_MAX, METADATA_BYTES_MAX, TIMEOUT_S_MAX};
use super::route::SOUND_BYTES_MAX;
use super::route::table::ROUTES;
use super::route::{Check, Edition, Field, RouteData, RouteName, Together};
use super::{ExternalTaskId, JobId};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of the events.
#[must_use]
pub fn event() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.root_schema_for::<CloudEvent<'static, Value>>();
    let by_type = EventKind::ALL.map(|kind| {
        let data = match kind {
            EventKind::Submitted => data::<Submitted<'static>>(&mut generator),
            EventKind::Succeeded => data::<Succeeded<'static>>(&mut generator),
            EventKind::Failed => data::<Failed<'static>>(&mut generator),
            EventKind::Cancelled => data::<Cancelled<'static>>(&mut generator),
        };
        let is_it = json!({"required": ["type"], "properties": {"type": {"const": kind.event_type()}}});
        json!({"if": is_it, "then": {"properties": {"data": data}}})
    });
    let definitions = generator.take_definitions(true);
    schema.insert("$id".to_owned(), json!("urn:comet-worker:schema:event:v1"));
    schema.insert("allOf".to_owned(), json!(by_type));
    schema.insert("$defs".to_owned(), definitions.into());
    RecursiveTransform(absent_is_not_null).transform(&mut schema);
    RecursiveTransform(plain).transform(&mut schema);
    schema.insert("examples".to_owned(), json!(event_examples()));
    schema.to_value()
}

fn data<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Takes out what only Rust needs. A choice of texts that are each described becomes one list and one description.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    let text = |choice: &Value, key: &str| choice.get(key).and_then(Value::as_str).map(str::to_owned);
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described: Vec<_> =
        choices.filter_map(|choice| Some((text(choice, "const")?, text(choice, "description")?))).collect();
    if !described.is_empty() {
        let (names, words): (Vec<_>, Vec<_>) =
            described.iter().map(|(name, about)| (name, format!("{name}: {about}"))).unzip();
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = format!("{about} {}", words.join(" "));
        schema.insert("enum".to_owned(), json!(names));
        schema.insert("description".to_owned(), about.into());
        schema.remove("oneOf");
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

/// A member that may be absent is never sent as `null`.
fn absent_is_not_null(schema: &mut Schema) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required =
        |name: &str| required.as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| !is_required(name)) {
        let Value::Object(property) = property else { continue };
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                property.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = property.remove("anyOf") {
            let is_null = |choice: &Value| choice.get("type").is_some_and(|name| name == "null");
            let others = choices.into_iter().filter(|choice| !is_null(choice));
            property.extend(others.filter_map(|choice| choice.as_object().cloned()).flatten());
        }
    }
}

/// The schema of a job.
#[must_use]
pub fn job() -> Value {
    let names = ROUTES.map(|route| route.name);
    let [default, ..] = names;
    let inputs: Map<String, Value> =
        ROUTES.iter().map(|route| (route.name.to_owned(), input(route))).collect();
    let by_route = ROUTES.map(|route| {
        let is_it = if route.name == default {
            json!({"properties": {"operation": {"const": default}}})
        } else {
            json!({"required": ["operation"], "properties": {"operation": {"const": route.name}}})
        };
        json!({"if": is_it, "then": {"properties": {"input": {"$ref": format!("#/$defs/{}", route.name)}}}})
    });
    let mut definitions = inputs;
    definitions.insert("image".to_owned(), image());
    json!({
        "$schema": DRAFT,
        "$id": "urn:comet-worker:schema:job:v1",
        "title": "comet-worker: a job",
        "description": format!(
            "The body of a message on the queue comet.jobs, for both profiles of the API. What differs is the worker's to \
             know and is checked by it: a job of the profile page has 2 to 4 subject images and the model kling-v2, one of \
             the profile current has 1 to 4 and kling-v2 or kling-v2-1; and a worker can be configured for another model \
             and other counts (api.model, api.min_subject_images, api.max_subject_images). At most 8 MiB by default, \
             nested at most {DEPTH_MAX} levels deep. Some things can't be said in a schema and are checked all the same: \
             that base64 decodes to a PNG or JPEG of at most 10 MiB, with sides of at least 300 pixels and of 1:2.5 to \
             2.5:1; that a URL parses; that scence_image and scene_image agree where both are given; that metadata is at \
             most {} KiB. In optional fields of input, null and \"\" are as good as absent; so is null for job_id, \
             operation and timeout_s.",
            METADATA_BYTES_MAX / 1024,
        ),
        "type": "object",
        "additionalProperties": false,
        "required": ["input"],
        "properties": {
            "job_id": {
                "description": "Your name for the job, and its idempotency key: the same id with the same input is the \
                                same job, told again and never paid again. When absent, the AMQP message_id is taken. One \
                                of the two is required.",
                "type": "string", "minLength": 1, "maxLength": JobId::MAX_LENGTH, "pattern": "^[A-Za-z0-9._:-]+$",
                "examples": ["order-8812"],
            },
            "operation": {
                "description": format!("The route of the provider; {default} when absent."),
                "enum": names,
            },
            "input": {"type": "object"},
            "metadata": {
                "description": format!(
                    "Any JSON of at most {} KiB (without whitespace). Given back on every event, as it was written.",
                    METADATA_BYTES_MAX / 1024,
                ),
                "examples": [{"customer": 42}],
            },
            "timeout_s": {
                "description": "Overrides generation.timeout_s: how long the generation may take, in seconds.",
                "type": "integer", "minimum": 1, "maximum": TIMEOUT_S_MAX,
                "examples": [900],
            },
        },
        "allOf": by_route,
        "examples": job_examples(),
        "$defs": definitions,
    })
}

fn job_examples() -> [Value; 2] {
    let subjects = json!([
        {"subject_image": "https://example.com/a.png"},
        {"subject_image": "https://example.com/b.png"},
    ]);
    [
        json!({
            "job_id": "order-8812",
            "input": {
                "model_name": "kling-v2",
                "prompt": "the two of them at a sunlit kitchen table",
                "subject_image_list": subjects,
                "scence_image": "https://example.com/scene.png",
                "style_image": "https://example.com/style.png",
                "n": 1,
                "aspect_ratio": "16:9",
            },
            "metadata": {"customer": 42},
        }),
        json!({"job_id": "smallest", "input": {"subject_image_list": subjects}}),
    ]
}

fn event_examples() -> [Value; 2] {
    let event = |end: &str, data: Value| {
        json!({
            "specversion": "1.0",
            "id": format!("order-8812/{end}"),
            "source": "/comet-worker",
            "type": format!("comet.job.{end}"),
            "subject": "order-8812",
            "time": "2026-11-23T05:12:09.114Z",
            "datacontenttype": "application/json",
            "data": data,
        })
    };
    let succeeded = json!({
        "job_id": "order-8812",
        "operation": "multi_image_to_image",
        "task_id": "878106242831892487",
        "external_task_id": "cw-9f3a1c0e5b7d48260a1f2e3d4c5b6a7980f1e2d3",
        "images": [{
            "index": 0,
            "location": "s3://bucket/images/order-8812/0-1f0ce2.png",
            "content_type": "image/png",
            "bytes": 1_482_113,
            "width": 1360,
            "height": 768,
            "sha256": "1f0ce2".repeat(11).get(..64),
        }],
        "units": "8",
        "timings_ms": {"queued": 12, "submit": 240, "generate": 24_100, "store": 310},
        "polls": 3,
        "metadata": {"customer": 42},
    });
    let failed = json!({
        "job_id": "order-8812",
        "operation": "multi_image_to_image",
        "task_id": "878106242831892487",
        "external_task_id": "cw-9f3a1c0e5b7d48260a1f2e3d4c5b6a7980f1e2d3",
        "reason": "content_policy",
        "message": "Failure to pass the risk control system",
        "provider_code": "1301",
        "charged": "unknown",
        "timings_ms": {"submit": 240, "generate": 2000},
        "polls": 1,
        "metadata": {"customer": 42},
    });
    [event("succeeded", succeeded), event("failed", failed)]
}

/// The input of a job of this route.
fn input(route: &RouteData) -> Value {
    let mut properties = Map::new();
    for field in route.fields {
        for name in route.names_of(field) {
            properties.insert((*name).to_owned(), property(field, name, route));
        }
    }
    let required: Vec<&str> =
        route.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({
        "description": format!(
            "{} CometAPI's own body for POST {}, by its own names. Fields that are not listed here pass through unchanged.",
            route.about, route.submit_path
        ),
        "type": "object",
        "required": required,
        "properties": properties,
    });
    if let Some(members) = schema.as_object_mut().filter(|_| !route.together.is_empty()) {
        members.insert("allOf".to_owned(), route.together.iter().map(together).collect());
    }
    schema
}

fn together(rule: &Together) -> Value {
    match rule {
        Together::Excludes(one, other) => json!({"not": {"required": [one, other]}}),
        Together::AnyOf(one, other) => json!({"anyOf": [{"required": [one]}, {"required": [other]}]}),
        Together::Needs(one, other) => json!({"dependentRequired": {(*one): [other]}}),
    }
}

fn property(field: &Field, name: &str, route: &RouteData) -> Value {
    let about = |words: &str| [field.about, words].join(" ").trim().to_owned();
    let about_field = about("");
    match &field.check {
        Check::Pictures { member } => {
            let counts = || route.editions.iter().map(|edition| &edition.subject_images);
            let numbers = by_edition(route, |edition| {
                format!("{} to {}", edition.subject_images.start(), edition.subject_images.end())
            });
            json!({
                "description": about(&format!("{numbers}.")),
                "type": "array",
                "minItems": counts().map(|count| count.start()).min(),
                "maxItems": counts().map(|count| count.end()).max(),
                "items": {
                    "type": "object",
                    "required": [member],
                    "properties": {(*member): {"$ref": "#/$defs/image"}},
                },
            })
        }
        Check::Picture => json!({"description": about_field, "$ref": "#/$defs/image"}),
        Check::Scene => {
            let others: Vec<&str> =
                route.scene_names.iter().copied().filter(|other| *other != name).collect();
            let words = format!(
                "The same field as {}: give one. It goes out under the names of api.scene_field, both by default.",
                others.join(", ")
            );
            json!({"description": about(&words), "$ref": "#/$defs/image"})
        }
        Check::Model => {
            let models: std::collections::BTreeSet<_> =
                route.editions.iter().flat_map(|edition| edition.models).collect();
            let defaults = by_edition(route, |edition| edition.default_model.to_owned());
            let is_default = route.name == RouteName::default_route().as_str();
            let configured = if is_default { ", or what api.model says" } else { "" };
            let words = format!("Always sent. Where you name none: {defaults}{configured}.");
            json!({"description": about(&words), "enum": models})
        }
        Check::AnyModel => {
            let defaults = by_edition(route, |edition| edition.default_model.to_owned());
            let models: Vec<_> = route.editions.iter().flat_map(|edition| edition.models).collect();
            let words = format!("Always sent. Where you name none: {defaults}.");
            json!({"description": about(&words), "type": "string", "pattern": "^[A-Za-z0-9._-]{0,64}$", "examples": models})
        }
        Check::OneOf(choices) => json!({"description": about_field, "enum": choices}),
        // An empty text counts as absent.
        Check::Text { chars_max } if field.required => {
            json!({"description": about_field, "type": "string", "minLength": 1, "maxLength": chars_max})
        }
        Check::Text { chars_max } => {
            json!({"description": about_field, "type": "string", "maxLength": chars_max})
        }
        Check::Images(range) => json!({
            "description": about_field,
            "type": "integer", "minimum": range.start(), "maximum": range.end(), "default": range.start(),
        }),
        Check::Series { range, default, chosen_by } => json!({
            "description": about(&format!("Counts if {chosen_by} is series.")),
            "anyOf": [{"type": "integer", "minimum": range.start(), "maximum": range.end()}, {"const": "auto"}],
            "default": default,
        }),
        Check::Fraction(hundredths) => {
            let number = |hundredths: &u32| f64::from(*hundredths) / 100.0;
            json!({
                "description": about_field,
                "type": "number", "minimum": number(hundredths.start()), "maximum": number(hundredths.end()),
            })
        }
        Check::Flag => json!({"description": about_field, "type": "boolean"}),
        Check::Object => json!({"description": about_field, "type": "object"}),
        Check::Objects(number) => json!({
            "description": about_field, "type": "array", "items": {"type": "object"},
            "minItems": number.start(), "maxItems": number.end(),
        }),
        Check::Url => json!({
            "description": about_field, "type": "string", "minLength": 1, "maxLength": route.picture.url_bytes_max,
        }),
        Check::Sound => json!({
            "description": about(&format!(
                "An http or https URL that the provider can fetch, or base64 of at most {SOUND_BYTES_MAX} bytes."
            )),
            "type": "string", "minLength": 1,
        }),
        Check::Switch => json!({
            "description": about_field, "type": "object", "properties": {"enabled": {"type": "boolean"}},
        }),
        Check::CallbackUrl => json!({
            "description": "Passed on to the provider, which calls it at every change of the task's status. When absent, \
                            one of the worker's own may be sent.",
            "type": "string", "maxLength": route.picture.url_bytes_max, "examples": ["https://example.com/hook"],
        }),
        Check::ExternalTaskId => json!({
            "description": "Your own id for the task at the provider, unique in the account. When absent, one is made \
                            from the job_id.",
            "type": "string", "minLength": 1, "maxLength": ExternalTaskId::MAX_LENGTH, "pattern": "^[A-Za-z0-9_-]+$",
        }),
    }
}

/// What each edition says, with the name of its profile if there are several.
fn by_edition(route: &RouteData, says: impl Fn(&Edition) -> String) -> String {
    match route.editions {
        [only] => says(only),
        several => {
            let each = several
                .iter()
                .map(|edition| format!("{} with the profile {}", says(edition), edition.profile));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn image() -> Value {
    json!({
        "description": "A PNG or JPEG image: an http or https URL that the provider can fetch, of at most 8192 bytes, \
                        without user name and password; or the image in padded base64 without whitespace. A prefix \
                        data:image/…;base64, is taken off. (comet-worker submit also takes file:PATH, and sends the file \
                        in base64.)",
        "type": "string",
        "minLength": 1,
        "examples": ["https://example.com/a.png"],
    })
}
