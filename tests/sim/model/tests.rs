//! What a client can rely on in the model. Times are in milliseconds, and every task takes two seconds.

use super::{read::Withheld, *};
use crate::{
    rules::{Family, Page, Rules},
    switches::parse_fault,
    task::{Formats, Status},
};

const KEY: &str = "sk-sim";

fn settings() -> Settings {
    Settings {
        seed: 1,
        keys: vec![KEY.to_owned(), "sk-other".to_owned()],
        balance: None,
        no_money_as: NoMoneyAs::Quota,
        refuse_duplicates: true,
        lookup_after: None,
        running_max: None,
        units_per_image: 8,
        durations: "fixed:2s".parse().unwrap(),
        faults: Vec::new(),
        issuer: Issuer { seed: 1, link_lifetime: Duration::from_secs(60), formats: Formats::Png },
    }
}

fn with_faults(faults: &[&str]) -> Model {
    Model::new(Settings {
        faults: faults.iter().map(|fault| parse_fault(fault).unwrap()).collect(),
        ..settings()
    })
}

fn submission(external_task_id: Option<&str>, n: u8) -> Submission {
    let rules = Rules { page: Page::Page, check_pixels: false };
    let image = serde_json::json!({"subject_image": "https://example.com/a.png"});
    let body = serde_json::json!({
        "subject_image_list": [image, image], "n": n, "external_task_id": external_task_id
    });
    Submission {
        key: KEY.to_owned(),
        body_sha256: "00".into(),
        request: rules.read(Family::Images, body.to_string().as_bytes()),
    }
}

fn submit(model: &mut Model, external_task_id: &str, n: u8, now_ms: u64) -> Answer {
    model.submit(&submission(Some(external_task_id), n), now_ms)
}

/// The id of a task that must have been made, as a client asks for it.
fn made(answer: &Answer) -> String {
    match answer {
        Answer::Made(task, _) => task.task_id.to_string(),
        Answer::Refused(_) | Answer::Later { .. } => panic!("not made: {answer:?}"),
    }
}

fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        Answer::Made(..) | Answer::Later { .. } => panic!("not refused: {answer:?}"),
    }
}

fn charged(model: &mut Model, now_ms: u64) -> u64 {
    model.report(false, now_ms).charged_total
}

#[test]
fn a_task_goes_from_submitted_over_processing_to_succeed_and_stays_there() {
    let mut model = Model::new(settings());
    let id = made(&submit(&mut model, "a", 1, 1_000));
    let mut status = |now_ms| model.poll(KEY, &id, now_ms).unwrap().status;
    assert_eq!(status(1_000), Status::Submitted);
    assert_eq!(status(1_500), Status::Processing);
    assert_eq!(status(2_999), Status::Processing);
    assert_eq!(status(3_000), Status::Succeed);
    assert_eq!(status(9_000_000), Status::Succeed);
    assert_eq!(model.tasks[0].polls, 5);
}

#[test]
fn task_ids_are_18_digits_and_never_the_same() {
    let mut model = Model::new(settings());
    let now_ms = 1_790_000_000_000;
    let ids: Vec<_> = (0..1000).map(|i| made(&submit(&mut model, &i.to_string(), 1, now_ms))).collect();
    assert!(ids.iter().all(|id| id.len() == 18));
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
}

#[test]
fn an_external_id_is_taken_once_per_account() {
    let mut model = Model::new(settings());
    made(&submit(&mut model, "a", 1, 0));
    assert_eq!(refusal(submit(&mut model, "a", 1, 5_000)), Refusal::AlreadyExists("a".to_owned()));
    let foreign = Submission { key: "sk-other".to_owned(), ..submission(Some("a"), 1) };
    made(&model.submit(&foreign, 0));
    assert_eq!(model.report(false, 0).charged_twice, ["a"], "paid by two accounts is paid twice");
}

#[test]
fn duplicates_are_charged_twice_where_they_are_accepted() {
    let mut model = Model::new(Settings { refuse_duplicates: false, ..settings() });
    for name in [Some("a"), Some("a"), Some("b"), None, None] {
        made(&model.submit(&submission(name, 2), 0));
    }
    let report = model.report(false, 0);
    assert_eq!(report.charged_total, 10);
    assert_eq!(report.charged_twice.len(), 2);
    assert_eq!(report.charged_twice[0], "a");
    assert!(report.charged_twice[1].starts_with("sha256:"), "{report:?}");
}

