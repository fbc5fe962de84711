use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::api::{Decision, NoAnswer};
use super::*;
use crate::fleet::job::JobView;
use crate::fleet::spend::DaySpend;
use crate::fleet::{Fleet, Minute, UnfinishedJob};
use crate::job::JobId;
use crate::job::record::Snapshot;
use crate::job::stage::JobStage;
use crate::metrics::PauseReason;

#[derive(Default)]
struct Said {
    alive: Mutex<Vec<String>>,
    ready: Mutex<Vec<String>>,
}

impl Status for Said {
    fn alive(&self) -> Result<(), Vec<String>> {
        let facts = self.alive.lock().unwrap().clone();
        if facts.is_empty() { Ok(()) } else { Err(facts) }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let facts = self.ready.lock().unwrap().clone();
        if facts.is_empty() { Ok(()) } else { Err(facts) }
    }
}

const TOKEN: &str = "0123456789abcdef";

/// A fleet with the job `a`.
struct OneJob;

#[async_trait::async_trait]
impl FleetSource for OneJob {
    async fn fleet(&self) -> Result<Fleet, NoAnswer> {
        Err(NoAnswer::Unavailable("Redis:\nno answer".to_owned()))
    }

    async fn jobs(&self, stage: Option<JobStage>, limit: usize) -> Result<Vec<UnfinishedJob>, NoAnswer> {
        let since = format!("{stage:?} {limit}");
        Ok(vec![UnfinishedJob { job_id: "a".to_owned(), stage: JobStage::Generating, since }])
    }

    async fn job(&self, job: &JobId) -> Result<JobView, NoAnswer> {
        let listed = self.jobs(None, 1).await?.pop().filter(|listed| listed.job_id == job.as_str());
        let view = JobView::of(job, &Snapshot::default(), listed, &[]);
        view.ok_or_else(|| NoAnswer::NotFound("unknown".to_owned()))
    }

    async fn hour(&self) -> Result<Vec<Minute>, NoAnswer> {
        Ok(Vec::new())
    }

    async fn spend(&self, days: u32) -> Result<Vec<DaySpend>, NoAnswer> {
        let day = DaySpend {
            day: "2026-11-28".to_owned(),
            units: days.to_string(),
            estimated: "0".to_owned(),
            jobs: 1,
            unsaid: 0,
            perhaps: 0,
            money: None,
            labels: BTreeMap::new(),
        };
        Ok(vec![day])
    }

    async fn image(&self, _job: &JobId, index: usize) -> Result<Bytes, NoAnswer> {
        let page: &[u8] = b"<script>alert(1)</script>";
        Ok(Bytes::from_static(if index == 0 { b"\xff\xd8\xff\xe0" } else { page }))
    }

    async fn cancel(&self, job: &JobId) -> Result<Value, NoAnswer> {
        Ok(serde_json::json!({"job_id": job, "state": "generating"}))
    }

    async fn resolve(&self, _job: &JobId, decision: Decision) -> Result<Value, NoAnswer> {
        Err(NoAnswer::Refused(format!("{decision:?}")))
    }

    async fn dead(&self, _limit: usize) -> Result<Vec<Value>, NoAnswer> {
        Ok(Vec::new())
    }

    async fn replay(&self, key: &str, force: bool) -> Result<Value, NoAnswer> {
        Ok(serde_json::json!({"key": key, "force": force}))
    }
}

struct Running {
    address: SocketAddr,
    said: Arc<Said>,
    metrics: Metrics,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<io::Result<()>>,
}

async fn running() -> Running {
    let (said, metrics, stop) = (Arc::new(Said::default()), Metrics::new(), CancellationToken::new());
    let free = "127.0.0.1:0".parse().unwrap();
    let (fleet, token) = (Arc::new(OneJob), Secret::from(TOKEN));
    let admin = Admin::bind(free, said.clone(), metrics.clone(), fleet, token).await.unwrap();
    let address = admin.local_addr();
    let server = tokio::spawn(admin.serve(stop.clone()));
    Running { address, said, metrics, stop, server }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    let status = answer.status().as_u16();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (status, content_type, answer.text().await.unwrap())
}

#[tokio::test]
async fn the_pages_tell_what_the_process_knows() {
    let running = running().await;
    let text = "text/plain; charset=utf-8";
    assert_eq!(get(running.address, "/livez").await, (200, text.to_owned(), "alive\n".to_owned()));
    assert_eq!(get(running.address, "/readyz").await, (200, text.to_owned(), "ready\n".to_owned()));

    let facts = ["redis: no answer\nfor 5 s", "account: check api.key"].map(str::to_owned);
    *running.said.ready.lock().unwrap() = facts.to_vec();
    let (status, _, body) = get(running.address, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (503, "not ready\nredis: no answer for 5 s\naccount: check api.key\n")
    );
    assert_eq!(get(running.address, "/livez").await.0, 200);

    *running.said.alive.lock().unwrap() = vec!["consumer has stood still for 60 s".to_owned()];
    let (status, _, body) = get(running.address, "/livez").await;
    assert_eq!((status, body.as_str()), (503, "not alive\nconsumer has stood still for 60 s\n"));

    let (status, _, pages) = get(running.address, "/nothing").await;
    assert!(status == 404 && pages.contains("/readyz") && pages.contains("/api/fleet"), "{pages}");
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let running = running().await;
    running.metrics.paused(PauseReason::Redis, true);
    let (status, content_type, body) = get(running.address, "/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.contains("comet_paused{reason=\"redis\"} 1\n") && body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_the_setting() {
    let running = running().await;
    let again = Admin::bind(
        running.address,
        running.said.clone(),
        Metrics::new(),
        Arc::new(OneJob),
        Secret::from(""),
    );
    let again = again.await;
    let error = again.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("admin.listen = {} can't be bound", running.address)));
}

