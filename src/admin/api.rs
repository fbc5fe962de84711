//! The interface under `/api`: what the fleet does, and what a person may do about it, in JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, interval};

use super::access::{self, Peer};
use crate::fleet::job::JobView;
use crate::fleet::spend::{DAYS_KEPT, DaySpend};
use crate::fleet::{Fleet, Minute, UnfinishedJob};
use crate::job::JobId;
use crate::job::stage::JobStage;
use crate::secret::Secret;

/// How often a stream sends the fleet's state.
const LIVE_EVERY: Duration = Duration::from_secs(2);
/// Streams at a time.
const STREAMS_MAX: usize = 16;
/// How many jobs a list has, unless asked otherwise, and at most.
const LISTED: usize = 100;
/// Days of spend that are shown unless asked for more.
const SPEND_DAYS: u32 = 7;
const LISTED_MAX: usize = 10_000;

/// Why there is no answer; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing is known of what was asked for.
    NotFound(String),
    /// Its state doesn't allow it.
    Refused(String),
    /// A service that is needed for it gave no answer.
    Unavailable(String),
}

/// What a person decides about a job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// It was accepted as this task.
    TaskId {
        task_id: String,
    },
    /// It was not accepted.
    SubmitAgain,
    GiveUp,
    /// The images of its task are fetched, stored and published.
    Fetch,
}

/// Where the answers come from. Each is bounded, and costs the workers nothing.
#[async_trait]
pub trait FleetSource: Send + Sync {
    /// The fleet, as of a moment ago.
    async fn fleet(&self) -> Result<Fleet, NoAnswer>;
    /// The unfinished jobs, the oldest at their stage first.
    async fn jobs(&self, stage: Option<JobStage>, limit: usize) -> Result<Vec<UnfinishedJob>, NoAnswer>;
    async fn job(&self, job: &JobId) -> Result<JobView, NoAnswer>;
    /// The ends of each of the last 60 minutes.
    async fn hour(&self) -> Result<Vec<Minute>, NoAnswer>;
    /// What was spent on each of the last days, the latest first.
    async fn spend(&self, days: u32) -> Result<Vec<DaySpend>, NoAnswer>;
    /// A stored image of a job.
    async fn image(&self, job: &JobId, index: usize) -> Result<Bytes, NoAnswer>;
    /// Cancels the job; what it was doing.
    async fn cancel(&self, job: &JobId) -> Result<Value, NoAnswer>;
    async fn resolve(&self, job: &JobId, decision: Decision) -> Result<Value, NoAnswer>;
    /// The dead letters, as `dead list --json` prints them.
    async fn dead(&self, limit: usize) -> Result<Vec<Value>, NoAnswer>;
    async fn replay(&self, key: &str, force: bool) -> Result<Value, NoAnswer>;
}

#[derive(Clone)]
struct Api {
    source: Arc<dyn FleetSource>,
    token: Secret,
    streams: Arc<Semaphore>,
}

pub(super) fn router(source: Arc<dyn FleetSource>, token: Secret) -> Router {
    let api = Api { source, token, streams: Arc::new(Semaphore::new(STREAMS_MAX)) };
    Router::new()
        .route("/api/fleet", get(fleet))
        .route("/api/live", get(live))
        .route("/api/jobs", get(jobs))
        .route("/api/jobs/{job}", get(job))
        .route("/api/hour", get(hour))
        .route("/api/spend", get(spend))
        .route("/api/jobs/{job}/images/{index}", get(image))
        .route("/api/jobs/{job}/cancel", post(cancel))
        .route("/api/jobs/{job}/resolve", post(resolve))
        .route("/api/dead", get(dead))
        .route("/api/dead/{key}/replay", post(replay))
        .route("/api/{*other}", get(nothing).post(nothing))
        .layer(middleware::from_fn_with_state(api.clone(), guarded))
        .with_state(api)
}

/// Refuses a request that may not be answered, and marks each answer as one that no page of another site may read,
/// keep or show.
async fn guarded(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    method: Method,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match access::check(&method, &headers, peer, &api.token) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => {
            let mut response = failed(status, &message);
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    };
    let policy = "default-src 'none'; frame-ancestors 'none'";
    let same_origin = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (same_origin, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn failed(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound(message) => failed(StatusCode::NOT_FOUND, &message),
            Self::Refused(message) => failed(StatusCode::CONFLICT, &message),
            Self::Unavailable(message) => failed(StatusCode::SERVICE_UNAVAILABLE, &message),
        }
    }
}

async fn fleet(State(api): State<Api>) -> Result<Json<Fleet>, NoAnswer> {
    api.source.fleet().await.map(Json)
}

#[derive(Deserialize)]
struct Listing {
    stage: Option<String>,
    limit: Option<usize>,
}

impl Listing {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LISTED).min(LISTED_MAX)
    }
}

