//! Each safeguard is removed once, to check that the simulation finds what it guards against.

use std::time::Duration;

use super::script::{Cast, Kind, Op, Safeguard, script};
use super::world::play;
use super::{first_broken, play_seed};
use crate::seed::seed;

/// So many seeds are enough.
const ENOUGH: std::ops::Range<u64> = 1..4_000;

fn breaks(promise: &str, adjust: impl Fn(&mut Cast) + Sync) {
    let play = |seed| match play_seed(seed, &adjust) {
        Err(broken) if broken.promise == promise => Err(broken),
        Ok(_) | Err(_) => Ok(()),
    };
    let Some(broken) = first_broken(ENOUGH, play) else {
        panic!("in {ENOUGH:?} nothing breaks \"{promise}\"");
    };
    println!("seed {}: {promise}", broken.cast.seed);
}

fn trusting(cast: &mut Cast) {
    (cast.provider, cast.trust_lookup, cast.receipts, cast.forgets) = (Kind::Finds, true, true, true);
}

#[test]
fn without_receipts_a_ledger_that_forgets_has_a_job_paid_for_twice() {
    breaks("paid for twice", |cast| (cast.receipts, cast.forgets) = (false, true));
}

#[test]
fn without_create_if_absent_a_job_is_paid_for_twice() {
    breaks("paid for twice", |cast| {
        (cast.receipts, cast.forgets) = (true, true);
        cast.without = Some(Safeguard::CreateIfAbsent);
    });
}

#[test]
fn without_the_quiet_period_a_job_is_paid_for_twice() {
    breaks("paid for twice", |cast| {
        trusting(cast);
        cast.quiet = Duration::ZERO;
    });
}

#[test]
fn without_a_provider_that_finds_its_tasks_trust_has_a_job_paid_for_twice() {
    breaks("paid for twice", |cast| (cast.provider, cast.trust_lookup) = (Kind::Neither, true));
}

#[test]
fn without_a_confirm_that_means_it_a_job_is_never_told() {
    breaks("acked and never told", |cast| cast.without = Some(Safeguard::Confirm));
}

#[test]
fn without_the_first_freeze_there_are_two_wordings_of_an_outcome() {
    breaks("two wordings of one outcome", |cast| {
        (cast.receipts, cast.forgets) = (false, false);
        cast.without = Some(Safeguard::FirstFreeze);
    });
}

#[test]
fn without_the_count_of_its_slots_more_runs_than_the_account_allows() {
    breaks("more runs than the account allows", |cast| {
        cast.max_running = 2;
        cast.without = Some(Safeguard::SlotCount);
    });
}

#[test]
fn a_world_in_which_nothing_goes_wrong_leaves_nothing_unknown() {
    for seed in seed()..seed() + 50 {
        let mut cast = Cast::draw(seed);
        // Here nothing may end as unknown.
        trusting(&mut cast);
        let mut calm = script(&cast);
        calm.retain(|op| matches!(op, Op::Deliver { .. } | Op::Advance { .. }));
        if let Err(broken) = play(cast, calm) {
            panic!("{}", super::report(&broken));
        }
    }
}
