//! The port for callbacks. It speaks plain HTTP without a login, and belongs behind a proxy with TLS. It is separate
//! from the admin port, since it is reached from outside.
//!
//! Every request that isn't a POST to a token of this fleet is "not found", and neither the answer nor the log says
//! why. The path before the token is chosen by the proxy.

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
use crate::metrics::{CallbackAnswer, Metrics};
use crate::provider::wire::tells_of_a_running_task;

/// A callback has about 1 KB. Nothing of it is stored, and it is only believed when it says that there is nothing to
/// see yet.
const BODY_BYTES_MAX: u64 = 64 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// A proxy before the listener needs only a few connections.
const CONNECTIONS_MAX: usize = 512;
/// How long requests that are under way may continue when the worker stops.
const DRAIN: Duration = Duration::from_millis(500);

/// Passes a callback on.
#[async_trait]
pub trait Tell: Send + Sync {
    /// Tells the worker with the job, wherever it runs, that the task should be polled. It has no effect if no worker
    /// has the job.
    ///
    /// # Errors
    ///
    /// Why the callback could not be passed on, for the log.
    async fn tell(&self, job: &JobId) -> Result<(), String>;
}

/// The port, which is bound but not served yet.
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

impl Listener {
    /// Binds the port; 0 means any free port.
    ///
    /// # Errors
    ///
    /// The port can't be bound; the error names the setting `callback.listen`.
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

    /// The address in use, with the actual port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, and ends at most half a second later.
    ///
    /// # Errors
    ///
    /// No error is known: if accepting a connection fails, it is tried again.
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
    sources.metrics.callback(answer);
    status(answer).into_response()
}

impl Sources {
    async fn answer(&self, request: Request) -> CallbackAnswer {
        let token = request.uri().path().rsplit('/').next().unwrap_or_default();
        let job = self.callbacks.job(token).filter(|_| request.method() == Method::POST);
        let Some(job) = job else { return CallbackAnswer::NotFound };
        match tokio::time::timeout(BODY_TIME_MAX, read(request)).await {
            Ok(Ok(body)) if tells_of_a_running_task(&body) => return CallbackAnswer::Running,
            Ok(Ok(_)) => {}
            Ok(Err(answer)) => return answer,
            Err(_) => return CallbackAnswer::TimedOut,
        }
        match self.tell.tell(&job).await {
            Ok(()) => CallbackAnswer::Accepted,
            Err(why) => {
                tracing::debug!(job_id = %job, "a callback could not be passed on: {why}");
                CallbackAnswer::Unavailable
            }
        }
    }
}

/// Reads the body to its end, which also lets the client read the answer.
async fn read(request: Request) -> Result<Vec<u8>, CallbackAnswer> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX) {
        return Err(CallbackAnswer::TooLarge);
    }
    let mut chunks = Body::into_data_stream(request.into_body());
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|_| CallbackAnswer::BrokenOff)?);
        if u64::try_from(body.len()).is_ok_and(|bytes| bytes > BODY_BYTES_MAX) {
            return Err(CallbackAnswer::TooLarge);
        }
    }
    Ok(body)
}

/// 200 is the answer that the provider expects (docs/provider.md, "Callbacks").
fn status(answer: CallbackAnswer) -> StatusCode {
    match answer {
        CallbackAnswer::Accepted | CallbackAnswer::Running => StatusCode::OK,
        CallbackAnswer::NotFound => StatusCode::NOT_FOUND,
        CallbackAnswer::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        CallbackAnswer::TimedOut => StatusCode::REQUEST_TIMEOUT,
        CallbackAnswer::BrokenOff => StatusCode::BAD_REQUEST,
        CallbackAnswer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
