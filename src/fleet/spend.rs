//! What the fleet has spent, as `comet-worker spend`, `status` and the page show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::spend::{Money, SpendToday, UnitPrice, Units};

/// Days of spend that are kept, today included; `spend_count.lua` forgets those before.
pub const DAYS_KEPT: u32 = 40;

/// The spend of one day, over all workers. Amounts are decimal numbers of the provider's units, as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaySpend {
    /// The date, in UTC, on which the day begins (`spend.day_starts`).
    pub day: String,
    /// What the provider has deducted, as far as it says.
    pub units: String,
    /// What is taken to have been deducted where it isn't said: for `unsaid`, `perhaps`, and tasks that failed before.
    pub estimated: String,
    /// Jobs whose units the provider said.
    pub jobs: u64,
    /// Charged jobs whose units it didn't say.
    pub unsaid: u64,
    /// Jobs that were perhaps charged, and count as charged.
    pub perhaps: u64,
    /// `units` and `estimated` at `spend.unit_price`.
    pub money: Option<Money>,
    /// By the value of the job's metadata under `spend.label`; `""`: all beyond the first 500 of a day.
    pub labels: BTreeMap<String, LabelSpend>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSpend {
    pub units: String,
    pub jobs: u64,
}

impl LabelSpend {
    #[must_use]
    pub fn units(&self) -> Units {
        self.units.parse().unwrap_or_default()
    }
}

impl DaySpend {
    /// What counts against the cap.
    #[must_use]
    pub fn spent(&self) -> Units {
        let units = |text: &str| text.parse::<Units>().unwrap_or_default();
        units(&self.units).plus(units(&self.estimated))
    }

    /// With its money, if a unit has a price.
    #[must_use]
    pub fn at(mut self, price: Option<&UnitPrice>) -> Self {
        self.money = price.map(|price| price.of(self.spent()));
        self
    }
}

/// The spend of the present day in short, as `GET /api/fleet` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendState {
    pub day: String,
    /// What is spent, estimates included.
    pub units: String,
    /// Jobs that were submitted and whose end isn't counted yet, and what they are taken to cost.
    pub running: u64,
    pub expected: String,
    /// `spend.max_units_per_day`; `null`: no cap.
    pub max: Option<String>,
    /// False while the ends before a loss of Redis are being counted again.
    pub complete: bool,
    pub money: Option<Money>,
}

impl SpendState {
    #[must_use]
    pub fn of(day: String, today: &SpendToday, cap: Option<Units>, price: Option<&UnitPrice>) -> Self {
        Self {
            day,
            units: today.spent.to_string(),
            running: today.running,
            expected: today.expected().to_string(),
            max: cap.map(|cap| cap.to_string()),
            complete: today.complete,
            money: price.map(|price| price.of(today.spent)),
        }
    }
}
