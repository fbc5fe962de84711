//! Local images in a job: `"file:a.png"` in place of an image becomes that file's bytes in base64.
//!
//! This happens only here, where a person names their own files; a worker refuses such a name. The text around the
//! names stays as it was written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::job::request::Rules;
use crate::job::route::{Check, RouteData};

/// A job with its files in it.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) text: Cow<'a, str>,
    /// The files by their place (JSON pointer). The name of a file that can't be read is still in `text`.
    pub(super) files: BTreeMap<String, Result<Inlined, String>>,
}

#[derive(Debug)]
pub(super) struct Inlined {
    pub(super) file: PathBuf,
    pub(super) bytes: usize,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Reads the files that a job names; relative names are relative to `folder`.
pub(super) fn read_in<'a>(text: &'a str, folder: &Path, rules: &Rules) -> Whole<'a> {
    let mut files = BTreeMap::new();
    let mut whole = String::new();
    let mut copied = 0;
    let route = route(text, rules);
    for (place, value, name) in names(text, route) {
        let file = folder.join(name);
        let bytes = match read(&file, route.picture.bytes_max) {
            Ok(bytes) => bytes,
            Err(message) => {
                files.insert(place, Err(message));
                continue;
            }
        };
        let begin = value.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        whole.push_str(text.get(copied..begin).unwrap_or_default());
        whole.push('"');
        STANDARD.encode_string(&bytes, &mut whole);
        whole.push('"');
        copied = begin + value.len();
        files.insert(place, Ok(Inlined { file, bytes: bytes.len() }));
    }
    if copied == 0 {
        return Whole { text: text.into(), files };
    }
    whole.push_str(text.get(copied..).unwrap_or_default());
    Whole { text: whole.into(), files }
}

/// The route that the job names, or the default one.
fn route(text: &str, rules: &Rules) -> &'static RouteData {
    let members: Members<'_> = serde_json::from_str(text).unwrap_or_default();
    let named: Option<String> =
        members.get("operation").and_then(|name| serde_json::from_str(name.get()).ok());
    let route = named.and_then(|name| rules.routes.get(&name));
    route.unwrap_or(rules.routes.default_route()).data
}

/// Place, value as it is written, and the name in it, in the order of the text. Returns nothing if the text is not a
/// job; the parser reports that.
fn names<'a>(text: &'a str, route: &RouteData) -> Vec<(String, &'a str, String)> {
    let mut found: Vec<_> = pictures(text, route)
        .into_iter()
        .filter_map(|(place, value)| Some((place, value.get(), name(value)?)))
        .collect();
    found.sort_by_key(|(_, value, _)| value.as_ptr().addr());
    found
}

/// Every value that should be an image or a sound.
fn pictures<'a>(text: &'a str, route: &RouteData) -> Vec<(String, &'a RawValue)> {
    let members = |text: &'a str| serde_json::from_str::<Members<'a>>(text).unwrap_or_default();
    let Some(input) = members(text).remove("input") else { return Vec::new() };
    let input = members(input.get());
    let mut found = Vec::new();
    for field in route.fields {
        match field.check {
            Check::Pictures { member } => {
                let list = input.get(field.name).map_or("[]", |list| list.get());
                let list: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
                found.extend(list.iter().enumerate().filter_map(|(index, entry)| {
                    let value = members(entry.get()).remove(member)?;
                    Some((format!("/input/{}/{index}/{member}", field.name), value))
                }));
            }
            Check::Scene | Check::Picture | Check::Sound => {
                let given = |name: &&str| Some((format!("/input/{name}"), *input.get(*name)?));
                found.extend(route.names_of(field).iter().filter_map(given));
            }
            Check::Model
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
            | Check::Switch
            | Check::CallbackUrl
            | Check::ExternalTaskId => {}
        }
    }
    found
}

