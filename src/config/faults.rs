//! What is wrong with a configuration. All faults are reported at once, each with the place it came from, so that
//! five mistakes don't need five starts of the worker.

use std::fmt;

/// One fault: where it is and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `config/default.toml`, `path/to/file.toml:12`, or
    /// `environment variable COMET_WORKER__AMQP__URL`.
    pub place: String,
    /// The setting as `section.key`; empty if no known setting is at fault.
    pub key: String,
    /// A sentence for a person. It never contains a secret.
    pub message: String,
}

/// All faults of a configuration. Displays as one line per fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, place: &str, key: &str, message: impl fmt::Display) {
        let message = one_line(&message.to_string());
        self.0.push(Fault { place: place.to_owned(), key: key.to_owned(), message });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}", fault.place, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Quotes a wrong value for a message: one line of bounded length.
pub(super) fn quoted(value: &str) -> String {
    const LONGEST: usize = 80;
    if value.chars().count() <= LONGEST {
        format!("{value:?}")
    } else {
        let start: String = value.chars().take(LONGEST).collect();
        format!("{start:?}…")
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance: how many letters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (done, a) in left.chars().enumerate() {
        let mut next = vec![done + 1];
        let mut before = done + 1;
        for (b, pair) in right.chars().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            before = (before + 1).min(above + 1).min(diagonal + usize::from(a != b));
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(distance("queue", "queue"), 0);
        assert_eq!(distance("queu", "queue"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("quue", ["url", "queue", "dead_queue"]), Some("queue"));
        assert_eq!(nearest("sunshine", ["url", "queue"]), None);
    }

    #[test]
    fn faults_are_a_list_of_one_line_each() {
        let mut faults = Faults::default();
        faults.add("a.toml:3", "poll.min_ms", "first\n  second");
        faults.add("environment variable X", "", "third");
        assert_eq!(faults.to_string(), "a.toml:3: first second\nenvironment variable X: third");
        assert_eq!(faults.as_slice()[0].key, "poll.min_ms");
    }

    #[test]
    fn a_long_value_is_cut_in_a_message() {
        assert!(quoted(&"x".repeat(1000)).chars().count() < 100);
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
    }
}
