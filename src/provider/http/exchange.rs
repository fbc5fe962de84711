//! One request, and its reply, which is read to its end or to a limit.

use bytes::{Bytes, BytesMut};
use reqwest::RequestBuilder;
use reqwest::header::{AsHeaderName, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

use crate::job::answers::{AccountFault, AccountFaultKind};
use crate::net::trouble;
use crate::provider::wire::Reply;
use crate::redact::for_people;

/// The most bytes that are read of a reply (docs/provider.md, "Transport").
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// The most memory that is reserved for a reply before its bytes arrive.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;

/// The header with a request's id in gateways of the new-api family (docs/provider.md, "Errors of the gateway").
const REQUEST_ID: &str = "x-oneapi-request-id";

/// A reply that was read to its end.
pub(super) struct Read {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// Why there is no reply.
pub(super) enum TransportError {
    /// There was no connection, so nothing was sent.
    NotSent(String),
    /// The exchange failed later, so the request may have arrived.
    NoReply(String),
}

/// Sends one request, and reads its reply to the end or to the limit.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Read, TransportError> {
    let mut response = request.send().await.map_err(|error| {
        let message = told(&error);
        // DNS, refused, TLS handshake, connect timeout: hyper reports "connect" only before the first byte of the
        // request (docs/provider.md, "Transport").
        if error.is_connect() { TransportError::NotSent(message) } else { TransportError::NoReply(message) }
    })?;
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default().min(AT_ONCE_BYTES_MAX));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > REPLY_BYTES_MAX => {
                return Err(TransportError::NoReply(format!(
                    "HTTP {} with a body of more than {REPLY_BYTES_MAX} bytes",
                    response.status().as_u16()
                )));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(TransportError::NoReply(told(&error))),
        }
    }
    Ok(Read {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: body.freeze(),
    })
}

impl Read {
    pub(super) fn reply<'a>(&'a self, asked: &'a str) -> Reply<'a> {
        Reply {
            status: self.status,
            content_type: text(&self.headers, CONTENT_TYPE),
            retry_after: text(&self.headers, RETRY_AFTER),
            date: text(&self.headers, DATE),
            request_id: text(&self.headers, REQUEST_ID),
            asked,
            body: &self.body,
        }
    }
}

impl TransportError {
    /// For a GET: the message, and the fault if the provider can't be reached at all.
    pub(super) fn into_parts(self) -> (String, Option<AccountFault>) {
        match self {
            Self::NotSent(message) => (message.clone(), Some(unreachable(message))),
            Self::NoReply(message) => (message, None),
        }
    }
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn unreachable(message: String) -> AccountFault {
    AccountFault { kind: AccountFaultKind::Unreachable, message }
}

/// The whole chain of causes, without the URL.
pub(super) fn told(error: &reqwest::Error) -> String {
    let text = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => "no reply in time".to_owned(),
        (false, true) => "no connection".to_owned(),
        (false, false) => "the exchange broke off".to_owned(),
    };
    if let Some(words) = trouble::of_tls(error, "api") {
        return for_people(&format!("{text}: {words}"));
    }
    if trouble::is_out_of_files(error) {
        return format!("{text}: {}", trouble::OUT_OF_FILES);
    }
    for_people(&trouble::with_causes(text, error))
}
