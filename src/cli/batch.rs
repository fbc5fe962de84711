//! `comet-worker batch`: generates a file of jobs in this process, into a folder. The lives of the jobs are those of the
//! daemon; the folder and the memory of this process take the places of RabbitMQ and Redis.

mod feed;
mod folder;
mod ports;
mod results;
mod rows;
mod show;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::feed::{Feed, Work};
use self::folder::Folder;
use self::show::{Before, Show};
use super::output::words;
use super::render::count;
use super::submit::input::{self, Job, Limits};
use super::submit::{INPUT_BYTES_MAX, folder as folder_of, read, wholesome};
use super::{Usage, parts};
use crate::config::Config;
use crate::job::event::{EventKind, EventView};
use crate::job::request::Rules;
use crate::job::spend::Units;
use crate::job::{JobId, Reason};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker batch prompts.csv --out pictures
  comet-worker batch jobs.jsonl --out out --max-running 5
  comet-worker batch jobs.jsonl --out out --retry-failed
FILE is what `submit` takes, or a table (.csv): a row is a job, a column a field of its route;
beside them job_id, operation, timeout_s, metadata.NAME, and subject_images, split by `;`. An
image may be a file of this machine (`file:a.png`). Every job is checked before the first one is
paid for.
Nothing else is needed: no RabbitMQ, no Redis; the key of CometAPI is api.key
(COMET_WORKER__API__KEY).
DIR gets the files (images/JOB_ID/…, videos, audios), the event of each job's end
(events.jsonl), and what has to be remembered. Stop it at any point, or let it be killed: the
same command goes on where it was, pays for nothing twice, and doesn't touch what has ended.
Exit code: 0 all succeeded, 1 some did not or it was stopped, 2 wrong usage, configuration or
job.")]
pub(super) struct Arguments {
    /// A table (.csv), one JSON object, an array of them, or JSON lines; `-` is stdin, in JSON
    file: PathBuf,
    /// The folder of this batch; it is made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The account's slots: a job holds one for each image, a video one; otherwise generation.max_running
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_running: Option<u32>,
    /// Generate once more what has failed or was cancelled in an earlier run, and whose result can't be had
    #[arg(long)]
    retry_failed: bool,
    /// Likewise what was, or may have been, accepted and paid for without a result here: outcome_unknown,
    /// timed_out, result_expired, result_invalid, quarantined
    #[arg(long)]
    pay_again: bool,
    /// Ask before more units than these are spent; needs spend.units_per_job
    #[arg(long, value_name = "UNITS")]
    confirm_above: Option<Units>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    /// Data as JSON: the event of each job
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(mut config: Config, arguments: &Arguments) -> anyhow::Result<()> {
    config.require_key()?;
    if let Some(slots) = arguments.max_running {
        config.generation.max_running = slots;
    }
    let rules = parts::request_rules(&config);
    let text = jobs_text(&arguments.file, &rules)?;
    let limits = Limits {
        rules: &rules,
        folder: folder_of(&arguments.file),
        message_bytes_max: config.amqp.max_message_bytes,
        bytes_max: usize::try_from(INPUT_BYTES_MAX).unwrap_or(usize::MAX),
    };
    let mut names = HashMap::new();
    let named = |text: &str| named_by_content(text, &mut names);
    let jobs = wholesome(input::check(&text, limits, named), "nothing was begun")?;
    let folder = Arc::new(Folder::open(&arguments.out)?);
    are_the_same(&jobs, &folder)?;
    let retries = Retries { failed: arguments.retry_failed, paid: arguments.pay_again };
    let work = work(&jobs, &folder, retries)?;
    let before = before(&jobs, &work, &folder);
    if !work.is_empty() {
        may_spend(&config, work.len(), arguments)?;
    }
    settle_for(&mut config, folder.path());
    let mut show = Show::new(&work, before, folder.path(), arguments.json);
    if !work.is_empty() {
        folder.begin(work.iter().map(|work| (&work.id, &work.digest)))?;
        Box::pin(Feed::new(&config, Arc::clone(&folder))?.run(work, &mut show)).await?;
    }
    results::write(&jobs, &folder)?;
    show.end()
}

/// The file as JSON.
fn jobs_text(file: &Path, rules: &Rules) -> Result<String, Usage> {
    let text = read(file)?;
    let is_table = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_table { rows::as_json_lines(&text, rules) } else { Ok(text) }
}

/// The same job gets the same name in every run, also where others were put before it or it was written in another way.
/// Of several that are equal, each gets one of its own.
fn named_by_content(text: &str, names: &mut HashMap<String, u32>) -> String {
    // Its members are sorted then.
    let canonical =
        serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |job| job.to_string());
    let name: String = hex::encode(Sha256::digest(canonical)).chars().take(16).collect();
    let times = names.entry(name.clone()).or_default();
    *times += 1;
    if *times == 1 { name } else { format!("{name}-{times}") }
}

/// The name of a job's last try.
fn last_try(job: &Job<'_>, folder: &Folder) -> (u32, JobId) {
    let mut last = (1, job.id.clone());
    while let Ok(next) = retried(&job.id, last.0 + 1)
        && folder.begun(next.as_str()).is_some()
    {
        last = (last.0 + 1, next);
    }
    last
}

