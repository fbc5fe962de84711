//! From a text to jobs that a worker will take, or to everything that is wrong with them.
//!
//! A text is any row of JSON values: one object, an array of objects, a job a line, or one value
//! behind another. Jobs stay slices of that text: they go out as they were written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::value::RawValue;

use crate::job::request::{self, Properties, Rules};
use crate::job::{Digest, JobId};

/// One job, found wholesome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job<'a> {
    pub(super) id: JobId,
    /// Whether the id is fresh, so that a second submit would be a second job.
    pub(super) named_here: bool,
    /// As it was written.
    pub(super) text: &'a str,
}

/// What came of a text.
#[derive(Debug, Default)]
pub(super) struct Checked<'a> {
    pub(super) jobs: Vec<Job<'a>>,
    /// A line each, in the order of the jobs; if there is one, nothing may be submitted.
    pub(super) faults: Vec<String>,
    /// What isn't wrong and may surprise, a line each.
    pub(super) notes: Vec<String>,
}

/// A value, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    /// From 1.
    number: usize,
    /// From 1.
    line: usize,
    text: &'a str,
}

impl Item<'_> {
    /// For people; `id` stands behind it.
    fn place(&self, id: &str) -> String {
        format!("job {} (line {}{id})", self.number, self.line)
    }
}

