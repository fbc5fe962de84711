//! The contract of every ledger for an account's slots and pace: Redis and the ledger in memory pass the same tests,
//! and pass them again with every call made twice, as after a lost answer.

use std::collections::BTreeMap;
use std::time::Duration;

use comet_worker::job::record::Stage;
use comet_worker::job::step::{BeginPrecondition, MoveResult};
use comet_worker::job::{Charged, FailedTasks};
use comet_worker::ledger::slots::Slots;

use crate::chance::stream;
use crate::seed::seed;
pub use crate::slots_bench::Account;
use crate::slots_bench::{ENDED, GIVEN_UP, LONG, SHORT, id, nonce, slots, task};

pub async fn slots_are_given_up_to_the_cap_and_no_further(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 3).await);
    assert!(!account.begins("b", 2).await);
    let known = account.ledger.read(&id("b"), Slots::NONE).await.unwrap();
    assert_eq!(known.record, None, "something has changed");
    assert_eq!(
        account.ask("c", 1, Slots::NONE).await,
        MoveResult::Yes { cancelled: false },
        "who takes none"
    );
}

pub async fn one_job_takes_its_slots_once(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 2).await);
    let (a, two) = (id("a"), slots(2, LONG));
    let basis = BeginPrecondition::NeverAsked(nonce("n"));
    let instead = account.ledger.begin(account.entry(&a, two), 1, &nonce("m"), &basis).await.unwrap();
    assert!(matches!(instead, MoveResult::Yes { .. } | MoveResult::No(_)), "{instead:?}");
    account.accept("a", two).await;
    account.ledger.read(&a, two).await.unwrap();
    assert!(account.begins("b", 2).await, "more was taken than the job has");
    assert!(!account.begins("c", 1).await, "less was taken than the job has");
}

pub async fn a_task_that_has_ended_frees_its_slots_once(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 2).await && account.begins("b", 2).await);
    account.accept("a", slots(2, LONG)).await;
    account.end("a", ENDED).await;
    account.end("a", ENDED).await;
    assert!(account.begins("c", 2).await);
    assert!(!account.begins("d", 1).await);
}

pub async fn an_attempt_that_was_surely_not_accepted_frees_its_slots(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 4).await);
    account.reopen("a", 1).await;
    assert!(account.begins("b", 3).await);
    assert_eq!(
        account.ask("a", 2, slots(4, LONG)).await,
        MoveResult::Full,
        "the next attempt needs them too"
    );
}

pub async fn a_failed_task_frees_its_slots_and_the_next_generation_takes_its_own(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 4).await);
    account.accept("a", slots(4, LONG)).await;
    let failed = FailedTasks::NONE.and(task("a"), Charged::Unknown);
    account.ledger.follow(&id("a"), 1, &failed).await.unwrap();
    assert!(account.begins("b", 1).await, "free");
    assert_eq!(account.ask("a", 2, slots(4, LONG)).await, MoveResult::Full);
}

pub async fn a_task_that_was_given_up_keeps_its_slots_until_it_can_not_run_any_more(account: Account) {
    let account = account.open().await;
    for (job, keep) in [("a", LONG), ("b", SHORT)] {
        assert!(matches!(account.ask(job, 1, slots(2, keep)).await, MoveResult::Yes { .. }));
        account.accept(job, slots(2, keep)).await;
        account.end(job, GIVEN_UP).await;
    }
    account.begins_at_last("c", 2).await;
    assert!(!account.begins("d", 1).await, "that of a has not passed");
}

pub async fn a_submit_that_is_not_come_back_to_leaks_nothing(account: Account) {
    let account = account.open().await;
    assert!(matches!(account.ask("a", 1, slots(4, SHORT)).await, MoveResult::Yes { .. }));
    account.begins_at_last("b", 4).await;
}

pub async fn a_large_job_is_not_starved_by_small_ones(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 2).await && account.begins("b", 2).await);
    assert!(!account.begins("large", 3).await);
    assert!(!account.begins("small", 1).await);
    account.end("b", ENDED).await;
    assert!(!account.begins("large", 3).await);
    assert!(!account.begins("small", 1).await, "taken from one that has waited longer");
    account.end("a", ENDED).await;
    assert!(!account.begins("late", 2).await, "taken from two that have waited longer");
    assert!(account.begins("small", 1).await, "there is room beside the large one");
    assert!(account.begins("large", 3).await);
}

pub async fn one_that_asks_no_more_is_not_waited_for(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 2).await);
    assert!(!account.begins("dead", 3).await);
    assert!(!account.begins("b", 2).await);
    account.begins_at_last("b", 2).await;
}