#[tokio::test]
async fn a_reader_that_never_ends_its_request_does_not_hold_up_the_stop() {
    let running = running().await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(get(running.address, "/livez").await.0, 200);
    let begun = Instant::now();
    running.stop.cancel();
    running.server.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Status and JSON.
async fn json(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let headers = answer.headers();
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(headers[name], value, "{name} of {status}");
    }
    (status, answer.json().await.unwrap())
}

#[tokio::test]
async fn the_interface_answers_in_json_and_says_what_is_wrong() {
    let running = running().await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{}/api/{path}", running.address);
    let (status, answer) = json(client.get(url("jobs?stage=generating&limit=20000"))).await;
    assert_eq!((status, &answer["jobs"][0]["since"]), (200, &"Some(Generating) 10000".into()));
    let (status, answer) = json(client.get(url("jobs?stage=flying"))).await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("recovering"), "{answer}");
    let (status, answer) = json(client.get(url("jobs/a"))).await;
    assert_eq!((status, &answer["stage"]), (200, &"generating".into()));
    for unknown in ["jobs/b", "jobs/a%20b", "jobs", "elsewhere", "jobs/a/fly"] {
        let (status, answer) = json(client.get(url(unknown))).await;
        assert_eq!(status, if unknown == "jobs" { 200 } else { 404 }, "{unknown}: {answer}");
    }
    let (status, answer) = json(client.get(url("fleet"))).await;
    assert_eq!((status, &answer["error"]), (503, &"Redis:\nno answer".into()));

    assert_eq!(json(client.post(url("jobs/a/cancel"))).await.0, 401, "no token");
    let post = |path: &str| client.post(url(path)).bearer_auth(TOKEN);
    assert_eq!(
        json(post("jobs/a/cancel")).await,
        (200, serde_json::json!({"job_id": "a", "state": "generating"}))
    );
    let (status, answer) = json(post("dead/0f/replay?force=true")).await;
    assert_eq!((status, answer), (200, serde_json::json!({"key": "0f", "force": true})));
    let task = serde_json::json!({"decision": "task_id", "task_id": "7"});
    let (status, answer) = json(post("jobs/a/resolve").json(&task)).await;
    assert_eq!((status, &answer["error"]), (409, &r#"TaskId { task_id: "7" }"#.into()));
    for wrong in [serde_json::json!({"decision": "fly"}), serde_json::json!({}), serde_json::json!([])] {
        let (status, answer) = json(post("jobs/a/resolve").json(&wrong)).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().contains("submit_again"), "{answer}");
    }
    let (status, answer) = json(post("jobs/a/cancel").header("origin", "http://evil.example")).await;
    assert_eq!(status, 403, "{answer}");
}

#[tokio::test]
async fn a_stored_picture_is_shown_as_what_it_is_and_nothing_else_is() {
    let running = running().await;
    let get = |index: &str| reqwest::get(format!("http://{}/api/jobs/a/images/{index}", running.address));
    let picture = get("0").await.unwrap();
    assert_eq!(
        (picture.status().as_u16(), &picture.headers()["content-type"]),
        (200, &"image/jpeg".parse().unwrap())
    );
    assert_eq!(picture.headers()["x-content-type-options"], "nosniff");
    assert_eq!(get("1").await.unwrap().status().as_u16(), 404, "a page in place of a picture");
}

#[tokio::test]
async fn streams_are_bounded_and_say_in_one_line_what_is_wrong() {
    let running = running().await;
    let client = reqwest::Client::new();
    let live = || client.get(format!("http://{}/api/live", running.address)).send();
    let mut open = Vec::new();
    for _ in 0..16 {
        let stream = live().await.unwrap();
        assert_eq!(
            (stream.status().as_u16(), &stream.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        open.push(stream);
    }
    assert_eq!(live().await.unwrap().status().as_u16(), 503);
    let first = open[0].chunk().await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&first), "event: trouble\ndata: Redis: no answer\n\n");
    drop(open);
    while live().await.unwrap().status().as_u16() == 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_page_is_of_this_program_alone() {
    let running = running().await;
    for (path, content_type, words) in [
        ("/", "text/html; charset=utf-8", "<script src=\"/page.js\" defer></script>"),
        ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", "\"use strict\""),
        ("/page.svg", "image/svg+xml", "<svg"),
    ] {
        let answer = reqwest::get(format!("http://{}{path}", running.address)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], content_type, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(words), "{path}");
        // No markup is made of texts, and nothing comes from elsewhere.
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "https://",
            " style=\"",
            " onclick=\"",
        ] {
            assert!(!text.contains(forbidden), "{path}: {forbidden}");
        }
    }
}
