use super::*;

const INPUT: &str = r#"{"subject_image_list": [{"subject_image": "https://example.com/a.png"},
  {"subject_image": "https://example.com/b.png"}]}"#;

fn job(id: &str) -> String {
    format!(r#"{{"job_id": "{id}", "input": {}}}"#, INPUT.replace('\n', ""))
}

fn limits<'a>(rules: &'a Rules, folder: &'a Path) -> Limits<'a> {
    Limits { rules, folder, message_bytes_max: 1000, bytes_max: 3000 }
}

fn checked(text: &str) -> Checked<'_> {
    let mut number = 0;
    check(text, limits(&Rules::page(), Path::new("/nowhere")), move |_| {
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
        job("b").replace("https://example.com/b.png", "ftp://x").replace("\"input\"", "\"time\":1,\"input\"")
    );
    let faults = checked(&text).faults;
    assert_eq!(faults.len(), 4, "{faults:#?}");
    assert_eq!(
        faults[0],
        "job 2 (line 3, b): /time: is not a member of a job; those are job_id, operation, input, metadata and timeout_s"
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
    assert!(checked.faults[0].starts_with("job 3 (line 3, a): the job_id of job 1"), "{:?}", checked.faults);
}

#[test]
fn a_message_over_the_bound_is_told() {
    let text = format!("{}\n{}", job("a"), job(&"x".repeat(900)));
    let faults = checked(&text).faults;
    assert!(
        faults[0].starts_with("job 2 (line 2): 1") && faults[0].contains("amqp.max_message_bytes is 1000")
    );
}

/// A PNG's head with these dimensions, and `tail` bytes after it.
fn png(side: u32, tail: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    bytes.extend(vec![0; 9 + tail]);
    bytes
}

#[test]
fn files_are_read_in_and_what_is_wrong_with_one_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("good.png", png(300, 0)),
        ("small.png", png(299, 0)),
        ("long.png", png(300, 900)),
        ("no.png", vec![7]),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let rules = Rules::page();
    let check = |text: &str| {
        let checked = check(text, limits(&rules, folder.path()), |_| "fresh".to_owned());
        let jobs: Vec<_> = checked.jobs.into_iter().map(|job| job.text.into_owned()).collect();
        (jobs, checked.faults.join("\n").replace(&format!("{}/", folder.path().display()), ""))
    };
    let with = |name: &str| job(name).replace("https://example.com/b.png", &format!("file:{name}.png"));

    let (jobs, faults) = check(&with("good"));
    assert_eq!(faults, "");
    assert!(jobs[0].contains(r#""subject_image":"#) && jobs[0].contains(r#""iVBORw0KGgo"#), "{jobs:?}");

    let place = "/input/subject_image_list/1/subject_image";
    let text = ["small", "no", "none", "long"].map(with).join("\n").replace("a.png", "a b");
    let (_, faults) = check(&text);
    for words in [
        &format!("job 1 (line 1, small): {place}: small.png: expected sides of at least 300 pixels"),
        &format!("job 2 (line 2, no): {place}: no.png: expected a PNG or JPEG image, found something else"),
        &format!("job 3 (line 3, none): {place}: can't read none.png: No such file"),
        "job 3 (line 3, none): /input/subject_image_list/0/subject_image: expected a URL without spaces",
        "bytes with long.png of 933 bytes in base64, and amqp.max_message_bytes is 1000: give the images as URLs",
    ] {
        assert!(faults.contains(words), "{words}\n{faults}");
    }
    assert!(faults.contains("job 4 (line 4): 1"), "{faults}");
}

#[test]
fn jobs_that_are_too_many_to_hold_are_to_be_submitted_in_parts() {
    let text: Vec<_> = (0..9).map(|number| job(&format!("{number}{}", "x".repeat(90)))).collect();
    assert!(text.join("").len() < 3000 && checked(&text.join("\n")).faults.is_empty());
    let text: Vec<_> = (0..15).map(|number| job(&format!("{number}{}", "x".repeat(90)))).collect();
    let faults = checked(&text.join("\n")).faults;
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].ends_with("up to here over 3000 bytes, files read in: submit the jobs in parts"),
        "{faults:?}"
    );
}
