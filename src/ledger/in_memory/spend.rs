//! What is spent, in memory: what `spend.lua` and `spend_count.lua` do in Redis.

use std::collections::BTreeMap;

use crate::job::JobId;
use crate::job::spend::{SpendDay, SpendNote, SpendRules, Units};

/// The books of the spend. No end is counted from a receipt: a table has no receipts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SpendTable {
    pub(super) rules: SpendRules,
    /// What each day's ends have cost, and are estimated to have cost.
    days: BTreeMap<SpendDay, Units>,
    /// What was counted of each job that is remembered.
    marks: BTreeMap<JobId, Mark>,
    /// What a job costs on average.
    typical: Option<Units>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    day: SpendDay,
    cost: Units,
    /// Its correction was counted.
    corrected: bool,
}

impl SpendTable {
    pub(super) fn by(rules: SpendRules) -> Self {
        Self { rules, ..Self::default() }
    }

    pub(super) fn spent(&self, day: SpendDay) -> Units {
        self.days.get(&day).copied().unwrap_or_default()
    }

    pub(super) fn per_job(&self) -> Option<Units> {
        self.rules.per_job.or(self.typical)
    }

    pub(super) fn forget(&mut self, job: &JobId) {
        self.marks.remove(job);
    }

    /// Counts an end, unless it was counted before. A correction counts for what it has cost more or less.
    pub(super) fn count(&mut self, job: &JobId, note: &SpendNote, corrects: bool) {
        let before = self.marks.get(job).copied();
        if before.is_some_and(|mark| mark.corrected || !corrects) {
            return;
        }
        let (number, cost) = (self.rules.day(note.at_ms), note.cost(self.per_job().unwrap_or_default()));
        let day = self.days.entry(number).or_default();
        match before {
            Some(mark) if mark.day == number => *day = day.minus(mark.cost).plus(cost),
            // What was counted on another day stays there.
            Some(mark) => *day = day.plus(cost.minus(mark.cost)),
            None => *day = day.plus(cost),
        }
        if let Some(units) = note.units
            && note.failed == 0
            && units > Units::ZERO
        {
            self.typical = Some(Units::learn(self.typical, units));
        }
        self.marks.insert(job.clone(), Mark { day: number, cost, corrected: corrects });
    }
}
