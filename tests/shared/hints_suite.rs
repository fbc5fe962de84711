//! The contract of every ledger for hints: Redis and the ledger in memory pass the same tests, and pass them again
//! with every call made twice, as after a lost answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::Stage;
use comet_worker::job::step::{BeginPrecondition, MoveResult, RestorePrecondition};
use comet_worker::job::{Charged, FailedTasks};
use comet_worker::ledger::Ledger;
use comet_worker::ledger::hints::{Hint, HintListener, Hints};
use comet_worker::ledger::slots::Slots;
use futures_util::FutureExt;

use crate::slots_bench::{Account, ENDED, LONG, SHORT, id, nonce, slots, task};

/// A ledger with 4 slots, and the hints that come from it.
pub struct Heard {
    account: Account,
    hints: Hints,
    marks: AtomicU32,
}

impl Heard {
    pub async fn new(ledger: Arc<dyn Ledger>, hints: Hints) -> Self {
        Self { account: Account::new(ledger).await, hints, marks: AtomicU32::new(0) }
    }

    async fn open(self) -> Self {
        Self { account: self.account.open().await, ..self }
    }

    fn wait_for(&self, job: &str) -> HintListener {
        self.hints.wait_for(&id(job))
    }

    /// Waits until all hints so far have come: a hint for a job that no test uses is sent and comes after them.
    async fn all_have_come(&self) {
        let job = id(&format!("mark-{}", self.marks.fetch_add(1, Ordering::Relaxed)));
        let mark = self.hints.wait_for(&job);
        self.account.ledger.cancel(&job).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), mark.look()).await.expect("a hint comes");
    }

    /// Whether there was a hint to look at the record.
    async fn looks(&self, listener: &HintListener) -> bool {
        self.all_have_come().await;
        listener.look().now_or_never().is_some()
    }

    /// Whether there was a hint to ask for slots.
    async fn asks(&self, listener: &HintListener) -> bool {
        self.all_have_come().await;
        listener.slot().now_or_never().is_some()
    }

    async fn read(&self, job: &str) {
        self.account.ledger.read(&id(job), Slots::NONE).await.unwrap();
    }

    /// Ends the job by the telling of its event, which a receipt has.
    async fn tell(&self, job: &str) {
        let (job, event) = (id(job), Bytes::from_static(ENDED));
        self.account
            .ledger
            .mark_published(self.account.entry(&job, Slots::NONE), &event, true)
            .await
            .unwrap();
    }

    async fn follow(&self, job: &str) {
        let failed = FailedTasks::NONE.and(task(job), Charged::Unknown);
        self.account.ledger.follow(&id(job), 1, &failed).await.unwrap();
    }

    async fn begins(&self, job: &str, count: u32) -> bool {
        self.account.begins(job, count).await
    }
}

pub async fn a_caller_that_finds_another_submitting_has_a_hint_once_the_record_moves(heard: Heard) {
    let heard = heard.open().await;
    let account = &heard.account;
    for way in ["accepted", "refused", "restored", "ended", "told", "asked-for-anew"] {
        account.ask(way, 1, Slots::NONE).await;
        let listener = heard.wait_for(way);
        heard.read(way).await;
        assert!(!heard.looks(&listener).await, "{way}: nothing has moved yet");
        match way {
            "accepted" => account.accept(way, Slots::NONE).await,
            "refused" => account.reopen(way, 1).await,
            "restored" => {
                let (job, next) = (id(way), Stage::New { attempt: 2 });
                let (entry, over) = (account.entry(&job, Slots::NONE), RestorePrecondition::Open(1));
                account.ledger.restore(entry, over, &next, None).await.unwrap();
            }
            "ended" => account.end(way, ENDED).await,
            "told" => heard.tell(way).await,
            _ => {
                let (job, basis) = (id(way), BeginPrecondition::NeverAsked(nonce("n")));
                let entry = account.entry(&job, Slots::NONE);
                let moved = account.ledger.begin(entry, 1, &nonce("m"), &basis).await.unwrap();
                assert!(matches!(moved, MoveResult::Yes { .. }), "{moved:?}");
            }
        }
        assert!(heard.looks(&listener).await, "{way}");
    }
}

pub async fn a_record_that_no_caller_waits_for_moves_without_a_hint(heard: Heard) {
    let heard = heard.open().await;
    let account = &heard.account;
    account.ask("a", 1, Slots::NONE).await;
    let listener = heard.wait_for("a");
    account.reopen("a", 1).await;
    assert!(!heard.looks(&listener).await, "not read");
    heard.read("a").await;
    account.ask("a", 2, Slots::NONE).await;
    assert!(!heard.looks(&listener).await, "read before it was submitting");
    heard.read("a").await;
    account.reopen("a", 2).await;
    assert!(heard.looks(&listener).await);
    account.ask("a", 3, Slots::NONE).await;
    assert!(!heard.looks(&listener).await, "a second hint for one read");
}

pub async fn a_cancellation_is_a_hint_to_the_worker_with_the_job_unless_it_has_ended(heard: Heard) {
    let heard = heard.open().await;
    let (listener, another) = (heard.wait_for("a"), heard.wait_for("b"));
    let cancel = async || heard.account.ledger.cancel(&id("a")).await.unwrap();
    assert!(cancel().await.cancelled);
    assert!(heard.looks(&listener).await, "before it was seen");
    heard.account.accept("a", Slots::NONE).await;
    assert!(cancel().await.cancelled);
    assert!(heard.looks(&listener).await, "generating");
    heard.account.end("a", ENDED).await;
    assert!(!cancel().await.cancelled);
    assert!(!heard.looks(&listener).await, "ended");
    assert!(!heard.looks(&another).await, "another job");
}

