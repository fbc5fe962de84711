//! Where workers share how long tasks take, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use comet_worker::job::pace::Durations;
use comet_worker::ledger::LedgerError;
use comet_worker::ledger::durations::SharedDurations;

#[derive(Debug, Default)]
pub struct MemoryDurations {
    known: Mutex<BTreeMap<String, Durations>>,
    calls: Mutex<usize>,
    away: Mutex<bool>,
}

impl MemoryDurations {
    /// How often it was called.
    pub fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }

    pub fn go_away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }
}

#[async_trait]
impl SharedDurations for MemoryDurations {
    async fn learn(&self, model: &str, news: &Durations) -> Result<Durations, LedgerError> {
        *self.calls.lock().unwrap() += 1;
        if *self.away.lock().unwrap() {
            return Err(LedgerError::Unavailable("away".to_owned()));
        }
        let mut all = self.known.lock().unwrap();
        let known = all.entry(model.to_owned()).or_default();
        known.extend(news.iter());
        Ok(known.clone())
    }
}
