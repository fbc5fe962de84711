use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::job::receipt::IntentFacts;
use crate::job::record::Nonce;
use crate::job::route::RouteName;
use crate::job::{Digest, SentUnder, TaskId};
use crate::receipts::Receipts;
use crate::storage::Storage;
use troubled::Trouble;
use troubled::Troubles::{Gone, Refused};

mod troubled;

const KINDS: [&str; 5] = ["intent-1", "task-1", "result", "resolved", "blessed"];

fn receipt(kind: &str, written_ms: i64) -> Receipt {
    Receipt { name: ReceiptName::parse(kind), key: Path::from(format!("a.{kind}")), written_ms }
}

fn failed(reason: &str) -> Bytes {
    let text = format!(
        r#"{{"id":"a/failed","type":"comet.job.failed","data":{{"job_id":"a","reason":"{reason}"}}}}"#
    );
    Bytes::from(text)
}

fn succeeded() -> Bytes {
    Bytes::from_static(br#"{"id":"a/succeeded","type":"comet.job.succeeded","data":{"job_id":"a"}}"#)
}

#[test]
fn a_name_is_split_at_its_last_dot() {
    let parsed = |name| named(name).map(|(job, receipt)| (job.to_string(), receipt));
    for (text, job, receipt) in [
        ("order-1.result", "order-1", Some(ReceiptName::Result)),
        ("v1.2.task-1.intent-1", "v1.2.task-1", Some(ReceiptName::Intent(1))),
        ("a.intent-12", "a", Some(ReceiptName::Intent(12))),
        ("a.resolve-1", "a", Some(ReceiptName::Decision(1))),
        ("a.task-", "a", None),
        ("a.blessed", "a", None),
    ] {
        assert_eq!(parsed(text), Some((job.to_owned(), receipt)));
    }
    assert_eq!(parsed("README"), None);
    assert_eq!(parsed("not ours.txt"), None);
}

/// Every set of receipts, with each receipt old or young.
#[test]
fn a_job_goes_only_when_all_of_it_is_old_and_it_has_ended() {
    for set in 1_u32..1 << KINDS.len() {
        for young in 0_u32..1 << KINDS.len() {
            let there = |index: usize| set & (1 << index) != 0;
            let is_young = |index: usize| young & (1 << index) != 0;
            let indices: Vec<usize> = (0..KINDS.len()).filter(|index| there(*index)).collect();
            let receipts: Vec<Receipt> = indices
                .iter()
                .map(|index| receipt(KINDS[*index], if is_young(*index) { 100 } else { 99 }))
                .collect();
            let expected = if indices.iter().any(|index| is_young(*index)) {
                Look::Keep(Keep::Young)
            } else if there(4) {
                Look::Keep(Keep::NotUnderstood)
            } else {
                match (there(0) || there(1), there(2), there(3)) {
                    (_, true, resolved) => Look::Ended { resolved },
                    (false, false, true) => Look::Leftover,
                    (true, false, _) => Look::Keep(Keep::Unfinished),
                    (false, false, false) => unreachable!("no receipts"),
                }
            };
            assert_eq!(look(&receipts, 100), expected, "{receipts:?}");
        }
    }
}

#[test]
fn an_unknown_outcome_waits_until_it_is_resolved() {
    assert_eq!(holds_back(&failed("outcome_unknown"), false), Some(Keep::OutcomeUnknown));
    assert_eq!(holds_back(&failed("outcome_unknown"), true), None);
    assert_eq!(holds_back(&succeeded(), false), None);
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::OutcomeUnknown) {
        assert_eq!(holds_back(&failed(reason.as_str()), false), None, "{}", reason.as_str());
    }
    let newer = br#"{"id":"a/blessed","type":"comet.job.blessed","data":{"job_id":"a"}}"#;
    for bytes in [&b""[..], b"{}", newer] {
        assert_eq!(holds_back(bytes, false), Some(Keep::NotUnderstood));
    }
}

/// A store with receipts that were all written just now.
struct Desk {
    objects: Arc<InMemory>,
    storage: Storage,
    receipts: Receipts,
}

impl Desk {
    fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let storage = Storage::around(objects.clone());
        Self { objects, receipts: Receipts::new(storage.clone()), storage }
    }

    /// The same receipts in a store with a trouble.
    fn with(&self, trouble: Trouble) -> Self {
        let objects = Arc::clone(&self.objects);
        let storage = Storage::around(Arc::new(trouble.of(Arc::clone(&objects))));
        Self { objects, receipts: Receipts::new(storage.clone()), storage }
    }

    async fn posted(&self, id: &str) -> JobId {
        let job: JobId = id.parse().unwrap();
        let (digest, under) = (Digest::new("d".to_owned()), SentUnder::from_words("cw-1").unwrap());
        let of = IntentFacts {
            job: &job,
            digest: &digest,
            route: RouteName::default_route(),
            round: 1,
            under: &under,
            max_attempts: 1,
        };
        self.receipts.intend(of, 1, &Nonce::new("n".to_owned())).await.unwrap();
        self.receipts.note_task(&job, 1, &TaskId::new("t").unwrap()).await.unwrap();
        job
    }

    async fn ended(&self, id: &str, result: Bytes) -> JobId {
        let job = self.posted(id).await;
        self.receipts.seal(&job, result).await.unwrap();
        job
    }

    async fn sweep(&self, before_ms: i64, dry_run: bool) -> Tally {
        let mut sweep = Sweep::new(self.storage.clone(), before_ms, dry_run);
        for folder in sweep.begin().await.unwrap() {
            sweep.folder(&folder).await.unwrap();
        }
        sweep.tally()
    }

    async fn keys(&self) -> Vec<String> {
        use futures_util::TryStreamExt as _;
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        let mut keys: Vec<String> = listed.into_iter().map(|object| object.location.to_string()).collect();
        keys.sort();
        keys
    }

    async fn names(&self) -> Vec<String> {
        let names = self.keys().await.into_iter();
        let mut names: Vec<String> =
            names.map(|key| key.rsplit_once('/').map_or(key.clone(), |(_, name)| name.to_owned())).collect();
        names.sort();
        names
    }
}

