//! What is spent, in memory: what `published.lua` and `spend.lua` do in Redis.

use std::collections::BTreeMap;

use crate::job::Charged;
use crate::job::spend::{SpendDay, SpendNote, SpendRules, Units};

/// The books of the spend. No end is counted from a receipt: a table has no receipts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SpendTable {
    pub(super) rules: SpendRules,
    /// What each day's ends have cost, and are estimated to have cost.
    days: BTreeMap<SpendDay, Units>,
    /// What a job costs on average.
    typical: Option<Units>,
}

impl SpendTable {
    pub(super) fn by(rules: SpendRules) -> Self {
        Self { rules, ..Self::default() }
    }

    pub(super) fn spent(&self, day: SpendDay) -> Units {
        self.days.get(&day).copied().unwrap_or_default()
    }

    pub(super) fn per_job(&self) -> Units {
        self.rules.per_job.or(self.typical).unwrap_or_default()
    }

    pub(super) fn count(&mut self, note: &SpendNote) {
        let cost = match (note.units, note.charged) {
            (Some(units), _) => units,
            (None, Charged::Yes) => self.per_job(),
            (None, Charged::No | Charged::Unknown) => return,
        };
        let day = self.days.entry(self.rules.day(note.at_ms)).or_default();
        *day = day.plus(cost);
        if let Some(units) = note.units {
            self.typical = Some(Units::learn(self.typical, units));
        }
    }
}