/// The text after `file:`, unchanged: a path, not a URL.
fn name(value: &RawValue) -> Option<String> {
    let text: String = serde_json::from_str(value.get()).ok()?;
    let (scheme, name) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("file").then(|| name.to_owned())
}

/// # Errors
///
/// A sentence that names the file.
fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let failed = |error: std::io::Error| format!("can't read {shown}: {error}");
    // Checked before it is opened, because opening a pipe would wait for its other end.
    let about = fs::metadata(file).map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if about.len() <= limit {
        File::open(file)
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if about.len() > limit || bytes.len() > bytes_max {
        let length = about.len();
        return Err(format!("{shown} has {length} bytes; an image may have at most {bytes_max}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.png", "A"), ("b c.png", "B"), ("ü.png", "Ü")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn names_become_base64_wherever_an_image_is_expected_and_the_rest_stays_as_it_was_written() {
        let folder = folder();
        let absolute = folder.path().join("a.png").display().to_string();
        let text = format!(
            r#"{{ "metadata": [1.50, "file:a.png"], "input": {{"prompt":"file:a.png","scene_image":"FILE:./a.png",
            "style_image" : "file:\u00fc.png", "subject_image_list": [ {{"subject_image":"file:b c.png", "w": 1e0}},
            {{"subject_image":"https://x/a"}}, {{"subject_image":"file://{absolute}"}}]}} }}"#
        );
        let whole = read_in(&text, folder.path(), &Rules::page());
        let expected = text
            .replace(r#""FILE:./a.png""#, r#""QQ==""#)
            .replace(r#""file:\u00fc.png""#, r#""w5w=""#)
            .replace(r#""file:b c.png""#, r#""Qg==""#)
            .replace(&format!(r#""file://{absolute}""#), r#""QQ==""#);
        assert_eq!(whole.text, expected);
        let places: Vec<_> = whole.files.keys().map(String::as_str).collect();
        let list = "/input/subject_image_list";
        let (first, third) = (format!("{list}/0/subject_image"), format!("{list}/2/subject_image"));
        assert_eq!(places, ["/input/scene_image", "/input/style_image", first.as_str(), third.as_str()]);
        assert!(whole.files.values().all(Result::is_ok));
    }

    #[test]
    fn what_names_no_file_is_left_alone() {
        for text in ["7", "[]", "{", r#"{"input":[]}"#, r#"{"input":{"style_image":7}}"#, r#"{"input":null}"#]
        {
            let whole = read_in(text, Path::new("/nowhere"), &Rules::page());
            assert!(whole.files.is_empty() && whole.text == text, "{text}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_an_image_is_told_by_its_name() {
        let folder = folder();
        let big = File::create(folder.path().join("big.png")).unwrap();
        big.set_len(10 * 1024 * 1024 + 1).unwrap();
        for (name, words) in [
            ("nowhere.png", "nowhere.png: No such file"),
            (".", "is not a file"),
            ("", "is not a file"),
            ("big.png", "big.png has 10485761 bytes; an image may have at most 10485760"),
        ] {
            let text = json!({"input": {"style_image": format!("file:{name}")}}).to_string();
            let whole = read_in(&text, folder.path(), &Rules::page());
            assert_eq!(whole.text, text);
            let told = whole.files["/input/style_image"].as_ref().unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_image_field_gives_json_again(style: String, scene: String, name in "[ab. ü\"\\\\]{1,5}") {
            let folder = folder();
            let value = json!({"input": {
                "style_image": style, "scene_image": format!("file:{scene}"),
                "subject_image_list": [{"subject_image": format!("file:{name}")}, {"subject_image": "file:a.png"}],
            }});
            let text = value.to_string();
            let whole = read_in(&text, folder.path(), &Rules::page());
            let read: Value = serde_json::from_str(&whole.text).unwrap();
            proptest::prop_assert_eq!(&read["input"]["subject_image_list"][1]["subject_image"], "QQ==");
        }
    }
}
