//! The settings of a workbench.

use std::time::Duration;

use comet_worker::job::pace::Pace;
use comet_worker::job::request;
use comet_worker::job::spend::SpendRules;
use comet_worker::job::step::Rules;
use comet_worker::queue::topology::Names;
use comet_worker::worker::Settings;

pub(super) fn names() -> Names {
    Names {
        jobs: "comet.jobs".to_owned(),
        events: "comet.events".to_owned(),
        dead: "comet.jobs.dead".to_owned(),
        unrouted: "comet.events.unrouted".to_owned(),
    }
}

/// As configured by default.
pub(super) fn settings() -> Settings {
    let pace =
        Pace { first: Duration::from_secs(3), min: Duration::from_secs(1), max: Duration::from_secs(20) };
    Settings {
        redis_prefix: "comet".to_owned(),
        request_rules: request::Rules::page(),
        message_bytes_max: 8 * 1024 * 1024,
        rules: Rules {
            gate: Duration::from_secs(5),
            quiet: Duration::from_secs(120),
            timeout: Duration::from_secs(600),
            hold: Duration::from_secs(900),
            patience: Duration::from_secs(3600),
            receipts: true,
            trust_lookup: false,
            max_attempts: 1,
            pace,
        },
        download_attempts: 5,
        source: "/comet-worker".to_owned(),
        tell_submitted: false,
        spend: SpendRules::default(),
    }
}