#[test]
fn tasks_are_found_by_external_id_only_where_that_is_on_and_only_by_their_account() {
    let mut off = Model::new(settings());
    made(&submit(&mut off, "a", 1, 0));
    assert_eq!(off.poll(KEY, "a", 0), Err(Refusal::TaskNotExist));

    let mut on = Model::new(Settings { lookup_after: Some(Duration::from_secs(1)), ..settings() });
    let id = made(&submit(&mut on, "a", 1, 0));
    assert_eq!(on.poll(KEY, "a", 999), Err(Refusal::TaskNotExist));
    assert_eq!(on.poll(KEY, "a", 1_000).unwrap().task_id.to_string(), id);
    assert_eq!(on.poll("sk-other", "a", 1_000), Err(Refusal::TaskNotExist));
    assert_eq!(on.poll("sk-other", &id, 1_000), Err(Refusal::TaskNotExist));
    assert_eq!(on.poll("sk-none", &id, 1_000), Err(Refusal::WrongKey));
    assert_eq!(on.poll_at(Family::Omni, KEY, &id, 1_000), Err(Refusal::TaskNotExist), "made elsewhere");
    assert_eq!(on.poll_at(Family::Images, KEY, &id, 1_000).unwrap().task_id.to_string(), id);
}

#[test]
fn slots_are_weighted_by_n_and_free_themselves() {
    let mut model = Model::new(Settings { running_max: Some(9), ..settings() });
    made(&submit(&mut model, "a", 5, 0));
    made(&submit(&mut model, "b", 4, 1_000));
    assert_eq!(refusal(submit(&mut model, "c", 1, 1_999)), Refusal::Busy);
    made(&submit(&mut model, "c", 5, 2_000));
    assert_eq!(refusal(submit(&mut model, "d", 1, 2_000)), Refusal::Busy);
    assert_eq!(model.accounts[0].running_max, 9);
    model.settle(10_000);
    assert_eq!(model.accounts[0].running, 0);
}

#[test]
fn an_account_pays_until_it_is_empty_and_a_failure_gives_the_price_back() {
    let mut model = Model::new(Settings {
        balance: Some(3),
        faults: vec![parse_fault("failed=1x").unwrap()],
        ..settings()
    });
    let id = made(&submit(&mut model, "a", 2, 0));
    assert_eq!(charged(&mut model, 0), 2);
    assert_eq!(refusal(submit(&mut model, "b", 2, 0)), Refusal::NoMoney(NoMoneyAs::Quota));
    assert!(matches!(model.poll(KEY, &id, 2_000).unwrap().status, Status::Failed(_)));
    assert_eq!(charged(&mut model, 2_000), 0);
    made(&submit(&mut model, "b", 3, 2_000));
    assert_eq!(charged(&mut model, 90_000), 3);
}

#[test]
fn what_is_refused_is_not_charged() {
    let before = [
        "rate-limited",
        "busy",
        "saturated",
        "server-error",
        "bad-gateway",
        "content-policy",
        "no-money",
        "account-closed",
    ];
    for fault in before {
        let mut model = with_faults(&[fault]);
        assert_eq!(refusal(submit(&mut model, "a", 1, 0)).reason(), fault);
        assert_eq!((charged(&mut model, 0), model.tasks.len()), (0, 0), "{fault}");
    }
}

#[test]
fn what_is_made_is_charged_whatever_becomes_of_the_reply() {
    for fault in ["server-error-after", "bad-gateway-after", "reply-lost", "hang", "slow"] {
        let mut model = with_faults(&[fault]);
        let Answer::Made(_, reply) = submit(&mut model, "a", 1, 0) else {
            panic!("{fault}: not made");
        };
        assert_ne!(reply, Reply::Sent, "{fault}");
        assert_eq!((charged(&mut model, 0), model.tasks.len()), (1, 1), "{fault}");
    }
}