pub async fn a_running_task_is_counted_beyond_the_cap(account: Account) {
    let account = account.open().await;
    account.accept("a", slots(3, LONG)).await;
    account.accept("b", slots(3, LONG)).await;
    assert!(!account.begins("c", 1).await);
    account.end("a", ENDED).await;
    assert!(account.begins("c", 1).await);
    assert!(!account.begins("d", 1).await);
}

pub async fn who_goes_on_with_a_task_has_it_counted(account: Account) {
    let account = account.open().await;
    account.accept("a", Slots::NONE).await;
    account.ledger.read(&id("a"), slots(4, LONG)).await.unwrap();
    assert!(!account.begins("b", 1).await);
}

pub async fn a_task_that_can_run_less_long_than_was_thought_holds_its_slots_less_long(account: Account) {
    let account = account.open().await;
    account.accept("a", slots(4, LONG)).await;
    account.ledger.read(&id("a"), slots(4, SHORT)).await.unwrap();
    account.begins_at_last("b", 4).await;
}

pub async fn a_task_whose_end_was_seen_holds_nothing_while_its_images_are_stored(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 4).await);
    account.accept("a", slots(4, LONG)).await;
    account.ledger.enter(&id("a"), "life").await.unwrap();
    account.ledger.read(&id("a"), slots(4, LONG)).await.unwrap();
    assert!(account.begins("b", 4).await);
    account.end("a", ENDED).await;
    assert!(!account.begins("c", 1).await, "freed twice");
}

pub async fn a_job_larger_than_the_account_goes_alone(account: Account) {
    let account = account.open().await;
    assert!(account.begins("a", 1).await);
    assert!(!account.begins("huge", 9).await);
    account.end("a", ENDED).await;
    assert!(account.begins("huge", 9).await);
    assert!(!account.begins("b", 1).await);
}

pub async fn a_count_that_was_lost_is_trusted_once_the_running_tasks_are_counted_again(account: Account) {
    assert!(!account.begins("a", 1).await, "it is not known what runs");
    let running = Stage::Generating { attempt: 1, task: task("b"), age: Duration::ZERO };
    account.restore("b", &running, 2).await;
    let posted = Stage::Submitting { attempt: 1, nonce: nonce("n") };
    account.restore("c", &posted, 1).await;
    account.restore("d", &Stage::New { attempt: 2 }, 4).await;
    account.begins_at_last("a", 1).await;
    assert!(!account.begins("e", 1).await, "one was not counted");
}

pub async fn a_slow_down_is_a_pause_and_then_half_the_pace_for_everybody(account: Account) {
    let account = account.open().await;
    for job in ["a", "b"] {
        assert_eq!(account.held_up(job).await, None, "no worker has asked for that");
    }
    account.ledger.slow_down(SHORT, 2000).await.unwrap();
    let wait = account.held_up("c").await.expect("no pause");
    assert!(wait <= SHORT, "{wait:?}");
    assert_eq!(
        account.ledger.read(&id("c"), Slots::NONE).await.unwrap().record,
        None,
        "something has changed"
    );
    account.held_up_no_more("c").await;
    let wait = account.held_up("d").await.expect("as many as before");
    assert!(wait <= Duration::from_secs(1), "{wait:?} after half of two a second");
    account.held_up_no_more("d").await;
}

pub async fn a_burst_slows_once_and_cuts_no_pause_short(account: Account) {
    let account = account.open().await;
    for _ in 0..5 {
        account.ledger.slow_down(SHORT, 2000).await.unwrap();
    }
    account.held_up_no_more("a").await;
    let wait = account.held_up("b").await.expect("as many as before");
    assert!(wait <= Duration::from_secs(1), "{wait:?} after half of two a second");
    account.ledger.slow_down(LONG, 2000).await.unwrap();
    account.ledger.slow_down(SHORT, 2000).await.unwrap();
    assert!(account.held_up("b").await > Some(LONG / 2));
}

pub async fn no_pause_is_longer_than_ten_minutes(account: Account) {
    let account = account.open().await;
    account.ledger.slow_down(LONG * 100, 2000).await.unwrap();
    assert!(account.held_up("a").await <= Some(Duration::from_secs(600)));
}

pub async fn who_will_not_post_is_not_held_up(account: Account) {
    let account = account.open().await;
    account.ledger.slow_down(LONG, 2000).await.unwrap();
    assert_eq!(account.ask("a", 1, Slots::NONE).await, MoveResult::Yes { cancelled: false });
}

