//! Merges three layers into one: the defaults, a file, the environment. Each value keeps the place it came from.
//!
//! `config/default.toml` is the schema: a key exists if it is in that file, and has the type of its default. The
//! `config` crate reads TOML and merges the layers. What it would do silently (ignore an unknown key, read `"on"` as
//! the number 1, stop at the first mistake) is checked here before that.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Map, Source, Value, ValueKind};

use super::faults::{Faults, nearest, quoted};
use super::{environment, file, secrets, urls};

/// Every key, its unit, its default and its reason. Users read this text, and the program has it built in.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The section whose tables are routes, with names that a user gives.
const ROUTES: &str = "routes";

pub(super) const DEFAULT_PLACE: &str = "config/default.toml";

/// One value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Plain,
    pub(super) place: String,
}

/// A value that a setting can have; its default decides which kind.
#[derive(Debug, Clone)]
pub(super) enum Plain {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// All settings by `section.key`.
pub(super) struct Merged {
    pub(super) settings: BTreeMap<String, Setting>,
    /// The routes of the file, `[routes.NAME]`, which have no defaults.
    pub(super) routes: BTreeMap<String, Value>,
    /// Whether all layers could be read. If not, comparing settings would only mislead.
    pub(super) complete: bool,
}

/// Merges `file` and `env` over the defaults. A value that doesn't fit becomes a fault and is left out.
pub(super) fn merge(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    faults: &mut Faults,
) -> Merged {
    let mut complete = true;
    let mut or_fault = |layer: Result<Layer, file::Unreadable>, faults: &mut Faults| {
        layer.unwrap_or_else(|unreadable| {
            complete = false;
            faults.add(&unreadable.place, "", unreadable.message);
            Layer::default()
        })
    };
    let defaults = or_fault(file::parse(DEFAULT_TOML, DEFAULT_PLACE), faults);
    let mut over = match file {
        Some(path) => or_fault(file::read(path), faults),
        None => Layer::default(),
    };
    let routes = over.0.remove(ROUTES).and_then(|routes| table(routes.kind)).unwrap_or_default();
    let over = over.checked(&defaults, faults);
    let environment = environment::read(env, &defaults, faults);
    let layered =
        config::Config::builder().add_source(defaults).add_source(over).add_source(environment).build();
    let settings = match layered {
        Ok(layered) => settings(layered.cache),
        Err(error) => {
            faults.add(DEFAULT_PLACE, "", error);
            BTreeMap::new()
        }
    };
    Merged { settings, routes: routes.into_iter().collect(), complete }
}

fn settings(root: Value) -> BTreeMap<String, Setting> {
    let mut settings = BTreeMap::new();
    for (section, keys) in table(root.kind).unwrap_or_default() {
        for (key, value) in table(keys.kind).unwrap_or_default() {
            let place = value.origin().unwrap_or(DEFAULT_PLACE).to_owned();
            if let Some(value) = Plain::of(value.kind) {
                settings.insert(format!("{section}.{key}"), Setting { value, place });
            }
        }
    }
    settings
}

/// The values of one source, as sections of keys; the origin of each value is its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(pub(super) Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    pub(super) fn section(&self, name: &str) -> Option<&Map<String, Value>> {
        let ValueKind::Table(keys) = &self.0.get(name)?.kind else {
            return None;
        };
        Some(keys)
    }

    pub(super) fn value(&self, section: &str, key: &str) -> Option<&Value> {
        self.section(section)?.get(key)
    }

    pub(super) fn put(&mut self, section: &str, key: &str, value: ValueKind, place: &str) {
        let empty = || Value::new(None, Map::<String, Value>::new());
        let section = self.0.entry(section.to_owned()).or_insert_with(empty);
        if let ValueKind::Table(keys) = &mut section.kind {
            keys.insert(key.to_owned(), Value::new(Some(&place.to_owned()), value));
        }
    }

    /// Keeps what the schema knows and allows; everything else becomes a fault, in the order of the file.
    fn checked(self, schema: &Self, faults: &mut Faults) -> Self {
        let mut found = Vec::new();
        for (section, content) in self.0 {
            let place = content.origin().unwrap_or_default().to_owned();
            if schema.section(&section).is_none() {
                let message = schema.unknown_section(&section);
                found.push((place, section, Err(message)));
            } else if let Some(keys) = table(content.kind) {
                for (key, value) in keys {
                    let place = value.origin().unwrap_or_default().to_owned();
                    found.push((place, section.clone(), Ok((key, value.kind))));
                }
            } else {
                let message = format!("{section} is a section: write [{section}] on its own line");
                found.push((place, section, Err(message)));
            }
        }
        found.sort_by_key(|(place, section, _)| (file::line_in(place), section.clone()));
        let mut layer = Self::default();
        for (place, section, content) in found {
            let accepted = content.map_err(|message| (String::new(), message)).and_then(|(key, value)| {
                let value = schema.accept(&section, &key, value)?;
                layer.put(&section, &key, value, &place);
                Ok(())
            });
            if let Err((key, message)) = accepted {
                faults.add(&place, &key, message);
            }
        }
        layer
    }

    /// Checks that a value from a file has exactly the type of the default. The error says which key is wrong, and
    /// what to do.
    fn accept(&self, section: &str, key: &str, value: ValueKind) -> Result<ValueKind, (String, String)> {
        let plain = |section: &str, key: &str| format!("{section}.{key}");
        let Some(default) = self.value(section, key) else {
            return Err((String::new(), self.unknown_key(section, key, plain)));
        };
        if std::mem::discriminant(&default.kind) == std::mem::discriminant(&value) {
            return Ok(value);
        }
        let name = plain(section, key);
        let message = format!("{name} must be {}{}", type_name(&default.kind), but_is(&name, &value));
        Err((name, message))
    }

    pub(super) fn unknown_section(&self, section: &str) -> String {
        let hint = match nearest(section, self.section_names()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", self.section_names().join(", ")),
        };
        format!("there is no section {}; {hint}", quoted(section))
    }

    /// `write` formats a setting as the user has to write it.
    pub(super) fn unknown_key(
        &self,
        section: &str,
        key: &str,
        write: impl Fn(&str, &str) -> String,
    ) -> String {
        let keys = self.section(section).into_iter().flat_map(Map::keys);
        let here = nearest(key, keys.map(String::as_str)).map(|near| write(section, near));
        let elsewhere = || {
            let other = self.section_names().into_iter().find(|other| self.value(other, key).is_some());
            other.map(|other| write(other, key))
        };
        let hint = match here.or_else(elsewhere) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("{DEFAULT_PLACE} lists them all"),
        };
        format!("section {section} has no key {}; {hint}", quoted(key))
    }

    fn section_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Plain {
    fn of(value: ValueKind) -> Option<Self> {
        match value {
            ValueKind::String(text) => Some(Self::Text(text)),
            ValueKind::I64(number) => Some(Self::Number(number)),
            ValueKind::Boolean(flag) => Some(Self::Flag(flag)),
            ValueKind::Nil
            | ValueKind::I128(_)
            | ValueKind::U64(_)
            | ValueKind::U128(_)
            | ValueKind::Float(_)
            | ValueKind::Table(_)
            | ValueKind::Array(_) => None,
        }
    }
}

pub(super) fn table(kind: ValueKind) -> Option<Map<String, Value>> {
    if let ValueKind::Table(keys) = kind { Some(keys) } else { None }
}

/// The type that a value must have to replace this default.
pub(super) fn type_name(default: &ValueKind) -> &'static str {
    if matches!(default, ValueKind::I64(_)) {
        "a whole number"
    } else if matches!(default, ValueKind::Boolean(_)) {
        "true or false"
    } else {
        "text in quotes"
    }
}

/// `, not …` for a message; empty for a secret.
pub(super) fn but_is(name: &str, value: &ValueKind) -> String {
    if secrets::is_secret(name) {
        String::new()
    } else if let ValueKind::String(text) = value {
        format!(", not {}", urls::shown(text))
    } else if matches!(value, ValueKind::Table(_) | ValueKind::Array(_)) {
        ", not a list or a table".to_owned()
    } else {
        format!(", not {value}")
    }
}
