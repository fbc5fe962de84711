//! The moves that end a record: its outcome is frozen, and its event was published.

use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::event::{Event, may_run_on};
use comet_worker::job::record::Stage;
use comet_worker::job::step::{FreezePrecondition, FreezeResult};
use comet_worker::ledger::JobRef;

use super::Table;

impl Table {
    pub fn freeze(
        &mut self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
        now: Duration,
    ) -> FreezeResult {
        if let Some(record) = self.read(entry.job, now)
            && !self.freeze_overwrites
        {
            let same = record.digest == *entry.digest;
            let allowed = match (&record.stage, expect) {
                (Stage::Done { event, .. }, FreezePrecondition::Correcting { first }) if event == first => {
                    true
                }
                (Stage::Told { .. }, FreezePrecondition::Correcting { .. }) if same => {
                    return FreezeResult::Event(event);
                }
                (Stage::Told { .. }, _) => false,
                (Stage::Done { event, .. }, _) if same => return FreezeResult::Event(event.clone()),
                (Stage::Done { replaceable, .. }, expect) => {
                    *expect == FreezePrecondition::Unposted && *replaceable && entry.round == record.round + 1
                }
                (Stage::New { .. }, FreezePrecondition::Unposted) => same,
                (Stage::Submitting { .. } | Stage::Generating { .. }, FreezePrecondition::Unposted) => false,
                (Stage::Submitting { nonce: known, .. }, FreezePrecondition::Submitting { nonce }) => {
                    same && known == nonce
                }
                (Stage::New { .. } | Stage::Generating { .. }, FreezePrecondition::Submitting { .. }) => {
                    false
                }
                (
                    Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. },
                    FreezePrecondition::Unfinished | FreezePrecondition::Correcting { .. },
                ) => same,
            };
            if !allowed {
                return FreezeResult::Changed(self.known(entry.job, now));
            }
        }
        self.records.remove(entry.job.as_str());
        self.cancelled.remove(entry.job.as_str());
        self.put(entry, Stage::Done { event: event.clone(), replaceable }, None, now);
        if !may_run_on(&event) {
            self.slots.release(entry.job.as_str());
        }
        FreezeResult::Event(event)
    }

    pub fn told(&mut self, entry: JobRef<'_>, sealed: Option<&Bytes>, now: Duration) {
        let record = self.read(entry.job, now);
        let ended = record
            .as_ref()
            .is_some_and(|record| matches!(record.stage, Stage::Done { .. } | Stage::Told { .. }));
        let anothers = record.is_some_and(|record| record.digest != *entry.digest);
        let Some(event) = sealed.filter(|_| !ended && !anothers) else { return };
        self.records.remove(entry.job.as_str());
        self.cancelled.remove(entry.job.as_str());
        let event_id = Event::from_stored(event.clone()).map(|event| event.id).unwrap_or_default();
        self.put(entry, Stage::Told { event_id }, None, now);
        if !may_run_on(event) {
            self.slots.release(entry.job.as_str());
        }
    }
}
