//! The table of replies: every body in docs/provider.md is a file in `tests/fixtures/replies`, and `table.txt` there
//! says what each one means for a POST and for a query. `UPDATE_SNAPSHOTS=1` rewrites the table; the diff then shows
//! what a change does to the replies.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::job::FileKind;
use crate::job::TaskId;
use crate::job::answers::{AccountFault, Failed, Later, Refusal, SubmitOutcome, TaskStatus};

/// A body with the status that it came with. The name is `section-what.status.kind`.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Vec<u8>,
}

impl Fixture {
    pub(crate) fn reply(&self) -> Reply<'_> {
        Reply { content_type: self.content_type, body: &self.body, ..reply(self.status, "") }
    }
}

pub(crate) fn reply(status: u16, body: &str) -> Reply<'_> {
    let content_type = Some(if body.starts_with('<') { "text/html" } else { "application/json" });
    let asked = "POST /kling/v1/images/generations";
    Reply {
        status,
        content_type,
        retry_after: None,
        date: None,
        request_id: None,
        asked,
        body: body.as_bytes(),
    }
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "replies"].iter().collect()
}

/// Sorted by name.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "table.txt" {
            continue;
        }
        let (stem, kind) = name.rsplit_once('.').unwrap();
        let status = stem.rsplit_once('.').unwrap().1.parse().unwrap();
        let content_type = match kind {
            "json" => Some("application/json"),
            "html" => Some("text/html; charset=utf-8"),
            _ => None,
        };
        found.push(Fixture { status, content_type, body: fs::read(&path).unwrap(), name });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn stop(fault: &AccountFault) -> String {
    format!("stop: {:?}", fault.kind).to_lowercase()
}

/// Whether the POST was accepted; if not, what follows.
fn of_post(answer: &SubmitOutcome) -> String {
    match answer {
        SubmitOutcome::Accepted(task) => format!("taken, {task}"),
        SubmitOutcome::Later(Later { this_job_only: true, .. }) => {
            "not taken, later: this job only".to_owned()
        }
        SubmitOutcome::Later(Later { after: None, .. }) => "not taken, later".to_owned(),
        SubmitOutcome::Later(Later { after: Some(after), .. }) => {
            format!("not taken, later, after {after:?}")
        }
        SubmitOutcome::Account(fault) => format!("not taken, {}", stop(fault)),
        SubmitOutcome::Refused(Refusal { content_policy: true, .. }) => {
            "not taken, refused: policy".to_owned()
        }
        SubmitOutcome::Refused(Refusal { no_model: true, .. }) => "not taken, refused: model".to_owned(),
        SubmitOutcome::Refused(_) => "not taken, refused".to_owned(),
        SubmitOutcome::Unknown { .. } => "perhaps taken".to_owned(),
    }
}

fn of_query(seen: &Seen) -> String {
    let units = |units: &Option<String>| units.as_ref().map(|units| format!(", {units} units"));
    let mut text = match &seen.view {
        TaskStatus::Running => "running".to_owned(),
        TaskStatus::Succeeded { files, units: paid } => {
            let listed: Vec<_> =
                files.iter().map(|image| format!("{}={}", image.index, image.url.path())).collect();
            format!("succeeded [{}]{}", listed.join(" "), units(paid).unwrap_or_default())
        }
        TaskStatus::Failed { why, message, units: paid } => {
            let policy = match why {
                Failed::Policy => " (policy)",
                Failed::Technical => " (technical)",
                Failed::Unsaid => "",
            };
            format!("failed{policy}: {message}{}", units(paid).unwrap_or_default())
        }
        TaskStatus::NotFound { .. } => "not found".to_owned(),
        TaskStatus::Unavailable { fault: None, .. } => "look again".to_owned(),
        TaskStatus::Unavailable { fault: Some(fault), .. } => format!("look again, {}", stop(fault)),
    };
    if let Some(word) = &seen.foreign_word {
        write!(text, ", foreign word {word:?}").unwrap();
    }
    if let Some(shape) = &seen.foreign_shape {
        write!(text, ", foreign shape {shape}").unwrap();
    }
    text
}

#[test]
fn every_documented_reply_is_read_as_the_table_says() {
    let mine = TaskId::new("mine").unwrap();
    let mut table = format!("{:49}{:46}to a query\n\n", "reply", "to a POST");
    for fixture in fixtures() {
        let (answer, seen) = (submit(&fixture.reply()), query(&fixture.reply(), &mine, &[FileKind::Image]));
        let line = format!("{:49}{:46}{}", fixture.name, of_post(&answer), of_query(&seen));
        writeln!(table, "{}", line.trim_end()).unwrap();
    }
    let path = folder().join("table.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<_> = table.lines().filter(|line| !committed.lines().any(|old| old == *line)).collect();
    assert!(
        table == committed,
        "these are read otherwise than tests/fixtures/replies/table.txt says (UPDATE_SNAPSHOTS=1 writes it anew):\n{}",
        changed.join("\n")
    );
}

#[test]
fn a_fault_of_the_configuration_names_the_path() {
    for name in
        ["4.1-redirect.301.html", "4.1-html.404.html", "3.4-html.200.html", "4.1-invalid-url.404.json"]
    {
        let fixture = fixtures().into_iter().find(|fixture| fixture.name == name).unwrap();
        let SubmitOutcome::Account(fault) = submit(&fixture.reply()) else { panic!("{name}") };
        assert_eq!(fault.kind, AccountFaultKind::Configuration, "{name}");
        assert!(fault.message.contains("POST /kling/v1/images/generations"), "{}", fault.message);
    }
}
