//! A single job and one accident, at each await on the job's way.

use super::first_broken;
use super::script::{Cast, Fate, Kind, Op};
use super::world::{Broken, play};

/// More polls than a process needs for one job.
const POLLS: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accident {
    /// Both workers die.
    Death,
    /// One worker is frozen for longer than the quiet period.
    Standstill,
}

/// The ledger may forget everything in addition.
fn play_accident(
    accident: Accident,
    flushed: bool,
    number: u64,
    adjust: impl Fn(&mut Cast),
) -> Result<(), Box<Broken>> {
    let mut cast = Cast::draw(number);
    cast.jobs.truncate(1);
    cast.jobs[0].fate = Fate::Succeeds { images: 1 };
    (cast.workers, cast.receipts) = (2, true);
    adjust(&mut cast);
    let after_polls = u32::try_from(number).unwrap() % POLLS;
    let mut script = vec![Op::Deliver { job: 0 }];
    match accident {
        Accident::Death => script.extend((0..2).map(|worker| Op::Kill { worker, after_polls })),
        Accident::Standstill => script.push(Op::Freeze { worker: 0, after_polls, ms: 300_000 }),
    }
    script.push(Op::Advance { ms: 5_000 });
    script.extend(flushed.then_some(Op::Flush));
    play(cast, script).map(drop)
}

fn holds(accident: Accident) {
    for flushed in [false, true] {
        let play = |number| play_accident(accident, flushed, number, |_| {});
        if let Some(broken) = first_broken(0..u64::from(POLLS) * 3, play) {
            panic!("{accident:?}, flushed {flushed}: {}", super::report(&broken));
        }
    }
}

#[test]
fn a_death_at_any_await_breaks_no_promise() {
    holds(Accident::Death);
}

#[test]
fn a_standstill_at_any_await_breaks_no_promise() {
    holds(Accident::Standstill);
}

#[test]
fn a_standstill_without_the_last_look_at_the_clock_has_a_job_paid_for_twice() {
    let without_look = |cast: &mut Cast| {
        (cast.provider, cast.trust_lookup) = (Kind::Finds, true);
        cast.gate = std::time::Duration::from_secs(1_000_000);
    };
    let play = |number| play_accident(Accident::Standstill, false, number, without_look);
    let broken = first_broken(0..u64::from(POLLS) * 10, play).expect("a worker posts what was given up");
    assert_eq!(broken.promise, "paid for twice");
}
