//! The contenders: the worker in several settings, the floor, and the same job flow as users of other libraries would
//! write it.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::peers::{self, Peer};
use crate::process::Program;
use crate::say;
use crate::sim::Sim;
use crate::stand::{Dialect, Line, Stand};

/// Deliveries that a contender holds at once, unless a measurement says otherwise: the worker's default.
pub const PREFETCH: u16 = 256;

/// One program in one setting.
#[derive(Debug, Clone)]
pub struct Contender {
    pub name: &'static str,
    pub kind: Kind,
    /// The share of a round's jobs that this contender gets: a slow one would only take longer.
    pub share: f64,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// `COMET_WORKER__…`, in addition to the settings of all measurements.
    Worker(&'static [(&'static str, &'static str)]),
    Floor,
    Peer(Peer),
    /// Why it doesn't take part.
    Missing(String),
}

/// Like a user's settings, except that every poll is due at once and images are not flushed.
pub const INSTANT: &[(&str, &str)] = &[("POLL__FIRST_MS", "0")];
/// At a fixed pace, so that the worker neither learns durations nor asks what others have learned: one call each five seconds.
const INSTANT_UNLEARNED: &[(&str, &str)] =
    &[("POLL__FIRST_MS", "0"), ("POLL__MIN_MS", "1000"), ("POLL__MAX_MS", "1000")];
const WITHOUT_RECEIPTS: &[(&str, &str)] = &[("POLL__FIRST_MS", "0"), ("GENERATION__RECEIPTS", "false")];

pub const FLOOR: &str = "floor";
pub const RECEIPTS_OFF: &str = "worker, receipts off";
pub const RECEIPTS_ON: &str = "worker, receipts on";
pub const NODE: &str = "Node";

impl Contender {
    pub fn worker() -> Self {
        Self { name: RECEIPTS_ON, kind: Kind::Worker(INSTANT), share: 1.0 }
    }

    /// A worker that polls by its defaults, or by a measurement's settings.
    pub fn patient_worker() -> Self {
        Self { kind: Kind::Worker(&[]), ..Self::worker() }
    }

    /// A worker whose calls to Redis are all for its jobs.
    pub fn unlearning_worker() -> Self {
        Self { kind: Kind::Worker(INSTANT_UNLEARNED), ..Self::worker() }
    }

    pub fn without_receipts() -> Self {
        Self { name: RECEIPTS_OFF, kind: Kind::Worker(WITHOUT_RECEIPTS), share: 1.0 }
    }

    pub fn floor() -> Self {
        Self { name: FLOOR, kind: Kind::Floor, share: 1.0 }
    }

    /// The peers, installed; a peer that can't be installed is reported as missing.
    pub async fn peers(stand: &Stand) -> Vec<Self> {
        let named = [(NODE, 0.7), ("FastStream", 0.3), ("Celery", 0.15)];
        let mut contenders = Vec::new();
        for ((name, share), peer) in named.into_iter().zip(peers::ALL) {
            let kind = match peers::install(stand, peer).await {
                Ok(()) => Kind::Peer(peer),
                Err(error) => {
                    say(&format!("!! {name} TAKES NO PART: {error:#}"));
                    Kind::Missing(format!("{error:#}"))
                }
            };
            contenders.push(Self { name, kind, share });
        }
        contenders
    }

    pub fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Peer(Peer::Celery) => Dialect::Celery,
            Kind::Worker(_) | Kind::Floor | Kind::Peer(Peer::Node | Peer::FastStream) | Kind::Missing(_) => {
                Dialect::Plain
            }
        }
    }

    /// Starts it on a line; `more` are settings of the worker.
    pub fn start(&self, line: &Line<'_>, sim: &Sim, more: &[(&str, &str)]) -> Result<Program> {
        let stand = line.stand;
        let command = match &self.kind {
            Kind::Worker(settings) => worker(line, sim, &[settings, more].concat())?,
            Kind::Floor => plain(Command::new(stand.program("examples/comet-floor")?), line, sim),
            Kind::Peer(peer) => plain(peers::command(stand, *peer), line, sim),
            Kind::Missing(why) => anyhow::bail!("{}: {why}", self.name),
        };
        Program::start(command, "contender", line.folder.path())
    }
}

/// Sets what the floor and the peers need to know.
fn plain(mut command: Command, line: &Line<'_>, sim: &Sim) -> Command {
    let prefetch = PREFETCH.to_string();
    let folder: &Path = &line.images();
    command
        .env("AMQP_URL", &line.stand.amqp_url)
        .env("JOBS_QUEUE", &line.names.jobs)
        .env("EVENTS_EXCHANGE", &line.names.events)
        .env("REDIS_URL", &line.stand.redis_url)
        .env("KEY_PREFIX", &line.prefix)
        .env("API_BASE_URL", &sim.url)
        .env("API_KEY", "sk-sim")
        .env("IMAGES_DIR", folder)
        .env("PREFETCH", prefetch);
    command
}

fn worker(line: &Line<'_>, sim: &Sim, settings: &[(&str, &str)]) -> Result<Command> {
    let mut command = command(line, sim, &["run"])?;
    command.envs(settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), value)));
    Ok(command)
}

/// A command of comet-worker with the configuration of a line's worker.
pub fn command(line: &Line<'_>, sim: &Sim, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(line.stand.program("comet-worker")?);
    // This removes the configuration of a real worker.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMET_WORKER_") {
            command.env_remove(name);
        }
    }
    let images = format!("file:{}", line.images().display());
    let prefetch = PREFETCH.to_string();
    let fixed = [
        ("AMQP__URL", line.stand.amqp_url.as_str()),
        ("AMQP__QUEUE", &line.names.jobs),
        ("AMQP__EXCHANGE", &line.names.events),
        ("AMQP__DEAD_QUEUE", &line.names.dead),
        ("AMQP__UNROUTED_QUEUE", &line.names.unrouted),
        ("AMQP__ALLOW_PLAIN_TEXT", "true"),
        ("REDIS__URL", &line.stand.redis_url),
        ("REDIS__PREFIX", &line.prefix),
        ("REDIS__ALLOW_PLAIN_TEXT", "true"),
        ("API__BASE_URL", &sim.url),
        ("API__KEY", "sk-sim"),
        ("WORKER__MAX_IN_FLIGHT", &prefetch),
        ("STORAGE__URL", &images),
        ("STORAGE__FSYNC", "false"),
        ("DOWNLOAD__ALLOW_PRIVATE_HOSTS", "true"),
        ("ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    command.args(arguments);
    command.envs(fixed.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), value)));
    Ok(command)
}
