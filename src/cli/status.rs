//! `comet-worker status`: what the fleet does, or the whole life of one job.

mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;

use super::fleet::FleetReader;
use super::output::Output;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::job::JobId;
use crate::job::stage::JobStage;
use crate::shutdown::Signals;

/// How many of the latest ends are shown.
const RECENT_SHOWN: usize = 10;
/// How often `--follow` looks.
const EVERY: Duration = Duration::from_secs(2);
/// The terminal's cursor to its upper left corner, and what is below it erased.
const AGAIN_FROM_ABOVE: &str = "\u{1b}[H\u{1b}[J";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker status
  comet-worker status --follow
  comet-worker status order-1
  comet-worker status --jobs generating --limit 20
  comet-worker status --json | jq '.jobs.generating, .queues.dead'
Without JOB: the workers, what stands still and what to do about it, the unfinished jobs by stage,
the queues, the account's slots, and the latest ends. It reads what workers have written into Redis
within the last seconds, and asks RabbitMQ how many messages wait; it asks no worker, changes
nothing, and costs the workers nothing.
Exit code: 0 shown, 1 no such job, or Redis didn't answer.")]
pub(super) struct Arguments {
    /// Show the life of this job: its stage, its attempts and task ids with their times, its outcome
    #[arg(value_name = "JOB", conflicts_with = "follow")]
    job: Option<JobId>,
    /// List the unfinished jobs, the oldest at their stage first; of one stage, or of `all`
    #[arg(long, value_name = "STAGE", value_parser = which, conflicts_with_all = ["job", "follow"])]
    jobs: Option<Which>,
    /// How many jobs --jobs lists
    #[arg(long, value_name = "NUMBER", default_value_t = 50, requires = "jobs")]
    limit: u32,
    /// Look again every two seconds, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// JSON: one object, and with --follow or --jobs one a line
    #[arg(long)]
    json: bool,
}

/// Which unfinished jobs.
#[derive(Debug, Clone, Copy)]
enum Which {
    All,
    At(JobStage),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    let found = JobStage::ALL.into_iter().find(|stage| stage.as_str() == text);
    let names = JobStage::ALL.map(JobStage::as_str).join(", ");
    found.map(Which::At).ok_or_else(|| format!("the stages are {names}; or all"))
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let reader = FleetReader::new(config)?;
    let mut output = Output::plain();
    if let Some(job) = &arguments.job {
        let Some(view) = reader.job(job).await? else {
            bail!(
                "no worker, no record in Redis and no receipt knows {job}: it may wait in {}, or have ended longer ago \
                 than redis.remember_s",
                config.amqp.queue
            );
        };
        output.data(&if arguments.json { serde_json::to_string(&view)? } else { text::job(&view) });
        return output.check();
    }
    if let Some(which) = arguments.jobs {
        let stage = match which {
            Which::All => None,
            Which::At(stage) => Some(stage),
        };
        for job in reader.jobs(stage, usize::try_from(arguments.limit)?).await? {
            output.data(&if arguments.json { serde_json::to_string(&job)? } else { text::unfinished(&job) });
        }
        return output.check();
    }
    if arguments.follow {
        let followed = follow(&reader, arguments, output).await;
        reader.close().await;
        return followed;
    }
    let looked = look(&reader).await;
    reader.close().await;
    let (fleet, trouble) = looked?;
    output.data(&shown(&fleet, arguments)?);
    if let Some(trouble) = trouble {
        output.words(&trouble);
    }
    output.check()
}

async fn look(reader: &FleetReader) -> anyhow::Result<(Fleet, Option<String>)> {
    let (queues, trouble) = reader.queues().await;
    Ok((reader.fleet(queues, RECENT_SHOWN).await?, trouble))
}

fn shown(fleet: &Fleet, arguments: &Arguments) -> anyhow::Result<String> {
    Ok(if arguments.json { serde_json::to_string(fleet)? } else { text::fleet(fleet) })
}

/// On a terminal the view replaces the one before.
async fn follow(reader: &FleetReader, arguments: &Arguments, mut output: Output) -> anyhow::Result<()> {
    let mut signals = Signals::catch()?;
    let mut interrupted = pin!(signals.next());
    let redraws = !arguments.json && io::stdout().is_terminal();
    loop {
        let looked = tokio::select! {
            looked = look(reader) => looked,
            () = &mut interrupted => break,
        };
        let (text, trouble) = match looked {
            Ok((fleet, trouble)) => (shown(&fleet, arguments)?, trouble),
            // It may come back; what is shown says that it is away.
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        if redraws {
            // A terminal that has gone is noticed by the line after this.
            let _ = write!(io::stdout().lock(), "{AGAIN_FROM_ABOVE}");
        }
        if !text.is_empty() {
            output.data(&text);
        }
        if let Some(trouble) = trouble {
            output.words(&trouble);
        }
        if output.is_closed() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = &mut interrupted => break,
        }
    }
    output.check()
}
