//! The paths as a client sees them, over real connections.

use axum::http::header::AUTHORIZATION;
use clap::Parser;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::{options::Options, wire::Wires};

const GENERATIONS: &str = "/kling/v1/images/generations";

/// A stand-in that ends with the test, and a client for it.
struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    async fn of(options: &[&str]) -> Self {
        let fixed = ["comet-sim", "--durations", "fixed:0s", "--submit-latency", "0", "--poll-latency", "0"];
        let options = Options::try_parse_from(fixed.iter().chain(options)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Connections::default());
        let sim = crate::sim(&options, address, Arc::clone(&connections));
        let service = router(Arc::new(sim)).into_make_service_with_connect_info::<Scissors>();
        tokio::spawn(async move { axum::serve(Wires { listener, connections }, service).await });
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: format!("http://{address}"),
        }
    }

    async fn submit(&self, external_task_id: &str) -> reqwest::Result<reqwest::Response> {
        let image = json!({"subject_image": "https://example.com/a.png"});
        let body = json!({"subject_image_list": [image, image], "external_task_id": external_task_id});
        let request = self.http.post(format!("{}{GENERATIONS}", self.base));
        request.bearer_auth("sk-sim").body(body.to_string()).send().await
    }

    async fn get(&self, url: &str, key: Option<&str>) -> (u16, Bytes) {
        let mut request = self.http.get(url);
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap())
    }

    async fn poll(&self, id: &str) -> Value {
        let (_, body) = self.get(&format!("{}{GENERATIONS}/{id}", self.base), Some("sk-sim")).await;
        serde_json::from_slice(&body).unwrap()
    }

    async fn steer(&self, path: &str, body: &str) -> u16 {
        let request = self.http.put(format!("{}/sim/{path}", self.base));
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    }

    async fn report(&self) -> Value {
        let (_, body) = self.get(&format!("{}/sim/report", self.base), None).await;
        serde_json::from_slice(&body).unwrap()
    }
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_goes_from_its_post_to_its_picture() {
    let client = Client::of(&[]).await;
    let accepted = json_of(client.submit("a").await.unwrap()).await;
    let id = accepted["data"]["task_id"].as_str().unwrap();
    let task = client.poll(id).await;
    let url = task["data"]["task_result"]["images"][0]["url"].as_str().unwrap();
    let (status, picture) = client.get(url, None).await;
    assert_eq!(status, 200);
    assert_eq!(infer::get(&picture).unwrap().mime_type(), "image/png");
    let report = client.report().await;
    assert_eq!((&report["charged_total"], &report["tasks"][0]["polls"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_key_that_is_sent_to_the_file_server_is_refused_and_counted() {
    let client = Client::of(&[]).await;
    let accepted = json_of(client.submit("a").await.unwrap()).await;
    let task = client.poll(accepted["data"]["task_id"].as_str().unwrap()).await;
    let url = task["data"]["task_result"]["images"][0]["url"].as_str().unwrap();
    assert_eq!(client.get(url, Some("sk-sim")).await.0, 400);
    assert_eq!(client.report().await["leaked_keys"], 1);
}

#[tokio::test]
async fn a_lost_reply_closes_the_connection_and_leaves_a_charge() {
    let client = Client::of(&["--fault", "reply-lost=1x"]).await;
    client.submit("a").await.unwrap_err();
    assert_eq!(client.submit("b").await.unwrap().status(), 200);
    assert_eq!(client.report().await["charged_total"], 2);
}

#[tokio::test]
async fn who_is_hung_up_on_before_the_body_was_read_has_no_task() {
    let client = Client::of(&["--fault", "hangs-up=1x"]).await;
    client.submit("a").await.unwrap_err();
    let report = client.report().await;
    assert_eq!((&report["submits"], &report["accepted"]), (&json!(1), &json!(0)));
    assert_eq!(client.submit("a").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_reply_that_drips_arrives_whole_and_the_next_one_at_once() {
    let client = Client::of(&["--slow-for", "50ms", "--scenario", "reply-drips=1x,poll-drips=1x"]).await;
    let accepted = json_of(client.submit("a").await.unwrap()).await;
    let task = client.poll(accepted["data"]["task_id"].as_str().unwrap()).await;
    assert_eq!(task["data"]["task_status"], "succeed");
    assert_eq!(client.report().await["faults"], json!({"reply-drips": 1, "poll-drips": 1}));
}

#[tokio::test]
async fn a_reply_that_drips_on_is_never_whole_and_leaves_a_charge() {
    let client = Client::of(&["--slow-for", "1h", "--fault", "drips-on-after=1x"]).await;
    tokio::select! {
        replied = client.submit("a") => panic!("{replied:?}"),
        () = until_charged(&client) => {}
    }
    assert_eq!(client.submit("b").await.unwrap().status(), 200);
}

async fn until_charged(client: &Client) {
    while client.report().await["charged_total"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_query_path_that_is_gone_leaves_the_other() {
    let client = Client::of(&["--fault", "query-path-gone"]).await;
    let accepted = json_of(client.submit("a").await.unwrap()).await;
    let id = accepted["data"]["task_id"].as_str().unwrap();
    assert_eq!(client.poll(id).await["error"]["type"], "invalid_request_error");
    let other = format!("{}/kling/v1/images/multi-image2image/{id}", client.base);
    assert_eq!(client.get(&other, Some("sk-sim")).await.0, 200);
}

#[tokio::test]
async fn the_report_says_what_has_struck_whom() {
    let client = Client::of(&["--fault", "busy=1x", "--fault", "failed=1x"]).await;
    client.submit("a").await.unwrap();
    client.submit("a").await.unwrap();
    client.submit("b").await.unwrap();
    assert_eq!(client.report().await["struck"], json!({"a": ["busy", "failed"]}));
}

#[tokio::test]
async fn what_is_no_path_of_the_provider_is_a_404_in_json() {
    let client = Client::of(&[]).await;
    for path in ["/", "/kling/v1/images", "/kling/v1/images/generations", "/v1/images/generations/1"] {
        let (status, body) = client.get(&format!("{}{path}", client.base), Some("sk-sim")).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["type"]), (404, &json!("invalid_request_error")), "{path}");
    }
}

#[tokio::test]
async fn faults_balance_and_durations_are_steered_while_it_runs() {
    let client = Client::of(&[]).await;
    assert_eq!(client.steer("faults", r#"{"busy": "1x"}"#).await, 200);
    assert_eq!(client.submit("a").await.unwrap().status(), 429);
    assert_eq!(client.steer("durations", r#"{"distribution": "fixed:1h"}"#).await, 200);
    let accepted = json_of(client.submit("a").await.unwrap()).await;
    let task = client.poll(accepted["data"]["task_id"].as_str().unwrap()).await;
    assert_eq!(task["data"]["task_status"], "submitted");
    assert_eq!(client.steer("balance", r#"{"balance": 0}"#).await, 200);
    assert_eq!(client.submit("b").await.unwrap().status(), 403);
    for (path, body) in [
        ("faults", r#"{"no-such": 1}"#),
        ("faults", r#"{"busy": 2}"#),
        ("balance", "{}"),
        ("durations", r#"{"distribution": "2s"}"#),
    ] {
        assert_eq!(client.steer(path, body).await, 400, "{path} {body}");
    }
}
