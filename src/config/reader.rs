//! Turns settings into typed values, and collects every fault meanwhile.
//!
//! A method that finds a fault returns `T::default()`. With a fault in the list no configuration is returned, so
//! these values are never used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::Value;

use super::faults::Faults;
use super::layers::{self, DEFAULT_PLACE, Merged, Plain, Setting};
use super::secrets::is_secret;
use super::urls;
use crate::net::tls;
use crate::secret::{Parse, Secret, read_secret};

/// Lays `file` and `env` over the defaults, and reads them by `values`, which gives `None` only if it has found a fault.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub(super) fn read<T>(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    values: impl FnOnce(&mut Reader) -> Option<T>,
) -> Result<T, Faults> {
    let mut faults = Faults::default();
    let merged = layers::merge(file, env, &mut faults);
    let mut reader = Reader::new(merged, faults);
    let values = values(&mut reader);
    let faults = reader.into_faults();
    match values {
        Some(values) if faults.is_empty() => Ok(values),
        _ => Err(faults),
    }
}

pub(super) struct Reader {
    settings: BTreeMap<String, Setting>,
    routes: BTreeMap<String, Value>,
    complete: bool,
    read: BTreeSet<String>,
    /// Settings with a wrong value of their own; comparing them with other settings would only mislead.
    broken: BTreeSet<String>,
    faults: Faults,
}

impl Reader {
    pub(super) fn new(merged: Merged, faults: Faults) -> Self {
        let Merged { settings, routes, complete } = merged;
        let broken = faults.as_slice().iter().map(|fault| fault.key.clone()).collect();
        Self { settings, routes, complete, read: BTreeSet::new(), broken, faults }
    }

    /// The tables of `[routes.NAME]`, each with its place.
    pub(super) fn routes(&mut self) -> BTreeMap<String, Value> {
        std::mem::take(&mut self.routes)
    }

    pub(super) fn fault(&mut self, place: &str, key: &str, message: String) {
        self.faults.add(place, key, message);
    }

    pub(super) fn into_faults(self) -> Faults {
        self.faults
    }

    /// Keys of `config/default.toml` that no section has read.
    pub(super) fn unread(&self) -> Vec<&str> {
        self.settings.keys().filter(|key| !self.read.contains(*key)).map(String::as_str).collect()
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        if let Some(Plain::Flag(flag)) = self.take(key) { flag } else { self.missing(key) }
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        if let Some(Plain::Text(text)) = self.take(key) { text } else { self.missing(key) }
    }

    /// Reads a whole number in `range`.
    pub(super) fn number<T: TryFrom<u64> + Default>(&mut self, key: &str, range: RangeInclusive<u64>) -> T {
        let Some(Plain::Number(number)) = self.take(key) else {
            return self.missing(key);
        };
        let within = u64::try_from(number).ok().filter(|number| range.contains(number));
        if let Some(number) = within.and_then(|number| T::try_from(number).ok()) {
            return number;
        }
        let (least, most) = range.into_inner();
        let unit = unit(key);
        self.refuse(key, format!("{key} is {number}; it must be from {least} to {most}{unit}"))
    }

