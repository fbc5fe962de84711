//! The images of a finished task, in every shape that was seen (docs/provider.md, "Images of a finished task").

use std::collections::HashSet;

use serde_json::Value;
use url::Url;

use super::envelope::{Object, text_of};
use crate::job::answers::ResultFile;

/// No more images are read; `n` is 9 at most (docs/provider.md, "Request fields").
const IMAGES_MAX: usize = 64;

/// Members that list images, as texts or as objects with a URL.
const LISTS: [&str; 9] = [
    "outputs",
    "output",
    "images",
    "series_images",
    "image_urls",
    "urls",
    "result_urls",
    "results",
    "result",
];

/// Whether an output has another type than an image.
fn is_another(output: &Object) -> bool {
    let kind = text_of(output.get("type")).unwrap_or("image").to_ascii_lowercase();
    !(kind == "image" || kind.starts_with("image/") || kind == "image_url")
}

/// The images in the first of `layers` (outermost first) that has any, sorted by index and without repetitions. The
/// member `listed_as` of `task_result` lists them.
pub(super) fn images(layers: &[&Object], listed_as: &str) -> Vec<ResultFile> {
    let listed = layers.iter().map(|layer| {
        let result = layer.get("task_result").and_then(Value::as_object);
        let list = result.and_then(|result| result.get(listed_as)).and_then(Value::as_array);
        list.map(|list| of_list(list)).unwrap_or_default()
    });
    // Kling's newer form, `outputs` by type (docs/provider.md, "Other shapes"), and the variants of sibling gateways.
    let elsewhere = layers.iter().flat_map(|layer| {
        let inner = ["task_result", "result", "output"].map(|key| layer.get(key).and_then(Value::as_object));
        let places = [Some(*layer)].into_iter().chain(inner).flatten();
        let lists = places.flat_map(|place| LISTS.map(|key| place.get(key).and_then(Value::as_array)));
        lists.flatten().map(|list| of_list(list)).collect::<Vec<_>>()
    });
    let single = layers.iter().flat_map(|layer| {
        // The last one is OpenAI's video shape, whatever kind of file it names (docs/provider.md, "Other shapes").
        ["url", "result_url", "image_url", "video_url"]
            .map(|key| of_text(0, text_of(layer.get(key))).into_iter().collect())
    });
    // Older new-api puts the URL of a success into `fail_reason` (docs/provider.md, "The gateway's wrapper").
    let misplaced =
        layers.iter().map(|layer| of_text(0, text_of(layer.get("fail_reason"))).into_iter().collect());
    listed
        .chain(elsewhere)
        .chain(single)
        .chain(misplaced)
        .find(|images| !images.is_empty())
        .unwrap_or_default()
}

fn of_list(list: &[Value]) -> Vec<ResultFile> {
    let found: Vec<(u32, ResultFile)> = (0_u32..)
        .zip(list.iter().take(IMAGES_MAX).filter(|element| !element.as_object().is_some_and(is_another)))
        .filter_map(|(position, element)| {
            let url = match element {
                Value::String(text) => Some(text.trim()),
                Value::Object(fields) => {
                    text_of(fields.get("url")).or_else(|| text_of(fields.get("image_url")))
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
            };
            Some((position, of_text(index_of(element).unwrap_or(position), url)?))
        })
        .collect();
    let mut seen = HashSet::new();
    let mut distinct: Vec<_> =
        found.into_iter().filter(|(_, image)| seen.insert((image.index, image.url.clone()))).collect();
    let mut indices = HashSet::new();
    if !distinct.iter().all(|(_, image)| indices.insert(image.index)) {
        for (position, image) in &mut distinct {
            image.index = *position;
        }
    }
    let mut images: Vec<_> = distinct.into_iter().map(|(_, image)| image).collect();
    images.sort_by_key(|image| image.index);
    images
}

fn of_text(index: u32, text: Option<&str>) -> Option<ResultFile> {
    let text = text?;
    // A URL without a scheme has the scheme of the page that shows it, which is https.
    let url = if text.starts_with("//") { Url::parse(&format!("https:{text}")) } else { Url::parse(text) };
    let url = url.ok()?;
    let is_image = match url.scheme() {
        "https" | "http" => true,
        "data" => url.path().starts_with("image/"),
        _ => false,
    };
    is_image.then_some(ResultFile { index, url })
}

/// A number or a text; without it, the position is used (`"id": ""` has been seen).
fn index_of(element: &Value) -> Option<u32> {
    match element.as_object()?.get("index")? {
        Value::Number(number) => number.as_u64().and_then(|index| index.try_into().ok()),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_in_every_form_that_leads_to_an_image() {
        for (text, url) in [
            ("https://cdn.example/a.png?x=1", Some("https://cdn.example/a.png?x=1")),
            ("HTTPS://CDN.example/a.png", Some("https://cdn.example/a.png")),
            ("http://cdn.example/a.png", Some("http://cdn.example/a.png")),
            ("//cdn.example/a.png", Some("https://cdn.example/a.png")),
            ("https://cdn.example/a b/\u{56fe}.png", Some("https://cdn.example/a%20b/%E5%9B%BE.png")),
            ("data:image/png;base64,AAAA", Some("data:image/png;base64,AAAA")),
            ("data:text/html,hello", None),
            ("file:///etc/passwd", None),
            ("task_id", None),
            ("", None),
        ] {
            let found = of_text(0, Some(text)).map(|image| image.url.to_string());
            assert_eq!(found.as_deref(), url, "{text}");
        }
        let long = format!("https://cdn.example/a.png?sig={}", "a".repeat(16_000));
        assert!(of_text(0, Some(&long)).is_some());
    }
}
