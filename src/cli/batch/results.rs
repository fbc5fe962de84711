//! `results.csv`: which file belongs to which row. Written anew at the end of every run, in the order of the jobs.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::folder::Folder;
use super::last_try;
use crate::cli::submit::input::Job;
use crate::job::event::{EventKind, EventView};

pub(super) const RESULTS: &str = "results.csv";

const COLUMNS: [&str; 8] =
    ["job_id", "operation", "prompt", "outcome", "reason", "units", "files", "message"];

/// What of a job is shown beside its end.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    operation: String,
    #[serde(default)]
    input: Value,
}

/// Writes the table. A reader never sees half of it.
///
/// # Errors
///
/// The folder can't be written.
pub(super) fn write(jobs: &[Job<'_>], folder: &Folder) -> anyhow::Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    for job in jobs {
        let (_, id) = last_try(job, folder);
        table.write_record(row(job, folder.end(id.as_str()).as_ref(), folder.path()))?;
    }
    let bytes = table.into_inner().map_err(|error| error.into_error())?;
    let (path, staging) = (folder.path().join(RESULTS), folder.path().join(format!("{RESULTS}.part")));
    std::fs::write(&staging, bytes)?;
    Ok(std::fs::rename(staging, path)?)
}

fn row(job: &Job<'_>, end: Option<&EventView>, folder: &Path) -> [String; 8] {
    let shown = serde_json::from_str::<Shown>(&job.text);
    let (operation, prompt) = shown.map_or_else(
        |_| Default::default(),
        |shown| {
            (
                shown.operation,
                shown.input.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned(),
            )
        },
    );
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let outcome = match end {
        None => "open".to_owned(),
        Some(end) => {
            end.kind().map_or_else(|| end.event_type.clone(), |kind: EventKind| kind.word().to_owned())
        }
    };
    let files = end.into_iter().flat_map(|end| end.files().map(|(_, file)| relative(&file.location, folder)));
    [
        job.id.as_str().to_owned(),
        operation,
        prompt,
        outcome,
        text(end.and_then(|end| end.reason.as_ref())),
        text(end.and_then(|end| end.units.as_ref())),
        files.collect::<Vec<_>>().join(";"),
        text(end.and_then(|end| end.message.as_ref())),
    ]
}

/// The path within the folder.
fn relative(location: &str, folder: &Path) -> String {
    let path = Url::parse(location).ok().and_then(|url| url.to_file_path().ok());
    let within = path.as_deref().and_then(|path| path.strip_prefix(folder).ok());
    within.map_or_else(|| location.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Digest;

    #[test]
    fn each_row_has_its_files_and_why_it_has_none() {
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::open(out.path()).unwrap();
        let at = |name: &str| Url::from_file_path(folder.path().join(name)).unwrap().to_string();
        let good = format!(
            r#"{{"id": "a/succeeded", "type": "comet.job.succeeded", "data": {{"job_id": "a", "units": "16",
                "images": [{{"location": "{}"}}, {{"location": "{}"}}]}}}}"#,
            at("images/a/0-ä b.png"),
            at("images/a/1-c.png")
        );
        let bad = r#"{"id": "b/failed", "type": "comet.job.failed", "data": {"job_id": "b", "reason": "rejected",
            "message": "no, \"never\""}}"#;
        folder.write("a/succeeded", &good.replace('\n', " ")).unwrap();
        folder.write("b/failed", &bad.replace('\n', " ")).unwrap();
        let job = |id: &str| Job {
            id: id.parse().unwrap(),
            named_here: false,
            digest: Digest::new("d".to_owned()),
            text: r#"{"operation": "image_generation", "input": {"prompt": "one, two"}}"#.into(),
        };
        write(&["a", "b", "c"].map(job), &folder).unwrap();
        let table = std::fs::read_to_string(out.path().join(RESULTS)).unwrap();
        assert_eq!(
            table,
            "job_id,operation,prompt,outcome,reason,units,files,message\n\
             a,image_generation,\"one, two\",succeeded,,16,images/a/0-ä b.png;images/a/1-c.png,\n\
             b,image_generation,\"one, two\",failed,rejected,,,\"no, \"\"never\"\"\"\n\
             c,image_generation,\"one, two\",open,,,,\n"
        );
    }
}