#[test]
fn a_late_task_is_made_later_and_once() {
    let mut model = with_faults(&["made-late"]);
    let late = submission(Some("a"), 1);
    assert_eq!(model.submit(&late, 0), Answer::Later { life: 0 });
    assert_eq!(charged(&mut model, 0), 0);
    made(&model.submit_late(&late, 0, 10_000));
    assert_eq!(charged(&mut model, 10_000), 1);
    assert_eq!(refusal(model.submit_late(&late, 0, 10_000)), Refusal::AlreadyExists("a".to_owned()));
}

#[test]
fn a_new_task_can_be_unknown_to_its_first_polls() {
    let mut model = with_faults(&["task-not-exist-at-first"]);
    let id = made(&submit(&mut model, "a", 1, 0));
    for _ in 0..POLLS_MISSED {
        assert_eq!(model.poll(KEY, &id, 5_000), Err(Refusal::TaskNotExist));
    }
    assert_eq!(model.poll(KEY, &id, 5_000).unwrap().status, Status::Succeed);
}

#[test]
fn a_task_that_never_ends_keeps_its_slots() {
    let mut model = with_faults(&["never-ends"]);
    let id = made(&submit(&mut model, "a", 2, 0));
    assert_eq!(model.poll(KEY, &id, u64::MAX / 2).unwrap().status, Status::Processing);
    model.settle(u64::MAX / 2);
    assert_eq!(model.accounts[0].running, 2);
}

/// The key of the first image's URL, as the next poll tells it, and the task id.
fn link(model: &mut Model, id: &str, now_ms: u64) -> (u64, u64) {
    let task = model.poll(KEY, id, now_ms).unwrap();
    (task.task_id, task.links[0].key)
}

#[test]
fn a_result_opens_with_its_own_key_until_it_expires_and_a_poll_gives_a_fresh_one() {
    let mut model = Model::new(settings());
    let id = made(&submit(&mut model, "a", 1, 0));
    assert!(model.poll(KEY, &id, 0).unwrap().links.is_empty());
    let (task_id, key) = link(&mut model, &id, 2_000);
    assert!(model.download(task_id, 0, key, 3_000).is_ok());
    assert_eq!(model.download(task_id, 0, key + 1, 3_000), Err(Withheld::Expired));
    assert_eq!(model.download(task_id, 1, key, 3_000), Err(Withheld::NotFound));
    assert_eq!(model.download(task_id + 1, 0, key, 3_000), Err(Withheld::NotFound));
    assert_eq!(model.download(task_id, 0, key, 62_000), Err(Withheld::Expired));
    let (_, fresh) = link(&mut model, &id, 62_000);
    assert!(model.download(task_id, 0, fresh, 62_000).is_ok());
}

#[test]
fn downloads_go_wrong_as_told() {
    let answers = |fault: &str| {
        let mut model = with_faults(&[fault]);
        let id = made(&submit(&mut model, "a", 1, 0));
        let (task_id, key) = link(&mut model, &id, 2_000);
        let mut answers: Vec<_> = (0..3).map(|_| model.download(task_id, 0, key, 2_000).err()).collect();
        let (_, key) = link(&mut model, &id, 2_000);
        answers.push(model.download(task_id, 0, key, 2_000).err());
        answers
    };
    let (error, expired) = (Some(Withheld::Error), Some(Withheld::Expired));
    assert_eq!(answers("image-error"), [error, error, None, None]);
    assert_eq!(answers("image-expired"), [expired; 4]);
    assert_eq!(answers("image-expired-once"), [expired, expired, expired, None]);
}

#[test]
fn a_reset_leaves_no_late_task_behind() {
    let mut model = with_faults(&["made-late"]);
    let late = submission(Some("a"), 1);
    let Answer::Later { life } = model.submit(&late, 0) else {
        panic!("not put off");
    };
    model.reset();
    refusal(model.submit_late(&late, life, 10_000));
    assert_eq!(charged(&mut model, 10_000), 0);
}

#[test]
fn a_reset_forgets_everything() {
    let mut model = with_faults(&["reply-lost=1x"]);
    submit(&mut model, "a", 1, 0);
    model.reset();
    let answer = submit(&mut model, "a", 1, 0);
    assert!(matches!(answer, Answer::Made(_, Reply::Lost)), "{answer:?}");
    assert_eq!(model.report(false, 0).charged_total, 1);
}
