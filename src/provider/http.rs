//! CometAPI over HTTP: sends, bounds and reads; what a reply means is [`wire`]'s to say.
//!
//! The paid POST has a client of its own, on HTTP/1.1 and without any retry. reqwest's default
//! policy sends a request again after an HTTP/2 GOAWAY with NO_ERROR, and h2 hands that very error
//! also to streams which the server had begun to process, once the connection ends: a POST could
//! be paid twice (read in reqwest 0.13.5 `retry.rs` and h2 `proto/streams/streams.rs`, `recv_eof`).

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, AsHeaderName, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::forbidden::Forbidden;
use super::foreign::ForeignWords;
use super::wire::{self, Reply};
use super::{AccountFault, AccountFaultKind, Answer, Lookup, Provider, View};
use crate::job::{ExternalTaskId, TaskId};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::operation::MULTI_IMAGE_TO_IMAGE;
use crate::redact::for_people;

/// The most that is read of a reply, in bytes (fact sheet, section 4.3).
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// What the query path has in the place of the task id.
pub const TASK_ID_MARK: &str = "{task_id}";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Below the 60 s after which common proxies drop an idle connection.
const QUERY_IDLE: Duration = Duration::from_secs(30);

/// A POST on a connection that the server is just closing ends as unknown: reuse only what is
/// surely still open, that is for less than the shortest common idle limit (Node's 5 s).
const SUBMIT_IDLE: Duration = Duration::from_secs(3);

/// What gateways of the new-api family name a request by (fact sheet, section 4).
const REQUEST_ID: &str = "x-oneapi-request-id";

/// A task that can't exist.
const PROBE_ID: &str = "comet-worker-probe";

/// Where the API is, and what it is asked with.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Scheme, host and port, perhaps with a path that the two below are put behind.
    pub base_url: Url,
    pub key: SecretString,
    /// `/kling/v1/images/generations`
    pub submit_path: String,
    /// With [`TASK_ID_MARK`]: `/kling/v1/images/generations/{task_id}`
    pub query_path: String,
    /// From connecting to the last byte of the reply.
    pub submit_timeout: Duration,
    pub query_timeout: Duration,
    /// The way to the API, perhaps with a login; empty: directly. The environment's proxies are not used.
    pub proxy: SecretString,
}

/// Why [`Endpoints`] can't be used. The message names the setting and never the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEndpoints(String);

/// The client of CometAPI.
pub struct CometApi {
    submits: Client,
    queries: Client,
    submit_url: Url,
    base_url: Url,
    query_path: String,
    submit_timeout: Duration,
    query_timeout: Duration,
    forbidden: Forbidden,
    foreign_words: ForeignWords,
    limits: Limits,
}