/// Later than all receipts here.
fn tomorrow_ms() -> i64 {
    crate::clock::unix_ms() + 86_400_000
}

#[tokio::test]
async fn a_sweep_removes_what_has_ended_and_leaves_the_rest() {
    let desk = Desk::new();
    desk.receipts.store_id().await.unwrap();
    desk.objects.put(&Path::from("receipts/probe-1"), "1".into()).await.unwrap();
    desk.objects.put(&Path::from("receipts/ff/README"), "not ours".into()).await.unwrap();
    desk.objects.put(&Path::from("images/a.b/0-1.png"), "an image".into()).await.unwrap();
    desk.ended("a.b", succeeded()).await;
    let resolved = desk.ended("resolved", failed("outcome_unknown")).await;
    desk.receipts.seal_correction(&resolved, succeeded()).await.unwrap();
    desk.ended("unknown", failed("outcome_unknown")).await;
    desk.posted("running").await;
    desk.ended("unreadable", Bytes::new()).await;
    let before = desk.keys().await;

    let now_ms = crate::clock::unix_ms();
    let young = desk.sweep(now_ms - 3_600_000, false).await;
    assert_eq!((young.removed, young.kept.young, young.failed), (Default::default(), 5, 0));
    let would = desk.sweep(tomorrow_ms(), true).await;
    assert_eq!(desk.keys().await, before, "a dry run");

    let tally = desk.sweep(tomorrow_ms(), false).await;
    assert_eq!(tally, would);
    assert_eq!((tally.removed.jobs, tally.removed.receipts, tally.removed.probes), (2, 7, 1));
    assert_eq!(
        (tally.kept.young, tally.kept.unfinished, tally.kept.outcome_unknown, tally.kept.not_understood),
        (0, 1, 1, 1)
    );
    assert_eq!(
        desk.names().await,
        [
            "0-1.png",
            "README",
            "running.intent-1",
            "running.task-1",
            "store-id",
            "unknown.intent-1",
            "unknown.result",
            "unknown.task-1",
            "unreadable.intent-1",
            "unreadable.result",
            "unreadable.task-1",
        ]
    );
}

#[test]
fn a_sweep_that_dies_half_way_leaves_what_the_next_one_takes_up() {
    let mut receipts: Vec<Receipt> =
        ["resolved", "result", "intent-1", "task-1", "resolve-1", "refused-1", "intent-2"]
            .map(|kind| receipt(kind, 0))
            .to_vec();
    receipts.sort_by_key(Receipt::turn);
    while !receipts.is_empty() {
        let has = |turn: u8| receipts.iter().any(|receipt| receipt.turn() == turn);
        let (step, first_intent, result) = (has(0), has(1), has(2));
        match look(&receipts, 1) {
            Look::Ended { resolved } => {
                assert_eq!(holds_back(&failed("outcome_unknown"), resolved), None, "{receipts:?}");
            }
            Look::Leftover => assert_eq!(receipts.len(), 1, "{receipts:?}"),
            Look::Keep(keep) => panic!("kept as {keep:?}: {receipts:?}"),
        }
        // A worker knows of a job by its first intent, and then needs its result.
        assert!(!first_intent || result, "{receipts:?}");
        assert!(!step || first_intent, "{receipts:?}");
        receipts.remove(0);
    }
}

#[tokio::test]
async fn what_cannot_be_removed_is_counted_and_the_others_go_on() {
    let desk = Desk::new();
    for id in ["a", "b", "c"] {
        desk.ended(id, succeeded()).await;
    }
    let stubborn = desk.with(Trouble { on: "b.intent-1", is: Refused }).sweep(tomorrow_ms(), false).await;
    assert_eq!((stubborn.removed.jobs, stubborn.failed), (2, 1));
    assert_eq!(desk.names().await, ["b.intent-1", "b.result"]);
    let again = desk.sweep(tomorrow_ms(), false).await;
    assert_eq!((again.removed.jobs, again.removed.receipts, again.failed), (1, 2, 0));
    assert!(desk.names().await.is_empty());
}

#[tokio::test]
async fn where_another_sweep_has_been_nothing_more_is_removed() {
    let desk = Desk::new();
    desk.ended("a", succeeded()).await;
    let late = desk.with(Trouble { on: "a.result", is: Gone }).sweep(tomorrow_ms(), false).await;
    assert_eq!(late, Tally::default());
    assert_eq!(desk.names().await, ["a.intent-1", "a.result", "a.task-1"]);
}

#[tokio::test]
async fn a_store_that_removes_nothing_is_given_up() {
    let desk = Desk::new();
    for number in 0..300 {
        // All are in one folder: the test is that the rest of the folder isn't tried.
        desk.objects.put(&Path::from(format!("receipts/00/{number}.result")), "".into()).await.unwrap();
        desk.objects
            .put(&Path::from(format!("receipts/00/{number}.resolved")), succeeded().into())
            .await
            .unwrap();
    }
    let desk = desk.with(Trouble { on: ".result", is: Refused });
    let mut sweep = Sweep::new(desk.storage.clone(), tomorrow_ms(), false);
    let folders = sweep.begin().await.unwrap();
    let error = sweep.folder(&folders[0]).await.unwrap_err();
    assert!(error.to_string().contains("100 jobs failed"), "{error}");
    assert_eq!(sweep.tally().failed, 100);
}
