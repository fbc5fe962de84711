//! Turns a text into jobs that a worker accepts, or into all their faults.
//!
//! A text is any sequence of JSON values: one object, an array of objects, one job per line, or one value after
//! another. Jobs stay slices of that text, and are sent as they were written, except for the names of files
//! ([`files`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use serde_json::value::RawValue;

use super::files::{self, Inlined, Whole};

use crate::job::request::{self, Properties, Rules};
use crate::job::{Digest, Fault, JobId};

/// One valid job.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Job<'a> {
    pub(in crate::cli) id: JobId,
    /// Whether this command made the id up, so that a second submit would be a second job.
    pub(in crate::cli) named_here: bool,
    pub(in crate::cli) digest: Digest,
    /// The text as it was written, with the files read in.
    pub(in crate::cli) text: Cow<'a, str>,
}

/// The rules for jobs.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Limits<'a> {
    pub(in crate::cli) rules: &'a Rules,
    /// The folder for the files that a job names.
    pub(in crate::cli) folder: &'a Path,
    /// `amqp.max_message_bytes`
    pub(in crate::cli) message_bytes_max: usize,
    /// The limit for all jobs together, with the files read in, because they are held in memory.
    pub(in crate::cli) bytes_max: usize,
}

/// The result of reading a text.
#[derive(Debug, Default)]
pub(in crate::cli) struct Checked<'a> {
    pub(in crate::cli) jobs: Vec<Job<'a>>,
    /// One line each, in the order of the jobs. If there is any, no job may be submitted.
    pub(in crate::cli) faults: Vec<String>,
    /// What isn't wrong but may surprise, one line each.
    pub(in crate::cli) notes: Vec<String>,
}

/// A value, and its place in the text.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    /// From 1.
    number: usize,
    /// From 1.
    line: usize,
    text: &'a str,
}

impl Item<'_> {
    /// For people; `id` follows it.
    fn place(&self, id: &str) -> String {
        format!("job {} (line {}{id})", self.number, self.line)
    }
}

/// Reads all jobs; `fresh_id` makes an id for each job without one, from its text.
pub(in crate::cli) fn check<'a>(
    text: &'a str,
    limits: Limits<'_>,
    mut fresh_id: impl FnMut(&str) -> String,
) -> Checked<'a> {
    let mut checked = Checked::default();
    // Sorted by the job's number, because invalid JSON is found before the first job is checked.
    let mut faults: Vec<(usize, String)> = Vec::new();
    let mut known: HashMap<JobId, (Digest, usize)> = HashMap::new();
    let mut bytes = 0_usize;
    for item in items(text, &mut faults) {
        let (job, digest) = match wholesome(item, limits, fresh_id(item.text)) {
            Ok(found) => found,
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| (item.number, fault)));
                continue;
            }
        };
        let place = item.place(&format!(", {}", job.id));
        match known.entry(job.id.clone()) {
            Entry::Vacant(entry) => {
                bytes = bytes.saturating_add(job.text.len());
                if bytes > limits.bytes_max {
                    let max = limits.bytes_max;
                    faults.push((
                        item.number,
                        format!("{place}: up to here over {max} bytes, files read in: submit the jobs in parts"),
                    ));
                    break;
                }
                entry.insert((digest, item.number));
                checked.jobs.push(job);
            }
            Entry::Occupied(entry) => match entry.get() {
                (first_digest, first) if *first_digest == digest => {
                    checked.notes.push(format!("{place}: the same as job {first}, and sent once"));
                }
                (_, first) => faults.push((
                    item.number,
                    format!("{place}: the job_id of job {first} with another input; every job needs an id of its own"),
                )),
            },
        }
    }
    faults.sort_by_key(|(number, _)| *number);
    checked.faults = faults.into_iter().map(|(_, fault)| fault).collect();
    checked
}

