//! The stand-in for CometAPI, as a process of its own.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stand::Stand;

/// `comet-sim`; killed when dropped.
pub struct Sim {
    _child: Child,
    pub url: String,
    http: reqwest::Client,
}

/// What it reports about its requests; see `tests/sim/README.md`.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub submits: u64,
    pub accepted: u64,
    pub charged_twice: Vec<String>,
    pub accepted_twice: Vec<String>,
    pub running: u64,
    pub running_max: u64,
    pub polls: u64,
    pub downloads: u64,
    pub connections_max: u64,
    #[serde(default)]
    pub tasks: Vec<Task>,
}

#[derive(Debug, Deserialize)]
pub struct Task {
    pub task_id: String,
    pub polls: u64,
    /// Once it has ended, when it did; Unix milliseconds.
    pub updated_at: i64,
}

impl Sim {
    /// Answers at once, with small pictures; `durations` as in `--durations`.
    pub async fn start(stand: &Stand, durations: &str, more: &[&str]) -> Result<Self> {
        let instant = ["--submit-latency", "0", "--poll-latency", "0", "--image-px", "64"];
        let mut child = Command::new(stand.program("examples/comet-sim")?)
            .args(["--listen", "127.0.0.1:0", "--durations", durations])
            .args(instant)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("comet-sim doesn't start")?;
        let out = child.stdout.take().context("comet-sim has no stdout")?;
        let line = BufReader::new(out).lines().next_line().await?.context("comet-sim says nothing")?;
        let url = line.strip_prefix("comet-sim listening on ").context("an odd first line")?.to_owned();
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { _child: child, url, http })
    }

    pub async fn summary(&self) -> Result<Report> {
        self.get("report?summary=1").await
    }

    pub async fn report(&self) -> Result<Report> {
        self.get("report").await
    }

    async fn get(&self, path: &str) -> Result<Report> {
        Ok(self.http.get(format!("{}/sim/{path}", self.url)).send().await?.json().await?)
    }

    /// Forgets everything.
    pub async fn reset(&self) -> Result<()> {
        self.http.post(format!("{}/sim/reset", self.url)).send().await?.error_for_status()?;
        Ok(())
    }
}

impl Report {
    /// Every job was done, and once.
    pub fn holds(&self, jobs: u64) -> Result<()> {
        ensure!(self.submits == jobs, "{} POSTs for {jobs} jobs", self.submits);
        ensure!(self.accepted == jobs, "{} tasks for {jobs} jobs", self.accepted);
        ensure!(self.charged_twice.is_empty(), "charged twice: {:?}", self.charged_twice);
        ensure!(self.accepted_twice.is_empty(), "accepted twice: {:?}", self.accepted_twice);
        ensure!(self.downloads >= jobs, "{} downloads for {jobs} jobs", self.downloads);
        Ok(())
    }
}
