//! The command line. The defaults of all options make a well-behaved provider, as described by the page that the
//! project started from.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum, builder::NonEmptyStringValueParser};

use crate::{
    duration::{Distribution, parse_duration},
    faults::Fault,
    model::Settings,
    refusal::NoMoneyAs,
    rules::{Page, Rules},
    scenarios::{Scenarios, parse_scenarios},
    switches::{Odds, parse_fault},
    task::{Formats, Issuer},
};

const AFTER_HELP: &str = "\
A fault is NAME (always), NAME=0.2 (one in five), NAME=3x (the next three times), NAME=2s (for two
seconds each time), or several of these: NAME=0.2,3x,2s.
GET /sim/report tells what was asked, made and charged; PUT /sim/faults, /sim/balance and
/sim/durations change a running stand-in; POST /sim/reset starts it afresh.";

/// A stand-in for CometAPI's Kling image routes: it takes jobs, keeps count of what it charged, and misbehaves when told to.
#[derive(Debug, Parser)]
#[command(name = "comet-sim", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Where to listen; port 0 picks one, and the first line printed tells it
    #[arg(long, default_value = "127.0.0.1:8099", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// What result URLs begin with, where clients know this by another name [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    pub(crate) public_base: Option<url::Url>,

    /// A bearer token that is accepted; each one is an account of its own
    #[arg(long = "key", default_value = "sk-sim", value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    keys: Vec<String>,

    /// Whose rules a request is held to
    #[arg(long, value_enum, default_value_t = Page::Page)]
    rules: Page,

    /// Refuse inline images that aren't PNG or JPEG of at least 300 px a side and at most 2.5 to 1
    #[arg(long)]
    check_pixels: bool,

    /// What becomes of an external_task_id that the account has used before
    #[arg(long, value_enum, default_value_t = Duplicates::Refuse)]
    duplicates: Duplicates,

    /// Find tasks by external_task_id too
    #[arg(long)]
    lookup: bool,

    /// How long after its making a task is first found by its external_task_id
    #[arg(long, default_value = "0", value_parser = parse_duration, value_name = "DURATION", requires = "lookup")]
    lookup_lag: Duration,

    /// Images that each account can pay for [default: no end]
    #[arg(long, value_name = "IMAGES")]
    balance: Option<u64>,

    /// How an account without money is told so
    #[arg(long, value_enum, default_value_t = NoMoneyAs::Quota)]
    no_money_as: NoMoneyAs,

    /// final_unit_deduction of one image
    #[arg(long, default_value_t = 8, value_name = "UNITS")]
    units_per_image: u64,

    /// Slots of each account; a task takes n of them, one too many is a 429 with code 1303 [default: no end]
    #[arg(long, value_name = "SLOTS")]
    max_running: Option<u64>,

    /// How long tasks take: fixed:2s, uniform:1s-3s or lognormal:MEDIAN,SPREAD
    #[arg(long, default_value = "lognormal:15s,0.4", value_name = "DISTRIBUTION")]
    durations: Distribution,

    /// How long a POST takes to be answered; its task is made at the beginning of that time
    #[arg(long, default_value = "50ms", value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) submit_latency: Duration,

    /// How long a query takes to be answered
    #[arg(long, default_value = "10ms", value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) poll_latency: Duration,

    /// What the faults slow and made-late wait
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) slow_for: Duration,

    /// What kind of files the results are
    #[arg(long, value_enum, default_value_t = Formats::Png)]
    format: Formats,

    /// Pixels of the long side of a result
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u16).range(16..=4096), value_name = "PX")]
    pub(crate) image_px: u16,

    /// About how many bytes a video has
    #[arg(long, default_value_t = 64 * 1024, value_name = "BYTES")]
    pub(crate) video_bytes: usize,

    /// How long a result URL holds; a later query gives a fresh one
    #[arg(long, default_value = "30d", value_parser = parse_duration, value_name = "DURATION")]
    link_lifetime: Duration,

    /// Something that goes wrong; can be given many times
    #[arg(long = "fault", value_parser = parse_fault, value_name = "NAME[=ODDS]")]
    faults: Vec<(Fault, Odds)>,

    /// Something that the real provider does, by its name in --list-scenarios; can be given many times
    #[arg(long = "scenario", value_parser = parse_scenarios, value_name = "NAME[=ODDS][,NAME…]")]
    scenarios: Vec<Scenarios>,

    /// Print the scenarios, a line each, and end
    #[arg(long)]
    pub(crate) list_scenarios: bool,

    /// Print what can go wrong, a line each, and end
    #[arg(long)]
    pub(crate) list_faults: bool,

    /// The same seed and the same order of requests give the same durations and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Duplicates {
    /// 400 with code 1201, already exists
    Refuse,
    /// another task
    Accept,
}

impl Options {
    pub(crate) fn rules(&self) -> Rules {
        Rules { page: self.rules, check_pixels: self.check_pixels }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            seed: self.seed,
            keys: self.keys.clone(),
            balance: self.balance,
            no_money_as: self.no_money_as,
            refuse_duplicates: self.duplicates == Duplicates::Refuse,
            lookup_after: self.lookup.then_some(self.lookup_lag),
            running_max: self.max_running,
            units_per_image: self.units_per_image,
            durations: self.durations,
            faults: self
                .faults
                .iter()
                .chain(self.scenarios.iter().flat_map(|scenarios| scenarios.iter()))
                .copied()
                .collect(),
            issuer: Issuer { seed: self.seed, link_lifetime: self.link_lifetime, formats: self.format },
        }
    }
}

/// What `--list-faults` prints.
pub(crate) fn fault_list() -> String {
    let line = |fault: &Fault| format!("{:<24}{}\n", fault.name(), fault.words());
    Fault::value_variants().iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn faults_are_read_from_the_command_line() {
        let options =
            Options::try_parse_from(["comet-sim", "--fault", "busy=0.5", "--fault", "hang"]).unwrap();
        assert_eq!(options.faults.len(), 2);
        assert!(Options::try_parse_from(["comet-sim", "--fault", "busy=5"]).is_err());
        assert!(Options::try_parse_from(["comet-sim", "--fault", "no-such"]).is_err());
    }

    #[test]
    fn every_fault_is_listed_on_a_line() {
        assert_eq!(fault_list().lines().count(), Fault::value_variants().len());
    }
}
