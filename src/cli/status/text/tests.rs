use std::collections::BTreeMap;

use super::*;
use crate::fleet::spend::SpendState;
use crate::fleet::{Queues, SlotsState, StandstillState};

const NOW: &str = "2026-11-28T07:30:00.000Z";

fn worker(id: &str, standstills: Vec<StandstillState>) -> WorkerState {
    WorkerState {
        id: id.to_owned(),
        host: "node-1".to_owned(),
        pid: 17,
        version: "0.1.0".to_owned(),
        started: "2026-11-28T05:30:00.000Z".to_owned(),
        seen: NOW.to_owned(),
        in_flight: 8,
        held: BTreeMap::from([(JobStage::Generating, 8)]),
        waiting: Vec::new(),
        standstills,
    }
}

fn example() -> Fleet {
    let full = StandstillState {
        what: "storage".to_owned(),
        since: "2026-11-28T07:27:00.000Z".to_owned(),
        detail: "no space left on device".to_owned(),
        r#do: "make room".to_owned(),
    };
    let end = JobEnd {
        job_id: "order-7".to_owned(),
        outcome: "failed".to_owned(),
        reason: Some("rejected".to_owned()),
        message: Some("the prompt\nis refused".to_owned()),
        at: "2026-11-28T07:29:50.000Z".to_owned(),
        charged: Some("no".to_owned()),
        task_id: None,
        units: None,
        image: None,
        video: None,
        audio: None,
        supersedes: None,
    };
    Fleet {
        time: NOW.to_owned(),
        workers: vec![worker("aaaaaaaaaaaa", vec![full]), worker("bbbbbbbbbbbb", Vec::new())],
        jobs: BTreeMap::from([(JobStage::Generating, 16), (JobStage::Waiting, 3)]),
        queues: Queues { jobs: Some(120), dead: Some(2), unrouted: None },
        slots: SlotsState { taken: 16, max: 20 },
        pace_per_s: Some(2.5),
        oldest: Some(UnfinishedJob {
            job_id: "order-1".to_owned(),
            stage: JobStage::Generating,
            since: "2026-11-28T07:00:00.000Z".to_owned(),
        }),
        recent: vec![end],
        spend: Some(SpendState {
            day: "2026-11-28".to_owned(),
            units: "96".to_owned(),
            running: 16,
            expected: "128".to_owned(),
            max: Some("1000".to_owned()),
            complete: true,
            money: None,
        }),
    }
}

#[test]
fn a_fleet_is_shown_with_what_stands_still_before_all_else() {
    assert_eq!(
        fleet(&example()),
        "\
2026-11-28T07:30:00.000Z   2 workers run, 19 jobs unfinished

STANDS STILL
  storage  for 3 min, 1 of 2 workers: no space left on device
    → make room

JOBS     waiting 3   submitting 0   recovering 0   generating 16   storing 0   publishing 0
         longest at one stage: order-1, generating for 30 min
QUEUES   jobs 120 ready   dead letters 2 (comet-worker dead list)   unrouted events ?
SLOTS    16 of 20 taken
SPEND    today 96 units of 1000, and about 128 for 16 running
PACE     2.5 submits a second, since the provider has asked for less

WORKERS  ID            HOST                  PID      VERSION   UP FOR    JOBS
         aaaaaaaaaaaa  node-1                17       0.1.0     2 h       8
         bbbbbbbbbbbb  node-1                17       0.1.0     2 h       8

LATEST ENDS
  10 s ago       order-7  failed  rejected: the prompt is refused"
    );
}

#[test]
fn two_causes_of_one_kind_are_shown_each_with_its_remedy_and_count_a_worker_once() {
    let stands = |detail: &str, remedy: &str| StandstillState {
        what: "storage".to_owned(),
        since: "2026-11-28T07:27:00.000Z".to_owned(),
        detail: detail.to_owned(),
        r#do: remedy.to_owned(),
    };
    let both = vec![stands("a receipt is refused", "check the rights"), stands("no space", "make space")];
    let third = worker("cccccccccccc", vec![stands("no space for another", "make space")]);
    let two = Fleet { workers: vec![worker("aaaaaaaaaaaa", both), third], ..example() };
    let text = fleet(&two);
    let shown = "\
STANDS STILL
  storage  for 3 min, 2 of 2 workers: no space
    → make space
  storage  for 3 min, 1 of 2 workers: a receipt is refused
    → check the rights
";
    assert!(text.contains(shown), "{text}");
}

#[test]
fn an_end_that_a_person_has_to_clear_up_says_how() {
    let [end] = example().recent.try_into().unwrap();
    let task_id = Some("7".to_owned());
    for (reason, task_id, remedy) in [
        ("outcome_unknown", None, " → comet-worker resolve order-7"),
        ("quarantined", task_id.clone(), " → comet-worker resolve order-7 --fetch"),
        ("timed_out", None, ""),
        ("rejected", task_id, ""),
    ] {
        let end = JobEnd { reason: Some(reason.to_owned()), task_id, ..end.clone() };
        let text = fleet(&Fleet { recent: vec![end], ..example() });
        assert!(text.ends_with(&format!("{reason}: the prompt is refused{remedy}")), "{text}");
    }
}

#[test]
fn a_fleet_without_workers_says_so() {
    let empty =
        Fleet { workers: Vec::new(), recent: Vec::new(), oldest: None, pace_per_s: None, ..example() };
    assert!(fleet(&empty).starts_with("2026-11-28T07:30:00.000Z   no worker runs, 19 jobs unfinished"));
}

#[test]
fn an_age_is_in_the_unit_that_suits_it() {
    for (then, words) in [
        ("2026-11-28T07:29:59.500Z", "0 s"),
        ("2026-11-28T07:29:01.000Z", "59 s"),
        ("2026-11-28T07:29:00.000Z", "1 min"),
        ("2026-11-28T05:29:00.000Z", "2 h"),
        ("2026-11-20T07:30:00.000Z", "8 days"),
        ("2026-11-28T07:31:00.000Z", "0 s"),
        ("yesterday", "?"),
    ] {
        assert_eq!(ago(then, NOW), words, "{then}");
    }
}
