//! The folder of a batch: what it has to remember between two runs, beside the receipts and the results.
//!
//! | file | holds |
//! |---|---|
//! | `events.jsonl` | the end of each job, one event a line, as workers publish it |
//! | `results.csv` | which file belongs to which job ([`super::results`]) |
//! | `inputs.jsonl` | which jobs were begun, each with the digest of its input |
//! | `lock` | locked while a batch runs |

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cli::Usage;
use crate::job::event::EventView;
use crate::job::{Digest, JobId};

pub(super) const EVENTS: &str = "events.jsonl";

/// A file of lines that is only ever appended to. A line that a killed process has left half is cut off.
struct Lines {
    file: File,
}

/// A job that was begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    job_id: String,
    digest: String,
}

/// The folder, locked.
pub(super) struct Folder {
    path: PathBuf,
    events: Mutex<Lines>,
    /// The ids of the events in the file.
    written: Mutex<HashSet<String>>,
    inputs: Mutex<Lines>,
    /// The digest of each job that was begun.
    begun: Mutex<BTreeMap<String, String>>,
    /// The last end of each job.
    ends: Mutex<BTreeMap<String, EventView>>,
    _lock: File,
}

impl Folder {
    /// Opens the folder; creates it if it is missing.
    ///
    /// # Errors
    ///
    /// It can't be used, or another batch runs in it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .map_err(|error| Usage(format!("--out: can't make {}: {error}", path.display())))?;
        let path = path.canonicalize().with_context(|| format!("--out: {}", path.display()))?;
        let lock = OpenOptions::new().create(true).append(true).open(path.join("lock"));
        let lock = lock.with_context(|| format!("--out: can't write into {}", path.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let shown = path.display();
                return Err(Usage(format!(
                    "another batch runs in {shown}: wait for it, or take another --out"
                ))
                .into());
            }
            Err(error) => anyhow::bail!("can't lock {}: {error}", path.join("lock").display()),
        }
        let (events, lines) = Lines::open(&path.join(EVENTS))?;
        let (inputs, known) = Lines::open(&path.join("inputs.jsonl"))?;
        let begun = known.lines().filter_map(|line| serde_json::from_str::<Begun>(line).ok());
        let folder = Self {
            path,
            events: Mutex::new(events),
            written: Mutex::default(),
            inputs: Mutex::new(inputs),
            begun: Mutex::new(begun.map(|job| (job.job_id, job.digest)).collect()),
            ends: Mutex::default(),
            _lock: lock,
        };
        for view in lines.lines().filter_map(|line| EventView::parse(line.as_bytes()).ok()) {
            lock_of(&folder.written).insert(view.id.clone());
            folder.ended(view);
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How the job has ended.
    pub(super) fn end(&self, job: &str) -> Option<EventView> {
        lock_of(&self.ends).get(job).cloned()
    }

    fn ended(&self, view: EventView) {
        if view.kind().is_some_and(|kind| kind.is_terminal()) {
            lock_of(&self.ends).insert(view.job_id.clone(), view);
        }
    }

    /// The digest of the job's input, if it was begun.
    pub(super) fn begun(&self, job: &str) -> Option<String> {
        lock_of(&self.begun).get(job).cloned()
    }

    /// Notes the jobs before they are begun.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub(super) fn begin<'a>(
        &self,
        jobs: impl Iterator<Item = (&'a JobId, &'a Digest)>,
    ) -> anyhow::Result<()> {
        let mut begun = lock_of(&self.begun);
        let mut text = String::new();
        for (job, digest) in jobs {
            let new = Begun { job_id: job.as_str().to_owned(), digest: digest.as_str().to_owned() };
            if begun.insert(new.job_id.clone(), new.digest.clone()).is_none() {
                text.push_str(&serde_json::to_string(&new)?);
                text.push('\n');
            }
        }
        let written = lock_of(&self.inputs).append(&text);
        written.with_context(|| format!("can't write into {}", self.path.display()))
    }

    /// Writes an event that isn't there yet; returns whether it was new. It survives a loss of power.
    ///
    /// # Errors
    ///
    /// The file can't be written; nothing of the event is in it.
    pub(super) fn write(&self, id: &str, event: &str) -> std::io::Result<bool> {
        let mut written = lock_of(&self.written);
        if written.contains(id) {
            return Ok(false);
        }
        lock_of(&self.events).append(&format!("{event}\n"))?;
        if let Ok(view) = EventView::parse(event.as_bytes()) {
            self.ended(view);
        }
        Ok(written.insert(id.to_owned()))
    }
}

impl Lines {
    fn open(path: &Path) -> anyhow::Result<(Self, String)> {
        let opened = OpenOptions::new().create(true).read(true).append(true).open(path);
        let read = opened.and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            // The line that was cut off may end within a character.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.truncate(whole);
            file.set_len(u64::try_from(whole).unwrap_or(u64::MAX))?;
            Ok((Self { file }, String::from_utf8_lossy(&bytes).into_owned()))
        });
        read.with_context(|| format!("can't use {}", path.display()))
    }

    /// All of the text or nothing of it.
    fn append(&mut self, text: &str) -> std::io::Result<()> {
        let before = self.file.seek(std::io::SeekFrom::End(0))?;
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Otherwise the next line would follow half of this one.
            let _ = self.file.set_len(before);
        }
        written
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(job: &str, end: &str) -> String {
        format!(r#"{{"id": "{job}/{end}", "type": "comet.job.{end}", "data": {{"job_id": "{job}"}}}}"#)
    }

    #[test]
    fn what_was_written_is_known_again_and_a_half_line_is_cut_off() {
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::open(out.path()).unwrap();
        assert!(folder.write("a/succeeded", &event("a", "succeeded")).unwrap());
        assert!(!folder.write("a/succeeded", &event("a", "succeeded")).unwrap(), "a copy");
        let (job, digest): (JobId, _) = ("b".parse().unwrap(), Digest::new("d".to_owned()));
        folder.begin([(&job, &digest)].into_iter()).unwrap();
        drop(folder);
        let events = out.path().join(EVENTS);
        let mut torn = std::fs::read(&events).unwrap();
        // Within the two bytes of a letter.
        torn.extend(b"{\"id\": \"b\", \"for\": \"Zo\xc3");
        std::fs::write(&events, torn).unwrap();

        let folder = Folder::open(out.path()).unwrap();
        assert!(folder.end("a").is_some() && folder.end("b").is_none());
        assert_eq!((folder.begun("b").as_deref(), folder.begun("a")), (Some("d"), None));
        assert!(!folder.write("a/succeeded", "").unwrap());
        assert!(folder.write("b/failed", &event("b", "failed")).unwrap());
        drop(folder);
        let lines = std::fs::read_to_string(&events).unwrap();
        assert_eq!(lines, format!("{}\n{}\n", event("a", "succeeded"), event("b", "failed")));
    }

    #[test]
    fn two_batches_never_run_in_one_folder() {
        let out = tempfile::tempdir().unwrap();
        let first = Folder::open(out.path()).unwrap();
        let refused = Folder::open(out.path()).err().unwrap();
        assert!(refused.is::<Usage>() && refused.to_string().contains("another batch runs"), "{refused}");
        drop(first);
        assert!(Folder::open(out.path()).is_ok());
    }
}
