//! `comet-worker dead`: the dead letters, listed, shown, replayed and dropped.

pub(super) mod replay;
mod show;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use lapin::Connection;

use super::output::Output;
use super::render::{count, one_line};
use super::sweep::{Age, age};
use super::{Usage, parts};
use crate::config::Config;
use crate::job::JobId;
use crate::metrics::Metrics;
use crate::queue::dead::{Letter, Letters};
use crate::queue::publish::Publisher;
use crate::queue::topology::Names;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  comet-worker dead list
  comet-worker dead list --reason too_large --older-than 7d --json
  comet-worker dead show 3f9a0c51d2e87b64
  comet-worker dead replay 3f9a0c51d2e87b64
  comet-worker dead replay --reason quarantined --dry-run
  comet-worker dead drop --reason not_json --older-than 30d
Each letter has a KEY, which list prints. Looking changes nothing: every letter stays where it is.
While a command looks, the letters it has taken are hidden from other readers of the queue.
A job that ended as outcome_unknown waits for a decision: see comet-worker resolve.
Exit code: 0 done, 1 some were left, no letter has that key, or it failed, 2 wrong usage.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the dead letters, the oldest first: key, age, reason, job, size
    List(ListArguments),
    /// Show one letter: its properties, its headers and its body
    Show(show::Arguments),
    /// Send letters to the workers again, as the jobs that they were
    Replay(replay::Arguments),
    /// Drop letters for good
    Drop(DropArguments),
}

/// Which letters. Several conditions must all hold.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only those with this reason; may be given several times
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only those that have been there for longer: 7d, 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Age>,
    /// Only those of this job
    #[arg(long, value_name = "JOB")]
    job: Option<JobId>,
}

/// The letters that a command changes: by their keys, by a filter, or all.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The keys of the letters, as list prints them
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All letters
    #[arg(long, conflicts_with = "keys")]
    all: bool,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    filter: Filter,
    /// At most this many
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
    /// One JSON object a letter: {key, job_id, reason, detail, at, bytes, returns, replays}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DropArguments {
    #[command(flatten)]
    selection: Selection,
    /// Say what would be dropped, and drop nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a letter: {key, job_id, done}
    #[arg(long)]
    json: bool,
}

/// The connections of one command.
struct QueueAccess {
    connection: Connection,
    publisher: Publisher,
    names: Names,
    declare: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let access = QueueAccess::open(config).await?;
    let done = match &arguments.command {
        Command::List(arguments) => list(&access, arguments).await,
        Command::Show(arguments) => show::run(&access, arguments).await,
        Command::Replay(arguments) => Box::pin(replay::run(config, &access, arguments)).await,
        Command::Drop(arguments) => drop_letters(&access, arguments).await,
    };
    access.publisher.close().await;
    done
}

impl QueueAccess {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        let address = parts::address(config)?;
        let connection =
            address.connect("dead letters").await.map_err(|error| parts::no_rabbitmq(config, &error))?;
        let publisher = Publisher::new(address, 1, config.amqp.confirm_timeout, None, Metrics::default());
        Ok(Self { connection, publisher, names: parts::names(config), declare: config.amqp.declare })
    }

    async fn letters(&self) -> anyhow::Result<Letters<'_>> {
        Ok(Letters::open(&self.connection, &self.publisher, &self.names, self.declare).await?)
    }
}

impl Filter {
    fn takes(&self, letter: &Letter, now: Timestamp) -> bool {
        let is = |text: &Option<String>, wanted: &str| text.as_deref() == Some(wanted);
        (self.reason.is_empty() || self.reason.iter().any(|reason| is(&letter.reason, reason)))
            && self.job.as_ref().is_none_or(|job| is(&letter.job_id, job.as_str()))
            && self.older_than.as_ref().is_none_or(|age| is_older(letter, age.duration, now))
    }

    fn is_empty(&self) -> bool {
        self.reason.is_empty() && self.older_than.is_none() && self.job.is_none()
    }
}

/// A letter that doesn't say since when it is there is not known to be older than anything.
fn is_older(letter: &Letter, age: Duration, now: Timestamp) -> bool {
    let at = letter.at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    at.is_some_and(|at| now.duration_since(at).unsigned_abs() >= age && at <= now)
}

impl Selection {
    fn by_key(key: &str) -> Self {
        let filter = Filter { reason: Vec::new(), older_than: None, job: None };
        Self { keys: vec![key.to_owned()], filter, all: false }
    }

