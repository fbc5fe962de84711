//! JSON that a parser refuses, at each place of a message where it may occur.

use super::tests::{posted, read};
use super::*;

fn wrong(message: &str) -> Vec<(String, String)> {
    let request = read(message.as_bytes()).unwrap_or_else(|dead| panic!("{dead}: {message}"));
    assert_eq!(request.job.id.as_str(), "j");
    let faults = request.submission.expect_err("it is wrong");
    faults.into_iter().map(|fault| (fault.path, fault.message)).collect()
}

fn message(members: &str) -> String {
    let pictures = r#"[{"subject_image":"https://h/a.png"},{"subject_image":"https://h/b.png"}]"#;
    format!(r#"{{"job_id":"j","input":{{"subject_image_list":{pictures}{members}}}}}"#)
}

#[test]
fn half_a_character_is_a_fault_of_the_member_that_has_it() {
    for half in [r"\ud83d", r"\uD83D", r"\udca9", r"\ud83dx", r"\ud83d\n", r"\udca9\ud83d", r"\ud83d\u0041"] {
        let faults = wrong(&message(&format!(r#","prompt":"cat {half}""#)));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].0, "/input/prompt");
        assert!(faults[0].1.contains("surrogate"), "{faults:?}");
    }
    for whole in [r"\ud83d\ude00", r"\\ud83d", "😀", r"\ufffd", "\u{fdd0}", r"\ufdd0"] {
        let request = read(message(&format!(r#","prompt":"cat {whole}""#)).as_bytes()).unwrap();
        assert!(request.submission.is_ok(), "{whole}: {:?}", request.submission);
    }
}

#[test]
fn half_a_character_is_found_in_any_place() {
    for (members, path) in [
        (r#","deep":[{"in":["\ud83d"]}]"#, "/input/deep/0/in/0"),
        (r#","na\ud83dme":1"#, "/input/na\u{fffd}me"),
    ] {
        assert!(wrong(&message(members)).iter().any(|fault| fault.0 == path), "{members}");
    }
    let whole = message("");
    for (member, path) in [
        (r#""metadata":{"a":"\ud83d"}"#, "/metadata"),
        (r#""metadata":{"\ud83d":1}"#, "/metadata"),
        (r#""timeout_s":"\ud83d""#, "/timeout_s"),
        (r#""\ud83d":1"#, "/\u{fffd}"),
    ] {
        let message = whole.replacen('{', &format!("{{{member},"), 1);
        assert!(wrong(&message).iter().any(|fault| fault.0 == path), "{message}");
    }
}

#[test]
fn metadata_that_comes_back_on_the_event_can_be_read_by_everybody() {
    let message = message("").replacen('{', r#"{"metadata":{"a":"x\ud83d","b":1e999,"c":1.10},"#, 1);
    let metadata = read(message.as_bytes()).unwrap().job.metadata.unwrap();
    assert_eq!(metadata.get(), "{\"a\":\"x\u{fffd}\",\"b\":\"\u{fffd}\",\"c\":1.10}");
    let parsed: Value = serde_json::from_str(metadata.get()).unwrap();
    assert_eq!(parsed["a"], "x\u{fffd}");
}

#[test]
fn an_id_with_half_a_character_is_none() {
    let dead = read(br#"{"job_id":"j\ud83d","input":{}}"#).unwrap_err();
    assert_eq!(dead.reason, DeadReason::InvalidJobId);
}

#[test]
fn a_number_beyond_all_numbers_is_a_fault_with_its_place() {
    for number in ["1e999", "-1E+400", &format!("1{}", "0".repeat(400))] {
        let faults = wrong(&message(&format!(r#","n":{number}"#)));
        assert_eq!(
            faults,
            [(
                "/input/n".to_owned(),
                "expected a number that a double can hold, found one beyond 1e308".to_owned()
            )]
        );
    }
    for number in ["1", "1e-999"] {
        let request = read(message(&format!(r#","seed":{number}"#)).as_bytes()).unwrap();
        assert!(request.submission.is_ok(), "{number}: {:?}", request.submission);
    }
}

#[test]
fn an_object_with_the_parsers_private_name_is_an_object() {
    let request = read(message(r#","x":{"$serde_json::private::RawValue":"[[[["}"#).as_bytes()).unwrap();
    let submission = request.submission.unwrap();
    assert!(posted(&submission).contains(r#"{"$serde_json::private::RawValue":"[[[["}"#));
    let dead = read(br#"{"job_id":{"$serde_json::private::RawValue":"\"j\""},"input":{}}"#).unwrap_err();
    assert_eq!(dead.reason, DeadReason::InvalidJobId);
}

#[test]
fn an_input_of_too_many_values_fails_by_its_name_and_takes_no_memory() {
    let many = format!(r#","x":[{}{{"a":0}}]"#, r#"{"a":0},"#.repeat(plain::VALUES_MAX));
    let faults = wrong(&message(&many));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].0, "/input");
    assert!(faults[0].1.contains("more values than any input has"), "{faults:?}");
    let one = read(message(&many).as_bytes()).unwrap().job.digest;
    let other = read(message(&format!("{many},\"prompt\":\"x\"")).as_bytes()).unwrap().job.digest;
    assert_ne!(one, other, "and is told from another input");
}

#[test]
fn the_last_of_two_members_of_one_name_counts_also_where_the_first_is_odd() {
    let twice = message(r#","prompt":"\ud83d","prompt":"fine""#);
    assert!(read(twice.as_bytes()).unwrap().submission.is_ok());
}

#[test]
fn a_name_of_a_member_forges_no_lines_and_no_colours() {
    let request = read(br#"{"job_id":"j","input":{},"a\nINFO forged\u001b[31m\u202e":1}"#).unwrap();
    let faults = request.submission.unwrap_err();
    assert!(
        faults.iter().any(|fault| fault.path == "/a\u{fffd}INFO forged\u{fffd}[31m\u{fffd}"),
        "{faults:?}"
    );
    let text = format!("{faults:?}");
    assert!(!text.contains(char::is_control), "{text}");
}
