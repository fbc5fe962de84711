//! The pure core in every interleaving: two workers, one job, one or two copies of its message, with
//! crashes, lost connections, flushes of Redis, a lost last write, lost answers, against each of the
//! three kinds of provider. A ghost counts what the provider has accepted.
//!
//! The walk is breadth first, so a trace that it prints is a shortest one. Each safeguard of the
//! protocol is taken out once, to see that the walk then finds what it guards against.

mod explore;
mod world;

use explore::{Broken, walk};
use world::{Faults, Provider, Safeguard, World};

const NONE: Faults = Faults {
    crashes: 0,
    losses: 0,
    flushes: 0,
    lost_writes: 0,
    lost_answers: 0,
    refusals: 0,
    cancels: 0,
    decisions: 0,
    failures: 0,
    timeouts: 0,
};

fn holds(provider: Provider, trust_lookup: bool, copies: usize, faults: Faults) {
    let what = format!("{provider:?}, trust {trust_lookup}, {copies} copies, {faults:?}");
    match walk(World::new(provider, trust_lookup, copies, faults, None)) {
        Ok(states) => {
            println!("{states:8} states  {what}");
            assert!(states > 10, "{what}: a walk of {states} states shows nothing");
        }
        Err(broken) => panic!("{what}: {broken:#?}"),
    }
}

fn breaks(
    safeguard: Safeguard,
    provider: Provider,
    trust_lookup: bool,
    copies: usize,
    faults: Faults,
) -> Broken {
    let world = World::new(provider, trust_lookup, copies, faults, Some(safeguard));
    match walk(world) {
        Ok(states) => panic!("without {safeguard:?} nothing is found in {states} states"),
        Err(broken) => {
            println!("without {safeguard:?}: {} after {} steps", broken.promise, broken.trace.len());
            broken
        }
    }
}

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

#[test]
fn every_promise_holds_with_a_provider_that_finds_by_external_id_and_is_trusted() {
    for (copies, faults) in fault_sets() {
        holds(Provider::Finds, true, copies, faults);
    }
}

#[test]
fn every_promise_holds_with_a_provider_that_finds_by_external_id_and_parking() {
    for (copies, faults) in fault_sets() {
        holds(Provider::Finds, false, copies, faults);
    }
}

#[test]
fn every_promise_holds_with_a_provider_that_refuses_repetitions() {
    for (copies, faults) in fault_sets() {
        holds(Provider::Refuses, true, copies, faults);
    }
}

#[test]
fn every_promise_holds_with_a_provider_that_does_neither() {
    for (copies, faults) in fault_sets() {
        holds(Provider::Neither, false, copies, faults);
    }
}

#[test]
fn a_job_is_cancelled_at_every_point_of_its_life_and_no_promise_breaks() {
    let cancelled = Faults { cancels: 1, ..NONE };
    for (provider, trust_lookup) in
        [(Provider::Finds, true), (Provider::Finds, false), (Provider::Neither, false)]
    {
        holds(provider, trust_lookup, 1, Faults { crashes: 1, refusals: 1, ..cancelled });
        holds(provider, trust_lookup, 1, Faults { flushes: 1, ..cancelled });
        holds(provider, trust_lookup, 1, Faults { lost_writes: 1, ..cancelled });
    }
    // Two hands at it, by a second copy or a lost connection.
    holds(Provider::Finds, true, 2, cancelled);
    holds(Provider::Neither, false, 1, Faults { losses: 1, ..cancelled });
}

#[test]
fn what_a_person_decides_about_an_unknown_outcome_is_told_once_and_breaks_no_promise() {
    let decided = Faults { decisions: 1, ..NONE };
    for provider in [Provider::Finds, Provider::Neither] {
        holds(provider, false, 1, Faults { crashes: 1, ..decided });
        holds(provider, false, 1, Faults { flushes: 1, ..decided });
        holds(provider, false, 1, Faults { lost_writes: 1, ..decided });
    }
    holds(Provider::Finds, false, 1, Faults { losses: 1, ..decided });
    holds(Provider::Neither, false, 1, Faults { decisions: 2, ..NONE });
}

