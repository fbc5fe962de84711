//! The files of a finished task, in every shape that was seen (docs/provider.md, "Images of a finished task" and "Videos
//! and sounds").

use std::collections::HashSet;

use serde_json::Value;
use url::Url;

use super::envelope::{Object, text_of};
use crate::job::FileKind;
use crate::job::answers::ResultFile;

/// No more files of a kind are read; `n` is 9 at most (docs/provider.md, "Request fields").
const FILES_MAX: usize = 64;

/// Members that list files with their type.
const TYPED_LISTS: [&str; 2] = ["outputs", "output"];
/// Members that list files of any kind, as texts or as objects with a URL.
const LISTS: [&str; 4] = ["urls", "result_urls", "results", "result"];

/// Likewise for one kind, most usual first.
fn own_lists(kind: FileKind) -> &'static [&'static str] {
    match kind {
        FileKind::Image => &["images", "series_images", "image_urls"],
        FileKind::Video => &["videos", "video_urls"],
        FileKind::Audio => &["audios", "audio", "audio_urls"],
    }
}

/// The members of an element that have its URLs. A sound has one for each of its formats.
fn urls_of(kind: FileKind, element: &Object) -> Vec<&str> {
    let first = |names: &[&str]| names.iter().find_map(|name| text_of(element.get(*name)));
    let formats: Vec<&str> = match kind {
        FileKind::Image | FileKind::Video => Vec::new(),
        // The second names are those of the newer form.
        FileKind::Audio => {
            [["url_mp3", "mp3_url"], ["url_wav", "wav_url"]].iter().filter_map(|names| first(names)).collect()
        }
    };
    if !formats.is_empty() {
        return formats;
    }
    let single = match kind {
        FileKind::Image => first(&["url", "image_url"]),
        FileKind::Video => first(&["url", "video_url"]),
        FileKind::Audio => first(&["url", "audio_url"]),
    };
    single.into_iter().collect()
}

/// Whether an output is of this kind; `None` if it doesn't say.
fn is_of(kind: FileKind, output: &Value) -> Option<bool> {
    let said = text_of(output.as_object()?.get("type"))?.to_ascii_lowercase();
    let rest = said.strip_prefix(kind.as_str());
    Some(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == "_url"))
}

/// The files of these kinds, each kind sorted by index and without repetitions.
pub(super) fn files(layers: &[&Object], makes: &[FileKind]) -> Vec<ResultFile> {
    let alone = makes.len() == 1;
    makes.iter().flat_map(|kind| of_kind(*kind, layers, alone)).collect()
}

