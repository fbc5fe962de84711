//! CometAPI over HTTP: it sends, limits and reads; [`wire`] decides what a reply means.
//!
//! The paid POST has its own client, on HTTP/1.1 and without any retry. The default policy of reqwest sends a request
//! again after an HTTP/2 GOAWAY with NO_ERROR. When the connection ends, h2 reports that error also for streams that
//! the server had begun to process, so a POST could be paid twice (read in reqwest 0.13.5 `retry.rs` and h2
//! `proto/streams/streams.rs`, `recv_eof`).

mod exchange;
mod key;
mod parts;
mod their_clock;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::forbidden::Forbidden;
use super::foreign::ForeignWords;
use super::models::Models;
use super::wire;
use super::{NO_TASK, Provider};
use crate::job::FileKind;
use crate::job::answers::{AccountFault, AccountFaultKind, Lookup, SubmitOutcome, TaskStatus};
use crate::job::route::{Route, Routes};
use crate::job::submission::Submission;
use crate::job::{SentUnder, TaskId};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::net::tls;
use crate::secret::Secret;
pub use exchange::REPLY_BYTES_MAX;
use exchange::{Read, TransportError, exchange, told, unreachable};
use key::Key;
use parts::parts;
use their_clock::TheirClock;

/// The placeholder for the task id in the query path.
pub const TASK_ID_MARK: &str = "{task_id}";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Less than the 60 s after which common proxies drop an idle connection.
const QUERY_IDLE: Duration = Duration::from_secs(30);

/// A POST on a connection that the server is just closing ends as unknown. So a connection is only reused while it is
/// certainly open: for less than the shortest common idle limit (Node's 5 s).
const SUBMIT_IDLE: Duration = Duration::from_secs(3);

/// Where the API is, and the settings of the requests to it.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Scheme, host and port, perhaps with a path; the paths of a route are appended to it.
    pub base_url: Url,
    pub key: Secret,
    pub routes: Routes,
    /// From connecting to the last byte of the reply.
    pub submit_timeout: Duration,
    pub query_timeout: Duration,
    /// The proxy to the API, perhaps with a login; empty means none. The environment's proxies are not used.
    pub proxy: SecretString,
    /// The certificates that are trusted besides the system's.
    pub certificates: tls::Files,
}

/// Why [`Endpoints`] can't be used. The message names the setting, and never the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEndpoints(String);

/// The client of CometAPI.
pub struct CometApi {
    submits: Client,
    queries: Client,
    key: Key,
    base_url: Url,
    /// Where it is asked whether the API is there.
    default_route: Arc<Route>,
    submit_timeout: Duration,
    query_timeout: Duration,
    forbidden: Forbidden,
    models: Models,
    foreign_words: ForeignWords,
    /// The routes whose tasks were found at the other path, which is said once.
    told_of_other_path: Mutex<BTreeSet<&'static str>>,
    limits: Limits,
    clock: TheirClock,
}

impl CometApi {
    /// # Errors
    ///
    /// [`InvalidEndpoints`] says which setting can't be used.
    pub fn new(endpoints: Endpoints) -> Result<Self, InvalidEndpoints> {
        let Endpoints { base_url, key, routes, submit_timeout, query_timeout, proxy, certificates } =
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
        if !routes.default_route().query_path.contains(TASK_ID_MARK) {
            return invalid("api.query_path must contain {task_id}");
        }
        let Some(key) = Key::new(key) else {
            return invalid("api.key must be one line of printable characters");
        };
        let headers: HeaderMap =
            [(ACCEPT, HeaderValue::from_static("application/json"))].into_iter().collect();
        let proxy = way(&proxy)?;
        let issuers = certificates.for_http().map_err(InvalidEndpoints)?;
        let built = |builder: ClientBuilder| {
            let builder = builder.tls_certs_merge(issuers.clone());
            builder.build().map_err(|error| InvalidEndpoints(told(&error)))
        };
        Ok(Self {
            submits: built(
                client(headers.clone(), proxy.clone())
                    .http1_only()
                    .retry(reqwest::retry::never())
                    .pool_idle_timeout(SUBMIT_IDLE),
            )?,
            // Over TLS it may become HTTP/2 (ALPN); without TLS it stays HTTP/1.1.
            queries: built(client(headers, proxy).pool_idle_timeout(QUERY_IDLE))?,
            key,
            base_url,
            default_route: Arc::clone(routes.default_route()),
            submit_timeout,
            query_timeout,
            forbidden: Forbidden::default(),
            models: Models::default(),
            foreign_words: ForeignWords::default(),
            told_of_other_path: Mutex::default(),
            limits: Limits::default(),
            clock: TheirClock::default(),
        })
    }

