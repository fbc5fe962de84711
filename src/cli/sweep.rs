//! `comet-worker sweep`: removes receipts that are not needed any more.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use super::output::Output;
use super::render::count;
use super::{Usage, parts};
use crate::clock;
use crate::config::Config;
use crate::receipts::sweep::{Sweep, Tally};
use crate::storage::Storage;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker sweep --older-than 30d --dry-run
  comet-worker sweep --older-than 30d
  comet-worker --verbose sweep --older-than 30d     (names the jobs that are kept)
A job's receipts go when all of them are older than that and the job has ended. Those of unfinished
jobs stay, and of jobs that ended as outcome_unknown and were not resolved. Images are never
touched. Safe while workers run; don't run two sweeps at once.
AGE must not be below redis.remember_s: while Redis remembers a job, its receipts are of use. And it
must be longer than any copy of a job's message can lie in a queue: once record and receipts are
gone, a late copy is a new job, and paid for again.
Exit code: 0 done, 1 something could not be removed, 2 wrong usage or configuration.")]
pub(super) struct Arguments {
    /// Age by the store's clock: 30d, 12h, 4w
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Age,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// One object: removed, kept, failed
    #[arg(long)]
    json: bool,
}

/// The age as it was written, and as a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) text: String,
    pub(super) duration: Duration,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    check(config, &arguments.older_than)?;
    let age_ms = i64::try_from(arguments.older_than.duration.as_millis()).unwrap_or(i64::MAX);
    let storage = Storage::open(&parts::storage_options(config))?;
    let mut sweep = Sweep::new(storage, clock::unix_ms().saturating_sub(age_ms), arguments.dry_run);
    let (mut output, swept) = all(&mut sweep, config).await;
    let tally = sweep.tally();
    output.data(&if arguments.json { json(&tally, arguments) } else { text(&tally, arguments) });
    output.check()?;
    swept?;
    let failed = usize::try_from(tally.failed).unwrap_or(usize::MAX);
    anyhow::ensure!(
        failed == 0,
        "the receipts of {} could not be removed; sweep again",
        count(failed, "job")
    );
    Ok(())
}

/// Checks for mistakes that can be known before anything is removed.
fn check(config: &Config, age: &Age) -> Result<(), Usage> {
    if config.storage.url == "memory:" {
        let message = "storage.url is memory:, which is gone with its process: there is nothing to sweep";
        return Err(Usage(message.to_owned()));
    }
    if !config.generation.receipts {
        let message = "generation.receipts is false: the workers keep no receipts, so there is nothing to sweep; to \
                       remove those of earlier, set COMET_WORKER__GENERATION__RECEIPTS=true for this command";
        return Err(Usage(message.to_owned()));
    }
    let remember = config.redis.remember;
    if age.duration < remember {
        return Err(Usage(format!(
            "--older-than {} is below redis.remember_s ({} s): while Redis remembers a job, its receipts are of use, \
             since Redis may lose what it remembers; give at least {}s, and longer than any copy of a job's message can \
             lie in a queue: once both are gone, a late copy is a new job, and paid for again",
            age.text,
            remember.as_secs(),
            remember.as_secs()
        )));
    }
    Ok(())
}

/// Sweeps all folders. What was swept before an error is reported too.
async fn all(sweep: &mut Sweep, config: &Config) -> (Output, anyhow::Result<()>) {
    let folders = match sweep.begin().await {
        Ok(folders) => folders,
        Err(error) => return (Output::plain(), Err(error.into())),
    };
    let output = Output::with_progress(folders.len());
    if folders.is_empty() {
        let url = &config.storage.url;
        output.words(&format!(
            "no receipts in {url}; if there should be some, check storage.url and storage.prefix"
        ));
    }
    for (done, folder) in folders.iter().enumerate() {
        output.progress(done, "folders swept");
        if let Err(error) = sweep.folder(folder).await {
            return (output, Err(error.into()));
        }
    }
    (output, Ok(()))
}

fn json(tally: &Tally, arguments: &Arguments) -> String {
    let Tally { removed, kept, failed } = tally;
    let older_than_s = arguments.older_than.duration.as_secs();
    serde_json::json!({
        "dry_run": arguments.dry_run,
        "older_than_s": older_than_s,
        "removed": removed,
        "kept": kept,
        "failed": failed,
    })
    .to_string()
}

