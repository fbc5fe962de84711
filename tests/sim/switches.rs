//! How often each fault strikes, and which jobs it has struck.
//!
//! A fault strikes with a probability, a number of times, for a while each time, or all of these. A fault of the
//! account lasts: it strikes every request until its time is over, and then everything works again.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use crate::{
    chance::stream,
    duration::{millis, parse_duration},
    faults::Fault,
    scenarios::name_of,
};

/// How often a fault strikes: of the occasions that it could, and at most how many times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Odds {
    probability: f64,
    times: Option<u64>,
    /// Once it has struck, it strikes on every occasion for so long.
    spell: Option<Duration>,
}

impl Odds {
    pub(crate) const ALWAYS: Self = Self { probability: 1.0, times: None, spell: None };
}

/// Reads `0.2`, `3x`, `2s`, and any of them after commas: `0.2,3x,2s`.
impl FromStr for Odds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut odds = Self::ALWAYS;
        for part in text.split(',').map(str::trim) {
            if let Some(times) = part.strip_suffix('x') {
                let times = times.parse();
                odds.times = Some(times.map_err(|_| format!("«{part}» is no count; write it like 3x"))?);
            } else if let Ok(probability) = part.parse::<f64>() {
                let wrong =
                    || format!("«{part}» is no probability from 0 to 1; for the next three times write 3x");
                odds.probability =
                    Some(probability).filter(|odds| (0.0..=1.0).contains(odds)).ok_or_else(wrong)?;
            } else {
                let spell = parse_duration(part);
                odds.spell = Some(spell.map_err(|_| {
                    format!("«{part}» is no odds: a probability (0.2), a count (3x) or a while (2s)")
                })?);
            }
        }
        Ok(odds)
    }
}

/// Reads `NAME` and `NAME=ODDS`, as on the command line.
pub(crate) fn parse_fault(text: &str) -> Result<(Fault, Odds), String> {
    match text.split_once('=') {
        None => Ok((Fault::named(text)?, Odds::ALWAYS)),
        Some((name, odds)) => Ok((Fault::named(name)?, odds.parse()?)),
    }
}

/// Reads `{"NAME": 0.2, "NAME": "3x"}`, as over HTTP.
pub(crate) fn parse_faults(
    map: &serde_json::Map<String, serde_json::Value>,
) -> Result<Vec<(Fault, Odds)>, String> {
    map.iter()
        .map(|(name, odds)| {
            let odds = odds.as_str().map_or_else(|| odds.to_string(), str::to_owned);
            let odds = odds.parse();
            Ok((Fault::named(name)?, odds.map_err(|e| format!("{name}: {e}"))?))
        })
        .collect()
}

/// True in `probability` of all draws. Certain and impossible ones draw nothing.
fn says_yes(dice: &mut fastrand::Rng, probability: f64) -> bool {
    probability >= 1.0 || (probability > 0.0 && dice.f64() < probability)
}

/// All switches, and how often each fault has struck.
#[derive(Debug, Clone)]
pub(crate) struct Switches {
    on: BTreeMap<Fault, Odds>,
    struck: BTreeMap<Fault, u64>,
    /// What has struck each job, by its external id.
    jobs: BTreeMap<Arc<str>, BTreeSet<Fault>>,
    /// Until when one lasts that strikes for a while.
    until_ms: BTreeMap<Fault, u64>,
    now_ms: u64,
    job: Option<Arc<str>>,
    dice: fastrand::Rng,
    setting: u64,
}

impl Switches {
    pub(crate) fn new(seed: u64, on: &[(Fault, Odds)]) -> Self {
        Self {
            on: on.iter().copied().collect(),
            struck: BTreeMap::new(),
            jobs: BTreeMap::new(),
            until_ms: BTreeMap::new(),
            now_ms: 0,
            job: None,
            dice: stream(seed, "faults"),
            setting: 0,
        }
    }

    /// Replaces all switches. What has struck stays counted.
    pub(crate) fn set(&mut self, on: &[(Fault, Odds)]) {
        self.on = on.iter().copied().collect();
        self.until_ms.clear();
        self.setting += 1;
    }

    /// An occasion: when it is, and whose, where that is known.
    pub(crate) fn at(&mut self, now_ms: u64, job: Option<Arc<str>>) {
        self.now_ms = now_ms;
        self.job = job;
    }

