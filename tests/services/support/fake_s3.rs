//! A small S3 server in this process, with one fault, to test what `check` and a worker report about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Create-if-absent first checks, and writes a moment later.
    LooksFirst,
    /// An absent object is reported as forbidden.
    MayNotList,
    MayNotDelete,
    /// It has no `If-None-Match`.
    NoConditionalPut,
    /// It wants a checksum, like a bucket with Object Lock.
    WantsChecksum,
    /// It accepts objects up to this many bytes.
    Room(usize),
    /// Every request gets this answer.
    Answers(u16, &'static str),
}

pub struct FakeS3 {
    pub url: String,
    held: Held,
}

#[derive(Clone)]
struct Held {
    fault: Arc<Mutex<Fault>>,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl FakeS3 {
    pub async fn start(fault: Fault) -> Self {
        let held = Held { fault: Arc::new(Mutex::new(fault)), objects: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pages = Router::new().fallback(answer).with_state(held.clone());
        tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
        Self { url, held }
    }

    pub fn has_now(&self, fault: Fault) {
        *self.held.fault.lock().unwrap() = fault;
    }

    /// The keys of its objects, each with its bucket.
    pub fn keys(&self) -> Vec<String> {
        self.held.objects.lock().unwrap().keys().cloned().collect()
    }

    /// The variables that give a worker, or a command, this store.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("COMET_WORKER__STORAGE__URL", "s3://comet"),
            ("COMET_WORKER__STORAGE__ENDPOINT", self.url.as_str()),
            ("COMET_WORKER__STORAGE__PATH_STYLE", "true"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

fn refused(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>");
    (status, body).into_response()
}

fn stored() -> Response {
    (StatusCode::OK, [("etag", "\"e\"")]).into_response()
}

async fn answer(
    State(held): State<Held>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (fault, key) = (*held.fault.lock().unwrap(), uri.path().to_owned());
    if let Fault::Answers(status, code) = fault {
        return refused(status, code);
    }
    let objects = || held.objects.lock().unwrap();
    if method == Method::PUT {
        put(fault, key, &headers, body, &held).await
    } else if method == Method::DELETE {
        if fault == Fault::MayNotDelete {
            return refused(403, "AccessDenied");
        }
        objects().remove(&key);
        StatusCode::NO_CONTENT.into_response()
    } else {
        match objects().get(&key) {
            Some(body) => {
                let headers = [("etag", "\"e\""), ("last-modified", "Thu, 26 Nov 2026 10:00:00 GMT")];
                (StatusCode::OK, headers, body.clone()).into_response()
            }
            None if fault == Fault::MayNotList => refused(403, "AccessDenied"),
            None => refused(404, "NoSuchKey"),
        }
    }
}

async fn put(fault: Fault, key: String, headers: &HeaderMap, body: Bytes, held: &Held) -> Response {
    let only_new = headers.contains_key("if-none-match");
    if fault == Fault::WantsChecksum && !headers.contains_key("x-amz-checksum-sha256") {
        return refused(400, "InvalidRequest");
    }
    if only_new && fault == Fault::NoConditionalPut {
        return refused(501, "NotImplemented");
    }
    if let Fault::Room(bytes) = fault
        && body.len() > bytes
    {
        return refused(507, "XMinioStorageFull");
    }
    let there = held.objects.lock().unwrap().contains_key(&key);
    if only_new && fault == Fault::LooksFirst && !there {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut objects = held.objects.lock().unwrap();
    let there = if fault == Fault::LooksFirst { there } else { objects.contains_key(&key) };
    if only_new && there {
        return refused(412, "PreconditionFailed");
    }
    objects.insert(key, body);
    stored()
}
