//! `comet-worker submit`: sends jobs from a file to the queue, and on demand waits for their end.

mod copies;
mod files;
mod follow;
pub(super) mod input;
mod send;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lapin::Connection;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use self::copies::FileCopies;
use self::follow::Follow;
use self::input::{Checked, Job, Limits};
use self::send::Submit;
use super::output::{Output, words};
use super::render::{self, count};
use super::{Usage, fleet, parts};
use crate::config::Config;
use crate::job::event::EventView;
use crate::metrics::Metrics;
use crate::queue::listen::{ListenError, Listener};
use crate::queue::publish::Publisher;
use crate::queue::topology;
use crate::shutdown::Signals;
use crate::storage::Storage;

/// A longer input must be submitted in parts, because it is held in memory.
pub(super) const INPUT_BYTES_MAX: u64 = 1 << 30;
/// Messages on their way to the broker at a time, each on a channel of its own.
const PUBLISHED_AT_ONCE: usize = 64;
/// How often the dead-letter queue is checked, because a job that ends there has no event.
const LOOK_AT_DEAD: Duration = Duration::from_secs(15);
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker submit jobs.jsonl
  comet-worker submit --wait --out pictures order.json
  jq -c '.jobs[]' all.json | comet-worker submit --json -
Every job is checked before the first one is sent; if one is wrong, none is. A job that was
submitted before, the same job_id with the same input, is not generated again.
An image of a job may be a file of this machine, \"file:a.png\" in place of a URL: it is sent along
in base64. The name is a path, relative to the folder of FILE (of stdin: to this one). The message
must stay under amqp.max_message_bytes, so big images go as URLs.
Exit code: 0 done, 1 not (with --wait: a job failed), 2 wrong usage, configuration or job.")]
pub(super) struct Arguments {
    /// One JSON object, an array of them, or one behind another (JSON lines); `-` is stdin
    file: PathBuf,
    /// Wait for the end of every job; stdout then has a line for each that has ended
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after so long (0: never); the jobs go on
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "wait")]
    timeout: u32,
    /// With --wait: copy the images into this folder, as JOB_ID-INDEX.EXTENSION
    #[arg(long, value_name = "DIR", requires = "wait")]
    out: Option<PathBuf>,
    /// Data as JSON: {"job_id": …} a line, with --wait the event of each job
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let text = read(&arguments.file)?;
    let limits = Limits {
        rules: &parts::request_rules(config),
        folder: folder(&arguments.file),
        message_bytes_max: config.amqp.max_message_bytes,
        bytes_max: usize::try_from(INPUT_BYTES_MAX).unwrap_or(usize::MAX),
    };
    let checked = input::check(&text, limits, |_| Uuid::new_v4().to_string());
    let jobs = wholesome(checked, "nothing was submitted")?;
    let copies = match &arguments.out {
        Some(folder) => {
            let storage = Storage::open(&parts::storage_options(config)).context("storage")?;
            let copies = FileCopies::new(storage, folder);
            Some(copies.map_err(|error| Usage(format!("--out: can't make {}: {error}", folder.display())))?)
        }
        None => None,
    };

    let address = parts::address(config)?;
    let connecting = address.connect("submit").await;
    let connection = connecting.map_err(|error| parts::no_rabbitmq(config, &error))?;
    if config.amqp.declare {
        topology::ensure(&connection, &parts::names(config), true).await?;
    }
    // Created before the first job is sent, so that no end is missed.
    let listener = if arguments.wait { Some(Listener::replies(&address).await?) } else { None };
    let channels = PUBLISHED_AT_ONCE.min(jobs.len());
    let publisher = Publisher::new(address, channels, config.amqp.confirm_timeout, None, Metrics::default());

    let reply_to = listener.as_ref().map(|listener| listener.queue().to_owned());
    let submit = Submit::new(config, publisher, reply_to);
    let session = Session {
        output: Output::with_progress(jobs.len()),
        follow: Follow::new(jobs.iter().map(|job| job.id.as_str().to_owned())),
        json: arguments.json,
        dead_before: topology::messages(&connection, &config.amqp.dead_queue).await,
        config,
        connection,
        listener,
        copies,
        sent: 0,
    };
    let limit = match arguments.timeout {
        0 => FOR_EVER,
        seconds => Duration::from_secs(seconds.into()),
    };
    let result = Box::pin(session.run(&submit, &jobs, limit)).await;
    submit.close().await;
    result
}

