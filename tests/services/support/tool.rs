//! A command of comet-worker that ends by itself.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// The command's output and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub data: String,
    pub words: String,
}

/// `tool(&environment(place, &sim.url), &["cancel", "a-0"])`.
pub async fn tool(environment: &[(String, String)], arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_comet-worker"))
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("comet-worker starts");
    Said {
        code: output.status.code(),
        data: String::from_utf8(output.stdout).unwrap(),
        words: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    /// The one JSON value that it printed, after it succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