fn text(tally: &Tally, arguments: &Arguments) -> String {
    let Tally { removed, kept, .. } = tally;
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    let mut text = format!("{verb} {} of {}", count(removed.receipts, "receipt"), count(removed.jobs, "job"));
    if removed.probes > 0 {
        text += &format!(" and {}", count(removed.probes, "leftover probe"));
    }
    let younger = format!("younger than {}", arguments.older_than.text);
    let stays = [
        (kept.young, younger.as_str()),
        (kept.unfinished, "unfinished"),
        (kept.outcome_unknown, "with an unknown outcome, waiting for a person"),
        (kept.not_understood, "with receipts that this version doesn't understand"),
    ];
    let stays: Vec<String> = stays
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", count(number, "job")))
        .collect();
    if !stays.is_empty() {
        text += &format!("; kept: {}", stays.join(", "));
    }
    text
}

/// A day has 24 hours here; months and years, which have no fixed length, are refused.
pub(super) fn age(text: &str) -> Result<Age, String> {
    let what = "write a number and a unit, such as 30d, 12h or 4w";
    let wrong = |_| what.to_owned();
    let span: Span = text.trim().parse().map_err(wrong)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
    let duration = Duration::try_from(duration).map_err(|_| format!("an age is not negative; {what}"))?;
    Ok(Age { text: text.trim().to_owned(), duration })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipts::sweep::{Kept, Removed};

    fn arguments(dry_run: bool) -> Arguments {
        Arguments { older_than: age("30d").unwrap(), dry_run, json: false }
    }

    fn config(settings: &[(&str, &str)]) -> Config {
        let env = settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), (*value).to_owned()));
        Config::load(None, env).unwrap()
    }

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for (text, expected) in [
            ("30d", days(30)),
            (" 4 weeks ", days(28)),
            ("12h", days(1) / 2),
            ("1d 12h", days(3) / 2),
            ("90m", Duration::from_secs(5400)),
            ("P30D", days(30)),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(age(text).unwrap().duration, expected, "{text}");
        }
        for text in ["", "30", "d", "a month", "2mo", "1y", "30d ago", "-30d", "30 parsecs"] {
            let error = age(text).unwrap_err();
            assert!(error.contains("such as 30d"), "{text}: {error}");
        }
    }

    #[test]
    fn an_age_that_redis_still_remembers_is_refused() {
        let config = config(&[("REDIS__REMEMBER_S", "86400")]);
        for (text, fits) in [("23h", false), ("0s", false), ("24h", true), ("30d", true)] {
            let checked = check(&config, &age(text).unwrap());
            assert_eq!(checked.is_ok(), fits, "{text}: {checked:?}");
        }
        let message = check(&config, &age("1h").unwrap()).unwrap_err().to_string();
        assert!(message.contains("redis.remember_s") && message.contains("86400s"), "{message}");
    }

    #[test]
    fn where_there_are_no_receipts_it_says_so() {
        for (setting, words) in
            [(("STORAGE__URL", "memory:"), "memory:"), (("GENERATION__RECEIPTS", "false"), "receipts")]
        {
            let error = check(&config(&[setting]), &age("30d").unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_was_done_is_a_line_or_an_object() {
        let removed = Removed { jobs: 301, receipts: 1204, probes: 0 };
        let kept = Kept { young: 7, unfinished: 1, outcome_unknown: 2, not_understood: 0 };
        let tally = Tally { removed, kept, failed: 0 };
        assert_eq!(
            text(&tally, &arguments(false)),
            "removed 1204 receipts of 301 jobs; kept: 7 jobs younger than 30d, 1 job unfinished, 2 jobs with an \
             unknown outcome, waiting for a person"
        );
        assert_eq!(text(&Tally::default(), &arguments(true)), "would remove no receipts of no jobs");
        assert_eq!(
            json(&tally, &arguments(true)),
            r#"{"dry_run":true,"failed":0,"kept":{"not_understood":0,"outcome_unknown":2,"unfinished":1,"young":7},"older_than_s":2592000,"removed":{"jobs":301,"probes":0,"receipts":1204}}"#
        );
    }
}
