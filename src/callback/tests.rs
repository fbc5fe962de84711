use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::listener::{Listener, Tell};
use crate::job::JobId;
use crate::job::callback::Callbacks;
use crate::metrics::Metrics;

fn callbacks() -> Callbacks {
    with("https://hooks.example.com/comet/", "a secret", "comet")
}

fn with(url: &str, secret: &str, fleet: &str) -> Callbacks {
    Callbacks::new(&url.parse().unwrap(), &secret.to_owned().into(), fleet)
}

fn job(id: &str) -> JobId {
    id.parse().unwrap()
}

fn token(callbacks: &Callbacks, id: &str) -> String {
    callbacks.url(&job(id)).rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_url_leads_back_to_its_job_on_every_worker_of_the_fleet() {
    let longest = "x".repeat(JobId::MAX_LENGTH);
    for id in ["a", "order-8812", "A.b_c:d-e", longest.as_str()] {
        let url = callbacks().url(&job(id));
        let token = url.strip_prefix("https://hooks.example.com/comet/").unwrap();
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{url}");
        let other_worker = with("https://elsewhere.example", "a secret", "comet");
        assert_eq!(other_worker.job(token), Some(job(id)));
        assert_eq!(callbacks().url(&job(id)), url, "the same for every attempt");
    }
    assert!(with("https://h.example", "s", "f").url(&job("a")).starts_with("https://h.example/YQ."));
}

#[test]
fn a_token_is_good_for_one_job_one_fleet_and_one_secret() {
    let good = token(&callbacks(), "a");
    let (name, mac) = good.split_once('.').unwrap();
    let other = token(&callbacks(), "b");
    let (_, other_mac) = other.split_once('.').unwrap();
    assert_eq!(callbacks().job(&format!("{name}.{other_mac}")), None, "another job's MAC");
    for stranger in [
        with("https://hooks.example.com/comet/", "another secret", "comet"),
        with("https://hooks.example.com/comet/", "a secret", "other"),
    ] {
        assert_eq!(stranger.job(&good), None);
    }
    let shorter = URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(mac).unwrap()[..8]);
    let no_name = URL_SAFE_NO_PAD.encode("no job id!");
    for wrong in [
        String::new(),
        ".".to_owned(),
        name.to_owned(),
        format!("{name}."),
        format!(".{mac}"),
        format!("{name}.{shorter}"),
        format!("{name}.{mac}A"),
        format!("{name}={mac}"),
        format!("{name}.{mac}."),
        format!("{no_name}.{mac}"),
        format!("{name}.{}", "A".repeat(100_000)),
    ] {
        assert_eq!(callbacks().job(&wrong), None, "{wrong:.80}");
    }
}

#[test]
fn every_changed_character_makes_a_token_worthless() {
    let good = token(&callbacks(), "order-8812");
    for index in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        assert_eq!(callbacks().job(&String::from_utf8(bytes).unwrap()), None, "at {index}");
    }
}

#[test]
fn tokens_are_those_of_the_version_before() {
    // URLs outlive a deploy: if this changes, the callbacks of running jobs are lost.
    assert_eq!(token(&callbacks(), "order-8812"), "b3JkZXItODgxMg.tOOrwLnHZ8a9TR9PZzeCLw");
    let all: BTreeSet<String> = (0..1000).map(|n| token(&callbacks(), &n.to_string())).collect();
    assert_eq!(all.len(), 1000);
}

