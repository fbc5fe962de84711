//! The real paths. Each request goes to the model, and the model's answer goes out in the provider's form.
//!
//! The model is locked for each decision and never during a wait. A task is made when its POST has been read, and the
//! latency comes after that, so a client that goes away meanwhile has been charged anyway.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{
        ConnectInfo, DefaultBodyLimit, FromRequest, Path, Query, Request, State, rejection::BytesRejection,
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    callback, dress,
    duration::millis,
    faults::Fault,
    files::{self, File},
    media,
    model::{Answer, Drip, Model, Reply, Submission, read::Withheld},
    picture::{Format, Pictures},
    refusal::{Body, Refusal},
    rules::{Family, OTHERS, Rules, hex},
    shape, steering,
    wire::{Connections, Scissors},
};

/// Four 10 MiB images and two more, in base64, with room to spare.
const BODY_BYTES_MAX: usize = 96 * 1024 * 1024;

/// All that a request needs.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) model: Mutex<Model>,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) pictures: Pictures,
    /// About how many bytes a video has.
    pub(crate) video_bytes: usize,
    pub(crate) pace: Pace,
    /// What result URLs begin with, without a slash at the end.
    pub(crate) public_base: String,
    pub(crate) connections: Arc<Connections>,
    /// For callbacks.
    pub(crate) http: reqwest::Client,
}

/// How long the answers take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) submit: Duration,
    pub(crate) poll: Duration,
    pub(crate) slow: Duration,
}

impl Pace {
    /// Between two bytes of a reply: most have fewer than the parts that this takes the time for.
    fn apart(self, drip: Drip) -> Duration {
        match drip {
            Drip::Through => self.slow / 512,
            Drip::On => self.slow / 8,
        }
    }
}

/// Milliseconds since 1970 that never go back.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { started: Instant::now(), started_ms: millis(since_1970.unwrap_or_default()) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started_ms + millis(self.started.elapsed())
    }
}

