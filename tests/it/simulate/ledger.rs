//! The ledger as one process reaches it. It remembers its state before each write.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::job::JobId;
use comet_worker::ledger::LedgerError;

use super::net::Link;
use super::script::{Cast, Safeguard};
use crate::around::{Around, Asked, Call};
use crate::doubles::ledger::{MemoryLedger, Table};
use crate::doubles::slots::SlotTable;

/// How long a lost count is not trusted.
const RECOUNT: Duration = Duration::from_secs(75);
/// The number of writes that can be lost at once.
const REMEMBERED: usize = 3;

/// The ledger of all processes.
#[derive(Debug, Default)]
pub struct SharedLedger {
    memory: MemoryLedger,
    /// The states before the last writes, the latest at the end.
    past: Mutex<Vec<Table>>,
    now: Mutex<Table>,
}

impl SharedLedger {
    /// Its account has nothing running yet.
    pub fn new(cast: &Cast) -> Self {
        let ledger = Self::default();
        let mut table = ledger.memory.table.lock().unwrap();
        table.freeze_overwrites = cast.without == Some(Safeguard::FirstFreeze);
        if cast.max_running > 0 && cast.without != Some(Safeguard::SlotCount) {
            table.slots = SlotTable::new(cast.max_running, RECOUNT);
            table.slots.begin_count();
        }
        drop(table);
        ledger
    }

    pub fn flush(&self) {
        self.memory.table.lock().unwrap().flush();
        self.remember();
    }

    /// Cancels without a link, as another program does.
    pub fn cancel(&self, job: &JobId) {
        self.memory.table.lock().unwrap().cancel(job, Duration::ZERO);
        self.remember();
    }

    pub fn lose_writes(&self, number: usize) {
        self.remember();
        let mut past = self.past.lock().unwrap();
        let kept = past.len().saturating_sub(number);
        let Some(before) = past.get(kept).cloned() else { return };
        past.truncate(kept);
        self.now.lock().unwrap().clone_from(&before);
        *self.memory.table.lock().unwrap() = before;
    }

    /// Called after each step of the table.
    fn remember(&self) {
        let table = self.memory.table.lock().unwrap();
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
            let value = call(Arc::new(ledger.memory.clone())).await;
            ledger.remember();
            value
        };
        let answer = self.link.call(name, &about, acting).await;
        answer.unwrap_or_else(|_| Err(LedgerError::Unavailable("no answer".to_owned())))
    }
}
