//! The ledger as one process sees it: each call is an effect of the process, and calls of one kind can be made to
//! fail.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use comet_worker::ledger::LedgerError;

use super::effects::Effects;
use super::ledger::{MemoryLedger, Trouble};
use crate::around::{Around, Asked, Call, Through};

pub type ObservedLedger = Through<Observed>;

pub struct Observed {
    ledger: Arc<MemoryLedger>,
    effects: Effects,
    troubles: Mutex<Vec<(&'static str, Trouble)>>,
}

pub fn observed(ledger: Arc<MemoryLedger>, effects: Effects) -> ObservedLedger {
    Through(Observed { ledger, effects, troubles: Mutex::default() })
}

impl Deref for ObservedLedger {
    type Target = Observed;

    fn deref(&self) -> &Observed {
        &self.0
    }
}

impl Observed {
    /// Makes the next calls with this name fail like this, one after the other.
    pub fn trouble(&self, name: &'static str, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().extend(troubles.iter().map(|trouble| (name, *trouble)));
    }

    /// Removes the failures that are still to come.
    pub fn untroubled(&self) {
        self.troubles.lock().unwrap().clear();
    }

    fn next_trouble(&self, name: &str) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().unwrap();
        let at = troubles.iter().position(|(troubled, _)| *troubled == name)?;
        Some(troubles.remove(at).1)
    }
}

#[async_trait]
impl Around for Observed {
    async fn around<T: Send + 'static>(&self, asked: Asked, call: Call<T>) -> Result<T, LedgerError> {
        let calling = call(Arc::<MemoryLedger>::clone(&self.ledger));
        // Neither is part of a job's life.
        if ["cancel", "probe"].contains(&asked.name) {
            return calling.await;
        }
        let acting = async {
            self.ledger.trouble(self.next_trouble(asked.name).as_slice());
            calling.await
        };
        self.effects.act(asked.name, acting).await
    }
}
