//! What is noted of a job beside its stage: that it is looked at, cancelled, and which lives store its images.

use std::time::Duration;

use super::{Marks, Table, has_ended};
use crate::job::JobId;
use crate::job::record::{Snapshot, Stage};
use crate::ledger::in_memory::DueHint;
use crate::ledger::slots::Slots;

impl Table {
    /// See [`Ledger::read`](crate::ledger::Ledger::read).
    pub fn read(&mut self, job: &JobId, slots: Slots, now: Duration) -> Snapshot {
        if let Some(kept) = self.records.get_mut(job) {
            match kept.stage {
                Stage::Submitting { .. } => kept.watched = true,
                // Until the task's end is seen, its slots stay taken for at least a fourth of their time from now on.
                Stage::Generating { .. } if kept.marks.entered.is_none() => {
                    let until = kept.since.min(now).saturating_add(slots.keep);
                    let until = until.max(now.saturating_add(slots.keep / 4));
                    self.slots.hold(job, slots, until, now, &mut self.hints);
                }
                Stage::New { .. }
                | Stage::Generating { .. }
                | Stage::Done { .. }
                | Stage::Published { .. } => {}
            }
        }
        self.known(job, now)
    }

    /// See [`Ledger::cancel`](crate::ledger::Ledger::cancel).
    pub fn cancel(&mut self, job: &JobId, now: Duration) -> Snapshot {
        let kept = self.records.get(job);
        if kept.is_none_or(|kept| !has_ended(&kept.stage)) {
            if kept.is_none() {
                self.expiry.start(job, now);
            }
            self.cancelled.insert(job.clone());
            self.hints.push(DueHint::Look(job.clone()));
        }
        self.known(job, now)
    }

    /// See [`Ledger::enter`](crate::ledger::Ledger::enter).
    pub fn enter(&mut self, job: &JobId, life: &str, now: Duration) -> Snapshot {
        if let Some(marks) = self.generating(job) {
            let mut inside = marks.inside();
            if !inside.iter().any(|there| there == life) {
                marks.entries += 1;
                inside.push(life.to_owned());
            }
            marks.entered = Some(inside);
            self.free_slots(job, now);
        }
        self.known(job, now)
    }

    /// See [`Ledger::leave`](crate::ledger::Ledger::leave).
    pub fn leave(&mut self, job: &JobId, life: &str, tried: Option<Duration>) {
        let Some(marks) = self.generating(job) else { return };
        marks.tried = marks.tried.max(tried);
        let mut inside = marks.inside();
        if let Some(place) = inside.iter().position(|there| there == life) {
            inside.remove(place);
            marks.entries -= 1;
            marks.entered = Some(inside);
        }
    }

    fn generating(&mut self, job: &JobId) -> Option<&mut Marks> {
        let kept = self.records.get_mut(job)?;
        matches!(kept.stage, Stage::Generating { .. }).then_some(&mut kept.marks)
    }
}

impl Marks {
    /// The names of the lives that are storing the images; that of the life that submitted the job is empty.
    fn inside(&self) -> Vec<String> {
        let submitter = || if self.entries > 0 { vec![String::new()] } else { Vec::new() };
        self.entered.clone().unwrap_or_else(submitter)
    }
}
