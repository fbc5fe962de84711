//! The admin port. It shows whether the process is alive, whether it takes jobs, and its metrics; and under `/api` what
//! the whole fleet does.
//!
//! The former are for orchestrators and Prometheus: read only, without a login. Who may ask the latter is in
//! `access.rs`. The port is on loopback unless configured otherwise.

mod access;
pub mod api;
mod page;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::api::FleetSource;
use crate::bounded_listener::BoundedListener;
use crate::metrics::{self, Metrics};
use crate::secret::Secret;

const PAGES: &str = "comet-worker\n\n\
    /         a page that shows what the fleet does\n\
    /livez    200 while the process does its work; 503: restart it\n\
    /readyz   200 while it takes jobs; 503: what is in the way\n\
    /metrics  OpenMetrics, for Prometheus\n\
    /api/fleet, /api/live, /api/jobs, /api/jobs/JOB, /api/dead: what the fleet does, in JSON\n";

/// Enough for an orchestrator, Prometheus and a few people.
const CONNECTIONS_MAX: usize = 64;
/// At a stop, requests under way get this much time to end; an idle or slow reader delays nothing.
const DRAIN: Duration = Duration::from_millis(500);

/// What the process knows about itself. It is called on every request, so it must answer from memory.
pub trait Status: Send + Sync {
    /// Whether the process's loops still turn. A process that isn't alive must be restarted; a lost connection to a
    /// service is no reason for that.
    ///
    /// # Errors
    ///
    /// The standstills, one sentence each.
    fn alive(&self) -> Result<(), Vec<String>>;

    /// Whether the process takes jobs now.
    ///
    /// # Errors
    ///
    /// What prevents it, one sentence each. No secrets: every client that reaches the port can read it.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// What the process can't guarantee although it takes jobs, one sentence each.
    fn weaknesses(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The port, bound but not yet served.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    pages: Router,
}

#[derive(Clone)]
struct Sources {
    status: Arc<dyn Status>,
    metrics: Metrics,
}

impl Admin {
    /// Binds the port, 0 for any. From then on connections are accepted, and wait for [`Self::serve`]. `token` is
    /// `admin.token`.
    ///
    /// # Errors
    ///
    /// The port can't be bound; the error names the setting `admin.listen`.
    pub async fn bind(
        listen: SocketAddr,
        status: Arc<dyn Status>,
        metrics: Metrics,
        fleet: Arc<dyn FleetSource>,
        token: Secret,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            let advice = "set another address, or \"\" for none";
            io::Error::new(error.kind(), format!("admin.listen = {listen} can't be bound: {error}; {advice}"))
        };
        let listener = TcpListener::bind(listen).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let pages = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(show_metrics))
            .fallback(|| async { plain(StatusCode::NOT_FOUND, PAGES.to_owned()) })
            .with_state(Sources { status, metrics })
            .merge(api::router(fleet, token))
            .merge(page::router());
        Ok(Self { listener, address, pages })
    }

    /// The address in use, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop`, and ends within half a second of it.
    ///
    /// # Errors
    ///
    /// None is known: axum retries what fails on accepting a connection.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let stopped = stop.clone().cancelled_owned();
        let pages = self.pages.into_make_service_with_connect_info::<access::Peer>();
        let serving = axum::serve(BoundedListener::new(self.listener, CONNECTIONS_MAX), pages)
            .with_graceful_shutdown(stopped);
        tokio::select! {
            served = serving.into_future() => served,
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

async fn livez(State(sources): State<Sources>) -> Response {
    facts("alive", "not alive", sources.status.alive(), &[])
}

async fn readyz(State(sources): State<Sources>) -> Response {
    facts("ready", "not ready", sources.status.ready(), &sources.status.weaknesses())
}

async fn show_metrics(State(sources): State<Sources>) -> Response {
    let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    (headers, sources.metrics.encode()).into_response()
}

fn facts(good: &str, bad: &str, state: Result<(), Vec<String>>, warnings: &[String]) -> Response {
    let line = |fact: &String| fact.lines().collect::<Vec<_>>().join(" ") + "\n";
    let warnings: String = warnings.iter().map(|warning| format!("warning: {}", line(warning))).collect();
    match state {
        Ok(()) => plain(StatusCode::OK, format!("{good}\n{warnings}")),
        Err(facts) => {
            let facts: String = facts.iter().map(line).collect();
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("{bad}\n{facts}{warnings}"))
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}
