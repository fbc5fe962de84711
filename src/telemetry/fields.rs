//! The fields of a log line, message included. Whatever they contain, the line stays one line.
//!
//! Names and texts of producers, providers and brokers get into messages in many places. A line break in one of them
//! would begin a line that looks like ours, and an escape sequence would colour or overwrite a terminal. Everything
//! that is written into a line passes here, so no other place has to handle that.

use std::fmt::{self, Debug, Write};
use std::io;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::redact;

/// `message name=value name=value`, of printable characters.
pub(super) struct OneLine;

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, result: Ok(()), empty: true };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
    empty: bool,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, value: &dyn Debug) -> fmt::Result {
        if !std::mem::take(&mut self.empty) {
            self.writer.write_char(' ')?;
        }
        let mut printable = Printable(&mut self.writer);
        if field.name() == "message" {
            write!(printable, "{value:?}")
        } else {
            write!(printable, "{}={value:?}", field.name())
        }
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = self.add(field, value);
        }
    }
}

struct Printable<'a, 'w>(&'a mut Writer<'w>);

impl Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&redact::escaped(text))
    }
}

/// Lines of JSON. It escapes characters that a terminal obeys and a JSON serializer doesn't escape.
pub(super) struct PrintableJson<W>(pub(super) W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for PrintableJson<W> {
    type Writer = JsonLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }
}

pub(super) struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    /// Receives a whole line at a time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (line, end) = match bytes.split_last() {
            Some((b'\n', line)) => (line, "\n"),
            Some(_) | None => (bytes, ""),
        };
        let mut line = redact::printable_json(&String::from_utf8_lossy(line));
        line.push_str(end);
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
