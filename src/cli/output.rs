//! What a command says: data to stdout, words to stderr, and a progress bar that gets out of the way
//! of both.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::redact;

/// The mouth of one command.
pub(super) struct Output {
    bar: ProgressBar,
    /// Why nothing more goes to stdout.
    closed: Option<io::Error>,
}

impl Output {
    pub(super) fn plain() -> Self {
        Self { bar: ProgressBar::hidden(), closed: None }
    }

    /// With a bar up to `length`, where stderr is a terminal; elsewhere as [`Output::plain`].
    pub(super) fn with_progress(length: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
        let template = "{spinner} {msg} {pos}/{len} [{elapsed_precise}]";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { bar, closed: None }
    }

    pub(super) fn progress(&self, done: usize, doing: &'static str) {
        self.bar.set_message(doing);
        self.bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    }

    /// A line of data. A reader that has gone (`… | head`) shows in [`Output::check`].
    pub(super) fn data(&mut self, line: &str) {
        if self.closed.is_none() {
            let written = self.bar.suspend(|| {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{line}").and_then(|()| stdout.flush())
            });
            self.closed = written.err();
        }
    }

    /// A line for people.
    pub(super) fn words(&self, line: &str) {
        self.bar.suspend(|| words(line));
    }

    /// Whether whoever reads the data has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// A reader that has gone by itself is no failure of ours.
    ///
    /// # Errors
    ///
    /// When data could not be written.
    pub(super) fn check(mut self) -> anyhow::Result<()> {
        match self.closed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("can't write to stdout")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A line for people, where there is no bar: whatever a text from outside holds, the terminal gets no more than text.
pub(super) fn words(line: &str) {
    let line: Vec<String> = line.split('\n').map(redact::spaced).collect();
    let line = line.join("\n");
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

impl Drop for Output {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
