use super::*;
use crate::job::Digest;

fn job<'a>(id: &str, digest: &str, text: &'a str) -> Job<'a> {
    let id = id.parse().unwrap();
    Job { id, named_here: false, digest: Digest::new(digest.to_owned()), text: text.into() }
}

fn event(job: &str, end: &str) -> String {
    format!(r#"{{"id": "{job}/{end}", "type": "comet.job.{end}", "data": {{"job_id": "{job}"}}}}"#)
}

/// A folder in which these jobs were begun, and some of them have ended.
fn folder(begun: &[&str], ended: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
    let out = tempfile::tempdir().unwrap();
    let folder = Folder::open(out.path()).unwrap();
    let works: Vec<_> = begun.iter().map(|id| Work::named(id)).collect();
    folder.begin(works.iter().map(|work| (&work.id, &work.digest))).unwrap();
    for (job, end) in ended {
        folder.write(&format!("{job}/{end}"), &event(job, end)).unwrap();
    }
    drop(folder);
    let folder = Folder::open(out.path()).unwrap();
    (out, folder)
}

fn ids(work: &[Work]) -> Vec<&str> {
    work.iter().map(|work| work.id.as_str()).collect()
}

#[test]
fn what_has_ended_is_not_touched_and_what_was_begun_goes_on() {
    let (_out, folder) = folder(&["a", "b", "c"], &[("a", "succeeded"), ("b", "failed")]);
    let jobs = ["a", "b", "c", "d"].map(|id| job(id, "d", "{}"));
    assert_eq!(ids(&work(&jobs, &folder, false).unwrap()), ["c", "d"]);
    assert_eq!(ids(&work(&jobs, &folder, true).unwrap()), ["b:try-2", "c", "d"]);
}

#[test]
fn a_try_that_was_begun_goes_on_and_one_that_failed_is_followed_by_the_next() {
    let jobs = [job("b", "d", r#"{"job_id": "b", "input": {"n": 1.0}}"#)];
    let (_out, begun) = folder(&["b", "b:try-2"], &[("b", "failed")]);
    let again = work(&jobs, &begun, false).unwrap();
    assert_eq!(ids(&again), ["b:try-2"]);
    assert_eq!(again[0].text, r#"{"input":{"n": 1.0},"job_id":"b:try-2"}"#);
    let (_out, failed) = folder(&["b", "b:try-2"], &[("b", "failed"), ("b:try-2", "failed")]);
    assert!(work(&jobs, &failed, false).unwrap().is_empty());
    assert_eq!(ids(&work(&jobs, &failed, true).unwrap()), ["b:try-3"]);
    let (_out, good) = folder(&["b", "b:try-2"], &[("b", "failed"), ("b:try-2", "succeeded")]);
    assert!(work(&jobs, &good, true).unwrap().is_empty());
}

#[test]
fn a_job_that_was_begun_with_another_input_is_refused() {
    let (_out, folder) = folder(&["a", "b"], &[]);
    assert!(are_the_same(&[job("a", "d", "{}"), job("c", "e", "{}")], &folder).is_ok());
    let Usage(words) = are_the_same(&[job("a", "e", "{}")], &folder).unwrap_err();
    assert!(words.contains("1 job begun in") && words.contains("a for example"), "{words}");
}

#[test]
fn a_job_is_named_by_what_it_is() {
    assert_eq!(named_by_content("{\"input\": 1}"), named_by_content("{\"input\": 1}"));
    assert_ne!(named_by_content("{\"input\": 1}"), named_by_content("{\"input\": 2}"));
    assert!(named_by_content("x").parse::<JobId>().is_ok());
}
