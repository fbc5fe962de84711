use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// What a server does with the request of one connection.
#[derive(Clone)]
enum Act {
    Reply(String),
    Hang,
    /// Reads the request and closes the connection.
    Close,
}

/// A server that takes one request on each connection and stores what it received.
struct Server {
    url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(act: Act) -> Self {
        Self::start_with(vec![act]).await
    }

    /// One act for each connection; the last act is for all further connections.
    async fn start_with(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (kept, count) = (requests.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (act, kept) = (acts[number.min(acts.len() - 1)].clone(), kept.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 16 * 1024];
                    let read = socket.read(&mut request).await.unwrap_or(0);
                    kept.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
                    match act {
                        Act::Reply(text) => {
                            let _ = socket.write_all(text.as_bytes()).await;
                        }
                        Act::Hang => std::future::pending().await,
                        Act::Close => {}
                    }
                });
            }
        });
        Self { url, requests, connections }
    }

    async fn replying(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        );
        Self::start(Act::Reply(text)).await
    }

    fn api(&self) -> CometApi {
        api(self.url.clone())
    }

    fn request(&self) -> String {
        self.requests.lock().unwrap().first().cloned().unwrap_or_default()
    }
}

fn endpoints(base_url: Url) -> Endpoints {
    Endpoints {
        certificates: Default::default(),
        base_url,
        key: "SECRET-KEY".into(),
        routes: Routes::new(Route::page(), "page"),
        submit_timeout: Duration::from_millis(500),
        query_timeout: Duration::from_millis(500),
        proxy: SecretString::default(),
    }
}

fn api(base_url: Url) -> CometApi {
    CometApi::new(endpoints(base_url)).unwrap()
}

fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn post(external_id: &str) -> Submission {
    Submission::sample(external_id, "kling-v2")
}

