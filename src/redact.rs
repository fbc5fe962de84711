//! Makes texts from outside safe for logs and events.
//!
//! Error messages of providers, HTTP clients and stores quote signed URLs, SAS tokens, keys and control characters.
//! Every such text that we show to people passes here once, where it enters the program.

use std::borrow::Cow;

use crate::job::text::is_unprintable;

/// The longest text that is kept, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

const CUT: char = '…';

/// Returns one line of at most [`TEXT_CHARS_MAX`] characters. Control and direction-changing characters become
/// spaces; URLs lose their user, query and fragment (where signatures are); words that look like a key (`sk-…`) are
/// removed.
#[must_use]
pub fn for_people(text: &str) -> String {
    bounded(text, TEXT_CHARS_MAX)
}

/// [`for_people`] with another bound, in characters.
#[must_use]
pub fn bounded(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    // A URL may end beyond the bound, so somewhat more than the bound is read, but never megabytes.
    let looked_at: String = text
        .chars()
        .take(chars_max.saturating_mul(8))
        .map(|c| if is_unprintable(c) { ' ' } else { c })
        .collect();
    for word in looked_at.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for part in word.split_inclusive(is_quoting) {
            push_part(&mut line, part);
        }
    }
    match line.char_indices().nth(chars_max) {
        None => line,
        Some(_) => line.chars().take(chars_max.saturating_sub(1)).chain([CUT]).collect(),
    }
}

/// The text with unprintable characters as escapes of a program: `\n`, `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\r' | '\t') {
            line.extend(c.escape_default());
        } else if is_unprintable(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

/// The text with spaces in place of unprintable characters.
#[must_use]
pub fn spaced(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect()
}

/// A line of JSON with unprintable characters as JSON escapes, which mean the same.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '\n' | '\r' | '\t') {
            // Only between tokens.
            line.push(' ');
        } else if is_unprintable(c) {
            let mut units = [0; 2];
            line.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line
}

/// Appends one part of the text between spaces and quotes.
fn push_part(line: &mut String, part: &str) {
    let (scheme, rest) = match part.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if is_key(part) => {
            line.push_str("sk-");
            line.push(CUT);
            line.extend(part.chars().last().filter(|c| is_quoting(*c)));
            return;
        }
        None => {
            line.push_str(part);
            return;
        }
    };
    let quote = rest.chars().last().filter(|c| is_quoting(*c));
    let kept = rest.find(['?', '#']).and_then(|at| rest.get(..at));
    let plain = kept.unwrap_or(rest);
    let authority_end = plain.find('/').unwrap_or(plain.len());
    let after_user = match plain.rfind('@') {
        Some(at) if at < authority_end => plain.get(at.saturating_add(1)..).unwrap_or_default(),
        Some(_) | None => plain,
    };
    line.push_str(scheme);
    line.push_str("://");
    line.push_str(after_user);
    if kept.is_some() {
        line.push('?');
        line.push(CUT);
        line.extend(quote);
    }
}

fn is_key(word: &str) -> bool {
    word.starts_with("sk-") && word.len() > 8
}

fn is_quoting(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_url_loses_its_signature_and_a_key_its_secret() {
        for (text, told) in [
            ("plain words", "plain words"),
            ("get https://cdn.x/a.png?Expires=1&pkey=SECRET failed", "get https://cdn.x/a.png?… failed"),
            (r#"bad url "https://cdn.x/a?sig=SECRET", sorry"#, r#"bad url "https://cdn.x/a?…", sorry"#),
            ("HTTPS://user:SECRET@h/p#SECRET", "HTTPS://h/p?…"),
            ("amqp://user:SECRET@h:5672/v", "amqp://h:5672/v"),
            ("wrong key sk-SECRETSECRET", "wrong key sk-…"),
            ("(sk-SECRETSECRET)", "(sk-…)"),
            ("one\r\ntwo\u{1b}[31m\u{202e}x", "one two [31m x"),
        ] {
            assert_eq!(for_people(text), told);
            assert!(!for_people(text).contains("SECRET"));
        }
    }

    #[test]
    fn what_is_unprintable_is_written_out_or_replaced() {
        let text = "a\nb\u{1b}[31m\u{9b}\u{202e}\u{7f}\u{feff}ü";
        assert_eq!(escaped(text), r"a\nb\u{1b}[31m\u{9b}\u{202e}\u{7f}\u{feff}ü");
        assert_eq!(printable_json("{\n\"a\":\"x\u{9b}\u{202e}\"}"), r#"{ "a":"x\u009b\u202e"}"#);
    }

    #[test]
    fn a_text_is_bounded_by_characters() {
        assert_eq!(for_people(&"x".repeat(500)), "x".repeat(500));
        let cut = for_people(&"ü".repeat(5_000));
        assert_eq!(cut.chars().count(), TEXT_CHARS_MAX);
        assert!(cut.ends_with(CUT));
        let long = format!("https://h/?{}", "SECRET".repeat(5_000));
        assert_eq!(for_people(&long), "https://h/?…");
    }
}
