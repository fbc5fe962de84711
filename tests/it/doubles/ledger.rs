//! The ledger in memory as tests use it: its calls can fail, and its clock can jump, like the wall clock of a Redis.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::ledger::hints::Hints;
use comet_worker::ledger::in_memory::{InMemoryLedger, Table};
use comet_worker::ledger::slots::Account;
use comet_worker::ledger::{Ledger, LedgerError};
use tokio::time::Instant;

use crate::around::{Around, Asked, Call, Through};

/// As configured by default.
pub const REMEMBER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How the next calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The call never arrives.
    Before,
    /// The move happens, and its answer is lost.
    After,
}

/// Sends no hints: a test sends those that it wants to arrive.
pub type MemoryLedger = Through<Troubled>;

pub struct Troubled {
    ledger: Arc<InMemoryLedger>,
    /// After a flush.
    empty: Table,
    troubles: Mutex<Vec<Trouble>>,
    /// The wall clock's reading at the start. It follows tokio's time.
    wall: Arc<Mutex<Duration>>,
}

/// `account`: with an empty count.
pub fn memory_ledger(account: Option<Account>) -> MemoryLedger {
    let (empty, start) = (Table::new(REMEMBER, account), Instant::now());
    let wall = Arc::new(Mutex::new(Duration::from_secs(1_795_000_000)));
    let reading = Arc::clone(&wall);
    let now = move || *reading.lock().unwrap() + start.elapsed();
    let ledger = Arc::new(InMemoryLedger::new(empty.clone(), Hints::default(), now));
    Through(Troubled { ledger, empty, troubles: Mutex::default(), wall })
}

impl Deref for MemoryLedger {
    type Target = Troubled;

    fn deref(&self) -> &Troubled {
        &self.0
    }
}

impl Troubled {
    /// Makes the next calls fail like this, one after the other.
    pub fn trouble(&self, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().extend(troubles.iter().rev());
    }

    /// Makes its wall clock jump: `change` is applied to its reading.
    pub fn jump(&self, change: impl FnOnce(Duration) -> Duration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = change(*wall);
    }

    /// Makes it lose all that it knows.
    pub fn flush(&self) {
        self.ledger.table().clone_from(&self.empty);
    }
}

#[async_trait]
impl Around for Troubled {
    async fn around<T: Send + 'static>(&self, _: Asked, call: Call<T>) -> Result<T, LedgerError> {
        tokio::task::yield_now().await;
        let trouble = self.troubles.lock().unwrap().pop();
        if trouble == Some(Trouble::Before) {
            return Err(LedgerError::Unavailable("cut off".to_owned()));
        }
        let value = call(Arc::<InMemoryLedger>::clone(&self.ledger) as Arc<dyn Ledger>).await;
        match trouble {
            Some(Trouble::After) => Err(LedgerError::Unavailable("no answer".to_owned())),
            Some(Trouble::Before) | None => value,
        }
    }
}