/// Reads all jobs; `fresh_id` names those that have no name.
pub(super) fn check<'a>(
    text: &'a str,
    rules: &Rules,
    message_bytes_max: usize,
    mut fresh_id: impl FnMut() -> String,
) -> Checked<'a> {
    let mut checked = Checked::default();
    // By the job's number: what isn't JSON is found before the first job is looked at.
    let mut faults: Vec<(usize, String)> = Vec::new();
    let mut known: HashMap<JobId, (Digest, usize)> = HashMap::new();
    for item in items(text, &mut faults) {
        let (job, digest) = match wholesome(item, rules, message_bytes_max, fresh_id()) {
            Ok(found) => found,
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| (item.number, fault)));
                continue;
            }
        };
        let place = item.place(&format!(", {}", job.id));
        match known.entry(job.id.clone()) {
            Entry::Vacant(entry) => {
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
/// Everything that is wrong with the job, a line each.
fn wholesome<'a>(
    item: Item<'a>,
    rules: &Rules,
    message_bytes_max: usize,
    fresh_id: String,
) -> Result<(Job<'a>, Digest), Vec<String>> {
    let bytes = item.text.len();
    if bytes > message_bytes_max {
        let place = item.place("");
        return Err(vec![format!(
            "{place}: {bytes} bytes, and amqp.max_message_bytes is {message_bytes_max}: give the images as URLs, or \
             raise it here and for the workers"
        )]);
    }
    let properties = Properties { message_id: Some(fresh_id.clone()), ..Properties::default() };
    let request = request::parse(item.text.as_bytes(), &properties, rules)
        .map_err(|dead| vec![format!("{}: {}", item.place(""), dead.detail)])?;
    let id = request.job.id;
    let named_here = id.as_str() == fresh_id;
    let place = if named_here { item.place("") } else { item.place(&format!(", {id}")) };
    match request.body {
        Ok(_) => Ok((Job { id, named_here, text: item.text }, request.job.digest)),
        Err(faults) => Err(faults
            .iter()
            .map(|fault| match fault.path.as_str() {
                "" => format!("{place}: {}", fault.message),
                path => format!("{place}: {path}: {}", fault.message),
            })
            .collect()),
    }
}

/// All values, those of arrays one by one. What can't be read is a fault, and reading goes on with
/// the next line that begins an object.
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

/// serde's words without its position, which counts from where it began.
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

/// Counts lines up to ever later parts of a text, each byte once.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line that `part`, a slice of the text behind the last one asked for, begins on.
    fn of(&mut self, part: &str) -> usize {
        let to = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let between = self.text.get(self.offset..to).unwrap_or_default();
        self.line += newlines(between, between.len());
        self.offset = self.offset.max(to);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = r#"{"subject_image_list": [{"subject_image": "https://example.com/a.png"},
      {"subject_image": "https://example.com/b.png"}]}"#;

    fn job(id: &str) -> String {
        format!(r#"{{"job_id": "{id}", "input": {}}}"#, INPUT.replace('\n', ""))
    }

    fn checked(text: &str) -> Checked<'_> {
        let mut number = 0;
        check(text, &Rules::page(), 1000, move || {
            number += 1;
            format!("fresh-{number}")
        })
    }

    fn ids<'a>(checked: &'a Checked<'_>) -> Vec<&'a str> {
        assert_eq!(checked.faults, Vec::<String>::new());
        checked.jobs.iter().map(|job| job.id.as_str()).collect()
    }

    #[test]
    fn an_object_an_array_lines_and_values_in_a_row_are_all_jobs() {
        let (a, b) = (job("a"), job("b"));
        for text in [
            format!("{a}\n{b}\n"),
            format!("{a}{b}"),
            format!("[{a},\n {b}]"),
            format!("\u{feff}\r\n[{a}]\r\n\r\n[{b}]\r\n"),
            format!("{a} [{b}, {a}]"),
        ] {
            assert_eq!(ids(&checked(&text)), ["a", "b"], "{text}");
        }
        assert_eq!(ids(&checked(&a)), ["a"]);
        assert!(checked(" \n").jobs.is_empty() && checked("[]").jobs.is_empty());
    }

    #[test]
    fn a_job_goes_out_as_it_was_written() {
        let text = format!("[ {{ \"job_id\":\t\"a\",\n \"input\": {INPUT}, \"metadata\": 1.50e1 }} ]");
        assert_eq!(checked(&text).jobs[0].text, text[2..text.len() - 2].trim());
    }

    #[test]
    fn a_job_without_an_id_gets_a_fresh_one() {
        let text = format!("{{\"input\": {INPUT}}}");
        let checked = checked(&text);
        assert_eq!(ids(&checked), ["fresh-1"]);
        assert!(checked.jobs[0].named_here);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = format!(
            "{}\n\n{}\n7\n{{\"job_id\": \"a b\"}}\n",
            job("a"),
            job("b")
                .replace("https://example.com/b.png", "ftp://x")
                .replace("\"input\"", "\"time\":1,\"input\"")
        );
        let faults = checked(&text).faults;
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert_eq!(
            faults[0],
            "job 2 (line 3, b): /time: is not a member of a job; those are job_id, input, metadata and timeout_s"
        );
        assert!(faults[1].starts_with("job 2 (line 3, b): /input/subject_image_list/1/subject_image: "));
        assert_eq!(faults[2], "job 3 (line 4): not a JSON object");
        assert!(faults[3].starts_with("job 4 (line 5): job_id: a job_id is"), "{}", faults[3]);
    }

    #[test]
    fn broken_json_hides_nothing_behind_it() {
        let text = format!("{}\n{{\"job_id\": \n{}\n{{]\n{}", job("a"), job("b"), job("c"));
        let checked = checked(&text);
        let ids: Vec<_> = checked.jobs.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(checked.faults.len(), 2, "{:#?}", checked.faults);
        assert!(
            checked.faults[0].starts_with("job 2 (line 2): not JSON, seen at line 4 column 1: "),
            "{:?}",
            checked.faults
        );
        assert!(checked.faults[1].starts_with("job 4 (line 4): not JSON, seen at line 4 column 2: "));
    }

    #[test]
    fn one_id_is_one_job() {
        let text = format!("{}\n{}\n{}", job("a"), job("a"), job("a").replace("b.png", "c.png"));
        let checked = checked(&text);
        assert_eq!(checked.jobs.len(), 1);
        assert_eq!(checked.notes, ["job 2 (line 2, a): the same as job 1, and sent once"]);
        assert!(
            checked.faults[0].starts_with("job 3 (line 3, a): the job_id of job 1"),
            "{:?}",
            checked.faults
        );
    }

    #[test]
    fn a_message_over_the_bound_is_told() {
        let text = format!("{}\n{}", job("a"), job(&"x".repeat(900)));
        let faults = checked(&text).faults;
        assert!(
            faults[0].starts_with("job 2 (line 2): 1")
                && faults[0].contains("amqp.max_message_bytes is 1000")
        );
    }
}