#[test]
fn a_job_that_is_submitted_again_can_be_cancelled() {
    holds(Provider::Neither, false, 1, Faults { decisions: 1, cancels: 1, ..NONE });
}

#[test]
fn a_failed_task_is_followed_by_one_more_and_no_promise_breaks() {
    let failed = Faults { failures: 1, ..NONE };
    for (provider, trust_lookup) in
        [(Provider::Finds, true), (Provider::Finds, false), (Provider::Neither, false)]
    {
        holds(provider, trust_lookup, 1, Faults { crashes: 1, timeouts: 1, ..failed });
        holds(provider, trust_lookup, 1, Faults { flushes: 1, ..failed });
        holds(provider, trust_lookup, 1, Faults { lost_writes: 1, ..failed });
    }
    holds(Provider::Refuses, true, 1, Faults { crashes: 1, refusals: 1, ..failed });
    holds(Provider::Finds, true, 1, Faults { crashes: 1, cancels: 1, ..failed });
    holds(Provider::Finds, true, 1, Faults { failures: 2, crashes: 1, ..NONE });
    holds(Provider::Neither, false, 1, Faults { decisions: 1, ..failed });
    // Two hands at it: one may see the task fail while the other gives it up.
    holds(Provider::Neither, false, 1, Faults { losses: 1, ..failed });
    holds(Provider::Finds, true, 2, Faults { timeouts: 1, ..failed });
}

#[test]
fn without_shutting_the_gate_behind_a_task_that_timed_out_a_paid_result_is_never_delivered() {
    let faults = Faults { failures: 1, timeouts: 1, ..NONE };
    let broken = breaks(Safeguard::ShutGate, Provider::Finds, true, 2, faults);
    assert_eq!(broken.promise, "a paid result is never delivered", "{broken:#?}");
}

#[test]
fn without_shutting_the_gate_a_cancelled_job_is_told_as_unpaid_and_paid() {
    let faults = Faults { cancels: 1, losses: 1, flushes: 1, ..NONE };
    let broken = breaks(Safeguard::ShutGate, Provider::Neither, false, 1, faults);
    assert_eq!(broken.promise, "told as unpaid and paid for", "{broken:#?}");
}

#[test]
fn without_create_if_absent_a_job_is_paid_for_twice() {
    let faults = Faults { flushes: 1, losses: 1, ..NONE };
    let broken = breaks(Safeguard::CreateIfAbsent, Provider::Neither, false, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_the_quiet_period_from_the_sight_of_the_intent_a_job_is_paid_for_twice() {
    let faults = Faults { losses: 1, ..NONE };
    let broken = breaks(Safeguard::QuietPeriod, Provider::Finds, true, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_the_last_look_at_the_clock_a_job_is_paid_for_twice() {
    let faults = Faults { losses: 1, ..NONE };
    let broken = breaks(Safeguard::LastLook, Provider::Finds, true, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_a_fresh_nonce_for_each_ask_a_job_is_paid_for_twice() {
    let faults = Faults { flushes: 2, losses: 1, ..NONE };
    let broken = breaks(Safeguard::FreshNonce, Provider::Neither, false, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_the_result_receipt_there_are_two_wordings_of_an_outcome() {
    let faults = Faults { flushes: 1, ..NONE };
    let broken = breaks(Safeguard::ResultReceipt, Provider::Finds, true, 2, faults);
    assert_eq!(broken.promise, "two wordings of the outcome", "{broken:#?}");
}

#[test]
fn without_shutting_the_next_gate_a_paid_result_is_never_delivered() {
    let faults = Faults { losses: 1, crashes: 1, ..NONE };
    let broken = breaks(Safeguard::ShutGate, Provider::Finds, false, 1, faults);
    assert_eq!(broken.promise, "a paid result is never delivered", "{broken:#?}");
}
