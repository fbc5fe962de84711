//! The faults of a job, collected, and their wording, which is limited.
//!
//! Events carry faults, and people read them. A value is quoted only as far as it helps, so that no prompt and no
//! image gets into a log.

use serde_json::Value;

use crate::job::Fault;
use crate::job::text::printable;

/// See [`super::FAULTS_MAX`].
pub(super) const FAULTS_MAX: usize = 50;

/// How much of a value is quoted.
const QUOTED_CHARS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    untold: usize,
}

impl Faults {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(Fault { path: path.into(), message: message.into() });
        } else {
            self.untold += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `None` if there are no faults.
    pub(super) fn into_list(mut self) -> Option<Vec<Fault>> {
        if self.untold > 0 {
            // The last fault makes room for the note.
            self.list.pop();
            let message = format!("and {} more faults", self.untold + 1);
            self.list.push(Fault { path: String::new(), message });
        }
        (!self.list.is_empty()).then_some(self.list)
    }
}

/// The JSON pointer (RFC 6901) of a member. The name is clipped, since it may have any length.
pub(super) fn member(parent: &str, name: &str) -> String {
    format!("{parent}/{}", clip(name).replace('~', "~0").replace('/', "~1"))
}

/// Describes the value that is there instead of the expected one.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => clip(&number.to_string()),
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(text) => format!("the string {:?}", clip(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Clips a text and makes it printable: names and values are the producer's, and these messages get into logs and
/// terminals.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => printable(text),
        Some((end, _)) => format!("{}…", printable(text.get(..end).unwrap_or_default())),
    }
}
