//! For tests: valid documents with random damage.
//!
//! Random bytes seldom get past the first brace. These documents begin as a fixture; they are then cut, doubled and
//! nested, and their values are replaced by values of other types.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Mutation {
    Cut(Index, Index),
    Double(Index, Index),
    Put(Index, Vec<u8>),
    /// The value at the place becomes this one.
    Become(Index, Value),
    /// The value at the place becomes the one at another place.
    Swap(Index, Index),
    InObject(Index, &'static str),
    InList(Index),
    /// The value at the place becomes a text that contains it as JSON.
    AsText(Index),
}

/// One document of `corpus`, with a few mutations. `words` are what values may become, beside odd ones.
pub(crate) fn mutated(
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    (select(corpus), prop::collection::vec(mutation(words), 0..5)).prop_map(|(mut body, mutations)| {
        for mutation in mutations {
            body = apply(&body, &mutation);
        }
        body
    })
}

fn mutation(words: &'static [&'static str]) -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let odd = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!([]),
        json!({}),
        json!("x".repeat(1_000)),
    ];
    let value = prop_oneof![
        select(odd),
        select(words).prop_map(Value::from),
        (100_i64..6_000).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = select(&["data", "error", "message", "code", "task_result", "input"][..]);
    prop_oneof![
        1 => (at(), at()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Mutation::Double(from, to)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Mutation::Put(at, bytes)),
        6 => (at(), value).prop_map(|(at, value)| Mutation::Become(at, value)),
        3 => (at(), at()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        2 => (at(), key).prop_map(|(at, key)| Mutation::InObject(at, key)),
        1 => at().prop_map(Mutation::InList),
        1 => at().prop_map(Mutation::AsText),
    ]
}

fn apply(body: &[u8], mutation: &Mutation) -> Vec<u8> {
    let ends = |one: &Index, other: &Index| {
        let (one, other) = (one.index(body.len() + 1), other.index(body.len() + 1));
        (one.min(other), one.max(other))
    };
    match mutation {
        Mutation::Cut(one, other) => {
            let (from, to) = ends(one, other);
            [&body[..from], &body[to..]].concat()
        }
        Mutation::Double(one, other) => {
            let (from, to) = ends(one, other);
            [&body[..to], &body[from..]].concat()
        }
        Mutation::Put(at, bytes) => {
            let at = at.index(body.len() + 1);
            [&body[..at], bytes, &body[at..]].concat()
        }
        Mutation::Become(at, value) => in_json(body, at, |_| value.clone()),
        Mutation::Swap(at, other) => {
            let Ok(mut root) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
            let nodes = count(&root);
            let other = nth(&mut root, &mut other.index(nodes)).cloned().unwrap_or_default();
            in_json(body, at, |_| other)
        }
        Mutation::InObject(at, key) => in_json(body, at, |value| json!({*key: value})),
        Mutation::InList(at) => in_json(body, at, |value| json!([value])),
        Mutation::AsText(at) => in_json(body, at, |value| json!(value.to_string())),
    }
}

/// Changes the value at `at`; a body that is not JSON stays as it is.
fn in_json(body: &[u8], at: &Index, change: impl FnOnce(Value) -> Value) -> Vec<u8> {
    let Ok(mut root) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    let nodes = count(&root);
    if let Some(value) = nth(&mut root, &mut at.index(nodes)) {
        *value = change(value.take());
    }
    root.to_string().into_bytes()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0_usize,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The files of a folder of fixtures.
pub(crate) fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}
