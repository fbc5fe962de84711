//! JSON as text: when two inputs are the same, and what can be known of JSON before parsing it.

use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::job::Digest;

/// SHA-256 of an input in its canonical form: keys sorted by their bytes, no whitespace, strings and numbers as `serde_json`
/// prints them. It is stored as long as a job is remembered, so the form must never change. That is why the keys are
/// sorted here, whatever map `serde_json` was built with.
///
/// `operation` is the route that the job names, unless that is the default one: the same input on another route is
/// another job.
pub(super) fn digest(input: &Value, operation: Option<&Value>) -> Digest {
    let mut sink = Sink(Sha256::new());
    for value in operation.into_iter().chain([input]) {
        write(value, &mut sink).expect("a hash takes every byte, and a value has string keys only");
    }
    let hash = sink.0.finalize();
    Digest::new(hex::encode(hash))
}

/// Writes directly into the hash, since an input may have megabytes of images.
struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Recurses as deep as the value, which [`super::DEPTH_MAX`] limits.
fn write(value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            serde_json::to_writer(out, value)?;
        }
        Value::Array(items) => {
            let mut before: &[u8] = b"[";
            for item in items {
                out.write_all(before)?;
                write(item, out)?;
                before = b",";
            }
            out.write_all(if items.is_empty() { b"[]" } else { b"]" })?;
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            let mut before: &[u8] = b"{";
            for (name, value) in sorted {
                out.write_all(before)?;
                serde_json::to_writer(&mut *out, name)?;
                out.write_all(b":")?;
                write(value, out)?;
                before = b",";
            }
            out.write_all(if members.is_empty() { b"{}" } else { b"}" })?;
        }
    }
    Ok(())
}

/// How deep the brackets nest. For a text that isn't JSON it returns some number, also in linear time and without
/// recursion.
pub(super) fn depth(text: &str) -> usize {
    let mut strings = Strings::default();
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for byte in text.bytes() {
        if strings.outside(byte) {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

/// Removes the whitespace between the tokens of JSON. Keys keep their order and numbers their spelling.
pub(super) fn compact(json: &str) -> String {
    let mut strings = Strings::default();
    let mut keep = |c: char| {
        // No byte of a longer character has a meaning in JSON.
        let outside = strings.outside(u8::try_from(c).unwrap_or(b'x'));
        !(outside && matches!(c, ' ' | '\t' | '\n' | '\r'))
    };
    json.chars().filter(|&c| keep(c)).collect()
}

/// Distinguishes JSON's strings from the text between them.
#[derive(Default)]
struct Strings {
    inside: bool,
    escaped: bool,
}

impl Strings {
    /// Whether the next byte is outside of all strings (their quotes count as outside).
    fn outside(&mut self, byte: u8) -> bool {
        if !self.inside {
            self.inside = byte == b'"';
            return true;
        }
        if self.escaped {
            self.escaped = false;
            return false;
        }
        self.escaped = byte == b'\\';
        self.inside = byte != b'"';
        !self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_sorted_dense_and_never_changes() {
        let value: Value = serde_json::from_str(
            r#"{ "b": [1, 2.50, -0, 1e2], "a": {"ü\u0041\n": null}, "c": {}, "d": [] }"#,
        )
        .unwrap();
        let mut text = Vec::new();
        write(&value, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"a":{"üA\n":null},"b":[1,2.5,-0.0,100.0],"c":{},"d":[]}"#
        );
        assert_eq!(
            digest(&serde_json::json!({"a": 1}), None).as_str(),
            // printf '{"a":1}' | sha256sum
            "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
        );
    }

    #[test]
    fn brackets_in_strings_are_text() {
        assert_eq!(depth(r#"{"a[{[": ["\"[[", {}]}"#), 3);
        assert_eq!(depth("]]]]"), 0);
        assert_eq!(depth(&"[".repeat(10_000)), 10_000);
    }

    #[test]
    fn only_whitespace_between_tokens_goes() {
        assert_eq!(compact("{ \"a b\\\" c\" :\n\t[ 1.10 , \"ü \" ] }"), "{\"a b\\\" c\":[1.10,\"ü \"]}");
    }
}