/// A reply read to its end.
struct Read {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// Why there is no reply.
enum Silence {
    /// No connection came about, so nothing was sent.
    NotSent(String),
    /// Anything later: the request may have arrived.
    NoReply(String),
}

impl CometApi {
    /// # Errors
    ///
    /// [`InvalidEndpoints`] says which setting can't be used.
    pub fn new(endpoints: Endpoints) -> Result<Self, InvalidEndpoints> {
        let Endpoints { base_url, key, submit_path, query_path, submit_timeout, query_timeout, proxy } =
            endpoints;
        let invalid = |message: &str| Err(InvalidEndpoints(message.to_owned()));
        if !matches!(base_url.scheme(), "http" | "https") || !base_url.has_host() {
            return invalid("api.base_url must be an http(s) URL with a host");
        }
        if !base_url.username().is_empty() || base_url.password().is_some() {
            return invalid("api.base_url must not carry a user or a password");
        }
        if base_url.query().is_some() || base_url.fragment().is_some() {
            return invalid("api.base_url must end with its path");
        }
        if !query_path.contains(TASK_ID_MARK) {
            return invalid("api.query_path must contain {task_id}");
        }
        let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())) else {
            return invalid("api.key must be one line of printable characters");
        };
        bearer.set_sensitive(true);
        let headers: HeaderMap =
            [(AUTHORIZATION, bearer), (ACCEPT, HeaderValue::from_static("application/json"))]
                .into_iter()
                .collect();
        let proxy = way(&proxy)?;
        let built = |builder: ClientBuilder| builder.build().map_err(|error| InvalidEndpoints(told(&error)));
        Ok(Self {
            submits: built(
                client(headers.clone(), proxy.clone())
                    .http1_only()
                    .retry(reqwest::retry::never())
                    .pool_idle_timeout(SUBMIT_IDLE),
            )?,
            // Over TLS it may become HTTP/2 (ALPN); in plain text it stays HTTP/1.1.
            queries: built(client(headers, proxy).pool_idle_timeout(QUERY_IDLE))?,
            submit_url: with_path(&base_url, &submit_path, None),
            base_url,
            query_path,
            submit_timeout,
            query_timeout,
            forbidden: Forbidden::default(),
            foreign_words: ForeignWords::default(),
            limits: Limits::default(),
        })
    }

    /// Counts there what the provider says in words that nobody here knows.
    #[must_use]
    pub fn counted_in(self, metrics: Metrics) -> Self {
        Self { foreign_words: ForeignWords::counted_in(metrics), ..self }
    }

    /// GETs wait for their turn. A POST has had its own before: see [`Limits::submit`].
    #[must_use]
    pub fn limited_by(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    async fn get(&self, id: &str) -> Result<(String, Read), Silence> {
        self.get_at(&self.query_path, id).await
    }

    async fn get_at(&self, path: &str, id: &str) -> Result<(String, Read), Silence> {
        let url = with_path(&self.base_url, path, Some(id));
        let asked = format!("GET {}", url.path());
        let _way = self.limits.query().await;
        let read = exchange(self.queries.get(url).timeout(self.query_timeout)).await?;
        Ok((asked, read))
    }
}

#[async_trait]
impl Provider for CometApi {
    async fn submit(&self, body: Bytes) -> Answer {
        let request = self
            .submits
            .post(self.submit_url.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.submit_timeout)
            .body(body.clone());
        match exchange(request).await {
            Ok(read) => {
                let answer = wire::submit(&read.reply(&format!("POST {}", self.submit_url.path())));
                self.forbidden.judge(&body, answer)
            }
            Err(Silence::NotSent(message)) => Answer::Account(unreachable(message)),
            Err(Silence::NoReply(message)) => Answer::Unknown { message, provider_code: None, exists: false },
        }
    }

    async fn query(&self, task: &TaskId) -> View {
        match self.get(task.as_str()).await {
            Ok((asked, read)) => {
                let seen = wire::query(&read.reply(&asked), task);
                if let Some(word) = &seen.foreign_word {
                    self.foreign_words.note(word);
                }
                seen.view
            }
            Err(silence) => {
                let (message, fault) = silence.into_parts();
                View::Unavailable { message, fault, after: None }
            }
        }
    }

    /// At the query path, and where that knows of nothing, at the one that Kling itself and every
    /// sibling gateway has for these tasks (fact sheet, sections 1 and 5).
    async fn lookup(&self, external: &ExternalTaskId) -> Lookup {
        let mut missed = Lookup::NotFound { message: "no path to look at".to_owned() };
        for path in [Some(self.query_path.as_str()), other_query_path(&self.query_path)].into_iter().flatten()
        {
            let found = match self.get_at(path, external.as_str()).await {
                Ok((asked, read)) => wire::lookup(&read.reply(&asked), external),
                Err(silence) => {
                    let (message, fault) = silence.into_parts();
                    Lookup::Unavailable { message, fault, after: None }
                }
            };
            match found {
                Lookup::Found(_) => return found,
                // The second path may not exist at all; that says nothing about the task.
                Lookup::Unavailable { .. } if path != self.query_path => {}
                Lookup::NotFound { .. } | Lookup::Unavailable { .. } => missed = found,
            }
        }
        missed
    }

