use std::sync::Mutex;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
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
    let admin = Admin::bind(free, said.clone(), metrics.clone()).await.unwrap();
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

    assert!(get(running.address, "/").await.2.contains("/readyz"));
    assert_eq!(get(running.address, "/nothing").await.0, 404);
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
    let again = Admin::bind(running.address, running.said.clone(), Metrics::new()).await;
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
