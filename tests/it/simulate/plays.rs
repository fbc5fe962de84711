//! The worlds that can be played any number of times: `make simulate`.

use super::provider::BAD_GATEWAY;
use super::script::{Cast, Fate, Kind, Named, Op, Service, script};
use super::world::play;
use super::{first_broken, play_seed, report};
use crate::seed::{number, seed};

/// How many seeds are played unless another number is asked for.
const SEEDS: u64 = 400;

/// As many seeds as are asked for, or a part of them, because some worlds take longer than others.
fn seeds(one_of: u64) -> std::ops::Range<u64> {
    let (start, number) = (seed(), number("COMET_SIM_SEEDS").unwrap_or(SEEDS));
    start..start.saturating_add(number.div_ceil(one_of))
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = seeds(1);
    println!("seeds from {} on, {} of them", seeds.start, seeds.end - seeds.start);
    if let Some(broken) = first_broken(seeds, |seed| play_seed(seed, |_| {})) {
        let seed = broken.cast.seed;
        let again = format!("COMET_SEED={seed} SEEDS=1 make simulate");
        panic!("{}again: {again}", report(&broken));
    }
}

/// Most of these jobs wait in a line, whose heads and slots belong to processes that die.
#[test]
fn a_crowd_before_a_small_account_breaks_no_promise() {
    let crowd = |cast: &mut Cast| {
        cast.crowd(12);
        cast.max_running = 3;
    };
    if let Some(broken) = first_broken(seeds(5), |seed| play_seed(seed, crowd)) {
        panic!("{}", report(&broken));
    }
}

/// For hours no worker can fetch an image, while everything else goes wrong as usual. Each image was paid for.
#[test]
fn a_download_network_that_fails_for_all_costs_no_result() {
    // A job's patience is a minute here, and that of a job alone 24 minutes.
    let hours = 3_600_000;
    let broken = first_broken(seeds(25), |seed| {
        let mut cast = Cast::draw(seed);
        cast.crowd(8);
        let (worker, from, hangs) = (None, Service::Downloads, seed % 2 == 0);
        let mut ops = vec![Op::Cut { worker, from, ms: hours, hangs }];
        ops.extend(script(&cast));
        ops.push(Op::Advance { ms: hours });
        play(cast, ops)
    });
    if let Some(broken) = broken {
        panic!("{}", report(&broken));
    }
}

/// For an hour each POST is answered with a 504, whether it made a task or not, and each GET is answered normally. A
/// POST during that time may have been paid for, so its job ends as unknown. These are at most the POSTs under way,
/// and a few at growing intervals.
#[test]
fn a_provider_whose_post_alone_fails_costs_few_jobs_their_outcome() {
    let (jobs, hour) = (120, 3_600_000);
    let broken = first_broken(seeds(100), |seed| {
        let mut cast = Cast::draw(seed);
        cast.crowd(jobs);
        (cast.provider, cast.trust_lookup, cast.max_running) = (Kind::Neither, false, 0);
        for job in &mut cast.jobs {
            (job.fate, job.named) = (Fate::Succeeds { images: 1 }, Named::ByWorker);
        }
        let workers = cast.workers;
        let mut ops = vec![Op::NoPosts { ms: hour }];
        ops.extend((0..jobs).map(|job| Op::Deliver { job }));
        ops.push(Op::Advance { ms: hour });
        let trace = play(cast, ops)?;
        let unanswered = trace.iter().filter(|step| step.about == BAD_GATEWAY).count();
        // A worker has eight in flight; an hour of distances that grow to five minutes holds some twenty probes.
        assert!(unanswered <= workers * (8 + 25), "seed {seed}: {unanswered} POSTs by {workers} workers");
        assert!(unanswered >= workers * 8, "seed {seed}: only {unanswered} POSTs failed");
        Ok(trace)
    });
    if let Some(broken) = broken {
        panic!("{}", report(&broken));
    }
}