pub async fn slots_that_are_freed_are_a_hint_for_those_whose_turn_it_is(heard: Heard) {
    let heard = heard.open().await;
    assert!(heard.begins("a", 2).await && heard.begins("b", 2).await);
    let [large, small, late] = ["large", "small", "late"].map(|job| heard.wait_for(job));
    let ask = async || {
        assert!(!heard.begins("large", 3).await);
        assert!(!heard.begins("small", 1).await);
        assert!(!heard.begins("late", 2).await);
    };
    ask().await;
    assert!(!heard.asks(&large).await, "nothing was freed");
    heard.account.end("a", ENDED).await;
    assert!(!heard.asks(&large).await, "there is room for 2");
    assert!(!heard.asks(&small).await, "another has waited longer");
    ask().await;
    heard.account.end("b", ENDED).await;
    assert!(heard.asks(&large).await);
    assert!(heard.asks(&small).await, "there is room beside the large one");
    assert!(!heard.asks(&late).await, "there is no room");
    heard.account.end("b", ENDED).await;
    assert!(!heard.asks(&large).await, "freed twice");
}

pub async fn each_end_of_a_task_is_a_hint_for_the_next_in_line(heard: Heard) {
    let heard = heard.open().await;
    let account = &heard.account;
    for way in ["ended", "told", "refused", "failed", "entered", "restored"] {
        assert!(heard.begins(way, 4).await, "{way}");
        if ["failed", "entered"].contains(&way) {
            account.accept(way, slots(4, LONG)).await;
        }
        let next = format!("after-{way}");
        let listener = heard.wait_for(&next);
        assert!(!heard.begins(&next, 1).await, "{way}");
        assert!(!heard.asks(&listener).await, "{way}: before");
        match way {
            "ended" => account.end(way, ENDED).await,
            "told" => heard.tell(way).await,
            "refused" => account.reopen(way, 1).await,
            "failed" => heard.follow(way).await,
            "entered" => drop(account.ledger.enter(&id(way), "life").await.unwrap()),
            _ => {
                let (job, next) = (id(way), Stage::New { attempt: 2 });
                let (entry, over) = (account.entry(&job, Slots::NONE), RestorePrecondition::Open(1));
                account.ledger.restore(entry, over, &next, None).await.unwrap();
            }
        }
        assert!(heard.asks(&listener).await, "{way}");
        assert!(heard.begins(&next, 1).await, "{way}");
        account.end(&next, ENDED).await;
    }
}

pub async fn slots_whose_time_is_over_are_a_hint_once_another_job_asks(heard: Heard) {
    let heard = heard.open().await;
    let given = heard.account.ask("dead", 1, slots(4, SHORT)).await;
    assert!(matches!(given, MoveResult::Yes { .. }), "{given:?}");
    let listener = heard.wait_for("next");
    assert!(!heard.begins("next", 4).await);
    tokio::time::sleep(SHORT * 2).await;
    assert!(!heard.asks(&listener).await, "it is not noticed before");
    assert!(!heard.begins("small", 1).await, "taken from one that has waited longer");
    assert!(heard.asks(&listener).await);
}

pub async fn a_lost_count_is_a_hint_for_all_jobs_once(heard: Heard) {
    let listeners = ["a", "b"].map(|job| heard.wait_for(job));
    assert!(!heard.begins("c", 1).await, "it is not known what runs");
    for listener in &listeners {
        assert!(heard.looks(listener).await);
    }
    assert!(!heard.begins("c", 1).await);
    assert!(!heard.looks(&listeners[0]).await, "once more");
}

pub async fn a_worker_is_asked_to_poll_the_task_of_its_job_at_once(heard: Heard) {
    let (one, other) = (heard.wait_for("a"), heard.wait_for("b"));
    heard.account.ledger.hint_poll(&id("a")).await.unwrap();
    heard.all_have_come().await;
    assert_eq!(one.hint().now_or_never(), Some(Hint::Poll));
    assert_eq!(other.hint().now_or_never(), None);
}

/// One test per property and ledger; `$ledger` makes an `Arc<dyn Ledger>` with 4 slots and the [`Hints`] that come
/// from it, from how long a lost count is not trusted.
#[macro_export]
macro_rules! hints_suite {
    ($ledger:expr) => {
        $crate::hints_suite!(@each $ledger;
            a_caller_that_finds_another_submitting_has_a_hint_once_the_record_moves
            a_record_that_no_caller_waits_for_moves_without_a_hint
            a_cancellation_is_a_hint_to_the_worker_with_the_job_unless_it_has_ended
            slots_that_are_freed_are_a_hint_for_those_whose_turn_it_is
            each_end_of_a_task_is_a_hint_for_the_next_in_line
            slots_whose_time_is_over_are_a_hint_once_another_job_asks
            a_lost_count_is_a_hint_for_all_jobs_once
            a_worker_is_asked_to_poll_the_task_of_its_job_at_once
        );
    };
    (@each $ledger:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            use $crate::hints_suite::{Heard, $property};
            use $crate::ledger_suite::twice;
            let recount = std::time::Duration::from_secs(60);
            let (ledger, hints) = $ledger(recount).await;
            $property(Heard::new(ledger, hints).await).await;
            let (ledger, hints) = $ledger(recount).await;
            $property(Heard::new(std::sync::Arc::new(twice(ledger)), hints).await).await;
        }
    )+};
}