/// # Errors
///
/// Everything that is wrong with the job, one line each.
fn wholesome<'a>(
    item: Item<'a>,
    limits: Limits<'_>,
    fresh_id: String,
) -> Result<(Job<'a>, Digest), Vec<String>> {
    let whole = files::read_in(item.text, limits.folder, limits.rules);
    if whole.text.len() > limits.message_bytes_max {
        return Err(vec![format!("{}: {}", item.place(""), too_long(&whole, limits.message_bytes_max))]);
    }
    let properties = Properties { message_id: Some(fresh_id.clone()), ..Properties::default() };
    let request = request::parse(whole.text.as_bytes(), &properties, limits.rules)
        .map_err(|dead| vec![format!("{}: {}", item.place(""), dead.detail)])?;
    let id = request.job.id;
    let named_here = id.as_str() == fresh_id;
    let place = if named_here { item.place("") } else { item.place(&format!(", {id}")) };
    let line = |fault: &Fault| match (fault.path.as_str(), whole.files.get(&fault.path)) {
        ("", _) => format!("{place}: {}", fault.message),
        (path, None) => format!("{place}: {path}: {}", fault.message),
        (path, Some(Ok(read))) => format!("{place}: {path}: {}: {}", read.file.display(), fault.message),
        (path, Some(Err(message))) => format!("{place}: {path}: {message}"),
    };
    match request.submission {
        Ok(_) => {
            let digest = request.job.digest;
            Ok((Job { id, named_here, digest: digest.clone(), text: whole.text }, digest))
        }
        Err(faults) => Err(faults.iter().map(line).collect()),
    }
}

/// Says what makes a message so long, and what to do about it.
fn too_long(whole: &Whole<'_>, max: usize) -> String {
    let bytes = whole.text.len();
    let shown = |read: &Inlined| format!("{} of {} bytes", read.file.display(), read.bytes);
    let read: Vec<String> = whole.files.values().flatten().map(shown).collect();
    let with = match read.as_slice() {
        [] => String::new(),
        read => format!(" with {} in base64", read.join(", ")),
    };
    format!(
        "{bytes} bytes{with}, and amqp.max_message_bytes is {max}: give the images as URLs, or raise it here and \
         for the workers"
    )
}

/// All values; those of arrays one by one. What can't be read is a fault, and reading goes on with the next line that
/// begins an object.
fn items<'a>(text: &'a str, faults: &mut Vec<(usize, String)>) -> Vec<Item<'a>> {
    // RFC 8259 lets a reader ignore a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines { text, offset: 0, line: 1 };
    let mut items = Vec::new();
    let mut number = 0;
    let mut rest = text;
    while !rest.trim_ascii().is_empty() {
        let begin = lines.of(rest);
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let mut read = 0;
        let error = loop {
            match stream.next() {
                None => return items,
                Some(Ok(value)) => {
                    read = stream.byte_offset();
                    for text in elements(value) {
                        number += 1;
                        items.push(Item { number, line: lines.of(text), text });
                    }
                }
                Some(Err(error)) => break error,
            }
        };
        let unread = rest.get(read..).unwrap_or_default().trim_ascii_start();
        let (line, seen_at, column) = (lines.of(unread), begin + error.line() - 1, error.column());
        number += 1;
        let words = words(&error);
        faults.push((
            number,
            format!("job {number} (line {line}): not JSON, seen at line {seen_at} column {column}: {words}"),
        ));
        let Some(next) = unread.find("\n{") else { break };
        rest = unread.get(next + 1..).unwrap_or_default();
    }
    items
}

fn elements(value: &RawValue) -> Vec<&str> {
    let text = value.get();
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(values) if text.starts_with('[') => values.into_iter().map(RawValue::get).collect(),
        _ => vec![text],
    }
}

/// serde's message without its position, which counts from where the parser began.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn newlines(text: &str, end: usize) -> usize {
    text.as_bytes().iter().take(end).filter(|byte| **byte == b'\n').count()
}

/// Counts lines up to ever later parts of a text, reading each byte once.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line on which `part` begins; `part` is a slice of the text after the last one asked for.
    fn of(&mut self, part: &str) -> usize {
        let to = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let between = self.text.get(self.offset..to).unwrap_or_default();
        self.line += newlines(between, between.len());
        self.offset = self.offset.max(to);
        self.line
    }
}

#[cfg(test)]
mod tests;