/// Random moves: the sum is never above the cap except for tasks that ran already, and no job is refused if there is
/// room for it beside the waiting jobs.
pub async fn whatever_happens_the_sum_is_that_of_the_running_tasks(account: Account) {
    let account = account.open().await;
    let seed = seed();
    let mut chance = stream(seed, "slots");
    let mut below = |bound: u32| chance.u32(0..bound);
    // By number of the job: attempts that are over, and slots that are held.
    let mut held: BTreeMap<u32, u32> = BTreeMap::new();
    let mut over: BTreeMap<u32, u32> = BTreeMap::new();
    let mut waiting: BTreeMap<u32, u32> = BTreeMap::new();
    let mut jobs = 0;
    for _ in 0..300 {
        let taken: u32 = held.values().sum();
        match below(5) {
            0 | 1 => {
                let again = waiting.keys().copied().collect::<Vec<_>>();
                let number = if again.is_empty() || below(2) == 0 {
                    jobs += 1;
                    jobs
                } else {
                    again[below(u32::try_from(again.len()).unwrap()) as usize]
                };
                let count = waiting.get(&number).copied().unwrap_or_else(|| 1 + below(3));
                let attempt = 1 + over.get(&number).copied().unwrap_or(0);
                waiting.remove(&number);
                match account.ask(&format!("j{number}"), attempt, slots(count, LONG)).await {
                    MoveResult::Yes { .. } => {
                        assert!(taken + count <= 4, "seed {seed}: {taken} + {count}");
                        held.insert(number, count);
                    }
                    MoveResult::Full => {
                        let before: u32 = waiting.values().sum();
                        assert!(taken + count + before > 4, "seed {seed}: {taken} + {count} + {before}");
                        waiting.insert(number, count);
                    }
                    moved @ (MoveResult::No(_) | MoveResult::Paced { .. } | MoveResult::Spent(_)) => {
                        panic!("seed {seed}: {moved:?}")
                    }
                }
            }
            2 => {
                if let Some((&number, &count)) = held.iter().next() {
                    account.accept(&format!("j{number}"), slots(count, LONG)).await;
                }
            }
            3 => {
                if let Some((number, _)) = held.pop_first() {
                    account.end(&format!("j{number}"), ENDED).await;
                }
            }
            _ => {
                // The slots of an attempt that was not accepted; a running task isn't reopened.
                if let Some((&number, &count)) = held.iter().next_back() {
                    let attempt = 1 + over.get(&number).copied().unwrap_or(0);
                    let moved = account.ledger.reopen(&id(&format!("j{number}")), attempt, None).await;
                    if matches!(moved.unwrap(), MoveResult::Yes { .. }) {
                        held.remove(&number);
                        over.insert(number, attempt);
                        waiting.insert(number, count);
                    }
                }
            }
        }
    }
}

/// One test per property and ledger; `$account` makes an `Arc<dyn Ledger>` with 4 slots, from how long a lost
/// count is not trusted.
#[macro_export]
macro_rules! slots_suite {
    ($account:expr) => {
        $crate::slots_suite!(@each $account;
            slots_are_given_up_to_the_cap_and_no_further
            one_job_takes_its_slots_once
            a_task_that_has_ended_frees_its_slots_once
            an_attempt_that_was_surely_not_accepted_frees_its_slots
            a_failed_task_frees_its_slots_and_the_next_generation_takes_its_own
            a_task_that_was_given_up_keeps_its_slots_until_it_can_not_run_any_more
            a_submit_that_is_not_come_back_to_leaks_nothing
            a_large_job_is_not_starved_by_small_ones
            one_that_asks_no_more_is_not_waited_for
            a_running_task_is_counted_beyond_the_cap
            who_goes_on_with_a_task_has_it_counted
            a_task_that_can_run_less_long_than_was_thought_holds_its_slots_less_long
            a_task_whose_end_was_seen_holds_nothing_while_its_images_are_stored
            a_job_larger_than_the_account_goes_alone
            a_count_that_was_lost_is_trusted_once_the_running_tasks_are_counted_again
            a_slow_down_is_a_pause_and_then_half_the_pace_for_everybody
            a_burst_slows_once_and_cuts_no_pause_short
            no_pause_is_longer_than_ten_minutes
            who_will_not_post_is_not_held_up
            whatever_happens_the_sum_is_that_of_the_running_tasks
        );
    };
    (@each $account:expr; $($property:ident)+) => {$(
        #[tokio::test]
        async fn $property() {
            use $crate::ledger_suite::twice;
            use $crate::slots_suite::{Account, $property};
            let ledger = || -> std::sync::Arc<dyn comet_worker::ledger::Ledger> { $account(std::time::Duration::from_millis(500)) };
            $property(Account::new(ledger()).await).await;
            $property(Account::new(std::sync::Arc::new(twice(ledger()))).await).await;
        }
    )+};
}
