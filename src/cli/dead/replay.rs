//! Sends dead letters to the workers again.
//!
//! A letter is published to the jobs' queue, confirmed, and only then dropped, so a replay that dies in between loses
//! nothing. Redis remembers each replay from before the publish until the letter is gone, so that the next replay knows
//! whether the message was sent, and sends none twice.

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::{QueueAccess, Selection, line};
use crate::cli::output::Output;
use crate::cli::parts;
use crate::cli::render::count;
use crate::config::Config;
use crate::job::request::DeadReason;
use crate::ledger::replays::{RedisReplays, ReplayNote};
use crate::metrics::Metrics;
use crate::queue::consume::Message;
use crate::queue::dead::{Letter, as_job};
use crate::queue::publish::{Publish as _, Routed};

/// A letter that came back this often needs a person, not another replay.
const REPLAYS_MAX: u64 = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker dead replay 3f9a0c51d2e87b64
  comet-worker dead replay --reason delivery_limit --older-than 1h
  comet-worker dead replay --all --dry-run
A replayed letter is the same job: what was paid for it stays paid, and is not paid again. Its header
x-comet-replays counts. Left alone without --force are letters that were replayed three times before,
jobs that wait for comet-worker resolve, and letters whose last replay was cut off: look with
comet-worker status JOB whether that one arrived.")]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Replay also what would be left alone
    #[arg(long)]
    force: bool,
    /// Say what would be replayed, and replay nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a letter: {key, job_id, done, why}
    #[arg(long)]
    json: bool,
}

/// What became of one letter.
#[derive(Debug, Clone)]
pub(in crate::cli) enum ReplayOutcome {
    Replayed,
    WouldBe,
    /// An earlier replay had sent it, and it is only dropped now.
    SentBefore,
    Left(&'static str),
}

pub(super) async fn run(config: &Config, access: &QueueAccess, arguments: &Arguments) -> anyhow::Result<()> {
    arguments.selection.check()?;
    let mut output = Output::plain();
    let replay = Replay::new(config, access, arguments.force, arguments.dry_run)?;
    let (mut seen, mut left) = (Vec::new(), 0);
    let replayed = replay.all(&arguments.selection, |letter, done| {
        output.data(&if arguments.json { json(letter, done).to_string() } else { text(letter, done) });
        seen.push(letter.key.clone());
        left += usize::from(matches!(done, ReplayOutcome::Left(_)));
    });
    replayed.await?;
    if seen.is_empty() && arguments.selection.keys.is_empty() {
        output.words(&format!("no such letter in {}", access.names.dead));
    }
    output.check()?;
    arguments.selection.missing(&seen)?;
    if left > 0 {
        bail!("{} left alone; --force replays them", count(left, "letter"));
    }
    Ok(())
}

/// Replays one letter; `None` if there is none with this key.
pub(in crate::cli) async fn one(
    config: &Config,
    key: &str,
    force: bool,
) -> anyhow::Result<Option<(ReplayOutcome, serde_json::Value)>> {
    let access = QueueAccess::open(config).await?;
    let mut found = None;
    let replay = Replay::new(config, &access, force, false)?;
    let selection = Selection::by_key(key);
    let replayed = replay.all(&selection, |letter, done| {
        found = Some((done.clone(), json(letter, done)));
    });
    let replayed = replayed.await;
    access.publisher.close().await;
    replayed.map(|()| found)
}

struct Replay<'a> {
    access: &'a QueueAccess,
    notes: RedisReplays,
    force: bool,
    dry_run: bool,
}

impl<'a> Replay<'a> {
    fn new(config: &Config, access: &'a QueueAccess, force: bool, dry_run: bool) -> anyhow::Result<Self> {
        Ok(Self { access, notes: parts::replays(config, &Metrics::new())?, force, dry_run })
    }

