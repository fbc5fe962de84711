use super::*;
use crate::job::Digest;

const FAILED: Retries = Retries { failed: true, paid: false };

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

fn ids(work: &[Work]) -> Vec<String> {
    work.iter().map(|work| work.id.as_str().to_owned()).collect()
}

#[test]
fn what_has_ended_is_not_touched_and_what_was_begun_goes_on() {
    let (_out, folder) = folder(&["a", "b", "c"], &[("a", "succeeded"), ("b", "failed")]);
    let jobs = ["a", "b", "c", "d"].map(|id| job(id, "d", "{}"));
    assert_eq!(ids(&work(&jobs, &folder, Retries::default()).unwrap()), ["c", "d"]);
    assert_eq!(ids(&work(&jobs, &folder, FAILED).unwrap()), ["b:try-2", "c", "d"]);
}

#[test]
fn a_try_that_was_begun_goes_on_and_one_that_failed_is_followed_by_the_next() {
    let jobs = [job("b", "d", r#"{"job_id": "b", "input": {"n": 1.0}}"#)];
    let (_out, begun) = folder(&["b", "b:try-2"], &[("b", "failed")]);
    let again = work(&jobs, &begun, Retries::default()).unwrap();
    assert_eq!(ids(&again), ["b:try-2"]);
    assert_eq!(again[0].text, r#"{"input":{"n": 1.0},"job_id":"b:try-2"}"#);
    let (_out, failed) = folder(&["b", "b:try-2"], &[("b", "failed"), ("b:try-2", "failed")]);
    assert!(work(&jobs, &failed, Retries::default()).unwrap().is_empty());
    assert_eq!(ids(&work(&jobs, &failed, FAILED).unwrap()), ["b:try-3"]);
    let (_out, good) = folder(&["b", "b:try-2"], &[("b", "failed"), ("b:try-2", "succeeded")]);
    assert!(work(&jobs, &good, FAILED).unwrap().is_empty());
}

#[test]
fn a_job_that_was_begun_with_another_input_is_refused() {
    let (_out, folder) = folder(&["a", "b"], &[]);
    assert!(are_the_same(&[job("a", "d", "{}"), job("c", "e", "{}")], &folder).is_ok());
    let Usage(words) = are_the_same(&[job("a", "e", "{}")], &folder).unwrap_err();
    assert!(words.contains("1 job begun in") && words.contains("a for example"), "{words}");
}

#[test]
fn a_job_is_named_by_what_it_is_however_it_is_written() {
    let mut names = HashMap::new();
    let mut name = |text: &str| named_by_content(text, &mut names);
    let first = name("{\"operation\": \"x\", \"input\": 1}");
    assert!(first.parse::<JobId>().is_ok());
    assert_ne!(name("{\"input\": 2}"), first);
    assert_eq!(name("{\"input\":1,\n\"operation\":\"x\"}"), format!("{first}-2"), "an equal one is one more");
}

#[test]
fn a_name_that_a_second_try_would_have_is_refused() {
    let (_out, folder) = folder(&[], &[]);
    let refused = work(&[job("a:try-2", "d", "{}")], &folder, Retries::default()).unwrap_err();
    assert!(refused.to_string().contains("tried again"), "{refused}");
    assert!(work(&[job("a:try-", "d", "{}"), job("try-2", "d", "{}")], &folder, Retries::default()).is_ok());
}

#[test]
fn what_failed_before_is_still_failed() {
    let (_out, folder) = folder(&["a", "b", "c"], &[("a", "succeeded"), ("b", "failed")]);
    let jobs = ["a", "b", "c"].map(|id| job(id, "d", "{}"));
    let begun = work(&jobs, &folder, Retries::default()).unwrap();
    assert_eq!(before(&jobs, &begun, &folder), Before { succeeded: 1, failed: 1 });
    let begun = work(&jobs, &folder, FAILED).unwrap();
    assert_eq!(before(&jobs, &begun, &folder), Before { succeeded: 1, failed: 0 });
}

/// It may have been accepted, so only who says so pays for it again.
#[test]
fn what_ended_as_unknown_is_tried_again_only_where_it_is_asked_for_by_name() {
    let out = tempfile::tempdir().unwrap();
    let folder = Folder::open(out.path()).unwrap();
    let unknown = r#"{"id": "u/failed", "type": "comet.job.failed", "data": {"job_id": "u", "reason": "outcome_unknown"}}"#;
    folder.write("u/failed", unknown).unwrap();
    folder.write("f/failed", &event("f", "failed")).unwrap();
    drop(folder);
    let folder = Folder::open(out.path()).unwrap();
    let jobs = ["u", "f"].map(|id| job(id, "d", "{}"));
    let tried = |failed, paid| ids(&work(&jobs, &folder, Retries { failed, paid }).unwrap()).join(" ");
    assert_eq!(tried(true, false), "f:try-2");
    assert_eq!(tried(false, true), "u:try-2");
    assert_eq!(tried(true, true), "u:try-2 f:try-2");
}
