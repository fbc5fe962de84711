//! Valid JSON that a parser can't represent: half a surrogate pair (`"\ud83d"`), and numbers beyond the range of a
//! double (`1e999`).
//!
//! A parser refuses the whole text for one of them, although the job could be named and its producer waits for an
//! event. So they are replaced before parsing by marks that don't occur in the text. The marks are found again in the
//! parsed values, and each is a fault with its place.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::faults::{Faults, member};

/// Characters that no text contains: Unicode reserves them for a program's internal use.
const NONCHARACTERS: Range<u32> = 0xfdd0..0xfdf0;
/// Unicode's replacement for what is not a character.
const REPLACEMENT: &str = "\u{fffd}";
/// Shorter numbers without an exponent are in range.
const LONG_NUMBER: usize = 300;

const HALF: &str =
    "has half a surrogate pair (a \\ud800 to \\udfff without its other half), which is no character";
const BEYOND: &str = "expected a number that a double can hold, found one beyond 1e308";

/// A text from which everything is removed that a parser would refuse.
pub(super) struct Parsable<'a> {
    pub(super) text: Cow<'a, str>,
    marks: Option<Marks>,
}

#[derive(Clone, Copy)]
struct Marks {
    half: char,
    beyond: char,
}

enum Odd {
    Half,
    Beyond,
}

impl<'a> Parsable<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let odd = odd_places(text);
        let marks = if odd.is_empty() { None } else { marks_for(text) };
        let Some(marks) = marks else { return Self { text: Cow::Borrowed(text), marks: None } };
        let mut replaced = String::with_capacity(text.len());
        let mut from = 0;
        for (place, kind) in odd {
            replaced.push_str(text.get(from..place.start).unwrap_or_default());
            match kind {
                Odd::Half => replaced.push(marks.half),
                Odd::Beyond => replaced.extend(['"', marks.beyond, '"']),
            }
            from = place.end;
        }
        replaced.push_str(text.get(from..).unwrap_or_default());
        Self { text: Cow::Owned(replaced), marks: Some(marks) }
    }

    /// Removes the marks from a value, and adds a fault for each of their places.
    pub(super) fn settle(&self, path: &str, value: &mut Value, faults: &mut Faults) {
        if let Some(marks) = self.marks {
            marks.settle(path, value, faults);
        }
    }

    /// Does the same for the text of a value.
    pub(super) fn settle_text<'t>(&self, path: &str, text: &'t str, faults: &mut Faults) -> Cow<'t, str> {
        let Some(marks) = self.marks else { return Cow::Borrowed(text) };
        if text.contains(marks.half) {
            faults.add(path, HALF);
        }
        if text.contains(marks.beyond) {
            faults.add(path, BEYOND);
        }
        Cow::Owned(text.replace([marks.half, marks.beyond], REPLACEMENT))
    }
}

impl Marks {
    /// Recurses as deep as a message may nest.
    fn settle(self, path: &str, value: &mut Value, faults: &mut Faults) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => {
                if text.contains(self.half) {
                    faults.add(path, HALF);
                    *text = text.replace(self.half, REPLACEMENT);
                } else if text.contains(self.beyond) {
                    faults.add(path, BEYOND);
                    *value = Value::Null;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.settle(&format!("{path}/{index}"), item, faults);
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    let readable = name.replace(self.half, REPLACEMENT);
                    if readable != *name {
                        faults.add(member(path, &readable), HALF);
                    }
                    self.settle(&member(path, &readable), value, faults);
                }
            }
        }
    }
}

/// `None` only for a text that contains all of these characters itself.
fn marks_for(text: &str) -> Option<Marks> {
    let lowercase = text.to_ascii_lowercase();
    let is_free = |code: &u32| {
        char::from_u32(*code).is_some_and(|c| !text.contains(c))
            && !lowercase.contains(&format!("\\u{code:04x}"))
    };
    let mut free = NONCHARACTERS.filter(is_free).filter_map(char::from_u32);
    Some(Marks { half: free.next()?, beyond: free.next()? })
}

fn odd_places(text: &str) -> Vec<(Range<usize>, Odd)> {
    let bytes = text.as_bytes();
    let mut odd = Vec::new();
    let (mut at, mut inside) = (0_usize, false);
    while let Some(byte) = bytes.get(at) {
        let mut length = 1;
        match byte {
            b'"' => inside = !inside,
            b'\\' if inside => {
                length = 2;
                if let Some(unit) = escaped(bytes, at) {
                    length = 6;
                    let pairs = (0xd800..0xdc00).contains(&unit)
                        && escaped(bytes, at.saturating_add(6))
                            .is_some_and(|next| (0xdc00..0xe000).contains(&next));
                    if pairs {
                        length = 12;
                    } else if (0xd800..0xe000).contains(&unit) {
                        odd.push((at..at.saturating_add(6), Odd::Half));
                    }
                }
            }
            b'-' | b'0'..=b'9' if !inside => {
                let rest = text.get(at..).unwrap_or_default();
                let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
                let number =
                    rest.find(|c| !is_of_number(c)).map_or(rest, |end| rest.get(..end).unwrap_or(rest));
                length = number.len();
                let may_be_beyond = length > LONG_NUMBER || number.contains(['e', 'E']);
                if may_be_beyond && number.parse::<f64>().is_ok_and(f64::is_infinite) {
                    odd.push((at..at.saturating_add(length), Odd::Beyond));
                }
            }
            _ => {}
        }
        at = at.saturating_add(length);
    }
    odd
}

/// The number in the `\u` escape of four digits at this place.
fn escaped(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at.saturating_add(6))?;
    let digits = escape.strip_prefix(b"\\u").filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
