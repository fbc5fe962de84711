//! The ledger in memory passes the suites of every ledger.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::clock::Clock;
use comet_worker::job::spend::SpendRules;
use comet_worker::ledger::Ledger;
use comet_worker::ledger::hints::Hints;
use comet_worker::ledger::in_memory::{InMemoryLedger, Table};
use comet_worker::ledger::slots::Account;

use crate::doubles::ledger::REMEMBER;

crate::ledger_suite!(of(Table::new(REMEMBER, None)), "suite");
crate::slots_suite!(|recount| of(account_of_4(recount)));
crate::forgetting_suite!(|remember| of(Table::new(remember, None)), start_paused = true);
crate::hints_suite!(hinting);
crate::spend_suite!(spending);

async fn spending(rules: SpendRules) -> Arc<dyn Ledger> {
    of(Table::new(REMEMBER, None).with_spend(rules))
}

fn account_of_4(recount: Duration) -> Table {
    Table::new(REMEMBER, Some(Account { cap: 4, recount }))
}

fn of(table: Table) -> Arc<dyn Ledger> {
    with_hints(table).0
}

async fn hinting(recount: Duration) -> (Arc<dyn Ledger>, Hints) {
    with_hints(account_of_4(recount))
}

fn with_hints(table: Table) -> (Arc<dyn Ledger>, Hints) {
    let (hints, clock) = (Hints::default(), Clock::default());
    (Arc::new(InMemoryLedger::new(table, hints.clone(), move || clock.now())), hints)
}
