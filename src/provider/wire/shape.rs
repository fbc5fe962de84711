//! The form of a reply, for people who teach a later version to read it: its keys, without values.

use serde_json::{Map, Value};

use crate::redact::bounded;

const CHARS_MAX: usize = 400;
const DEPTH_MAX: usize = 5;
const KEYS_MAX: usize = 24;

/// `{code, data: {id, outputs: [{link, type}]}}`
pub(super) fn of(root: &Map<String, Value>) -> String {
    bounded(&of_object(root, DEPTH_MAX), CHARS_MAX)
}

fn of_object(object: &Map<String, Value>, depth: usize) -> String {
    if depth == 0 {
        return "{…}".to_owned();
    }
    let key = |(key, value): (&String, &Value)| {
        let inner = of_value(value, depth - 1);
        // A key may be an id.
        let key = bounded(key, 40);
        if inner.is_empty() { key } else { format!("{key}: {inner}") }
    };
    let keys: Vec<_> = object.iter().take(KEYS_MAX).map(key).collect();
    format!("{{{}}}", keys.join(", "))
}

/// Empty for a value without keys.
fn of_value(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(object) => of_object(object, depth),
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        Value::Array(list) => {
            format!("[{}]", list.first().map(|first| of_value(first, depth)).unwrap_or_default())
        }
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_the_keys_and_none_of_the_values() {
        let reply = r#"{"code":0,"data":{"id":"7","result":null,"status":"succeeded","stuff":[{"link":"https://x/?sig=SECRET"}],"none":[]}}"#;
        let Ok(Value::Object(root)) = serde_json::from_str(reply) else { panic!("no object") };
        assert_eq!(of(&root), "{code, data: {id, none: [], result: null, status, stuff: [{link}]}}");
    }

    #[test]
    fn a_shape_is_bounded() {
        let mut value = Value::String("x".to_owned());
        for number in 0..50 {
            value = serde_json::json!({ format!("key-{number}-{}", "y".repeat(100)): value });
        }
        let Value::Object(root) = value else { panic!("no object") };
        assert!(of(&root).chars().count() <= CHARS_MAX);
    }
}
