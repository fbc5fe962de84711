//! `comet-worker orphans`: paid attempts that no job owns any more.

use anyhow::Context as _;

use super::output::Output;
use super::render::{count, one_line};
use super::sweep::{Age, age};
use super::{Usage, parts};
use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::receipts::Receipts;
use crate::receipts::sweep::{Orphan, Orphans};
use crate::storage::Storage;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker orphans
  comet-worker orphans --older-than 2d --json
Lists jobs whose receipts say that a POST went out, or a task was accepted, and that have no end: as
when a queue was purged or deleted while its jobs were under way. What Redis still lists as unfinished
is marked; a worker may yet end it. Nothing is changed.
To end such a job, send it again under the same job_id: its task is taken over and not paid for again.
Reads all receipts, which takes a while in a store with many.
Exit code: 0 there are none, 1 there are some, or it failed, 2 wrong usage or configuration.")]
pub(super) struct Arguments {
    /// Only what has not moved for longer: 2d, 12h; by default twice generation.timeout_s
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Age>,
    /// One JSON object a job: {job_id, task_id, external_task_id, since, stage}
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    if !config.generation.receipts || config.storage.url == "memory:" {
        let message = "without receipts (generation.receipts, in a storage.url that lasts) nothing remembers a paid \
                       attempt but Redis: see comet-worker status --jobs all";
        return Err(Usage(message.to_owned()).into());
    }
    let age = arguments.older_than.as_ref().map_or(config.generation.timeout * 2, |age| age.duration);
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
    let redis = parts::fleet(config, &Metrics::new())?;
    let folders = Receipts::new(storage.clone()).folders().await?;
    let search = Orphans::new(storage, clock::unix_ms().saturating_sub(age_ms));
    let mut output = Output::with_progress(folders.len());
    let mut found = 0;
    for (done, folder) in folders.iter().enumerate() {
        output.progress(done, "folders read");
        for orphan in search.of(folder).await? {
            found += 1;
            let listed = redis.job(orphan.job_id.as_str()).await?.map(|job| job.stage.as_str());
            output.data(&if arguments.json { json(&orphan, listed)? } else { text(&orphan, listed) });
        }
    }
    if found == 0 {
        output.words("no orphans");
    }
    output.check()?;
    anyhow::ensure!(found == 0, "{} without an end", count(found, "paid attempt"));
    Ok(())
}

fn json(orphan: &Orphan, listed: Option<&str>) -> anyhow::Result<String> {
    let mut shown = serde_json::to_value(orphan)?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("stage".to_owned(), listed.into());
    }
    Ok(shown.to_string())
}

fn text(orphan: &Orphan, listed: Option<&str>) -> String {
    let Orphan { job_id, task_id, external_task_id, since } = orphan;
    let task = match (task_id, external_task_id) {
        (Some(task), _) => format!("task {task}"),
        (None, Some(external)) => format!("perhaps posted under {external}"),
        (None, None) => "perhaps posted".to_owned(),
    };
    let listed = listed.map(|stage| format!("  ({stage}, says Redis)")).unwrap_or_default();
    one_line(&format!("{job_id}  {task}  since {since}{listed}"))
}