    fn check(&self) -> Result<(), Usage> {
        if self.keys.is_empty() && self.filter.is_empty() && !self.all {
            let message = "say which letters: their KEYs (comet-worker dead list), --reason, --older-than, --job, or --all";
            return Err(Usage(message.to_owned()));
        }
        Ok(())
    }

    fn takes(&self, letter: &Letter, now: Timestamp) -> bool {
        (self.keys.is_empty() || self.keys.contains(&letter.key)) && self.filter.takes(letter, now)
    }

    /// The keys that no letter had.
    fn missing(&self, seen: &[String]) -> anyhow::Result<()> {
        let missing: Vec<&str> =
            self.keys.iter().filter(|key| !seen.contains(key)).map(String::as_str).collect();
        if !missing.is_empty() {
            bail!("no dead letter has the key {}: see comet-worker dead list", missing.join(", "));
        }
        Ok(())
    }
}

/// The first letters of the queue.
pub(super) async fn first(config: &Config, limit: usize) -> anyhow::Result<Vec<Letter>> {
    let access = QueueAccess::open(config).await?;
    let mut letters = access.letters().await?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(taken) = letters.next().await?
    {
        found.push(Letter::of(&taken.message));
        letters.put_back(taken).await?;
    }
    letters.close().await?;
    access.publisher.close().await;
    Ok(found)
}

async fn list(access: &QueueAccess, arguments: &ListArguments) -> anyhow::Result<()> {
    let (now, mut output) = (Timestamp::now(), Output::plain());
    let mut letters = access.letters().await?;
    let (mut shown, mut others) = (0, 0);
    while let Some(taken) = letters.next().await? {
        let letter = Letter::of(&taken.message);
        letters.put_back(taken).await?;
        if !arguments.filter.takes(&letter, now) {
            continue;
        }
        if shown == arguments.limit {
            others += 1;
            continue;
        }
        shown += 1;
        output.data(&if arguments.json { serde_json::to_string(&letter)? } else { line(&letter) });
    }
    letters.close().await?;
    if others > 0 {
        output.words(&format!("and {others} more: --limit shows more of them, filters show fewer"));
    } else if shown == 0 {
        output.words(&format!("no such letter in {}", access.names.dead));
    }
    output.check()
}

/// `3f9a0c51d2e87b64  2026-11-28T07:00:00.000Z  not_json  order-1  17 bytes  no object`
fn line(letter: &Letter) -> String {
    let or = |text: &Option<String>, nothing: &str| text.clone().unwrap_or_else(|| nothing.to_owned());
    let (at, reason) = (or(&letter.at, "(no time)"), or(&letter.reason, "(no reason)"));
    let job = or(&letter.job_id, "(no job id)");
    let replayed = match letter.replays {
        0 => String::new(),
        times => format!("  replayed {}", count(usize::try_from(times).unwrap_or(usize::MAX), "time")),
    };
    let detail = or(&letter.detail, "");
    one_line(&format!("{}  {at}  {reason}  {job}  {} bytes{replayed}  {detail}", letter.key, letter.bytes))
        .trim_end()
        .to_owned()
}

async fn drop_letters(access: &QueueAccess, arguments: &DropArguments) -> anyhow::Result<()> {
    arguments.selection.check()?;
    let (now, mut output) = (Timestamp::now(), Output::plain());
    let mut letters = access.letters().await?;
    let mut dropped = Vec::new();
    while let Some(taken) = letters.next().await? {
        let letter = Letter::of(&taken.message);
        if !arguments.selection.takes(&letter, now) {
            letters.put_back(taken).await?;
            continue;
        }
        if arguments.dry_run {
            letters.put_back(taken).await?;
        } else {
            letters.settle(taken).await?;
        }
        let verb = if arguments.dry_run { "would be dropped" } else { "dropped" };
        output.data(&if arguments.json {
            let job_id = &letter.job_id;
            serde_json::json!({"key": letter.key, "job_id": job_id, "done": !arguments.dry_run}).to_string()
        } else {
            format!("{verb}  {}", line(&letter))
        });
        dropped.push(letter.key);
    }
    letters.close().await?;
    if dropped.is_empty() && arguments.selection.keys.is_empty() {
        output.words(&format!("no such letter in {}", access.names.dead));
    }
    output.check()?;
    arguments.selection.missing(&dropped)
}
