//! Sends dead letters to the workers again.
//!
//! A letter is published to the jobs' queue, confirmed, and only then dropped, so a replay that dies in between loses
//! nothing. Redis remembers each replay from before the publish until the letter is gone, so that the next replay knows
//! whether the message was sent, and sends none twice.

use anyhow::bail;
use jiff::Timestamp;

use super::{Chosen, Desk, line};
use crate::cli::output::Output;
use crate::cli::parts;
use crate::cli::render::count;
use crate::config::Config;
use crate::job::request::DeadReason;
use crate::ledger::fleet::{RedisFleet, ReplayNote};
use crate::metrics::Metrics;
use crate::queue::consume::Message;
use crate::queue::dead::Letter;
use crate::queue::message::sent_back_properties;
use crate::queue::publish::{Outgoing, Publish as _, Routed};

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
    chosen: Chosen,
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
pub(in crate::cli) enum Done {
    Replayed,
    WouldBe,
    /// An earlier replay had sent it, and it is only dropped now.
    SentBefore,
    Left(&'static str),
}

pub(super) async fn run(config: &Config, desk: &Desk, arguments: &Arguments) -> anyhow::Result<()> {
    arguments.chosen.check()?;
    let mut output = Output::plain();
    let replay = Replay::new(config, desk, arguments.force, arguments.dry_run)?;
    let (mut seen, mut left) = (Vec::new(), 0);
    let replayed = replay.all(&arguments.chosen, |letter, done| {
        output.data(&if arguments.json { json(letter, done).to_string() } else { text(letter, done) });
        seen.push(letter.key.clone());
        left += usize::from(matches!(done, Done::Left(_)));
    });
    replayed.await?;
    if seen.is_empty() && arguments.chosen.keys.is_empty() {
        output.words(&format!("no such letter in {}", desk.names.dead));
    }
    output.check()?;
    arguments.chosen.missing(&seen)?;
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
) -> anyhow::Result<Option<(Done, serde_json::Value)>> {
    let desk = Desk::open(config).await?;
    let mut found = None;
    let replay = Replay::new(config, &desk, force, false)?;
    let chosen = Chosen::by_key(key);
    let replayed = replay.all(&chosen, |letter, done| {
        found = Some((done.clone(), json(letter, done)));
    });
    let replayed = replayed.await;
    desk.publisher.close().await;
    replayed.map(|()| found)
}

struct Replay<'a> {
    desk: &'a Desk,
    redis: RedisFleet,
    force: bool,
    dry_run: bool,
}

impl<'a> Replay<'a> {
    fn new(config: &Config, desk: &'a Desk, force: bool, dry_run: bool) -> anyhow::Result<Self> {
        Ok(Self { desk, redis: parts::fleet(config, &Metrics::new())?, force, dry_run })
    }

    /// Replays the chosen letters, and tells what became of each.
    async fn all(&self, chosen: &Chosen, mut became: impl FnMut(&Letter, &Done)) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut letters = self.desk.letters().await?;
        let (mut seen, mut gone, mut failed) = (Vec::new(), Vec::new(), Ok(()));
        while let Some(taken) = letters.next().await? {
            let letter = Letter::of(&taken.message);
            // Equal letters are replayed one at a time.
            if failed.is_err() || seen.contains(&letter.key) || !chosen.takes(&letter, now) {
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
                Done::Replayed | Done::SentBefore => {
                    letters.settle(taken).await?;
                    gone.push(letter.key);
                }
                Done::Left(_) | Done::WouldBe => letters.put_back(taken).await?,
            }
        }
        letters.close().await?;
        // The notes are forgotten once the letters are gone for certain.
        for key in gone {
            if let Err(error) = self.redis.forget_replay(&key).await {
                tracing::debug!("the note about {key} stays for a while: {error}");
            }
        }
        failed
    }

    async fn done(&self, letter: &Letter, message: &Message) -> anyhow::Result<Done> {
        match self.refusal(letter) {
            Some(why) => Ok(Done::Left(why)),
            None if self.dry_run => Ok(Done::WouldBe),
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

    async fn send(&self, letter: &Letter, message: &Message) -> anyhow::Result<Done> {
        match self.redis.begin_replay(&letter.key).await? {
            ReplayNote::New => {}
            ReplayNote::Sent | ReplayNote::Begun if self.force => {}
            ReplayNote::Sent => return Ok(Done::SentBefore),
            ReplayNote::Begun => {
                return Ok(Done::Left(
                    "its last replay was cut off, and perhaps sent: see comet-worker status JOB",
                ));
            }
        }
        let again = Outgoing {
            exchange: String::new(),
            routing_key: self.desk.names.jobs.clone(),
            mandatory: true,
            properties: sent_back_properties(&message.properties),
            body: message.body.clone(),
        };
        match self.desk.publisher.publish(&again).await {
            Ok(Routed::ToQueue) => {}
            Ok(Routed::Nowhere) => {
                self.redis.forget_replay(&letter.key).await?;
                bail!("RabbitMQ has no queue {}: start a worker first", self.desk.names.jobs);
            }
            Err(error) => bail!(
                "it is unknown whether the letter {} was sent: {error}; it is still there, and replayed again only with \
                 --force",
                letter.key
            ),
        }
        self.redis.replay_sent(&letter.key).await?;
        Ok(Done::Replayed)
    }
}

fn text(letter: &Letter, done: &Done) -> String {
    let words = match done {
        Done::Replayed => "replayed".to_owned(),
        Done::WouldBe => "would be replayed".to_owned(),
        Done::SentBefore => "was sent before, and is dropped now".to_owned(),
        Done::Left(why) => format!("left alone, since {why}:"),
    };
    format!("{words}  {}", line(letter))
}

fn json(letter: &Letter, done: &Done) -> serde_json::Value {
    let (is_done, why) = match done {
        Done::Replayed => (true, None),
        Done::SentBefore => (true, Some("was sent before")),
        Done::WouldBe => (false, Some("dry run")),
        Done::Left(why) => (false, Some(*why)),
    };
    serde_json::json!({"key": letter.key, "job_id": letter.job_id, "done": is_done, "why": why})
}
