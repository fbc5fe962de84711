//! The meaning of a reply of CometAPI: status, a few headers and the body become an answer.
//!
//! CometAPI is a gateway of the new-api family before Kling, and replies in the words of both (docs/provider.md, "How
//! a reply is read"). So every shape that was documented or seen is accepted, on every route. The steps are: read the
//! body (`envelope`), find its status and code in the one table of errors (`meaning`), then decide what that means
//! for a POST ([`submit()`]) or for a GET ([`query()`], [`lookup()`], [`probe()`]). Only parsed fields decide, never
//! parts of the raw text, since a task id may contain "429" (docs/provider.md, "Errors of the gateway").
//!
//! It is pure and total: any bytes give an answer.

mod envelope;
mod files;
mod meaning;
#[cfg(test)]
mod property_tests;
mod query;
mod shape;
mod submit;
#[cfg(test)]
pub(super) mod tests;
mod words;

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

pub use query::{Seen, lookup, probe, query, tells_of_a_running_task};
pub use submit::submit;

use crate::job::answers::{AccountFault, AccountFaultKind};
use crate::redact::{bounded, for_people};
use envelope::{Body, ReplyEnvelope};
use meaning::ReplyClass;

/// The longest wait that is accepted from a `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The most characters of a `provider_code` that are kept.
const CODE_CHARS_MAX: usize = 64;

/// One HTTP reply that was read to its end.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// The text of the header: whole seconds, or an HTTP-date.
    pub retry_after: Option<&'a str>,
    /// The header `Date`. An HTTP-date in `retry_after` counts from it, so that no two clocks need to agree. Without
    /// it, such a date is ignored.
    pub date: Option<&'a str>,
    /// The header `X-Oneapi-Request-Id`, for the provider's support.
    pub request_id: Option<&'a str>,
    /// Method and path of the request, for faults of the configuration: `POST /kling/v1/…`.
    pub asked: &'a str,
    pub body: &'a [u8],
}

impl Reply<'_> {
    fn after(&self) -> Option<Duration> {
        let text = self.retry_after?.trim();
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            // A date in the past means no wait.
            Err(_) => {
                u64::try_from(http_date(text)?.as_second() - http_date(self.date?)?.as_second()).unwrap_or(0)
            }
        };
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }

    /// The sender's time in Unix milliseconds, rounded down to seconds.
    #[must_use]
    pub fn date_ms(&self) -> Option<i64> {
        Some(http_date(self.date?)?.as_millisecond())
    }

    /// The message for people about this reply: the status, what the provider said, and the id by which its support
    /// finds the request (`said_id` is the id in the body), unless the message already has it.
    fn told(&self, message: Option<&str>, said_id: Option<&str>) -> String {
        let words = match message {
            Some(message) => for_people(&format!("HTTP {}: {message}", self.status)),
            None => format!("HTTP {} without a message", self.status),
        };
        match said_id.or(self.request_id) {
            Some(id) if !words.contains("request id") => {
                for_people(&format!("{words} (request id: {})", bounded(id, CODE_CHARS_MAX)))
            }
            Some(_) | None => words,
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may be sent today (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

/// A reply whose body is read and whose meaning is known.
struct Understood {
    meaning: ReplyClass,
    /// The provider's own message if a known envelope has one; otherwise what there is instead of an envelope.
    said: Option<Cow<'static, str>>,
    provider_code: Option<String>,
    envelope: Option<ReplyEnvelope>,
}

impl Understood {
    /// The message for people. It is built only when needed, since most replies are fine.
    fn message(&self, reply: &Reply<'_>) -> String {
        reply.told(self.said.as_deref(), self.envelope.as_ref().and_then(ReplyEnvelope::request_id))
    }

    fn without_envelope(meaning: ReplyClass, instead: &'static str) -> Self {
        Self { meaning, said: Some(Cow::Borrowed(instead)), provider_code: None, envelope: None }
    }
}

fn understand(reply: &Reply<'_>) -> Understood {
    match envelope::read(reply) {
        Body::Html => {
            Understood::without_envelope(meaning::of_html(reply.status), "a web page instead of JSON")
        }
        Body::Unreadable => Understood::without_envelope(
            meaning::of_unreadable(reply.status),
            "the body is no readable JSON object",
        ),
        Body::Json(envelope) => {
            let about = envelope.complaint();
            Understood {
                meaning: meaning::of(reply.status, &about),
                provider_code: about.code.verbatim(),
                said: about.message.map(Cow::Owned),
                envelope: Some(envelope),
            }
        }
    }
}

/// The account fault of this meaning, for any request; `None` if it is not an account fault.
fn account_fault(meaning: ReplyClass, message: &str, asked: &str) -> Option<AccountFault> {
    let (kind, message) = match meaning {
        ReplyClass::Key => (AccountFaultKind::Key, message.to_owned()),
        ReplyClass::Money => (AccountFaultKind::Money, message.to_owned()),
        ReplyClass::ProviderCredential => (
            AccountFaultKind::Unreachable,
            format!("the provider's own access to Kling is refused: {message}"),
        ),
        ReplyClass::Down => (AccountFaultKind::Unreachable, message.to_owned()),
        ReplyClass::Configuration => (
            AccountFaultKind::Configuration,
            format!("{asked} is not answered by the API that it should be: {message}"),
        ),
        ReplyClass::Forbidden => (AccountFaultKind::Forbidden, format!("{asked} is not allowed: {message}")),
        ReplyClass::Fine
        | ReplyClass::Busy
        | ReplyClass::NoChannel
        | ReplyClass::NotTaken
        | ReplyClass::Refused
        | ReplyClass::Policy
        | ReplyClass::Exists
        | ReplyClass::NoModel
        | ReplyClass::NoSuchResource
        | ReplyClass::NotFound
        | ReplyClass::Unknown => return None,
    };
    Some(AccountFault { kind, message: for_people(&message) })
}