    /// Does it strike on this occasion? A yes uses up one of its times and is counted.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let Some(odds) = self.on.get_mut(&fault) else {
            return false;
        };
        if self.until_ms.get(&fault).is_none_or(|until_ms| *until_ms <= self.now_ms) {
            if odds.times == Some(0) || !says_yes(&mut self.dice, odds.probability) {
                return false;
            }
            odds.times = odds.times.map(|times| times - 1);
            if let Some(spell) = odds.spell {
                self.until_ms.insert(fault, self.now_ms + millis(spell));
            }
        }
        *self.struck.entry(fault).or_default() += 1;
        if let Some(job) = &self.job {
            self.jobs.entry(Arc::clone(job)).or_default().insert(fault);
        }
        true
    }

    /// Does it strike this thing? Drawn once and kept, until the switches are set anew.
    pub(crate) fn strikes_kept(&mut self, fault: Fault, kept: &mut Kept) -> bool {
        if !self.on.contains_key(&fault) {
            return false;
        }
        match *kept {
            Some((setting, strikes)) if setting == self.setting => strikes,
            Some(_) | None => {
                let strikes = self.strikes(fault);
                *kept = Some((self.setting, strikes));
                strikes
            }
        }
    }

    /// The first of a table that strikes this thing. Drawn once and kept, until the switches are set anew.
    pub(crate) fn first_kept<T>(
        &mut self,
        table: &[(Fault, T)],
        kept: &mut KeptOf<Option<Fault>>,
    ) -> Option<Fault> {
        if !table.iter().any(|(fault, _)| self.on.contains_key(fault)) {
            return None;
        }
        match *kept {
            Some((setting, first)) if setting == self.setting => first,
            Some(_) | None => {
                let first = self.first_of(table);
                *kept = Some((self.setting, first));
                first
            }
        }
    }

    /// The first of a table that strikes.
    pub(crate) fn first_of<T>(&mut self, table: &[(Fault, T)]) -> Option<Fault> {
        table.iter().map(|(fault, _)| *fault).find(|fault| self.strikes(*fault))
    }

    pub(crate) fn struck(&self) -> BTreeMap<String, u64> {
        let named = |(fault, times): (&Fault, &u64)| (fault.name(), *times);
        self.struck.iter().map(named).collect()
    }

    /// What has struck each job, by its external id; scenarios by name.
    pub(crate) fn struck_jobs(&self) -> BTreeMap<String, Vec<String>> {
        let named = |faults: &BTreeSet<Fault>| faults.iter().map(|fault| name_of(*fault)).collect();
        self.jobs.iter().map(|(job, faults)| (job.to_string(), named(faults))).collect()
    }
}

/// A draw that was made once: under which setting of the switches, and what it said.
pub(crate) type Kept = KeptOf<bool>;
pub(crate) type KeptOf<T> = Option<(u64, T)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_a_probability_a_count_a_while_or_all() {
        let odds = |probability, times, spell| Ok(Odds { probability, times, spell });
        let two_seconds = Some(Duration::from_secs(2));
        assert_eq!("0.2".parse::<Odds>(), odds(0.2, None, None));
        assert_eq!("3x".parse::<Odds>(), odds(1.0, Some(3), None));
        assert_eq!("2s".parse::<Odds>(), odds(1.0, None, two_seconds));
        assert_eq!("0.2,3x,2s".parse::<Odds>(), odds(0.2, Some(3), two_seconds));
        for text in ["", "2", "-1", "x", "NaN", "s"] {
            assert!(text.parse::<Odds>().is_err(), "{text}");
        }
        assert!(parse_fault("no-such=1").is_err());
    }

    #[test]
    fn a_counted_fault_strikes_that_often() {
        let mut switches = Switches::new(1, &[parse_fault("busy=2x").unwrap()]);
        let strikes: Vec<bool> = (0..4).map(|_| switches.strikes(Fault::Busy)).collect();
        assert_eq!(strikes, [true, true, false, false]);
        assert_eq!(switches.struck(), BTreeMap::from([("busy".to_owned(), 2)]));
    }

    #[test]
    fn one_that_lasts_strikes_everybody_until_its_while_is_over() {
        let mut switches = Switches::new(1, &[parse_fault("no-money=1x,2s").unwrap()]);
        let mut strikes = |now_ms| {
            switches.at(now_ms, None);
            switches.strikes(Fault::NoMoney)
        };
        assert_eq!([10, 11, 2_009, 2_010, 9_000].map(&mut strikes), [true, true, true, false, false]);
    }

    #[test]
    fn it_is_remembered_whom_each_has_struck() {
        let mut switches = Switches::new(1, &[parse_fault("busy").unwrap(), parse_fault("failed").unwrap()]);
        for (job, fault) in [("a", Fault::Failed), ("a", Fault::Busy), ("a", Fault::Busy), ("b", Fault::Busy)]
        {
            switches.at(0, Some(job.into()));
            switches.strikes(fault);
        }
        switches.at(0, None);
        switches.strikes(Fault::Busy);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected = BTreeMap::from([
            ("a".to_owned(), names(&["busy", "failed"])),
            ("b".to_owned(), names(&["busy"])),
        ]);
        assert_eq!(switches.struck_jobs(), expected);
    }

    #[test]
    fn a_kept_draw_holds_until_the_switches_are_set_anew() {
        let mut switches = Switches::new(1, &[parse_fault("image-expired=1x").unwrap()]);
        let (mut one, mut two) = (None, None);
        assert!(switches.strikes_kept(Fault::ImageExpired, &mut one));
        assert!(!switches.strikes_kept(Fault::ImageExpired, &mut two));
        assert!(switches.strikes_kept(Fault::ImageExpired, &mut one));
        switches.set(&[]);
        assert!(!switches.strikes_kept(Fault::ImageExpired, &mut one));
    }
}
