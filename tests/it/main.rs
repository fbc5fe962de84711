//! Tests without services: the pure core walked through, the shell on doubles and a paused clock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and says on stdout what it drew"
)]

mod doubles;
#[path = "../shared/ledger_suite.rs"]
mod ledger_suite;
mod walk;

mod memory_ledger {
    crate::ledger_suite!(std::sync::Arc::new(crate::doubles::ledger::MemoryLedger::default()), "suite");
}