/// How those ended that are not begun in this run.
fn before(jobs: &[Job<'_>], work: &[Work], folder: &Folder) -> Before {
    let begun: HashSet<&str> = work.iter().map(|work| work.id.as_str()).collect();
    let mut before = Before::default();
    for job in jobs {
        let (number, id) = last_try(job, folder);
        let is_begun = |id: &JobId| begun.contains(id.as_str());
        if is_begun(&id) || retried(&job.id, number + 1).is_ok_and(|next| is_begun(&next)) {
            continue;
        }
        match folder.end(id.as_str()) {
            Some(end) if end.kind() == Some(EventKind::Succeeded) => before.succeeded += 1,
            Some(_) | None => before.failed += 1,
        }
    }
    before
}

/// # Errors
///
/// A job was begun here with another input.
fn are_the_same(jobs: &[Job<'_>], folder: &Folder) -> Result<(), Usage> {
    let is_other =
        |job: &&Job<'_>| folder.begun(job.id.as_str()).is_some_and(|begun| begun != job.digest.as_str());
    let others: Vec<&str> = jobs.iter().filter(is_other).map(|job| job.id.as_str()).collect();
    match others.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Usage(format!(
            "{} begun in {} with another input, {first} for example: give another job_id, or another --out",
            count(others.len(), "job"),
            folder.path().display()
        ))),
    }
}

/// What the name of a job that is tried again ends in, before the number.
const TRY: &str = ":try-";

/// Whether a job that ended for this reason may have been accepted, and its result may still be had.
fn is_perhaps_paid(reason: &str) -> bool {
    let unstored = Reason::UNSTORED.into_iter().chain([Reason::OutcomeUnknown]);
    unstored.map(Reason::as_str).any(|perhaps| perhaps == reason)
}

/// Which ends of earlier runs are not the last word.
#[derive(Debug, Clone, Copy, Default)]
struct Retries {
    failed: bool,
    /// Those that may be paid for, and whose results may be had from the provider.
    paid: bool,
}

impl Retries {
    fn again(self, end: &EventView) -> bool {
        match (end.kind(), end.reason.as_deref()) {
            (Some(EventKind::Succeeded), _) => false,
            (_, Some(reason)) if is_perhaps_paid(reason) => self.paid,
            (Some(EventKind::Submitted | EventKind::Failed | EventKind::Cancelled) | None, _) => self.failed,
        }
    }
}

/// The jobs that have not ended. A job that is tried again has a name of its own, since the name is what guards the
/// payment.
fn work(jobs: &[Job<'_>], folder: &Folder, retries: Retries) -> Result<Vec<Work>, Usage> {
    let mut work = Vec::new();
    for job in jobs {
        if is_try(&job.id) {
            let id = &job.id;
            return Err(Usage(format!(
                "{id}: a job_id that ends in {TRY}NUMBER is that of a job tried again"
            )));
        }
        // The last try that was begun is the one that counts.
        let (mut try_number, mut id) = last_try(job, folder);
        if let Some(end) = folder.end(id.as_str()) {
            if !retries.again(&end) {
                continue;
            }
            try_number += 1;
            id = retried(&job.id, try_number)?;
        }
        let text =
            if id == job.id && !job.named_here { job.text.to_string() } else { renamed(&job.text, &id) };
        work.push(Work { id, digest: job.digest.clone(), text });
    }
    Ok(work)
}

fn is_try(id: &JobId) -> bool {
    let number = id.as_str().rsplit_once(TRY).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn retried(id: &JobId, number: u32) -> Result<JobId, Usage> {
    let id = format!("{id}{TRY}{number}");
    id.parse().map_err(|_| Usage(format!("--retry-failed: {id} is too long for a job_id")))
}

/// The job under another name. All other members stay as they were written.
fn renamed(text: &str, id: &JobId) -> String {
    type Members<'a> = std::collections::BTreeMap<Cow<'a, str>, &'a serde_json::value::RawValue>;
    let name = format!("\"{id}\"");
    let named = || -> serde_json::Result<String> {
        let mut members: Members<'_> = serde_json::from_str(text)?;
        members.insert("job_id".into(), serde_json::from_str(&name)?);
        serde_json::to_string(&members)
    };
    named().unwrap_or_else(|_| text.to_owned())
}

/// # Errors
///
/// The user doesn't want it, or can't be asked.
fn may_spend(config: &Config, jobs: usize, arguments: &Arguments) -> anyhow::Result<()> {
    let spend = &config.spend;
    let estimate = spend.rules.per_job.map(|each| each.times(u64::try_from(jobs).unwrap_or(u64::MAX)));
    if let Some(units) = estimate {
        let money =
            spend.unit_price.as_ref().map(|price| format!(", {}", price.of(units))).unwrap_or_default();
        words(&format!("{} will cost about {units} units{money}", count(jobs, "job")));
    }
    let Some(most) = arguments.confirm_above else { return Ok(()) };
    let Some(units) = estimate else {
        return Err(Usage(
            "--confirm-above: what a job costs isn't known; set spend.units_per_job".to_owned(),
        )
        .into());
    };
    if units <= most || arguments.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let why = format!(
            "{units} units are more than --confirm-above, and there is no terminal to ask on: give --yes"
        );
        return Err(Usage(why).into());
    }
    words("Go on? [y/N]");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    anyhow::bail!("nothing was begun")
}

/// The settings that the folder and this process decide.
fn settle_for(config: &mut Config, out: &Path) {
    config.storage.url = format!("file:{}", out.display());
    config.storage.prefix = String::new();
    // They are what holds over a kill.
    config.generation.receipts = true;
    config.events.submitted = false;
    // A day's cap is counted by a fleet; here --confirm-above asks before.
    config.spend.rules.cap = None;
    config.callback.public_url = None;
}

impl Work {
    #[cfg(test)]
    fn named(id: &str) -> Self {
        Self { id: id.parse().unwrap(), digest: crate::job::Digest::new("d".to_owned()), text: String::new() }
    }
}

#[cfg(test)]
mod tests;
