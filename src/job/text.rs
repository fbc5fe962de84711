//! Characters that affect a terminal or the direction of a text.

/// Whether it is a control character, changes the direction of the following text, or is invisible.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Replaces each unprintable character of a text with the replacement character.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_do_something_to_a_terminal_is_replaced() {
        assert_eq!(printable("a\nb\u{1b}[\u{202e}"), "a\u{fffd}b\u{fffd}[\u{fffd}");
    }
}