impl Sim {
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn router(sim: Arc<Sim>) -> Router {
    let images = "/kling/v1/images";
    let mut router = Router::new()
        .route(&format!("{images}/generations"), submits(Family::Images))
        .route(&format!("{images}/multi-image2image"), submits(Family::Images))
        .route(&format!("{images}/omni-image"), submits(Family::Omni))
        .route(&format!("{images}/kolors-virtual-try-on"), submits(Family::TryOn))
        .route(&format!("{images}/generations/{{id}}"), get(query_at_page))
        .route(&format!("{images}/multi-image2image/{{id}}"), queries(Family::Images))
        .route(&format!("{images}/omni-image/{{id}}"), queries(Family::Omni))
        .route(&format!("{images}/kolors-virtual-try-on/{{id}}"), queries(Family::TryOn));
    for (place, other) in OTHERS.iter().enumerate() {
        let family = Family::Other(place);
        router = router
            .route(other.path, submits(family))
            .route(&format!("{}/{{id}}", other.path), queries(family));
    }
    router
        .route("/cdn/{task}/{file}", get(download))
        .merge(steering::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(sim)
}

fn submits(family: Family) -> MethodRouter<Arc<Sim>> {
    post(move |sim: State<Arc<Sim>>, scissors: ConnectInfo<Scissors>, request: Request| {
        submit(family, sim, scissors, request)
    })
}

fn queries(family: Family) -> MethodRouter<Arc<Sim>> {
    get(move |sim: State<Arc<Sim>>, scissors: ConnectInfo<Scissors>, id: Path<String>, headers: HeaderMap| {
        query(family, sim, scissors, id, headers)
    })
}

async fn submit(
    family: Family,
    State(sim): State<Arc<Sim>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
) -> Response {
    if sim.model().hangs_up(sim.clock.now_ms()) {
        scissors.cut();
        return StatusCode::OK.into_response();
    }
    let headers = request.headers().clone();
    let body = Bytes::from_request(request, &()).await;
    let submission = read_submission(&sim.rules, family, &headers, body);
    let mut answer = sim.model().submit(&submission, sim.clock.now_ms());
    if let Answer::Later { life } = answer {
        answer = submit_late(&sim, submission, life).await;
    }
    callback::begin(&sim, &answer).await;
    tokio::time::sleep(sim.pace.submit).await;
    match answer {
        Answer::Made(task, Reply::Sent) => json(shape::submitted(&task, &request_id())),
        Answer::Made(task, Reply::Dressed(fault)) => {
            let reply = shape::submitted(&task, &request_id());
            json(dress::dress(dress::SUBMITS, Some(fault), reply, &task))
        }
        Answer::Made(task, Reply::Slow) => {
            tokio::time::sleep(sim.pace.slow).await;
            json(shape::submitted(&task, &request_id()))
        }
        Answer::Made(task, Reply::Dripped(drip)) => {
            scissors.drip(sim.pace.apart(drip));
            json(shape::submitted(&task, &request_id()))
        }
        Answer::Made(_, Reply::Never) => std::future::pending().await,
        Answer::Made(_, Reply::Lost) => {
            scissors.cut();
            StatusCode::OK.into_response()
        }
        Answer::Made(_, Reply::Replaced(refusal)) | Answer::Refused(refusal) => refuse(&refusal),
        // The model puts a POST off once and no further.
        Answer::Later { .. } => refuse(&Refusal::ServerError),
    }
}

fn read_submission(
    rules: &Rules,
    family: Family,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Submission {
    let (request, body_sha256) = match body {
        Ok(body) => (rules.read(family, &body), hex(&Sha256::digest(&body))),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            (Err(Refusal::TooLarge), String::new())
        }
        Err(_) => (Err(Refusal::BrokenOff), String::new()),
    };
    Submission { key: bearer(headers).to_owned(), body_sha256: body_sha256.into(), request }
}

/// In a task of its own, so that a client that goes away doesn't stop it.
async fn submit_late(sim: &Arc<Sim>, submission: Submission, life: u64) -> Answer {
    let sim = Arc::clone(sim);
    let late = tokio::spawn(async move {
        tokio::time::sleep(sim.pace.slow).await;
        sim.model().submit_late(&submission, life, sim.clock.now_ms())
    });
    late.await.unwrap_or(Answer::Refused(Refusal::ServerError))
}

/// On the path of the page that the project started from.
async fn query_at_page(
    State(sim): State<Arc<Sim>>,
    scissors: ConnectInfo<Scissors>,
    id: Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if sim.model().path_is_gone(sim.clock.now_ms()) {
        return no_such_path(method, uri).await;
    }
    query(Family::Images, State(sim), scissors, id, headers).await
}

async fn query(
    family: Family,
    State(sim): State<Arc<Sim>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    tokio::time::sleep(sim.pace.poll).await;
    let polled = sim.model().poll_at(family, bearer(&headers), &id, sim.clock.now_ms());
    match polled {
        Ok(task) => {
            if sim.model().poll_drips() {
                scissors.drip(sim.pace.apart(Drip::Through));
            }
            let reply = shape::queried(&task, &request_id(), &sim.public_base);
            json(dress::dress(dress::LOOKS, task.look, reply, &task))
        }
        Err(refusal) => refuse(&refusal),
    }
}

#[derive(Debug, Deserialize)]
struct LinkQuery {
    #[serde(default)]
    pkey: String,
    /// Redirects that led here.
    #[serde(default)]
    hops: u8,
}

async fn download(
    State(sim): State<Arc<Sim>>,
    Path((task, file)): Path<(String, String)>,
    Query(link): Query<LinkQuery>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        sim.model().counts.leaked_keys += 1;
        return (StatusCode::BAD_REQUEST, "a key was sent to the file server").into_response();
    }
    let index = file.split_once('.').and_then(|(index, _)| index.parse().ok());
    let (Ok(task_id), Some(index)) = (task.parse(), index) else {
        return withheld(Withheld::NotFound);
    };
    let key = u64::from_str_radix(&link.pkey, 16).unwrap_or_default();
    let picture = sim.model().download(task_id, index, key, sim.clock.now_ms());
    let picture = match picture {
        Ok(picture) => picture,
        Err(why) => return withheld(why),
    };
    if picture.oddity == Some(Fault::FileHangsUp) {
        scissors.cut();
        return StatusCode::OK.into_response();
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.unwrap_or_default().to_owned();
    let made = match picture.format {
        Format::Png | Format::Jpeg => sim.pictures.draw(task_id, index, picture.aspect_ratio, picture.format),
        Format::Mp4 | Format::Mp3 | Format::Wav => {
            media::make(task_id, picture.format, picture.aspect_ratio, sim.video_bytes)
        }
    };
    match made {
        Ok(bytes) => {
            let content_type = picture.format.content_type();
            let (url, hops, slow) = (uri.to_string(), link.hops, sim.pace.slow);
            let file = File { bytes, content_type, url, hops, slow, agent };
            files::serve(picture.oddity, file)
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

fn withheld(why: Withheld) -> Response {
    let (status, code, words) = match why {
        Withheld::NotFound => (StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist."),
        Withheld::Expired => (StatusCode::FORBIDDEN, "AccessDenied", "Request has expired"),
        Withheld::Error => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "We encountered an internal error.")
        }
    };
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{words}</Message></Error>"
    );
    (status, [(header::CONTENT_TYPE, "application/xml")], xml).into_response()
}

async fn no_such_path(method: Method, uri: Uri) -> Response {
    refuse(&Refusal::NoSuchPath(format!("{method} {}", uri.path())))
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match refusal.body(&request_id()) {
        Body::Json(text) => {
            (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
        }
        Body::Html(text) => (status, [(header::CONTENT_TYPE, "text/html")], text).into_response(),
    };
    if let Some((name, value)) = refusal.header() {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json(value: Value) -> Response {
    let text = value.to_string();
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests;
