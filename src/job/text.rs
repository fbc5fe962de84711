//! Characters that do something to a terminal or to the order of a text.

/// Whether it is a control character, or one that changes the direction of what follows or can't be seen.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The same text with a replacement character for each that is unprintable.
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
