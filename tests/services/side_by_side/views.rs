//! The five views of one worker at one moment.

use std::fmt;

use serde_json::Value;

use super::{causes, leaves};
use crate::support::Worker;
use crate::support::tool::tool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Page,
    Ready,
    Metrics,
    Log,
    Status,
}

impl View {
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "the page",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Log => "the log",
            Self::Status => "status",
        }
    }
}

/// What each of them says.
pub struct Views {
    /// `GET /api/fleet`, which is what the page shows.
    fleet: Value,
    /// The status of `/readyz`.
    pub ready: u16,
    texts: [(View, String); 5],
}

/// A standstill on the page.
struct Standing<'a> {
    what: &'a str,
    detail: &'a str,
    remedy: &'a str,
}

impl Views {
    pub async fn collect(worker: &Worker, environment: &[(String, String)]) -> Self {
        let (_, fleet) = worker.admin("/api/fleet").await;
        let fleet: Value = serde_json::from_str(&fleet).unwrap();
        let (ready, ready_text) = worker.admin("/readyz").await;
        let (_, metrics) = worker.admin("/metrics").await;
        let status = tool(environment, &["status"]).await;
        let texts = [
            (View::Page, leaves(&fleet, "")),
            (View::Ready, ready_text),
            (View::Metrics, metrics),
            (View::Log, worker.log()),
            (View::Status, format!("{}\n{}", status.data, status.words)),
        ];
        Self { fleet, ready, texts }
    }

    pub fn text(&self, view: View) -> &str {
        let found = self.texts.iter().find(|(of, _)| *of == view);
        found.map(|(_, text)| text.as_str()).expect("each view has a text")
    }

    /// Of the metrics a whole line, or a name whose value is not zero; of the others a part.
    pub fn say(&self, view: View, words: &str) -> bool {
        let text = self.text(view);
        if view != View::Metrics {
            return text.contains(words);
        }
        let value = |line: &str| line.strip_prefix(words)?.trim().parse::<f64>().ok();
        text.lines().any(|line| line == words || value(line).is_some_and(|value| value > 0.0))
    }

    /// Where the views say different things: what the page calls a standstill has the same word, the same words for
    /// what is wrong and the same remedy in all of them, and what `/readyz` says is on the page.
    pub fn disagreements(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Standing { what, detail, remedy } in self.standing() {
            for (view, words) in [
                (View::Ready, format!("{what}: {detail}")),
                (View::Ready, remedy.to_owned()),
                (View::Metrics, format!("comet_standstill{{what=\"{what}\"}} 1")),
                (View::Log, format!("=\"{what}\"")),
                (View::Log, remedy.to_owned()),
                (View::Status, format!("\n  {what}  for ")),
                (View::Status, format!(": {detail}\n")),
                (View::Status, format!("→ {remedy}")),
            ] {
                if !self.say(view, &words) {
                    faults.push(format!("the page has {what}, and {} does not say {words:?}", view.name()));
                }
            }
        }
        for line in self.text(View::Ready).lines() {
            let is_cause = line.split_once(": ").is_some_and(|(what, _)| causes().any(|cause| cause == what));
            let is_shown = self
                .standing()
                .any(|Standing { what, detail, remedy }| line == format!("{what}: {detail}; {remedy}"));
            if is_cause && !is_shown {
                faults.extend(self.without_the_fleet(line));
            }
        }
        faults
    }

    /// Where Redis is gone no fleet is shown. The page then has the very line of `/readyz`, and the others the cause.
    fn without_the_fleet(&self, line: &str) -> Vec<String> {
        let (what, words) = line.split_once(": ").unwrap();
        let (_, remedy) = words.split_once("; ").unwrap();
        let mut faults = Vec::new();
        for (view, words) in [
            (View::Page, line.to_owned()),
            (View::Metrics, format!("comet_standstill{{what=\"{what}\"}} 1")),
            (View::Log, format!("=\"{what}\"")),
            (View::Log, remedy.to_owned()),
            (View::Status, format!("{what}: ")),
            (View::Status, remedy.to_owned()),
        ] {
            if !self.say(view, &words) {
                faults.push(format!("/readyz says {line:?}, and {} does not say {words:?}", view.name()));
            }
        }
        faults
    }

    /// What is called a standstill although jobs are taken and end.
    pub fn noise(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Standing { what, .. } in self.standing() {
            faults.push(format!("the page has the standstill {what}"));
        }
        for line in self.text(View::Metrics).lines() {
            let is_alarm = line.starts_with("comet_paused{") || line.starts_with("comet_standstill{");
            if is_alarm && !line.ends_with(" 0") {
                faults.push(format!("/metrics has {line:?}"));
            }
        }
        for (view, words) in [
            (View::Log, "taking no jobs"),
            (View::Log, "standstill since"),
            (View::Log, "ERROR"),
            (View::Status, "STANDS STILL"),
        ] {
            if self.say(view, words) {
                faults.push(format!("{} says {words:?}", view.name()));
            }
        }
        faults
    }

    fn standing(&self) -> impl Iterator<Item = Standing<'_>> {
        let workers = self.fleet["workers"].as_array().into_iter().flatten();
        let standing = workers.filter_map(|worker| worker["standstills"].as_array()).flatten();
        standing.map(|standing| Standing {
            what: standing["what"].as_str().unwrap(),
            detail: standing["detail"].as_str().unwrap(),
            remedy: standing["do"].as_str().unwrap(),
        })
    }
}

impl fmt::Display for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (view, text) in &self.texts {
            writeln!(f, "--- {}", view.name())?;
            let told = text.lines().filter(|line| *view != View::Metrics || is_of_use(line));
            told.into_iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}

/// A metric that counts or shows something.
fn is_of_use(line: &str) -> bool {
    !line.starts_with('#') && !line.ends_with(" 0") && !line.contains("_bucket{")
}
