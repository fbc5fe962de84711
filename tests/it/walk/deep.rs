//! The whole walk, for a release: two hands at a job under every set of faults. `make verify` runs it.

use super::world::{Faults, Provider};
use super::{NONE, holds};

/// The fault sets that the protocol was checked with before it was written.
fn fault_sets() -> Vec<(usize, Faults)> {
    vec![
        (1, Faults { crashes: 1, losses: 1, refusals: 1, ..NONE }),
        (1, Faults { flushes: 1, losses: 1, ..NONE }),
        (1, Faults { crashes: 1, flushes: 1, refusals: 1, ..NONE }),
        (1, Faults { lost_writes: 1, losses: 1, ..NONE }),
        (1, Faults { lost_answers: 1, losses: 1, ..NONE }),
        (2, Faults { refusals: 1, ..NONE }),
        (2, Faults { flushes: 1, ..NONE }),
        (2, Faults { crashes: 1, ..NONE }),
    ]
}

fn two_hands(provider: Provider, trust_lookup: bool) {
    let sets = fault_sets().into_iter();
    let states: usize = sets.map(|(copies, faults)| holds(provider, trust_lookup, copies, faults)).sum();
    println!("walk: {states} states, {provider:?}, trust {trust_lookup}");
}

#[test]
fn every_promise_holds_with_a_provider_that_finds_by_external_id_and_is_trusted() {
    two_hands(Provider::Finds, true);
}

#[test]
fn every_promise_holds_with_a_provider_that_finds_by_external_id_and_parking() {
    two_hands(Provider::Finds, false);
}

#[test]
fn every_promise_holds_with_a_provider_that_refuses_repetitions() {
    two_hands(Provider::Refuses, true);
}

#[test]
fn every_promise_holds_with_a_provider_that_does_neither() {
    two_hands(Provider::Neither, false);
}

#[test]
fn a_job_is_cancelled_at_every_point_of_its_life_and_no_promise_breaks() {
    let cancelled = Faults { cancels: 1, ..NONE };
    // Two hands at it, by a second copy or a lost connection.
    holds(Provider::Finds, true, 2, cancelled);
    holds(Provider::Neither, false, 1, Faults { losses: 1, ..cancelled });
}

#[test]
fn what_a_person_decides_is_told_once_by_two_hands() {
    holds(Provider::Finds, false, 1, Faults { losses: 1, decisions: 1, ..NONE });
}

#[test]
fn a_failed_task_is_followed_by_one_more_and_no_promise_breaks() {
    let failed = Faults { failures: 1, ..NONE };
    holds(Provider::Refuses, true, 1, Faults { crashes: 1, refusals: 1, ..failed });
    holds(Provider::Finds, true, 1, Faults { crashes: 1, cancels: 1, ..failed });
    holds(Provider::Finds, true, 1, Faults { failures: 2, crashes: 1, ..NONE });
    // Two hands at it: one may see the task fail while the other gives it up.
    holds(Provider::Neither, false, 1, Faults { losses: 1, ..failed });
    holds(Provider::Finds, true, 2, Faults { timeouts: 1, ..failed });
}

#[test]
fn two_hands_at_a_job_whose_external_id_others_have_break_no_promise() {
    let strangers = Faults { strangers: 1, ..NONE };
    for (provider, trust_lookup) in
        [(Provider::Finds, true), (Provider::Finds, false), (Provider::Refuses, true)]
    {
        holds(provider, trust_lookup, 2, strangers);
        holds(provider, trust_lookup, 1, Faults { losses: 1, ..strangers });
        holds(provider, trust_lookup, 1, Faults { losses: 1, strangers: 2, ..NONE });
    }
}

/// The sets that show that a safeguard is needed, and that take longest.
#[test]
fn with_all_safeguards_nothing_breaks_where_one_is_missed() {
    holds(Provider::Neither, false, 1, Faults { cancels: 1, losses: 1, flushes: 1, ..NONE });
    holds(Provider::Neither, false, 1, Faults { flushes: 2, losses: 1, ..NONE });
}