async fn jobs(State(api): State<Api>, Query(listing): Query<Listing>) -> Result<Response, NoAnswer> {
    let named = listing.stage.as_deref().filter(|stage| !stage.is_empty());
    let stage = named.map(|named| JobStage::ALL.into_iter().find(|stage| stage.as_str() == named));
    if stage == Some(None) {
        let names = JobStage::ALL.map(JobStage::as_str).join(", ");
        return Ok(failed(StatusCode::BAD_REQUEST, &format!("the stages are {names}")));
    }
    let jobs = api.source.jobs(stage.flatten(), listing.limit()).await?;
    Ok(Json(json!({ "jobs": jobs })).into_response())
}

async fn job(State(api): State<Api>, Path(job): Path<String>) -> Result<Response, NoAnswer> {
    let job = named(&job)?;
    Ok(Json(api.source.job(&job).await?).into_response())
}

async fn hour(State(api): State<Api>) -> Result<Json<Value>, NoAnswer> {
    Ok(Json(json!({ "minutes": api.source.hour().await? })))
}

#[derive(Deserialize)]
struct Days {
    days: Option<u32>,
}

async fn spend(State(api): State<Api>, Query(asked): Query<Days>) -> Result<Json<Value>, NoAnswer> {
    let days = asked.days.unwrap_or(SPEND_DAYS).clamp(1, DAYS_KEPT);
    Ok(Json(json!({ "days": api.source.spend(days).await? })))
}

/// A browser may keep it: what is stored under a job and an index never changes.
async fn image(
    State(api): State<Api>,
    Path((job, index)): Path<(String, usize)>,
) -> Result<Response, NoAnswer> {
    let bytes = api.source.image(&named(&job)?, index).await?;
    let Some(content_type) = content_type(&bytes) else {
        return Err(NoAnswer::NotFound("what is stored there is no picture that a browser shows".to_owned()));
    };
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "private, max-age=86400, immutable")];
    Ok((headers, bytes).into_response())
}

/// Told by the bytes, and only of pictures: the store may hold anything by now.
fn content_type(bytes: &[u8]) -> Option<&'static str> {
    let starts = |start: &[u8]| bytes.starts_with(start);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if starts(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

async fn cancel(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<Value>, NoAnswer> {
    api.source.cancel(&named(&job)?).await.map(Json)
}

async fn resolve(
    State(api): State<Api>,
    Path(job): Path<String>,
    body: Result<Json<Decision>, JsonRejection>,
) -> Result<Response, NoAnswer> {
    let job = named(&job)?;
    let decision = match body {
        Ok(Json(decision)) => decision,
        Err(rejection) => {
            let message = format!(
                "{}; a decision is {{\"decision\": \"submit_again\"}}, \"give_up\", \"fetch\", or \"task_id\" with a \
                 task_id beside it",
                rejection.body_text()
            );
            return Ok(failed(StatusCode::BAD_REQUEST, &message));
        }
    };
    Ok(Json(api.source.resolve(&job, decision).await?).into_response())
}

async fn dead(State(api): State<Api>, Query(listing): Query<Listing>) -> Result<Json<Value>, NoAnswer> {
    let letters = api.source.dead(listing.limit()).await?;
    Ok(Json(json!({ "letters": letters })))
}

#[derive(Deserialize)]
struct Forced {
    #[serde(default)]
    force: bool,
}

async fn replay(
    State(api): State<Api>,
    Path(key): Path<String>,
    Query(forced): Query<Forced>,
) -> Result<Json<Value>, NoAnswer> {
    api.source.replay(&key, forced.force).await.map(Json)
}

async fn nothing() -> NoAnswer {
    NoAnswer::NotFound("there is no such page under /api".to_owned())
}

fn named(job: &str) -> Result<JobId, NoAnswer> {
    job.parse().map_err(|error: crate::job::InvalidJobId| NoAnswer::NotFound(error.to_string()))
}

/// The fleet's state every two seconds, as long as the client listens.
async fn live(State(api): State<Api>) -> Response {
    let Ok(permit) = Arc::clone(&api.streams).try_acquire_owned() else {
        let message = format!("{STREAMS_MAX} streams are open already");
        return failed(StatusCode::SERVICE_UNAVAILABLE, &message);
    };
    Sse::new(states(api.source, permit)).into_response()
}

fn states(
    source: Arc<dyn FleetSource>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let start: (Arc<dyn FleetSource>, OwnedSemaphorePermit, Interval) =
        (source, permit, interval(LIVE_EVERY));
    stream::unfold(start, |(source, permit, mut tick)| async move {
        tick.tick().await;
        let event = match source.fleet().await {
            Ok(fleet) => Event::default().event("fleet").json_data(&fleet).unwrap_or_default(),
            Err(NoAnswer::NotFound(why) | NoAnswer::Refused(why) | NoAnswer::Unavailable(why)) => {
                Event::default().event("trouble").data(why.replace(['\r', '\n'], " "))
            }
        };
        Some((Ok(event), (source, permit, tick)))
    })
}