    /// Sets the metrics that count the provider's unknown words.
    #[must_use]
    pub fn counted_in(self, metrics: Metrics) -> Self {
        Self { foreign_words: ForeignWords::counted_in(metrics), ..self }
    }

    /// What this path says about a task, and whether another path may know more.
    async fn query_at(&self, path: &str, task: &TaskId, makes: &[FileKind]) -> (TaskStatus, bool) {
        let (asked, read) = match self.get_at(path, task.as_str()).await {
            Ok(asked_and_read) => asked_and_read,
            Err(silence) => {
                let (message, fault) = silence.into_parts();
                return (TaskStatus::Unavailable { message, fault, after: None }, false);
            }
        };
        let seen = wire::query(&read.reply(&asked), task, makes);
        if let Some(word) = &seen.foreign_word {
            self.foreign_words.note(word);
        }
        if let Some(shape) = &seen.foreign_shape {
            self.foreign_words.note_shape(shape);
        }
        let may_be_elsewhere = match seen.view {
            TaskStatus::NotFound { .. } => true,
            // A wrong path gives a redirect, a web page with 200, or a 404 (docs/provider.md, "Errors of the
            // gateway").
            TaskStatus::Unavailable { .. } => matches!(read.status, 200 | 300..=399 | 404 | 405),
            TaskStatus::Running | TaskStatus::Succeeded { .. } | TaskStatus::Failed { .. } => false,
        };
        (seen.view, may_be_elsewhere)
    }

    async fn probe_at(&self, path: &str) -> Result<(), AccountFault> {
        match self.get_at(path, NO_TASK).await {
            Ok((asked, read)) => wire::probe(&read.reply(&asked)),
            Err(TransportError::NotSent(message) | TransportError::NoReply(message)) => {
                Err(unreachable(message))
            }
        }
    }

    /// Sets the limits for which GETs wait. A POST has waited before: see [`Limits::submit`].
    #[must_use]
    pub fn limited_by(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    async fn get_at(&self, path: &str, id: &str) -> Result<(String, Read), TransportError> {
        let url = with_path(&self.base_url, path, Some(id));
        let asked = format!("GET {}", url.path());
        let _way = self.limits.query().await;
        let read = exchange(
            self.queries.get(url).header(AUTHORIZATION, self.key.header()).timeout(self.query_timeout),
        )
        .await?;
        self.clock.read(&read.reply(&asked));
        Ok((asked, read))
    }
}

#[async_trait]
impl Provider for CometApi {
    async fn submit(&self, submission: &Submission) -> SubmitOutcome {
        let url = with_path(&self.base_url, &submission.route.submit_path, None);
        let asked = format!("POST {}", url.path());
        let request = self
            .submits
            .post(url)
            .header(AUTHORIZATION, self.key.header())
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.submit_timeout)
            .body(parts(submission.body()));
        match exchange(request).await {
            Ok(read) => {
                self.clock.read(&read.reply(""));
                let answer = wire::submit(&read.reply(&asked));
                self.models.judge(submission, self.forbidden.judge(submission, answer))
            }
            Err(TransportError::NotSent(message)) => SubmitOutcome::Account(unreachable(message)),
            Err(TransportError::NoReply(message)) => {
                SubmitOutcome::Unknown { message, provider_code: None, exists: false }
            }
        }
    }

