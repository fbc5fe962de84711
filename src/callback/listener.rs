//! The port that callbacks come in at. Plain HTTP without a login, meant to stand behind a proxy
//! that has the TLS; apart from the admin port, since this one is reached from outside.
//!
//! Whatever isn't a POST to a token of this fleet is "not found", and nothing says why: neither the
//! answer nor the log. What stands before the token in the path is the proxy's business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bounded_listener::BoundedListener;
use crate::job::JobId;
use crate::job::callback::Callbacks;
use crate::metrics::Metrics;
use crate::provider::wire::tells_of_a_running_task;

/// A callback is about 1 KB; nothing of it is kept, nor believed but that there is nothing to see yet.
const BODY_BYTES_MAX: u64 = 64 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// A proxy before the listener needs few.
const CONNECTIONS_MAX: usize = 512;
/// Requests under way at a stop get this long to end.
const DRAIN: Duration = Duration::from_millis(500);

/// Who passes a hit on.
#[async_trait]
pub trait Tell: Send + Sync {
    /// Whoever holds the job, wherever, is told that its task is worth a look. Nobody: nothing.
    ///
    /// # Errors
    ///
    /// Why nobody could be told, for the log.
    async fn tell(&self, job: &JobId) -> Result<(), String>;
}

/// The bound, not yet served port.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    hits: Router,
}

#[derive(Clone)]
struct Sources {
    callbacks: Callbacks,
    tell: Arc<dyn Tell>,
    metrics: Metrics,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    /// It says that the task is still running: nobody needs to be told.
    Running,
    NotFound,
    TooLarge,
    /// The body didn't come in time.
    TimedOut,
    /// The body ended before its end.
    BrokenOff,
    /// Nobody could be told. A provider that tries again does no harm.
    Unavailable,
}

impl Listener {
    /// Takes the port, 0 for any.
    ///
    /// # Errors
    ///
    /// The port can't be had; the error names the setting `callback.listen`.
    pub async fn bind(
        listen: SocketAddr,
        callbacks: Callbacks,
        tell: Arc<dyn Tell>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            let advice = "set another address, or \"\" where other workers listen";
            io::Error::new(
                error.kind(),
                format!("callback.listen = {listen} can't be bound: {error}; {advice}"),
            )
        };
        let listener = TcpListener::bind(listen).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let hits = Router::new().fallback(hit).with_state(Sources { callbacks, tell, metrics });
        Ok(Self { listener, address, hits })
    }

    /// The address in use, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, and ends within half a second of it.
    ///
    /// # Errors
    ///
    /// None that is known: what fails on accepting a connection is tried again.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let stopped = stop.clone().cancelled_owned();
        let serving = axum::serve(BoundedListener::new(self.listener, CONNECTIONS_MAX), self.hits)
            .with_graceful_shutdown(stopped);
        tokio::select! {
            served = serving.into_future() => served,
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

async fn hit(State(sources): State<Sources>, request: Request) -> Response {
    let answer = sources.answer(request).await;
    sources.metrics.callback(answer.as_str());
    answer.status().into_response()
}

impl Sources {
    async fn answer(&self, request: Request) -> Answer {
        let token = request.uri().path().rsplit('/').next().unwrap_or_default();
        let job = self.callbacks.job(token).filter(|_| request.method() == Method::POST);
        let Some(job) = job else { return Answer::NotFound };
        match tokio::time::timeout(BODY_TIME_MAX, read(request)).await {
            Ok(Ok(body)) if tells_of_a_running_task(&body) => return Answer::Running,
            Ok(Ok(_)) => {}
            Ok(Err(answer)) => return answer,
            Err(_) => return Answer::TimedOut,
        }
        match self.tell.tell(&job).await {
            Ok(()) => Answer::Accepted,
            Err(why) => {
                tracing::debug!(job_id = %job, "a callback was passed on to nobody: {why}");
                Answer::Unavailable
            }
        }
    }
}

/// Reads the body to its end, also so that the client can read its answer.
async fn read(request: Request) -> Result<Vec<u8>, Answer> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX) {
        return Err(Answer::TooLarge);
    }
    let mut chunks = Body::into_data_stream(request.into_body());
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|_| Answer::BrokenOff)?);
        if u64::try_from(body.len()).is_ok_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(Answer::TooLarge);
        }
    }
    Ok(body)
}

impl Answer {
    /// As in [`CALLBACKS`](crate::metrics::CALLBACKS).
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::TimedOut => "timed_out",
            Self::BrokenOff => "broken_off",
            Self::Unavailable => "unavailable",
        }
    }

    /// 200 is the answer that the provider expects (docs/provider.md, "Callbacks").
    fn status(self) -> StatusCode {
        match self {
            Self::Accepted | Self::Running => StatusCode::OK,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