    /// Replays the selection letters, and tells what became of each.
    async fn all(
        &self,
        selection: &Selection,
        mut became: impl FnMut(&Letter, &ReplayOutcome),
    ) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut letters = self.access.letters().await?;
        let (mut seen, mut gone, mut failed) = (Vec::new(), Vec::new(), Ok(()));
        while let Some(taken) = letters.next().await? {
            let letter = Letter::of(&taken.message);
            // Equal letters are replayed one at a time.
            if failed.is_err() || seen.contains(&letter.key) || !selection.takes(&letter, now) {
                letters.put_back(taken).await?;
                continue;
            }
            seen.push(letter.key.clone());
            let done = match self.done(&letter, &taken.message).await {
                Ok(done) => done,
                Err(error) => {
                    // What is behind it would fare no better. The letters before it are dropped all the same.
                    failed = Err(error);
                    letters.put_back(taken).await?;
                    continue;
                }
            };
            became(&letter, &done);
            match done {
                ReplayOutcome::Replayed | ReplayOutcome::SentBefore => {
                    letters.settle(taken).await?;
                    gone.push(letter.key);
                }
                ReplayOutcome::Left(_) | ReplayOutcome::WouldBe => letters.put_back(taken).await?,
            }
        }
        letters.close().await?;
        // The notes are forgotten once the letters are gone for certain.
        for key in gone {
            if let Err(error) = self.notes.forget(&key).await {
                tracing::debug!("the note about {key} stays for a while: {error}");
            }
        }
        failed
    }

    async fn done(&self, letter: &Letter, message: &Message) -> anyhow::Result<ReplayOutcome> {
        match self.refusal(letter) {
            Some(why) => Ok(ReplayOutcome::Left(why)),
            None if self.dry_run => Ok(ReplayOutcome::WouldBe),
            None => self.send(letter, message).await,
        }
    }

    fn refusal(&self, letter: &Letter) -> Option<&'static str> {
        if self.force {
            return None;
        }
        if letter.reason.as_deref() == Some(DeadReason::OutcomeUnknown.as_str()) {
            return Some("it waits for a decision: comet-worker resolve");
        }
        (letter.replays >= REPLAYS_MAX).then_some("it was replayed three times before")
    }

    async fn send(&self, letter: &Letter, message: &Message) -> anyhow::Result<ReplayOutcome> {
        let noted = self.notes.begin(&letter.key).await;
        match noted
            .context("nothing was sent, since Redis could not note it: check redis.url, and say it again")?
        {
            ReplayNote::New => {}
            ReplayNote::Sent | ReplayNote::Begun if self.force => {}
            ReplayNote::Sent => return Ok(ReplayOutcome::SentBefore),
            ReplayNote::Begun => {
                return Ok(ReplayOutcome::Left(
                    "its last replay was cut off, and perhaps sent: see comet-worker status JOB",
                ));
            }
        }
        let again = as_job(&self.access.names, message);
        match self.access.publisher.publish(&again).await {
            Ok(Routed::ToQueue) => {}
            Ok(Routed::Nowhere) => {
                self.notes.forget(&letter.key).await?;
                bail!("RabbitMQ has no queue {}: start a worker first", self.access.names.jobs);
            }
            Err(error) => bail!(
                "it is unknown whether the letter {} was sent: {error}; it is still there, and replayed again only with \
                 --force",
                letter.key
            ),
        }
        self.notes.sent(&letter.key).await?;
        Ok(ReplayOutcome::Replayed)
    }
}

fn text(letter: &Letter, done: &ReplayOutcome) -> String {
    let words = match done {
        ReplayOutcome::Replayed => "replayed".to_owned(),
        ReplayOutcome::WouldBe => "would be replayed".to_owned(),
        ReplayOutcome::SentBefore => "was sent before, and is dropped now".to_owned(),
        ReplayOutcome::Left(why) => format!("left alone, since {why}:"),
    };
    format!("{words}  {}", line(letter))
}

fn json(letter: &Letter, done: &ReplayOutcome) -> serde_json::Value {
    let (is_done, why) = match done {
        ReplayOutcome::Replayed => (true, None),
        ReplayOutcome::SentBefore => (true, Some("was sent before")),
        ReplayOutcome::WouldBe => (false, Some("dry run")),
        ReplayOutcome::Left(why) => (false, Some(*why)),
    };
    serde_json::json!({"key": letter.key, "job_id": letter.job_id, "done": is_done, "why": why})
}
