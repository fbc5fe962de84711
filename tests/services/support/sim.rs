//! The stand-in for CometAPI, as a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub struct Sim {
    _child: Child,
    pub url: String,
    http: reqwest::Client,
}

/// What the stand-in reports about its requests and charges.
#[derive(Debug)]
pub struct Report(pub Value);

impl Sim {
    pub async fn start(arguments: &[&str]) -> Self {
        let program = program();
        assert!(program.exists(), "no {}: `cargo build --examples` first, or `make test`", program.display());
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("comet-sim starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("comet-sim says where it listens");
        let url = line.strip_prefix("comet-sim listening on ").expect("the address").to_owned();
        Self { _child: child, url, http: reqwest::Client::new() }
    }

    /// What it prints when it only prints and ends.
    pub async fn says(arguments: &[&str]) -> String {
        let said = Command::new(program()).args(arguments).output().await.unwrap();
        String::from_utf8(said.stdout).unwrap()
    }

    pub async fn report(&self) -> Report {
        let url = format!("{}/sim/report", self.url);
        Report(self.http.get(url).send().await.unwrap().json().await.unwrap())
    }

    /// `faults(json!({"no-money": 1.0}))` replaces all faults.
    pub async fn faults(&self, faults: Value) {
        self.put("faults", faults).await;
    }

    pub async fn put(&self, what: &str, body: Value) {
        let reply = self.http.put(format!("{}/sim/{what}", self.url)).json(&body).send().await.unwrap();
        assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
    }
}

impl Report {
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {}", self.0))
    }

    /// Task ids by external id.
    pub fn tasks(&self) -> BTreeMap<String, Vec<String>> {
        let mut tasks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for task in self.0["tasks"].as_array().unwrap() {
            let text = |field: &str| task[field].as_str().unwrap().to_owned();
            tasks.entry(text("external_task_id")).or_default().push(text("task_id"));
        }
        tasks
    }

    pub fn nothing_was_paid_for_twice(&self) {
        for (external, tasks) in self.tasks() {
            assert_eq!(tasks.len(), 1, "{external} was accepted as {tasks:?}");
        }
        assert_eq!(self.0["charged_twice"], serde_json::json!([]));
        assert_eq!(self.0["accepted_twice"], serde_json::json!([]));
        assert_eq!(self.number("leaked_keys"), 0);
    }
}

fn program() -> PathBuf {
    super::process::program("comet-sim")
}