    /// Queries the query path. If that path doesn't exist or doesn't know the task, it queries the other one: it is
    /// unknown which of the two is open for these tasks, and a GET is free (docs/provider.md, "Routes").
    async fn query(&self, route: &Route, task: &TaskId) -> TaskStatus {
        let makes = route.data.makes;
        let (view, may_be_elsewhere) = self.query_at(&route.query_path, task, makes).await;
        let Some(other) = route.other_query_path().filter(|_| may_be_elsewhere) else {
            return view;
        };
        match self.query_at(other, task, makes).await.0 {
            TaskStatus::NotFound { .. } | TaskStatus::Unavailable { .. } => view,
            found @ (TaskStatus::Running | TaskStatus::Succeeded { .. } | TaskStatus::Failed { .. }) => {
                let mut told = self.told_of_other_path.lock().unwrap_or_else(PoisonError::into_inner);
                if told.insert(route.data.name) {
                    let (path, name) = (&route.query_path, &route.name);
                    let remedy =
                        if route.name == self.default_route.name { ": set api.query_path to it" } else { "" };
                    tracing::warn!("tasks of {name} are found at {other} and not at {path}{remedy}");
                }
                drop(told);
                found
            }
        }
    }

    /// Asks at the query path. If that path doesn't know the task, it asks at the path that Kling itself and every
    /// sibling gateway have for these tasks (docs/provider.md, "Routes" and "External task ids").
    async fn lookup(&self, route: &Route, under: &SentUnder) -> Lookup {
        let mut missed = Lookup::NotFound { message: "no path to look at".to_owned() };
        for path in [Some(route.query_path.as_str()), route.other_query_path()].into_iter().flatten() {
            let found = match self.get_at(path, under.id.as_str()).await {
                Ok((asked, read)) => wire::lookup(&read.reply(&asked), under),
                Err(silence) => {
                    let (message, fault) = silence.into_parts();
                    Lookup::Unavailable { message, fault, after: None }
                }
            };
            match found {
                Lookup::Found(_) => return found,
                // The second path may not exist at all, which says nothing about the task.
                Lookup::Unavailable { .. } if path != route.query_path => {}
                // A task that may hide the job's own is not a miss, whatever the other path says.
                Lookup::NotFound { .. } | Lookup::Unavailable { .. }
                    if matches!(missed, Lookup::Another { .. }) => {}
                Lookup::NotFound { .. } | Lookup::Another { .. } | Lookup::Unavailable { .. } => {
                    missed = found
                }
            }
        }
        missed
    }

    async fn clock_ms(&self) -> Option<i64> {
        if let Some(now) = self.clock.now() {
            return Some(now);
        }
        let _ = self.probe_at(&self.default_route.query_path).await;
        self.clock.now()
    }

    async fn probe(&self) -> Result<(), AccountFault> {
        // A key that was refused may have been replaced in its file.
        self.key.read_again();
        let fault = match self.probe_at(&self.default_route.query_path).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        let other = self.default_route.other_query_path();
        match other.filter(|_| fault.kind == AccountFaultKind::Configuration) {
            Some(other) => self.probe_at(other).await.map_err(|_| fault),
            None => Err(fault),
        }
    }
}

fn way(proxy: &SecretString) -> Result<Option<Proxy>, InvalidEndpoints> {
    let url = proxy.expose_secret();
    // The error is dropped, since it could quote the login.
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

impl std::fmt::Debug for CometApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The clients are not shown, since they contain the login of a proxy.
        f.debug_struct("CometApi").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

/// Appends the segments of `path` to those of `base`. [`TASK_ID_MARK`] becomes `id`, percent-encoded as one segment.
/// The ids `.` and `..` would change the path, so their dots are encoded twice: there is no such task.
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

#[cfg(test)]
mod tests;
