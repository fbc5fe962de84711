//! What a reply of CometAPI means: status, a few headers and the body in, an answer out.
//!
//! CometAPI is a gateway of the new-api family before Kling, and replies in the words of either
//! (fact sheet, section 3): so every shape that was documented or seen is accepted, on every
//! route. The steps are: read the body (`envelope`), look its status and code up in the one
//! table of errors (`meaning`), then say what that is for a POST ([`submit()`]) or for a GET
//! ([`query()`], [`lookup()`], [`probe()`]). Only parsed fields decide, never substrings of the raw text:
//! a task id may well contain "429" (fact sheet, section 4.2).
//!
//! Pure, and total: any bytes give an answer.

mod envelope;
mod images;
mod meaning;
mod query;
mod submit;

use std::time::Duration;

pub use query::{lookup, probe, query};
pub use submit::submit;

use super::{AccountFault, AccountFaultKind};
use crate::redact::for_people;
use envelope::{Body, Envelope};
use meaning::Meaning;

/// The longest wait that a `Retry-After` is believed to ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Longest `provider_code` kept, in characters.
const CODE_CHARS_MAX: usize = 64;

/// One HTTP reply, read to its end.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// The header's text; only whole seconds are understood.
    pub retry_after: Option<&'a str>,
    /// Method and path of the request, for faults of the configuration: `POST /kling/v1/…`.
    pub asked: &'a str,
    pub body: &'a [u8],
}

impl Reply<'_> {
    fn after(&self) -> Option<Duration> {
        let seconds: u64 = self.retry_after?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }

    /// The words for people about this reply: the status, and what the provider said.
    fn told(&self, message: Option<&str>) -> String {
        match message {
            Some(message) => for_people(&format!("HTTP {}: {message}", self.status)),
            None => format!("HTTP {} without a message", self.status),
        }
    }
}

/// A reply with its body read and its meaning looked up.
struct Understood {
    meaning: Meaning,
    message: String,
    provider_code: Option<String>,
    envelope: Option<Envelope>,
}

fn understand(reply: &Reply<'_>) -> Understood {
    match envelope::read(reply) {
        Body::Html => Understood {
            meaning: meaning::of_html(reply.status),
            message: reply.told(Some("a web page instead of JSON")),
            provider_code: None,
            envelope: None,
        },
        Body::Unreadable => Understood {
            meaning: meaning::of_unreadable(reply.status),
            message: reply.told(Some("the body is no readable JSON object")),
            provider_code: None,
            envelope: None,
        },
        Body::Json(envelope) => {
            let about = envelope.complaint();
            Understood {
                meaning: meaning::of(reply.status, &about),
                message: reply.told(about.message.as_deref()),
                provider_code: about.code.verbatim(),
                envelope: Some(envelope),
            }
        }
    }
}

/// The account fault that a meaning is, whatever was asked; `None` if it is none.
fn account_fault(meaning: Meaning, message: &str, asked: &str) -> Option<AccountFault> {
    let (kind, message) = match meaning {
        Meaning::Key => (AccountFaultKind::Key, message.to_owned()),
        Meaning::Money => (AccountFaultKind::Money, message.to_owned()),
        Meaning::ProviderCredential => (
            AccountFaultKind::Unreachable,
            format!("the provider's own access to Kling is refused: {message}"),
        ),
        Meaning::Down => (AccountFaultKind::Unreachable, message.to_owned()),
        Meaning::Configuration => (
            AccountFaultKind::Configuration,
            format!("{asked} is not answered by the API that it should be: {message}"),
        ),
        Meaning::Forbidden => (AccountFaultKind::Configuration, format!("{asked} is not allowed: {message}")),
        Meaning::Fine
        | Meaning::Busy
        | Meaning::NoChannel
        | Meaning::NotTaken
        | Meaning::Refused
        | Meaning::Policy
        | Meaning::Exists
        | Meaning::NoSuchResource
        | Meaning::NotFound
        | Meaning::Unknown => return None,
    };
    Some(AccountFault { kind, message: for_people(&message) })
}
