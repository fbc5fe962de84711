//! The moves that end a record: its outcome is frozen, and its event was published.

use std::time::Duration;

use bytes::Bytes;

use super::{Marks, Table, has_ended};
use crate::job::event::{EndNote, Event, may_run_on};
use crate::job::record::Stage;
use crate::job::step::{FreezePrecondition, FreezeResult};
use crate::ledger::JobRef;

impl Table {
    /// See [`Ledger::freeze`](crate::ledger::Ledger::freeze).
    pub fn freeze(
        &mut self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
        now: Duration,
    ) -> FreezeResult {
        if let Some(kept) = self.records.get(entry.job) {
            let same = kept.digest == *entry.digest;
            let allowed = match (&kept.stage, expect) {
                (Stage::Done { event, .. }, FreezePrecondition::Correcting { first }) if event == first => {
                    true
                }
                // A worker that reads this record finds the final event in the receipts.
                (Stage::Published { .. }, FreezePrecondition::Correcting { .. }) if same => {
                    return FreezeResult::Event(event);
                }
                (Stage::Published { .. }, _) => false,
                (Stage::Done { event, .. }, _) if same => return FreezeResult::Event(event.clone()),
                (Stage::Done { replaceable, .. }, expect) => {
                    *expect == FreezePrecondition::Unposted && *replaceable && entry.round == kept.round + 1
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
        self.end(entry, Stage::Done { event: event.clone(), replaceable }, &event, now);
        FreezeResult::Event(event)
    }

    /// See [`Ledger::mark_published`](crate::ledger::Ledger::mark_published).
    pub fn mark_published(&mut self, entry: JobRef<'_>, event: &Bytes, sealed: bool, now: Duration) {
        match self.records.get(entry.job) {
            Some(kept) if has_ended(&kept.stage) => {
                if kept.round != entry.round {
                    return;
                }
                self.expiry.start(entry.job, now);
            }
            Some(kept) if kept.digest != *entry.digest => return,
            Some(_) | None => {
                if !sealed {
                    return;
                }
                let Some(Event { id: event_id, .. }) = Event::from_stored(event.clone()) else { return };
                self.end(entry, Stage::Published { event_id }, event, now);
                self.expiry.start(entry.job, now);
            }
        }
        // Only a cap needs the books.
        let note = self.spend.rules.cap.and_then(|_| EndNote::of(event, ""));
        if let Some(note) = note.filter(|note| note.corrects || note.spend.counts()) {
            self.spend.count(entry.job, &note.spend, note.corrects);
        }
    }

    fn end(&mut self, entry: JobRef<'_>, stage: Stage, event: &Bytes, now: Duration) {
        self.put(entry, stage, Marks::default(), now);
        self.cancelled.remove(entry.job);
        if !may_run_on(event) {
            self.free_slots(entry.job, now);
        }
    }
}
