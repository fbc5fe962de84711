//! Sends spans to the collector, over the HTTP client that everything else here uses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use crate::net::trouble::with_causes;
use crate::redact::for_people;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The exporter of the SDK has a thread of its own and waits there, so the requests run in our runtime.
#[derive(Debug)]
pub(super) struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether it was said that the collector takes no spans.
    is_away: AtomicBool,
}

impl Collector {
    pub(super) fn new(timeout: Duration) -> reqwest::Result<Self> {
        // A redirect could lead the headers of the collector, and with them its key, to another host.
        let client = reqwest::Client::builder().timeout(timeout).redirect(Policy::none()).build()?;
        Ok(Self { client, runtime: Handle::current(), is_away: AtomicBool::new(false) })
    }

    /// Says once that the collector takes nothing, and once that it does again.
    fn note(&self, url: &str, trouble: Option<&str>) {
        let was_away = self.is_away.swap(trouble.is_some(), Ordering::Relaxed);
        match (was_away, trouble) {
            (false, Some(trouble)) => tracing::warn!(
                "the collector at {url} takes no spans, and they are dropped until it does: {trouble}; check \
                 OTEL_EXPORTER_OTLP_ENDPOINT, or unset it"
            ),
            (true, None) => tracing::info!("the collector at {url} takes spans again"),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = shown(&request);
        let sending = self.runtime.spawn(send(self.client.clone(), request));
        let answer = match sending.await {
            Ok(answer) => answer,
            Err(error) => Err(error.into()),
        };
        let trouble = match &answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(for_people(&with_causes(error.to_string(), &**error))),
        };
        self.note(&url, trouble.as_deref());
        answer
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request: reqwest::Request = request.try_into()?;
    let mut answer = client.execute(request).await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        std::mem::swap(headers, answer.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&part);
    }
    Ok(response.body(body.into())?)
}

/// Without a login or a query, which may be secret.
fn shown(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or("?");
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", uri.scheme_str().unwrap_or("http"), uri.path())
}
