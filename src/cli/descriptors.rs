//! How many files and connections this process may have open, and how many its settings may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// RabbitMQ, Redis, the log, the runtime, and short-lived files beside the settings.
const BESIDE: u64 = 64;
/// The listeners close the connection that is idle longest if there are more than these.
const ADMIN: u64 = 64;
const CALLBACKS: u64 = 512;

/// Raises this process's limit to the maximum of its user, and turns off core dumps, which would contain keys.
pub(super) fn settle() {
    let files = getrlimit(Resource::Nofile);
    // If a sandbox forbids one of them, the worker still runs, with the limits that it has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let core = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..core });
}

/// A warning if the settings may need more than the limit.
pub(super) fn too_few(config: &Config) -> Option<String> {
    said(config, getrlimit(Resource::Nofile).maximum?)
}

fn said(config: &Config, allowed: u64) -> Option<String> {
    let api = &config.api;
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (submits, polls) = (number(api.max_submits_at_once), number(api.max_polls_at_once));
    let requests = match number(api.max_connections) {
        0 => submits.saturating_add(polls),
        bound => bound.min(submits.saturating_add(polls)),
    };
    // One for the download, one for the store.
    let downloads = number(config.download.max_at_once).saturating_mul(2);
    let channels = number(config.amqp.publish_channels);
    let doors = if config.callback.public_url.is_some() { ADMIN + CALLBACKS } else { ADMIN };
    let needed = [requests, downloads, channels, doors].into_iter().fold(BESIDE, u64::saturating_add);
    (needed > allowed).then(|| {
        format!(
            "this process may have {allowed} files and connections open, and these settings may need {needed} \
             (api.max_submits_at_once = {submits}, api.max_polls_at_once = {polls}, download.max_at_once = {}): raise the limit \
             (ulimit -n; LimitNOFILE in a unit of systemd), or lower them",
            config.download.max_at_once
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_the_settings_may_need_is_said_by_number() {
        let with = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Config::load(None, settings).unwrap()
        };
        let plain = with(&[]);
        assert_eq!(said(&plain, 1024), None, "the usual limit is enough for the defaults");
        let words = said(&plain, 64).unwrap();
        assert!(words.contains("may have 64") && words.contains("LimitNOFILE"), "{words}");
        let greedy = with(&[("COMET_WORKER__API__MAX_POLLS_AT_ONCE", "2000")]);
        assert!(said(&greedy, 1024).unwrap().contains("max_polls_at_once = 2000"));
        let bounded = with(&[
            ("COMET_WORKER__API__MAX_POLLS_AT_ONCE", "2000"),
            ("COMET_WORKER__API__MAX_CONNECTIONS", "100"),
        ]);
        assert_eq!(said(&bounded, 1024), None);
    }
}