    pub(super) fn seconds(&mut self, key: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, range))
    }

    pub(super) fn milliseconds(&mut self, key: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, range))
    }

    /// Reads a text that `parse` converts; the error of `parse` continues "`key` is …, but ".
    pub(super) fn parsed<T: Default>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let text = self.text(key);
        if self.broken.contains(key) {
            return T::default();
        }
        parse(&text).unwrap_or_else(|why| self.refuse_value(key, &text, &why))
    }

    /// Reads one word of a closed list.
    pub(super) fn word<T: FromStr<Err = String> + Default>(&mut self, key: &str) -> T {
        self.parsed(key, str::parse)
    }

    /// Reads the secret `key`, or the content of the file that `key_file` names. Empty if neither is set.
    pub(super) fn secret(&mut self, key: &str, parse: Parse) -> Secret {
        let file_key = format!("{key}_file");
        let file = self.text(&file_key);
        let mut text = self.text(key);
        if self.is_broken(key) || self.is_broken(&file_key) {
            return Secret::default();
        }
        if !file.is_empty() {
            if self.is_set(key) && !text.is_empty() {
                let other = self.place(key).to_owned();
                let message = format!("{file_key} and {key} ({other}) are both set; unset one of them");
                return self.refuse(&file_key, message);
            }
            match read_secret(Path::new(&file)) {
                Ok(secret) => text = secret,
                Err(error) => {
                    let message = format!("{file_key} names {file:?}, which can't be used: {error}");
                    return self.refuse(&file_key, message);
                }
            }
            let place = format!("{file} ({file_key}, {})", self.place(&file_key));
            if let Some(setting) = self.settings.get_mut(key) {
                setting.place = place;
            }
        }
        match parse(&text) {
            Ok(text) if file.is_empty() => Secret::fixed(text.into()),
            Ok(text) => Secret::from_file(text.into(), file.into(), parse),
            Err(why) => self.refuse_value(key, "", &why),
        }
    }

    /// Reads the files of certificates: `ca_file`, and with `of_ours` those of a client.
    pub(super) fn certificates(&mut self, section: &'static str, of_ours: bool) -> tls::Files {
        let key = |name: &str| format!("{section}.{name}");
        let mut file =
            |name: &str| Some(self.text(&key(name))).filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut files = tls::Files { section, ca: file("ca_file"), client_cert: None, client_key: None };
        if of_ours {
            (files.client_cert, files.client_key) = (file("client_cert_file"), file("client_key_file"));
            let (cert, private) = (key("client_cert_file"), key("client_key_file"));
            let both = files.client_cert.is_some() == files.client_key.is_some();
            self.must(&[&cert, &private], both, |_| {
                format!("{cert} and {private} go together; set both, or none")
            });
        }
        if let Err(why) = files.check() {
            let place = if files.ca.is_some() { key("ca_file") } else { key("client_cert_file") };
            self.must(&[&place], false, |_| why.clone());
        }
        files
    }

    /// Checks a condition on several settings together, unless one of them is wrong by itself. The fault is placed
    /// where the first of `keys` that isn't a default was set.
    pub(super) fn must(&mut self, keys: &[&str], holds: bool, message: impl FnOnce(&Self) -> String) {
        if holds || !self.complete || keys.iter().any(|key| self.is_broken(key)) {
            return;
        }
        let culprit = keys.iter().find(|key| self.is_set(key)).or_else(|| keys.first());
        if let Some(key) = culprit {
            let message = message(self);
            let place = self.place(key).to_owned();
            self.faults.add(&place, key, message);
        }
    }

    /// `key = value (place)`, for a message about several settings.
    pub(super) fn says(&self, key: &str) -> String {
        match self.settings.get(key) {
            Some(_) if is_secret(key) => format!("{key} ({})", self.place(key)),
            Some(setting) => format!("{key} = {} ({})", setting.value, setting.place),
            None => key.to_owned(),
        }
    }

    fn take(&mut self, key: &str) -> Option<Plain> {
        self.read.insert(key.to_owned());
        self.settings.get(key).map(|setting| setting.value.clone())
    }

    fn missing<T: Default>(&mut self, key: &str) -> T {
        // Without the defaults, this is the only fault to report.
        if self.complete {
            self.refuse(
                key,
                format!("{key} is missing, or of the wrong type; this is a fault of comet-worker"),
            )
        } else {
            T::default()
        }
    }

    fn refuse_value<T: Default>(&mut self, key: &str, text: &str, why: &str) -> T {
        let is = if is_secret(key) { String::new() } else { format!(" is {}; it", urls::shown(text)) };
        self.refuse(key, format!("{key}{is} {why}"))
    }

    fn refuse<T: Default>(&mut self, key: &str, message: String) -> T {
        let place = self.place(key).to_owned();
        self.broken.insert(key.to_owned());
        self.faults.add(&place, key, message);
        T::default()
    }

    fn is_broken(&self, key: &str) -> bool {
        self.broken.contains(key)
    }

    /// Whether something other than the default set it.
    fn is_set(&self, key: &str) -> bool {
        self.place(key) != DEFAULT_PLACE
    }

    fn place(&self, key: &str) -> &str {
        self.settings.get(key).map_or(DEFAULT_PLACE, |setting| setting.place.as_str())
    }
}

/// The unit, according to the end of the key.
fn unit(key: &str) -> &'static str {
    if key.ends_with("_ms") {
        " milliseconds"
    } else if key.ends_with("_s") {
        " seconds"
    } else if key.ends_with("_bytes") {
        " bytes"
    } else {
        ""
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&urls::shown(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}
