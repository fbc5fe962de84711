//! Everything that the real provider has been seen to do, or is said to do (docs/provider.md), by name, as one table.
//!
//! A scenario is a fault under the name of the provider's behaviour. What a fault does is defined in one place only.

use crate::{faults::Fault, switches::Odds};

/// The scenarios of one `--scenario`, as faults.
pub(crate) type Scenarios = std::sync::Arc<[(Fault, Odds)]>;

/// Those that go by another name than their fault.
const RENAMED: &[(&str, Fault)] = &[
    ("lost-reply", Fault::ReplyLost),
    ("hang-after", Fault::Hang),
    ("do-request-failed-after", Fault::ServerErrorAfter),
    ("arrives-late", Fault::MadeLate),
    ("slow-reply", Fault::Slow),
    ("wrong-key", Fault::AccountClosed),
    ("never-finishes", Fault::NeverEnds),
    ("file-500-twice", Fault::ImageError),
    ("file-403", Fault::ImageExpired),
    ("file-403-then-fresh", Fault::ImageExpiredOnce),
];

/// What the behaviour goes by that a fault stands for.
pub(crate) fn name_of(fault: Fault) -> String {
    let renamed = RENAMED.iter().find(|(_, named)| *named == fault);
    renamed.map_or_else(|| fault.name(), |(name, _)| (*name).to_owned())
}

/// Name and fault of each scenario.
fn all() -> impl Iterator<Item = (String, Fault)> {
    <Fault as clap::ValueEnum>::value_variants().iter().map(|fault| (name_of(*fault), *fault))
}

/// What `--list-scenarios` prints: name, when, what.
pub(crate) fn list() -> String {
    let line = |(name, fault): (String, Fault)| {
        let words = fault.words();
        let (when, what) = words.split_once(": ").unwrap_or(("", &words));
        format!("{name:<26}{when:<18}{what}\n")
    };
    all().map(line).collect()
}

/// Reads `NAME[=ODDS][,NAME…]`. Odds may have a comma of their own, `0.2,3x`: a name never begins with a digit.
pub(crate) fn parse_scenarios(text: &str) -> Result<Scenarios, String> {
    let mut read: Vec<(&str, String)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        match (part.split_once('='), read.last_mut()) {
            (None, Some((_, odds))) if part.starts_with(|c: char| c.is_ascii_digit()) => {
                *odds = format!("{odds},{part}");
            }
            (None, _) => read.push((part, "1".to_owned())),
            (Some((name, odds)), _) => read.push((name, odds.to_owned())),
        }
    }
    let scenario = |(name, odds): (&str, String)| Ok((named(name)?, odds.parse()?));
    read.into_iter().map(scenario).collect()
}

fn named(name: &str) -> Result<Fault, String> {
    let found = all().find(|(scenario, _)| scenario == name);
    let words = || format!("«{name}» is no scenario; comet-sim --list-scenarios names them all");
    found.map(|(_, fault)| fault).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_a_line() {
        let names: BTreeSet<String> = all().map(|(name, _)| name).collect();
        assert_eq!(names.len(), all().count());
        assert_eq!(list().lines().count(), names.len());
        for name in names {
            assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
            assert_eq!(parse_scenarios(&name).unwrap().len(), 1);
        }
    }

    #[test]
    fn scenarios_are_mixed_by_odds() {
        let read = parse_scenarios("lost-reply=0.2,3x,busy,reply-c=2x").unwrap();
        let odds = |text: &str| text.parse::<Odds>().unwrap();
        let expected =
            [(Fault::ReplyLost, odds("0.2,3x")), (Fault::Busy, Odds::ALWAYS), (Fault::ReplyC, odds("2x"))];
        assert_eq!(*read, expected);
        for text in ["", "no-such", "busy=5", "0.2", "busy,,hang"] {
            assert!(parse_scenarios(text).is_err(), "{text}");
        }
    }
}