#[test]
fn nothing_shows_the_key() {
    let shown = format!("{:?}", callbacks());
    assert_eq!(shown, r#"Callbacks { base: "https://hooks.example.com/comet/", .. }"#);
}

#[derive(Default)]
struct Told {
    jobs: Mutex<Vec<String>>,
    is_away: bool,
}

#[async_trait]
impl Tell for Told {
    async fn tell(&self, job: &JobId) -> Result<(), String> {
        self.jobs.lock().unwrap().push(job.to_string());
        if self.is_away { Err("no Redis".to_owned()) } else { Ok(()) }
    }
}

struct Running {
    address: SocketAddr,
    told: Arc<Told>,
    metrics: Metrics,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn running(told: Told) -> Running {
    let (told, metrics, stop) = (Arc::new(told), Metrics::new(), CancellationToken::new());
    let free = "127.0.0.1:0".parse().unwrap();
    let listener =
        Listener::bind(free, callbacks(), Arc::<Told>::clone(&told), metrics.clone()).await.unwrap();
    let address = listener.local_addr();
    let server = tokio::spawn(listener.serve(stop.clone()));
    Running { address, told, metrics, stop, server }
}

impl Running {
    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let url = format!("http://{}/{path}", self.address);
        let answer = reqwest::Client::new().post(url).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn jobs(&self) -> Vec<String> {
        self.told.jobs.lock().unwrap().clone()
    }

    fn counts(&self, answer: &str, times: u32) -> bool {
        let line = format!("comet_callbacks_total{{answer=\"{answer}\"}} {times}");
        self.metrics.encode().lines().any(|measured| measured == line)
    }
}

#[tokio::test]
async fn a_hit_tells_about_its_job_whatever_it_brings_and_wherever_the_proxy_puts_it() {
    let running = running(Told::default()).await;
    let token = token(&callbacks(), "a");
    let other = r#"{"task_id":"1","task_info":{"external_task_id":"other"}}"#;
    for (path, body) in [
        (token.clone(), "{}"),
        (format!("comet/{token}"), other),
        (format!("{token}?x=1"), "not json \u{0}"),
        (format!("a/b/{token}"), ""),
    ] {
        assert_eq!(running.post(&path, body).await, (200, String::new()), "{path}");
    }
    assert_eq!(running.jobs(), ["a"; 4]);
    assert!(running.counts("accepted", 4), "{}", running.metrics.encode());
}

#[tokio::test]
async fn one_that_says_that_there_is_nothing_to_see_yet_tells_no_worker() {
    let running = running(Told::default()).await;
    let token = token(&callbacks(), "a");
    for body in [
        r#"{"task_id":"1","task_status":"submitted","task_result":{"images":[]}}"#,
        r#"{"task_id":"1","task_status":"PROCESSING"}"#,
        r#"{"code":0,"message":"SUCCEED","data":{"task_id":"1","task_status":"processing"}}"#,
        r#"{"id":"1","status":"queued"}"#,
    ] {
        assert_eq!(running.post(&token, body).await, (200, String::new()), "{body}");
        assert_eq!(running.jobs(), [""; 0], "{body}");
    }
    assert!(running.counts("running", 4), "{}", running.metrics.encode());
    for body in [
        r#"{"task_id":"1","task_status":"succeed","task_result":{"images":[]}}"#,
        r#"{"task_id":"1","task_status":"failed"}"#,
        r#"{"task_id":"1","task_status":"resting"}"#,
        r#"{"task_id":"1","task_status":""}"#,
        r#"{"code":"success","data":{"status":"SUCCESS","data":{"task_status":"processing"}}}"#,
        r#"["processing"]"#,
        r#""processing""#,
        "processing",
    ] {
        let before = running.jobs().len();
        assert_eq!(running.post(&token, body).await, (200, String::new()), "{body}");
        assert_eq!(running.jobs().len(), before + 1, "{body}");
    }
}

#[tokio::test]
async fn whatever_is_no_post_to_a_right_token_is_not_found_and_tells_no_worker() {
    let running = running(Told::default()).await;
    let right = token(&callbacks(), "a");
    let stranger = token(&with("https://x.example", "guess", "comet"), "a");
    for path in ["", "livez", "metrics", "a", &stranger, &format!("{right}x"), &format!("{right}/")] {
        assert_eq!(running.post(path, "{}").await, (404, String::new()), "{path}");
    }
    let got = reqwest::get(format!("http://{}/{right}", running.address)).await.unwrap();
    assert_eq!(got.status(), 404);
    assert_eq!(running.jobs(), [""; 0]);
    assert!(running.counts("not_found", 8), "{}", running.metrics.encode());
}

#[tokio::test]
async fn a_body_is_bounded_whether_it_announces_its_length_or_not() {
    let running = running(Told::default()).await;
    let token = token(&callbacks(), "a");
    assert_eq!(running.post(&token, vec![b'x'; 64 * 1024]).await.0, 200);
    assert_eq!(running.post(&token, vec![b'x'; 64 * 1024 + 1]).await.0, 413);

    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("POST /{token} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(running.jobs(), ["a"]);
    assert!(running.counts("too_large", 2), "{}", running.metrics.encode());
}

#[tokio::test]
async fn a_hit_that_could_not_be_passed_on_is_to_come_again() {
    let running = running(Told { is_away: true, ..Told::default() }).await;
    assert_eq!(running.post(&token(&callbacks(), "a"), "{}").await.0, 503);
    assert!(running.counts("unavailable", 1), "{}", running.metrics.encode());
}

#[tokio::test]
async fn a_stop_ends_the_listener_also_under_a_client_that_never_ends() {
    let running = running(Told::default()).await;
    let token = token(&callbacks(), "a");
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    let head = format!("POST /{token} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx");
    slow.write_all(head.as_bytes()).await.unwrap();
    // This answer shows that the slow connection was accepted too.
    assert_eq!(running.post("x", "").await.0, 404);
    running.stop.cancel();
    running.server.await.unwrap().unwrap();
    assert_eq!(*running.told.jobs.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_address_that_is_taken_names_the_setting() {
    let running = running(Told::default()).await;
    let taken = Listener::bind(running.address, callbacks(), Arc::<Told>::default(), Metrics::new()).await;
    let error = taken.err().unwrap().to_string();
    assert!(error.contains("callback.listen") && error.contains("can't be bound"), "{error}");
}