/// The files in the first of `layers` (outermost first) that has any. What doesn't say its kind is of this one only if
/// the route makes no other.
fn of_kind(kind: FileKind, layers: &[&Object], alone: bool) -> Vec<ResultFile> {
    let listed = layers.iter().map(|layer| {
        let result = layer.get("task_result").and_then(Value::as_object);
        let list = result.and_then(|result| result.get(kind.plural())).and_then(Value::as_array);
        list.map(|list| of_list(kind, list, true)).unwrap_or_default()
    });
    // Kling's newer form, `outputs` by type (docs/provider.md, "Other shapes"), and the variants of sibling gateways.
    let elsewhere = layers.iter().flat_map(|layer| {
        let inner = ["task_result", "result", "output"].map(|key| layer.get(key).and_then(Value::as_object));
        let places = [Some(*layer)].into_iter().chain(inner).flatten();
        let typed = TYPED_LISTS.map(|name| (name, alone)).into_iter();
        let own = own_lists(kind).iter().map(|name| (*name, true));
        let any = LISTS.map(|name| (name, true)).into_iter().filter(|_| alone);
        let names: Vec<_> = typed.chain(own).chain(any).collect();
        let list = |place: &Object, (name, untyped)| {
            place.get(name).and_then(Value::as_array).map(|list| of_list(kind, list, untyped))
        };
        places
            .flat_map(|place| names.iter().filter_map(|name| list(place, *name)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    let single = layers.iter().flat_map(|layer| {
        // The last one is OpenAI's video shape, whatever kind of file it names (docs/provider.md, "Other shapes").
        let names: &[&str] = match kind {
            FileKind::Image => &["url", "result_url", "image_url", "video_url"],
            FileKind::Video => &["url", "result_url", "video_url"],
            FileKind::Audio => &["url", "result_url", "audio_url", "video_url"],
        };
        names.iter().map(move |key| of_text(kind, 0, text_of(layer.get(*key))).into_iter().collect())
    });
    // Older new-api puts the URL of a success into `fail_reason` (docs/provider.md, "The gateway's wrapper").
    let misplaced =
        layers.iter().map(|layer| of_text(kind, 0, text_of(layer.get("fail_reason"))).into_iter().collect());
    listed
        .chain(elsewhere)
        .chain(single.filter(|_| alone))
        .chain(misplaced.filter(|_| alone))
        .find(|files| !files.is_empty())
        .unwrap_or_default()
}

/// `untyped`: whether what doesn't say its kind is of this one.
fn of_list(kind: FileKind, list: &[Value], untyped: bool) -> Vec<ResultFile> {
    let own = list.iter().take(FILES_MAX).filter(|element| is_of(kind, element).unwrap_or(untyped));
    let found = own.flat_map(|element| {
        let urls = match element {
            Value::String(text) => vec![text.trim()],
            Value::Object(fields) => urls_of(kind, fields),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Vec::new(),
        };
        // The formats of a sound are files with a place each, so its index is of no use.
        let index = index_of(element).filter(|_| kind != FileKind::Audio);
        // An element without a URL has its place all the same.
        let urls: Vec<_> = if urls.is_empty() { vec![None] } else { urls.into_iter().map(Some).collect() };
        urls.into_iter().map(move |url| (index, url))
    });
    let found = (0_u32..).zip(found).filter_map(|(position, (index, url))| {
        Some((position, of_text(kind, index.unwrap_or(position), url)?))
    });
    let mut seen = HashSet::new();
    let mut distinct: Vec<_> =
        found.filter(|(_, file)| seen.insert((file.index, file.url.clone()))).collect();
    let mut indices = HashSet::new();
    if !distinct.iter().all(|(_, file)| indices.insert(file.index)) {
        for (position, file) in &mut distinct {
            file.index = *position;
        }
    }
    let mut files: Vec<_> = distinct.into_iter().map(|(_, file)| file).collect();
    files.sort_by_key(|file| file.index);
    files
}

fn of_text(kind: FileKind, index: u32, text: Option<&str>) -> Option<ResultFile> {
    let text = text?;
    // A URL without a scheme has the scheme of the page that shows it, which is https.
    let url = if text.starts_with("//") { Url::parse(&format!("https:{text}")) } else { Url::parse(text) };
    let url = url.ok()?;
    let leads_to_file = match url.scheme() {
        "https" | "http" => true,
        // A picture may be in the reply itself; a video is too large for that.
        "data" => kind == FileKind::Image && url.path().starts_with("image/"),
        _ => false,
    };
    leads_to_file.then_some(ResultFile { kind, index, url })
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
    use serde_json::json;

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
            let found = of_text(FileKind::Image, 0, Some(text)).map(|image| image.url.to_string());
            assert_eq!(found.as_deref(), url, "{text}");
        }
        let long = format!("https://cdn.example/a.png?sig={}", "a".repeat(16_000));
        assert!(of_text(FileKind::Image, 0, Some(&long)).is_some());
    }

    fn found(reply: &Value, makes: &[FileKind]) -> Vec<(FileKind, u32, String)> {
        let files = files(&[reply.as_object().unwrap()], makes);
        files.into_iter().map(|file| (file.kind, file.index, file.url.path().to_owned())).collect()
    }

    fn at(kind: FileKind, index: u32, path: &str) -> (FileKind, u32, String) {
        (kind, index, path.to_owned())
    }

    #[test]
    fn a_video_is_found_in_every_shape_that_was_seen() {
        let url = "https://cdn.example/v.mp4";
        for reply in [
            json!({"task_result": {"videos": [{"id": "1", "url": url, "duration": "5.041"}]}}),
            json!({"task_result": {"images": null, "videos": [{"url": url, "watermark_url": "https://cdn.example/w"}]}}),
            json!({"task_result": {"images": [], "videos": [{"url": url}], "audios": null}}),
            json!({"outputs": [{"type": "video", "id": "1", "url": url}, {"type": "image", "url": "https://cdn.example/p"}]}),
            json!({"videos": [url]}),
            json!({"video_url": url}),
            json!({"image_url": "https://cdn.example/first-frame.png", "video_url": url}),
            json!({"url": url}),
            json!({"fail_reason": url}),
        ] {
            assert_eq!(found(&reply, &[FileKind::Video]), [at(FileKind::Video, 0, "/v.mp4")], "{reply}");
        }
        let inline = json!({"task_result": {"videos": [{"url": "data:video/mp4;base64,AAAA"}]}});
        assert!(found(&inline, &[FileKind::Video]).is_empty(), "a video is never in the reply itself");
    }

    #[test]
    fn a_sound_has_a_file_for_each_format() {
        let (mp3, wav) = ("https://cdn.example/s.mp3", "https://cdn.example/s.wav");
        let both = [at(FileKind::Audio, 0, "/s.mp3"), at(FileKind::Audio, 1, "/s.wav")];
        for reply in [
            json!({"task_result": {"audios": [{"id": "1", "url_mp3": mp3, "url_wav": wav, "duration_mp3": "5.1"}]}}),
            json!({"task_result": {"audio": [{"index": 7, "url_mp3": mp3, "url_wav": wav}]}}),
            json!({"outputs": [{"type": "audio", "mp3_url": mp3, "wav_url": wav}]}),
        ] {
            assert_eq!(found(&reply, &[FileKind::Audio]), both, "{reply}");
        }
        let single = json!({"task_result": {"audios": [{"url": mp3}]}});
        assert_eq!(found(&single, &[FileKind::Audio]), [at(FileKind::Audio, 0, "/s.mp3")]);
    }

    #[test]
    fn of_two_kinds_each_is_found_under_its_own_name_alone() {
        let makes = [FileKind::Video, FileKind::Audio];
        let (video, sound) =
            (json!({"url": "https://cdn.example/v.mp4"}), json!({"url": "https://cdn.example/s.mp3"}));
        let both = [at(FileKind::Video, 0, "/v.mp4"), at(FileKind::Audio, 0, "/s.mp3")];
        assert_eq!(found(&json!({"task_result": {"videos": [video], "audios": [sound]}}), &makes), both);
        let typed = |kind: &str, of: &Value| json!({"type": kind, "url": of["url"]});
        let outputs = [typed("audio", &sound), typed("video", &video)];
        assert_eq!(found(&json!({"outputs": outputs}), &makes), both);
        // What doesn't say its kind may be either.
        for reply in [
            json!({"outputs": [video]}),
            json!({"urls": ["https://cdn.example/x"]}),
            json!({"url": "https://cdn.example/x"}),
        ] {
            assert_eq!(found(&reply, &makes), [], "{reply}");
        }
    }
}
