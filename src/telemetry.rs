//! The log. It goes to stderr, so that stdout stays free for data: text for people, JSON for machines.

mod fields;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{Log, LogFormat};
use crate::redact;

/// lapin also returns its errors to us, and we log them in words that people understand.
const SILENT: &str = "lapin=off";
/// Libraries that log much at `info`, in messages that mean little without their source.
const QUIET: &str = "async_rs=warn,redis=warn,hyper=warn,hyper_util=warn,h2=warn,\
                     rustls=warn,reqwest=warn,tower=warn,axum=warn,object_store=warn";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "log.filter is {filter:?}, which is no filter ({source}); write a level such as info, or comet_worker=debug,info"
    )]
    Filter { filter: String, source: ParseError },
    #[error("a log is already set up in this process; call telemetry::init once")]
    AlreadySet,
}

/// Sets up the log of this process, its panics included. Call it once.
///
/// # Errors
///
/// [`TelemetryError`], for the user, if the filter can't be read.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let colours = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = subscriber(log, terminal, colours, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    // Panics go into the log. Between lines of JSON they could not be found, and would not name their job.
    panic::set_hook(Box::new(say_panic));
    Ok(())
}

/// The message of a panic, safe for logs. A panic with a value instead of a text has no message.
#[must_use]
pub fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    redact::for_people(text.unwrap_or("no message"))
}

fn say_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let words = panic_words(panic.payload());
    // RUST_BACKTRACE says whether there is one, as usual.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(at, "panicked: {words}");
        for line in backtrace.to_string().lines() {
            tracing::error!("    {line}");
        }
    } else {
        tracing::error!(at, "panicked: {words}");
    }
}

fn subscriber<W>(
    log: &Log,
    terminal: bool,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // At `trace` libraries log what goes over the wire, including passwords and keys, as text or as numbers.
    let no_wires =
        filter_fn(|event| *event.level() != Level::TRACE || event.target().starts_with("comet_worker"));
    let filter = filter(&log.filter)?.and(no_wires);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    Ok(if json {
        let lines = fmt::layer().with_writer(fields::PrintableJson(writer));
        let lines = lines.json().flatten_event(true).with_current_span(false);
        Box::new(Registry::default().with(lines.with_filter(filter)))
    } else {
        let lines = fmt::layer().with_writer(writer).with_ansi(colours).fmt_fields(fields::OneLine);
        Box::new(Registry::default().with(lines.with_filter(filter)))
    })
}

/// The user's filter, `info` if there is none; libraries that it doesn't name log only warnings.
fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let text = if text.trim().is_empty() { "info" } else { text };
    let parse = |text: &str| EnvFilter::builder().parse(text);
    let wrong = |source| TelemetryError::Filter { filter: text.to_owned(), source };
    let given = parse(text).map_err(wrong)?;
    if given.max_level_hint().is_some_and(|most| most <= LevelFilter::WARN) {
        return parse(&format!("{SILENT},{text}")).map_err(wrong);
    }
    // If two directives name the same target, the later one counts.
    parse(&format!("{SILENT},{QUIET},{text}")).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, format: LogFormat, terminal: bool, say: impl FnOnce()) -> String {
        let page = Page::default();
        let sink = page.clone();
        let log = Log { filter: filter.to_owned(), format };
        let subscriber = subscriber(&log, terminal, false, move || sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn say_some() {
        tracing::info!(job_id = "order-1", "submitted");
        tracing::info!(target: "lapin::channel", "chatter");
        tracing::warn!(target: "hyper::client", "trouble");
        tracing::error!(target: "lapin::channel", "our own words are better");
        tracing::trace!(target: "lapin::frames", "the password is [103, 117]");
    }

    #[test]
    fn libraries_say_only_warnings_unless_named() {
        let text = written("info", LogFormat::Text, true, say_some);
        assert!(text.contains("submitted job_id=\"order-1\"") && text.contains("trouble"), "{text}");
        assert!(!text.contains("chatter") && !text.contains("our own"), "{text}");
        assert!(written("info,lapin=info", LogFormat::Text, true, say_some).contains("chatter"));
        assert_eq!(written("error", LogFormat::Text, true, say_some), "");
        assert!(written("error,lapin=error", LogFormat::Text, true, say_some).contains("our own"));
        assert_eq!(written("off", LogFormat::Text, true, say_some), "");
        assert!(written("", LogFormat::Text, true, say_some).contains("submitted"));
    }

    #[test]
    fn what_libraries_say_of_each_byte_is_never_written() {
        for filter in ["trace", "lapin=trace", "lapin::frames=trace,info"] {
            let text = written(filter, LogFormat::Text, true, say_some);
            assert!(!text.contains("password"), "{filter}: {text}");
        }
        let own = || tracing::trace!(target: "comet_worker::x", "ours");
        assert!(written("trace", LogFormat::Text, true, own).contains("ours"));
    }

    #[test]
    fn whatever_a_text_holds_it_stays_on_its_line() {
        let forged = "order\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[31mred\u{9b}2J\u{202e}\u{2028}";
        let say = || {
            let _span = tracing::info_span!("job", job_id = forged).entered();
            tracing::warn!(reply_to = forged, error = %forged, "message {forged}");
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written("info", format, true, say);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(text.contains("forged"), "{text:?}");
            assert!(!text.trim_end().contains(char::is_control), "{text:?}");
            assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
            assert!(text.contains(r"message order\n2026"), "{text:?}");
        }
        let text = written("info", LogFormat::Json, true, say);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["error"], forged, "for a program it is what it was");
    }

    #[test]
    fn json_has_an_object_a_line_with_the_fields_at_its_top() {
        let text = written("info", LogFormat::Auto, false, say_some);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["message"], "submitted");
        assert_eq!(first["job_id"], "order-1");
        assert_eq!(first["level"], "INFO");
        assert!(!written("info", LogFormat::Auto, true, say_some).starts_with('{'));
        assert!(written("info", LogFormat::Json, true, say_some).starts_with('{'));
    }

    #[test]
    fn the_words_of_a_panic_are_made_fit_for_logs() {
        let of = |panic: fn()| panic_words(panic::catch_unwind(panic).unwrap_err().as_ref());
        assert_eq!(of(|| panic!("plain")), "plain");
        assert_eq!(of(|| panic!("{} of sk-0123456789abcdef01234\nand more", 7)), "7 of sk-… and more");
        assert_eq!(of(|| panic::panic_any(7)), "no message");
    }

    #[test]
    fn a_filter_that_can_not_be_read_is_an_error_that_says_so() {
        let error = filter("comet_worker=loud").unwrap_err().to_string();
        assert!(error.starts_with("log.filter is \"comet_worker=loud\", which is no filter"), "{error}");
    }
}