    async fn probe(&self) -> Result<(), AccountFault> {
        match self.get(PROBE_ID).await {
            Ok((asked, read)) => wire::probe(&read.reply(&asked)),
            Err(Silence::NotSent(message) | Silence::NoReply(message)) => Err(unreachable(message)),
        }
    }
}

impl Read {
    fn reply<'a>(&'a self, asked: &'a str) -> Reply<'a> {
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

impl Silence {
    /// For a GET: the message, and the fault if the provider can't be reached at all.
    fn into_parts(self) -> (String, Option<AccountFault>) {
        match self {
            Self::NotSent(message) => (message.clone(), Some(unreachable(message))),
            Self::NoReply(message) => (message, None),
        }
    }
}

/// CometAPI's page has one path for these tasks, Kling another.
fn other_query_path(path: &str) -> Option<&'static str> {
    let (page, kling) = (MULTI_IMAGE_TO_IMAGE.query_path, MULTI_IMAGE_TO_IMAGE.other_query_path);
    if path == page {
        Some(kling)
    } else if path == kling {
        Some(page)
    } else {
        None
    }
}

fn way(proxy: &SecretString) -> Result<Option<Proxy>, InvalidEndpoints> {
    let url = proxy.expose_secret();
    // The reason could quote the login.
    let invalid = |_| InvalidEndpoints("api.proxy must be an http:// URL with a host".to_owned());
    if url.is_empty() { Ok(None) } else { Proxy::all(url).map(Some).map_err(invalid) }
}

fn client(headers: HeaderMap, proxy: Option<Proxy>) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("comet-worker/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15));
    match proxy {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    }
}

/// One request, and its reply read to the end or to the bound.
async fn exchange(request: RequestBuilder) -> Result<Read, Silence> {
    let mut response = request.send().await.map_err(|error| {
        let message = told(&error);
        // DNS, refused, TLS handshake, connect timeout: hyper says "connect" only before the first
        // byte of the request (fact sheet, section 4.3).
        if error.is_connect() { Silence::NotSent(message) } else { Silence::NoReply(message) }
    })?;
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > REPLY_BYTES_MAX => {
                return Err(Silence::NoReply(format!(
                    "HTTP {} with a body of more than {REPLY_BYTES_MAX} bytes",
                    response.status().as_u16()
                )));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(Silence::NoReply(told(&error))),
        }
    }
    Ok(Read {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: body.freeze(),
    })
}

impl std::fmt::Debug for CometApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the clients: they show the login of a proxy.
        f.debug_struct("CometApi").field("submit_url", &self.submit_url.as_str()).finish_non_exhaustive()
    }
}

/// `base` with the segments of `path` behind its own; [`TASK_ID_MARK`] becomes `id`, percent-encoded
/// as one segment. Ids of `.` and `..` would climb, so their dots are doubly encoded: no such task.
fn with_path(base: &Url, path: &str, id: Option<&str>) -> Url {
    let id = match id {
        Some(dots @ ("." | "..")) => dots.replace('.', "%2E"),
        Some(id) => id.to_owned(),
        None => String::new(),
    };
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        segments.extend(
            path.split('/')
                .filter(|segment| !segment.is_empty())
                .map(|segment| segment.replace(TASK_ID_MARK, &id)),
        );
    }
    url
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn unreachable(message: String) -> AccountFault {
    AccountFault { kind: AccountFaultKind::Unreachable, message }
}

/// The whole chain of causes, without the URL.
fn told(error: &reqwest::Error) -> String {
    let mut text = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => "no reply in time".to_owned(),
        (false, true) => "no connection".to_owned(),
        (false, false) => "the exchange broke off".to_owned(),
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    for_people(&text)
}

#[cfg(test)]
mod tests;
