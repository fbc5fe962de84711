//! Tests without services: every state of the pure core, and the shell on doubles with a paused clock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests: a panic is how they fail, and the seed of a failed run is printed"
)]

#[path = "../shared/around.rs"]
mod around;
#[path = "../shared/chance.rs"]
mod chance;
mod documents;
mod doubles;
#[path = "../shared/durations_suite.rs"]
mod durations_suite;
#[path = "../shared/hints_suite.rs"]
mod hints_suite;
mod layers;
#[path = "../shared/ledger_suite.rs"]
mod ledger_suite;
mod lifecycle;
#[path = "../shared/seed.rs"]
mod seed;
mod simulate;
#[path = "../shared/slots_bench.rs"]
mod slots_bench;
#[path = "../shared/slots_suite.rs"]
mod slots_suite;
#[path = "../shared/spend_suite.rs"]
mod spend_suite;
mod standstill;
mod walk;
mod workbench;

mod memory_durations {
    crate::durations_suite!(std::sync::Arc::new(crate::doubles::durations::MemoryDurations::default()));
}

mod memory_ledger;
