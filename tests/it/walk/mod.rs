//! The pure core in every interleaving: two workers, one job, and one or two copies of its message, with crashes,
//! lost connections, flushes of Redis, a lost last write and lost answers, against each of the three kinds of
//! provider. The walk also counts what the provider has accepted, which no worker can see.
//!
//! The walk is breadth first, so it prints a shortest trace. Each safeguard of the protocol is removed once, to check
//! that the walk finds what it guards against.
//!
//! This file has the walks that a change must pass. Without each safeguard something breaks. With all of them nothing
//! breaks, for two hands at a job under the faults that show the need for most safeguards, and for one hand at a time
//! under every kind of fault. [`deep`] has the other walks, for a release.

mod deep;
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
    strangers: 0,
};

/// Visits every state, and returns how many there are.
fn holds(provider: Provider, trust_lookup: bool, copies: usize, faults: Faults) -> usize {
    let what = format!("{provider:?}, trust {trust_lookup}, {copies} copies, {faults:?}");
    match walk(World::new(provider, trust_lookup, copies, faults, None), World::folded_print) {
        Ok(states) => {
            println!("{states:8} states  {what}");
            assert!(states > 10, "{what}: a walk of {states} states shows nothing");
            states
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
    match walk(world, World::folded_print) {
        Ok(states) => panic!("without {safeguard:?} nothing is found in {states} states"),
        Err(broken) => {
            println!("without {safeguard:?}: {} after {} steps", broken.promise, broken.trace.len());
            broken
        }
    }
}

/// Each kind of fault, for one hand at a time.
fn one_hand_at_a_time(provider: Provider, trust_lookup: bool) {
    for faults in [
        Faults { crashes: 1, flushes: 1, refusals: 1, ..NONE },
        Faults { crashes: 1, refusals: 1, cancels: 1, ..NONE },
        Faults { flushes: 1, cancels: 1, ..NONE },
        Faults { lost_writes: 1, crashes: 1, cancels: 1, ..NONE },
        Faults { lost_answers: 1, crashes: 1, ..NONE },
        Faults { failures: 1, crashes: 1, timeouts: 1, ..NONE },
        Faults { failures: 1, flushes: 1, ..NONE },
        Faults { failures: 1, lost_writes: 1, ..NONE },
    ] {
        holds(provider, trust_lookup, 1, faults);
    }
}

#[test]
fn every_promise_holds_for_one_hand_at_a_time_with_a_provider_that_finds_by_external_id_and_is_trusted() {
    one_hand_at_a_time(Provider::Finds, true);
}

#[test]
fn every_promise_holds_for_one_hand_at_a_time_with_a_provider_that_finds_by_external_id_and_parking() {
    one_hand_at_a_time(Provider::Finds, false);
}

#[test]
fn every_promise_holds_for_one_hand_at_a_time_with_a_provider_that_refuses_repetitions() {
    one_hand_at_a_time(Provider::Refuses, true);
}

#[test]
fn every_promise_holds_for_one_hand_at_a_time_with_a_provider_that_does_neither() {
    one_hand_at_a_time(Provider::Neither, false);
}

#[test]
fn what_a_person_decides_about_an_unknown_outcome_is_told_once_and_breaks_no_promise() {
    let decided = Faults { decisions: 1, ..NONE };
    for provider in [Provider::Finds, Provider::Neither] {
        holds(provider, false, 1, Faults { crashes: 1, ..decided });
        holds(provider, false, 1, Faults { flushes: 1, ..decided });
        holds(provider, false, 1, Faults { lost_writes: 1, ..decided });
    }
    holds(Provider::Neither, false, 1, Faults { decisions: 2, ..NONE });
    holds(Provider::Neither, false, 1, Faults { cancels: 1, ..decided });
    holds(Provider::Neither, false, 1, Faults { failures: 1, ..decided });
}

/// The job names its external id itself, and others have named it before.
#[test]
fn a_job_whose_external_id_other_tasks_have_breaks_no_promise() {
    let strangers = Faults { strangers: 1, ..NONE };
    for (provider, trust_lookup) in [
        (Provider::Finds, true),
        (Provider::Finds, false),
        (Provider::Refuses, true),
        (Provider::Neither, false),
    ] {
        holds(provider, trust_lookup, 1, strangers);
        holds(provider, trust_lookup, 1, Faults { crashes: 1, ..strangers });
        holds(provider, trust_lookup, 1, Faults { flushes: 1, ..strangers });
        holds(provider, trust_lookup, 1, Faults { lost_writes: 1, ..strangers });
        holds(provider, trust_lookup, 1, Faults { failures: 1, ..strangers });
    }
}

#[test]
fn states_that_differ_in_names_only_are_one() {
    let start = || World::new(Provider::Finds, true, 1, Faults { flushes: 1, failures: 1, ..NONE }, None);
    let two_copies = || World::new(Provider::Finds, true, 2, NONE, None);
    for (start, smaller_by) in [(start(), 1.5), (two_copies(), 3.0)] {
        let whole = walk(start.clone(), World::whole_print).unwrap();
        let folded = walk(start, World::folded_print).unwrap();
        assert!(folded as f64 * smaller_by < whole as f64, "{folded} of {whole}");
    }
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
    holds(Provider::Neither, false, 1, faults);
    let broken = breaks(Safeguard::CreateIfAbsent, Provider::Neither, false, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_the_quiet_period_from_the_sight_of_the_intent_a_job_is_paid_for_twice() {
    let faults = Faults { losses: 1, ..NONE };
    holds(Provider::Finds, true, 1, faults);
    let broken = breaks(Safeguard::QuietPeriod, Provider::Finds, true, 1, faults);
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_the_last_look_at_the_clock_a_job_is_paid_for_twice() {
    let faults = Faults { losses: 1, ..NONE };
    holds(Provider::Finds, true, 1, faults);
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
    holds(Provider::Finds, true, 2, faults);
    let broken = breaks(Safeguard::ResultReceipt, Provider::Finds, true, 2, faults);
    assert_eq!(broken.promise, "two wordings of the outcome", "{broken:#?}");
}

#[test]
fn without_shutting_the_next_gate_a_paid_result_is_never_delivered() {
    let faults = Faults { losses: 1, crashes: 1, ..NONE };
    let broken = breaks(Safeguard::ShutGate, Provider::Finds, false, 1, faults);
    assert_eq!(broken.promise, "a paid result is never delivered", "{broken:#?}");
}

#[test]
fn without_a_look_at_when_a_task_was_made_a_job_ends_with_anothers_result() {
    let broken = breaks(Safeguard::MadeFrom, Provider::Finds, true, 1, Faults { strangers: 1, ..NONE });
    assert_eq!(broken.promise, "another's result", "{broken:#?}");
}
