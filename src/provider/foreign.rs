//! Status words and shapes of results that this version doesn't know: counted each time, logged once each.
//!
//! A new status word keeps its jobs polled until their deadline, so a person should learn of it before they time out.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::metrics::Metrics;

/// How many words are remembered and logged; further words are only counted.
const WORDS_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct ForeignWords {
    told: Mutex<HashSet<String>>,
    metrics: Option<Metrics>,
}

impl ForeignWords {
    pub(super) fn counted_in(metrics: Metrics) -> Self {
        Self { told: Mutex::default(), metrics: Some(metrics) }
    }

    pub(super) fn note(&self, word: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.unknown_word();
        }
        if self.is_news(word) {
            tracing::warn!(word, "a task has a status that this version doesn't know: polled on");
        }
    }

    /// Notes a successful task whose result has an unknown form.
    pub(super) fn note_shape(&self, shape: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.unknown_word();
        }
        if self.is_news(shape) {
            tracing::warn!(
                shape,
                "a task has succeeded and its reply has no image where this version looks for one: it is looked at again for a \
                 while; a later version can get the image with comet-worker resolve JOB --fetch"
            );
        }
    }

    fn is_news(&self, word: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < WORDS_MAX && told.insert(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_counted_each_time_and_told_once() {
        let metrics = Metrics::new();
        let words = ForeignWords::counted_in(metrics.clone());
        assert!(words.is_news("brewing") && !words.is_news("brewing") && words.is_news(""));
        words.note("brewing");
        words.note("brewing");
        assert!(metrics.encode().contains("comet_unknown_words_total 2\n"), "{}", metrics.encode());
    }

    #[test]
    fn no_more_than_so_many_words_are_remembered() {
        let words = ForeignWords::default();
        let told = (0..1_000).filter(|number| words.is_news(&format!("word-{number}"))).count();
        assert_eq!(told, WORDS_MAX);
        assert_eq!(words.told.lock().unwrap().len(), WORDS_MAX);
    }
}
