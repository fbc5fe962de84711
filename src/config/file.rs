//! Reads TOML with the place of each value: the file's name, and the line where it is easily found.

use std::path::Path;

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::layers::{DEFAULT_PLACE, Layer};

/// A source that gave no value at all.
pub(super) struct Unreadable {
    pub(super) place: String,
    pub(super) message: String,
}

pub(super) fn read(path: &Path) -> Result<Layer, Unreadable> {
    const LONGEST: u64 = 1 << 20;
    let place = path.display().to_string();
    match crate::secret::read_bounded(path, LONGEST) {
        Ok(text) => parse(&text, &place),
        Err(error) => {
            let message = format!("the configuration file can't be read: {error}; check --config");
            Err(Unreadable { place, message })
        }
    }
}

pub(super) fn parse(text: &str, name: &str) -> Result<Layer, Unreadable> {
    let parsed = config::File::from_str(text, FileFormat::Toml).collect();
    let sections = parsed.map_err(|error| syntax_error(&error, name))?;
    let place_of = |section: &str, key: Option<&str>| match line_of(text, section, key) {
        Some(line) if name != DEFAULT_PLACE => format!("{name}:{line}"),
        _ => name.to_owned(),
    };
    let mut layer = Layer::default();
    for (section, content) in sections {
        if let ValueKind::Table(keys) = content.kind {
            let place = place_of(&section, None);
            layer.0.insert(section.clone(), Value::new(Some(&place), Map::<String, Value>::new()));
            for (key, value) in keys {
                let place = place_of(&section, Some(&key));
                layer.put(&section, &key, value.kind, &place);
            }
        } else {
            let place = place_of("", Some(&section));
            layer.0.insert(section, Value::new(Some(&place), content.kind));
        }
    }
    Ok(layer)
}

/// The line at the end of a place, 0 if there is none.
pub(super) fn line_in(place: &str) -> usize {
    place.rsplit(':').next().and_then(|line| line.parse().ok()).unwrap_or(0)
}

/// Says where and what is wrong, without the line itself, which may contain a password.
fn syntax_error(error: &config::ConfigError, name: &str) -> Unreadable {
    let cause = if let config::ConfigError::FileParse { cause, .. } = error {
        cause.to_string()
    } else {
        error.to_string()
    };
    let position = cause.lines().next().and_then(|line| line.strip_prefix("TOML parse error at line "));
    let line = position.and_then(|position| position.split(',').next());
    let what = cause.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
    Unreadable { place, message: format!("this is not TOML: {what}") }
}

/// The line, from 1, of `key = …` below `[section]`, or of `section.key = …` at the top.
fn line_of(text: &str, section: &str, key: Option<&str>) -> Option<usize> {
    let mut current = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            current = header.split(']').next().unwrap_or_default().trim();
            if key.is_none() && current == section {
                return Some(index + 1);
            }
        } else if let (Some((name, _)), Some(key)) = (line.split_once('='), key) {
            let name = name.trim();
            let dotted = current.is_empty() && name.split_once('.') == Some((section, key));
            if dotted || (current == section && name == key) {
                return Some(index + 1);
            }
        }
    }
    None
}
