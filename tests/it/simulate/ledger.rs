//! The ledger as one process reaches it. It remembers its state before each write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::clock::Clock;
use comet_worker::job::JobId;
use comet_worker::ledger::hints::Hints;
use comet_worker::ledger::in_memory::{InMemoryLedger, Table};
use comet_worker::ledger::slots::Account;
use comet_worker::ledger::{Ledger, LedgerError};
use futures_util::FutureExt;

use super::net::Link;
use super::script::{Cast, Safeguard};
use crate::around::{Around, Asked, Call};
use crate::doubles::ledger::REMEMBER;

/// How long a lost count is not trusted.
const RECOUNT: Duration = Duration::from_secs(75);
/// The number of writes that can be lost at once.
const REMEMBERED: usize = 3;

/// The ledger of all processes. It sends no hints.
pub struct SharedLedger {
    memory: Arc<InMemoryLedger>,
    /// After a flush.
    empty: Table,
    /// Whether the safeguard of `freeze` is removed.
    freeze_overwrites: bool,
    /// The states before the last writes, the latest at the end.
    past: Mutex<Vec<Table>>,
    now: Mutex<Table>,
}

impl SharedLedger {
    /// Its account has nothing running yet.
    pub fn new(cast: &Cast) -> Self {
        let counts = cast.max_running > 0 && cast.without != Some(Safeguard::SlotCount);
        let account = counts.then_some(Account { cap: cast.max_running, recount: RECOUNT });
        let (empty, clock) = (Table::new(REMEMBER, account), Clock::default());
        let mut table = empty.clone();
        table.begin_count();
        Self {
            memory: Arc::new(InMemoryLedger::new(table.clone(), Hints::default(), move || clock.now())),
            empty,
            freeze_overwrites: cast.without == Some(Safeguard::FirstFreeze),
            past: Mutex::default(),
            now: Mutex::new(table),
        }
    }

    pub fn flush(&self) {
        self.memory.table().clone_from(&self.empty);
        self.remember();
    }

    /// Cancels without a link, as another program does.
    pub fn cancel(&self, job: &JobId) {
        self.memory.cancel(job).now_or_never().expect("it waits for nothing").unwrap();
        self.remember();
    }

    pub fn lose_writes(&self, number: usize) {
        self.remember();
        let mut past = self.past.lock().unwrap();
        let kept = past.len().saturating_sub(number);
        let Some(before) = past.get(kept).cloned() else { return };
        past.truncate(kept);
        self.now.lock().unwrap().clone_from(&before);
        *self.memory.table() = before;
    }

    /// Called after each step of the table.
    fn remember(&self) {
        let table = self.memory.table();
        let mut now = self.now.lock().unwrap();
        if *now != *table {
            let mut past = self.past.lock().unwrap();
            if past.len() == REMEMBERED {
                past.remove(0);
            }
            past.push(std::mem::replace(&mut now, table.clone()));
        }
    }
}

/// How one process reaches it.
pub struct Linked {
    pub link: Link,
    pub ledger: Arc<SharedLedger>,
}

#[async_trait]
impl Around for Linked {
    async fn around<T: Send + 'static>(&self, asked: Asked, call: Call<T>) -> Result<T, LedgerError> {
        let about = asked.to_string();
        let name = if asked.name == "probe" { "probe ledger" } else { asked.name };
        let ledger = Arc::clone(&self.ledger);
        let acting = async move {
            tokio::task::yield_now().await;
            if ledger.freeze_overwrites && asked.name == "freeze" {
                asked.job.iter().for_each(|job| ledger.memory.table().forget(job));
            }
            let value = call(Arc::<InMemoryLedger>::clone(&ledger.memory)).await;
            ledger.remember();
            value
        };
        let answer = self.link.call(name, &about, acting).await;
        answer.unwrap_or_else(|_| Err(LedgerError::Unavailable("no answer".to_owned())))
    }
}
