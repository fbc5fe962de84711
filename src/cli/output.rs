//! The output of a command: data to stdout, messages to stderr, and a progress bar that doesn't disturb either.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::redact;

/// The output of one command.
pub(super) struct Output {
    bar: ProgressBar,
    /// Why nothing more goes to stdout.
    closed: Option<io::Error>,
}

impl Output {
    pub(super) fn plain() -> Self {
        Self { bar: ProgressBar::hidden(), closed: None }
    }

    /// Creates an output with a progress bar up to `length` if stderr is a terminal; otherwise like
    /// [`Output::plain`].
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

    /// Likewise, with words that change.
    pub(super) fn progress_of(&self, done: usize, doing: String) {
        self.bar.set_message(doing);
        self.bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    }

    /// Takes the bar away for good.
    pub(super) fn hide(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line of data. [`Output::check`] reports a reader that has gone (`… | head`).
    pub(super) fn data(&mut self, line: &str) {
        if self.closed.is_none() {
            let written = self.bar.suspend(|| {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{line}").and_then(|()| stdout.flush())
            });
            self.closed = written.err();
        }
    }

    /// Writes a line for people.
    pub(super) fn words(&self, line: &str) {
        self.bar.suspend(|| words(line));
    }

    /// Whether the reader of the data has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns an error if data could not be written. A reader that has gone is not an error.
    ///
    /// # Errors
    ///
    /// Data could not be written.
    pub(super) fn check(mut self) -> anyhow::Result<()> {
        match self.closed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("can't write to stdout")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Writes a line for people when there is no bar. Whatever a text from outside contains, the terminal gets only
/// printable text.
pub(super) fn words(line: &str) {
    let line: Vec<String> = line.split('\n').map(redact::spaced).collect();
    let line = line.join("\n");
    // If stderr is gone, the line can't be shown anywhere.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

impl Drop for Output {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