/// The folder for the image files that the jobs of `file` name: the folder of the file, or the working directory for
/// stdin.
pub(super) fn folder(file: &Path) -> &Path {
    if is_stdin(file) { Path::new("") } else { file.parent().unwrap_or(Path::new("")) }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// # Errors
///
/// [`Usage`].
pub(super) fn read(file: &Path) -> Result<String, Usage> {
    let mut bytes = Vec::new();
    let mut fill = |reader: &mut dyn std::io::Read| reader.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    let is_stdin = is_stdin(file);
    let read = if is_stdin {
        if std::io::stdin().is_terminal() {
            words("reading jobs from the terminal; end them with Ctrl-D");
        }
        fill(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(file).and_then(|mut file| fill(&mut file))
    };
    let shown = if is_stdin { "stdin".to_owned() } else { file.display().to_string() };
    let length = read.map_err(|error| Usage(format!("can't read {shown}: {error}")))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > INPUT_BYTES_MAX {
        return Err(Usage(format!("{shown} is longer than {INPUT_BYTES_MAX} bytes: submit it in parts")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let error = error.utf8_error();
        Usage(format!("{shown} is not UTF-8 from byte {} on", error.valid_up_to()))
    })
}

/// # Errors
///
/// [`Usage`], after all faults are printed.
pub(super) fn wholesome<'a>(checked: Checked<'a>, undone: &str) -> Result<Vec<Job<'a>>, Usage> {
    let Checked { jobs, faults, notes } = checked;
    for line in faults.iter().chain(&notes) {
        words(&render::one_line(line));
    }
    match (faults.len(), jobs.is_empty()) {
        (0, false) => Ok(jobs),
        (0, true) => Err(Usage("there is no job in the input".to_owned())),
        (number, _) => Err(Usage(format!("{undone}: {}", count(number, "fault")))),
    }
}

/// One submit under way: jobs go out, events come in.
struct Session<'a> {
    config: &'a Config,
    output: Output,
    follow: Follow,
    json: bool,
    /// For reading the dead-letter queue.
    connection: Connection,
    dead_before: Option<u32>,
    /// With `--wait`.
    listener: Option<Listener>,
    /// With `--out`.
    copies: Option<FileCopies>,
    sent: usize,
}

