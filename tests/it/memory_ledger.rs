//! The ledger in memory passes the suites of every ledger.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::clock::Clock;
use comet_worker::ledger::Ledger;
use comet_worker::ledger::hints::Hints;
use comet_worker::ledger::in_memory::{InMemoryLedger, Table};
use comet_worker::ledger::slots::Account;

use crate::doubles::ledger::REMEMBER;

crate::ledger_suite!(of(Table::new(REMEMBER, None)), "suite");
crate::slots_suite!(|recount| of(account_of_4(recount)));

fn account_of_4(recount: Duration) -> Table {
    Table::new(REMEMBER, Some(Account { cap: 4, recount }))
}

fn of(table: Table) -> Arc<dyn Ledger> {
    let clock = Clock::default();
    Arc::new(InMemoryLedger::new(table, Hints::default(), move || clock.now()))
}