#[tokio::test]
async fn a_post_carries_key_type_and_body() {
    let server = Server::replying("200 OK", "", r#"{"code":0,"data":{"task_id":"7"}}"#).await;
    let answer = server.api().submit(&post("cw-1")).await;
    assert_eq!(answer, SubmitOutcome::Accepted(task("7")));
    let request = server.request();
    let body = r#"{"model_name":"kling-v2","external_task_id":"cw-1","n":1}"#;
    assert!(request.contains(&format!("content-length: {}\r\n", body.len())), "{request}");
    assert!(!request.contains("transfer-encoding"), "{request}");
    assert!(request.starts_with("POST /kling/v1/images/generations HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer SECRET-KEY\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
    assert!(!format!("{:?}", server.api()).contains("SECRET"));
}

#[tokio::test]
async fn a_get_has_the_id_as_one_encoded_segment() {
    let server = Server::replying("200 OK", "", r#"{"code":0,"data":{"task_status":"submitted"}}"#).await;
    assert_eq!(server.api().query(&Route::page(), &task("a/b?c#d%é")).await, TaskStatus::Running);
    let request = server.request();
    assert!(
        request.starts_with("GET /kling/v1/images/generations/a%2Fb%3Fc%23d%25%C3%A9 HTTP/1.1\r\n"),
        "{request}"
    );
    let base = Url::parse("https://h/base").unwrap();
    for (id, url) in [
        ("7", "https://h/base/q/7/x"),
        ("..", "https://h/base/q/%252E%252E/x"),
        (".", "https://h/base/q/%252E/x"),
    ] {
        assert_eq!(with_path(&base, "/q/{task_id}/x", Some(id)).as_str(), url);
    }
}

#[tokio::test]
async fn everything_goes_by_the_proxy_with_its_login_and_nothing_past_it() {
    let proxy = Server::replying("200 OK", "", r#"{"code":0,"data":{"task_id":"7"}}"#).await;
    let way = format!("http://user:pass@{}", proxy.url.authority());
    let base = Url::parse("http://nowhere.invalid/").unwrap();
    let api = CometApi::new(Endpoints { proxy: way.into(), ..endpoints(base) }).unwrap();
    assert_eq!(api.submit(&post("cw-1")).await, SubmitOutcome::Accepted(task("7")));
    let request = proxy.request();
    assert!(
        request.starts_with("POST http://nowhere.invalid/kling/v1/images/generations HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{request}");
    api.query(&Route::page(), &task("7")).await;
    assert_eq!(proxy.requests.lock().unwrap().len(), 2);
    assert!(!format!("{api:?}").contains("pass"));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_no_host_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::replying("200 OK", "", "{}").await;
    let api = CometApi::new(Endpoints { proxy: way.into(), ..endpoints(server.url.clone()) }).unwrap();
    let answer = api.submit(&post("cw-1")).await;
    assert!(matches!(answer, SubmitOutcome::Account(_)), "{answer:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_host_there_is_an_account_fault_and_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    for url in [url, Url::parse("http://no-such-host.invalid/").unwrap()] {
        let api = api(url.clone());
        let SubmitOutcome::Account(fault) = api.submit(&post("cw-1")).await else { panic!("{url}") };
        assert_eq!(fault.kind, AccountFaultKind::Unreachable, "{fault:?}");
        let TaskStatus::Unavailable { fault: Some(fault), .. } = api.query(&Route::page(), &task("7")).await
        else {
            panic!("{url}")
        };
        assert_eq!(fault.kind, AccountFaultKind::Unreachable);
        assert_eq!(api.probe().await.unwrap_err().kind, AccountFaultKind::Unreachable);
    }
}

#[tokio::test]
async fn a_tls_handshake_that_fails_is_an_account_fault() {
    let server = Server::replying("400 Bad Request", "", "plain").await;
    let url = Url::parse(server.url.as_str().replace("http:", "https:").as_str()).unwrap();
    let SubmitOutcome::Account(fault) = api(url).submit(&post("cw-1")).await else { panic!("not a fault") };
    assert_eq!(fault.kind, AccountFaultKind::Unreachable);
    assert!(!server.request().contains("SECRET-KEY"));
}

#[tokio::test]
async fn a_post_without_a_whole_reply_is_unknown_and_sent_once() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"code\":0,\"data\":{\"task_id\":\"7\"}}";
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(REPLY_BYTES_MAX + 1));
    for act in [Act::Hang, Act::Close, Act::Reply(cut.to_owned()), Act::Reply(large)] {
        let server = Server::start(act).await;
        let api = server.api();
        let started = Instant::now();
        let answer = api.submit(&post("cw-1")).await;
        assert!(matches!(answer, SubmitOutcome::Unknown { .. }), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
        let view = api.query(&Route::page(), &task("7")).await;
        assert!(matches!(view, TaskStatus::Unavailable { fault: None, .. }), "{view:?}");
    }
}

#[tokio::test]
async fn redirects_are_faults_and_not_followed() {
    let server = Server::replying("301 Moved Permanently", "location: /elsewhere\r\n", "").await;
    let SubmitOutcome::Account(fault) = server.api().submit(&post("cw-1")).await else { panic!("followed") };
    assert_eq!(fault.kind, AccountFaultKind::Configuration);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn headers_of_the_reply_are_read() {
    let server = Server::replying("429 Too Many Requests", "retry-after: 9\r\n", "{}").await;
    let SubmitOutcome::Later(later) = server.api().submit(&post("cw-1")).await else { panic!("not later") };
    assert_eq!(later.after, Some(Duration::from_secs(9)));
    let dates = "date: Wed, 21 Oct 2026 07:28:00 GMT\r\nretry-after: Wed, 21 Oct 2026 07:28:30 GMT\r\n";
    let server = Server::replying("429 Too Many Requests", dates, "{}").await;
    let SubmitOutcome::Later(later) = server.api().submit(&post("cw-1")).await else { panic!("not later") };
    assert_eq!(later.after, Some(Duration::from_secs(30)));
    let html = Server::replying("200 OK", "content-type: text/html\r\n", "moved").await;
    let SubmitOutcome::Account(fault) = html.api().submit(&post("cw-1")).await else { panic!("no fault") };
    assert_eq!(fault.kind, AccountFaultKind::Configuration);
}

#[tokio::test]
async fn a_status_word_that_is_unknown_is_polled_on_and_counted() {
    let server = Server::replying("200 OK", "", r#"{"code":0,"data":{"task_status":"brewing"}}"#).await;
    let metrics = Metrics::new();
    let api = server.api().counted_in(metrics.clone());
    for _ in 0..2 {
        assert_eq!(api.query(&Route::page(), &task("7")).await, TaskStatus::Running);
    }
    let text = metrics.encode();
    assert!(text.contains("comet_unknown_words_total 2\n") && !text.contains("brewing"), "{text}");
}

#[tokio::test]
async fn a_post_that_is_forbidden_twice_while_another_is_accepted_is_its_jobs_fault() {
    let reply = |status: &str, body: &str| {
        Act::Reply(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
    };
    let forbidden = reply("403 Forbidden", "<html>Attention Required!</html>");
    let accepted = reply("200 OK", r#"{"code":0,"data":{"task_id":"7"}}"#);
    let server = Server::start_with(vec![forbidden.clone(), forbidden.clone(), accepted, forbidden]).await;
    let api = server.api();
    for _ in 0..2 {
        let SubmitOutcome::Account(fault) = api.submit(&post("cw-1")).await else { panic!("no fault") };
        assert_eq!(fault.kind, AccountFaultKind::Forbidden);
        assert!(fault.message.contains("POST /kling/v1/images/generations is not allowed"));
    }
    assert_eq!(api.submit(&post("cw-2")).await, SubmitOutcome::Accepted(task("7")));
    assert!(matches!(api.submit(&post("cw-1")).await, SubmitOutcome::Refused(_)));
}

/// Gives this reply to a request that begins with these words, and otherwise a 404 in JSON.
async fn at_one_path(
    begins: &'static str,
    body: &'static str,
    elsewhere: &'static str,
) -> (CometApi, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = vec![0; 16 * 1024];
            let read = socket.read(&mut request).await.unwrap_or(0);
            let is_here = String::from_utf8_lossy(&request[..read]).starts_with(begins);
            let (status, body) = if is_here { ("200 OK", body) } else { elsewhere.split_once('|').unwrap() };
            let length = body.len();
            let reply =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = socket.write_all(reply.as_bytes()).await;
        }
    });
    (api(url), asked)
}

const RUNNING: &str = r#"{"code":0,"data":{"task_id":"7","task_status":"processing"}}"#;

#[tokio::test]
async fn a_task_is_asked_for_at_the_other_path_where_the_first_one_is_wrong_or_knows_of_nothing() {
    const OTHER: &str = "GET /kling/v1/images/multi-image2image/7 ";
    for elsewhere in [
        r#"404 Not Found|{"error":{"message":"Invalid URL","type":"invalid_request_error"}}"#,
        r#"400 Bad Request|{"code":"task_not_exist","message":"task_not_exist","data":null}"#,
        "200 OK|<!doctype html>",
        "301 Moved Permanently|",
        "404 Not Found|<html>",
    ] {
        let (api, asked) = at_one_path(OTHER, RUNNING, elsewhere).await;
        assert_eq!(api.query(&Route::page(), &task("7")).await, TaskStatus::Running, "{elsewhere}");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
    // If the first path has an answer about the task or about the account, the second is not asked.
    let (api, asked) = at_one_path("GET /kling/v1/images/generations/7 ", RUNNING, "404 Not Found|").await;
    assert_eq!(api.query(&Route::page(), &task("7")).await, TaskStatus::Running);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    for elsewhere in ["401 Unauthorized|{}", "502 Bad Gateway|<html>", "429 Too Many Requests|{}"] {
        let (api, asked) = at_one_path(OTHER, RUNNING, elsewhere).await;
        assert!(
            matches!(api.query(&Route::page(), &task("7")).await, TaskStatus::Unavailable { .. }),
            "{elsewhere}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{elsewhere}");
    }
    // Both paths are wrong: the message of the first one is kept.
    let (api, _) =
        at_one_path("GET /nowhere", RUNNING, r#"404 Not Found|{"error":{"message":"Invalid URL"}}"#).await;
    let TaskStatus::Unavailable { message, fault: Some(_), .. } = api.query(&Route::page(), &task("7")).await
    else {
        panic!("found")
    };
    assert!(message.contains("Invalid URL"), "{message}");
}

#[tokio::test]
async fn the_probe_takes_either_path() {
    let unknown = r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#;
    let gone = r#"404 Not Found|{"error":{"message":"Invalid URL"}}"#;
    for begins in ["GET /kling/v1/images/generations/", "GET /kling/v1/images/multi-image2image/"] {
        let (api, _) = at_one_path(begins, unknown, gone).await;
        assert_eq!(api.probe().await, Ok(()), "{begins}");
    }
    let (api, _) = at_one_path("GET /nowhere", unknown, gone).await;
    let fault = api.probe().await.unwrap_err();
    assert_eq!(fault.kind, AccountFaultKind::Configuration);
    assert!(fault.message.contains("images/generations"), "{}", fault.message);
}

#[tokio::test]
async fn the_probe_and_the_lookup_are_gets_of_the_query_path() {
    let body = r#"{"code":"task_not_exist","message":"task_not_exist","data":null}"#;
    let server = Server::replying("400 Bad Request", "", body).await;
    let api = server.api();
    assert_eq!(api.probe().await, Ok(()));
    assert!(server.request().starts_with("GET /kling/v1/images/generations/comet-worker-probe "));
    let lookup = api.lookup(&Route::page(), &SentUnder::from_words("cw-1").unwrap()).await;
    assert!(matches!(lookup, Lookup::NotFound { .. }), "{lookup:?}");
}

#[test]
fn endpoints_that_cannot_work_are_refused_by_name() {
    let base = Url::parse("https://api.cometapi.com").unwrap();
    let at = |url: &str| endpoints(Url::parse(url).unwrap());
    let pathless = Route { query_path: "/q".to_owned(), ..Route::page() };
    for (endpoints, name) in [
        (at("ftp://h/"), "api.base_url"),
        (at("https://user:SECRET@h/"), "api.base_url"),
        (at("https://h/?x=SECRET"), "api.base_url"),
        (Endpoints { routes: Routes::new(pathless, "page"), ..endpoints(base.clone()) }, "api.query_path"),
        (Endpoints { key: "SECRET\n".into(), ..endpoints(base.clone()) }, "api.key"),
    ] {
        let refusal = CometApi::new(endpoints).unwrap_err().to_string();
        assert!(refusal.contains(name) && !refusal.contains("SECRET"), "{refusal}");
    }
}