impl Session<'_> {
    async fn run(mut self, submit: &Submit<'_>, jobs: &[Job<'_>], limit: Duration) -> anyhow::Result<()> {
        let going_on = |_: &&Job<'_>| std::future::ready(!submit.has_failed());
        let sending = stream::iter(jobs).take_while(going_on).map(|job| submit.send(job));
        let mut sending = pin!(sending.buffered(PUBLISHED_AT_ONCE));
        let mut signals = Signals::catch()?;
        let mut interrupted = pin!(signals.next());
        let mut deadline = pin!(sleep_until(Instant::now() + limit));
        let mut look = tokio::time::interval(LOOK_AT_DEAD);
        let mut news = self.listener.is_some().then(|| fleet::news(self.config));
        let mut all_sent = false;
        let mut failure = None;
        while !(all_sent && self.is_over()) {
            tokio::select! {
                sent = sending.next(), if !all_sent => match sent {
                    Some(Ok(job)) => self.sent(job),
                    Some(Err(error)) => failure = failure.or(Some(error)),
                    None => {
                        all_sent = true;
                        if let Some(error) = failure.take() {
                            anyhow::bail!("{error:#}; {}", self.half_done(jobs));
                        }
                        self.all_sent();
                    }
                },
                event = next(&mut self.listener) => match event {
                    Ok(event) => self.heard(&event),
                    Err(error) => {
                        self.output.words(&self.follow.still_running());
                        self.output.words(
                            "see how they end with: comet-worker watch; or submit them again with --wait: a job \
                             with a job_id of its own isn't done twice, and its end is told again",
                        );
                        anyhow::bail!("the wait broke off, the jobs go on: {error}");
                    }
                },
                failed = copied(&mut self.copies) => if let Some(message) = failed {
                    self.output.words(&format!("warning: {message}"));
                },
                _ = look.tick(), if all_sent => self.look_at_dead().await,
                Some(words) = fleet_news(&mut news), if all_sent => self.output.words(&words),
                () = &mut deadline => {
                    self.output.words(&self.follow.still_running());
                    anyhow::bail!("not over within {} s; the jobs go on", limit.as_secs());
                }
                () = &mut interrupted => {
                    if !all_sent {
                        anyhow::bail!("stopped; {}", self.half_done(jobs));
                    }
                    self.output.words(&self.follow.still_running());
                    anyhow::bail!("stopped waiting; the jobs go on");
                }
            }
        }
        self.end()
    }

    fn is_over(&self) -> bool {
        let all_ended = self.listener.is_none() || self.follow.is_over();
        all_ended && self.copies.as_ref().is_none_or(FileCopies::is_over)
    }

    fn sent(&mut self, job: &Job<'_>) {
        self.sent += 1;
        if self.listener.is_some() {
            return;
        }
        self.output.progress(self.sent, "submitted");
        let id = job.id.as_str();
        if self.json {
            self.output.data(&serde_json::json!({ "job_id": id }).to_string());
        } else {
            self.output.data(id);
        }
    }

    fn all_sent(&self) {
        if self.listener.is_some() {
            let jobs = count(self.sent, "job");
            self.output.words(&format!("submitted {jobs} to {}, waiting", self.config.amqp.queue));
            self.output.progress(self.follow.over(), "ended");
        }
    }

    fn heard(&mut self, event: &[u8]) {
        let view = match EventView::parse(event) {
            Ok(view) => view,
            Err(error) => return tracing::warn!("an unreadable reply: {error}"),
        };
        if !self.follow.ends(&view) {
            return;
        }
        let line = if self.json { render::json(event) } else { render::event(&view) };
        self.output.data(&line);
        self.output.progress(self.follow.over(), "ended");
        if let Some(copies) = &mut self.copies {
            copies.begin(&view);
        }
    }

    /// A job whose id was used before with another input ends in the dead-letter queue, and has no event.
    async fn look_at_dead(&mut self) {
        let queue = &self.config.amqp.dead_queue;
        let Some(before) = self.dead_before else { return };
        let Some(now) = topology::messages(&self.connection, queue).await else { return };
        if now > before {
            self.output.words(&format!(
                "{queue} has got {} meanwhile; a job whose job_id was used before with another input ends there, \
                 and no event tells it",
                count(usize::try_from(now - before).unwrap_or(usize::MAX), "message")
            ));
        }
        self.dead_before = Some(now);
    }

    /// What the user should know before the next try.
    fn half_done(&self, jobs: &[Job<'_>]) -> String {
        let advice = if jobs.iter().any(|job| job.named_here) {
            "a job without a job_id that is sent again is another job"
        } else {
            "submit them all again: those that are there already are not done twice"
        };
        format!("{} of {} jobs were surely submitted; {advice}", self.sent, jobs.len())
    }

    fn end(self) -> anyhow::Result<()> {
        let Self { output, follow, listener, copies, .. } = self;
        if listener.is_some() {
            output.words(&follow.summary());
        }
        if let Some(copies) = &copies {
            output.words(&format!("{} in {}", count(copies.copied(), "image"), copies.folder().display()));
        }
        output.check()?;
        anyhow::ensure!(follow.failed() == 0, "{} did not succeed", count(follow.failed(), "job"));
        let not_copied = copies.map_or(0, |copies| copies.failed());
        anyhow::ensure!(not_copied == 0, "{} not copied", count(not_copied, "image"));
        Ok(())
    }
}

/// Never returns without `--wait`.
async fn next(listener: &mut Option<Listener>) -> Result<Bytes, ListenError> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}

/// Never returns without `--wait`.
async fn fleet_news(news: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}

/// Never returns without `--out`.
async fn copied(copies: &mut Option<FileCopies>) -> Option<String> {
    match copies {
        Some(copies) => copies.next().await,
        None => std::future::pending().await,
    }
}
