//! The peers' programs and what they need, installed below `target/bench` in the pinned versions of
//! `requirements.txt` and `package-lock.json`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::stand::Stand;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Node,
    FastStream,
    Celery,
}

pub const ALL: [Peer; 3] = [Peer::Node, Peer::FastStream, Peer::Celery];

impl Peer {
    fn folder(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::FastStream => "faststream",
            Self::Celery => "celery",
        }
    }

    /// The file that pins the versions.
    fn pins(self) -> &'static str {
        match self {
            Self::Node => "package-lock.json",
            Self::FastStream | Self::Celery => "requirements.txt",
        }
    }

    fn sources(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers").join(self.folder())
    }
}

fn place(stand: &Stand, peer: Peer) -> PathBuf {
    stand.workshop.join(peer.folder())
}

/// Installs a peer, unless exactly these versions are there already.
pub async fn install(stand: &Stand, peer: Peer) -> Result<()> {
    let (place, sources) = (place(stand, peer), peer.sources());
    let pins = std::fs::read_to_string(sources.join(peer.pins()))?;
    let done = place.join("installed");
    let program = sources.join(program(peer));
    std::fs::create_dir_all(&place)?;
    // Always the program as it is now; node looks for its modules beside it.
    std::fs::copy(&program, place.join(program.file_name().context("a program has a name")?))?;
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == pins) {
        return Ok(());
    }
    crate::say(&format!("installing what {} needs, below {}", peer.folder(), stand.workshop.display()));
    match peer {
        Peer::Node => {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(sources.join(file), place.join(file))?;
            }
            run("npm", &["ci", "--no-fund", "--no-audit", "--ignore-scripts"], &place).await?;
        }
        Peer::FastStream | Peer::Celery => {
            let requirements = sources.join("requirements.txt").display().to_string();
            run("python3", &["-m", "venv", "--clear", "venv"], &place).await?;
            let install =
                ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", &requirements];
            run("venv/bin/python", &install, &place).await?;
        }
    }
    Ok(std::fs::write(done, pins)?)
}

fn program(peer: Peer) -> &'static str {
    match peer {
        Peer::Node => "worker.mjs",
        Peer::FastStream | Peer::Celery => "worker.py",
    }
}

/// The peer as its users would start it.
pub fn command(stand: &Stand, peer: Peer) -> Command {
    let place = place(stand, peer);
    let python = place.join("venv/bin/python");
    let mut command = match peer {
        Peer::Node => {
            let mut node = Command::new("node");
            node.arg("worker.mjs").env("NODE_ENV", "production");
            node
        }
        Peer::FastStream => {
            let mut faststream = Command::new(python);
            faststream.arg("worker.py");
            faststream
        }
        Peer::Celery => {
            let mut celery = Command::new(python);
            let pool = ["--pool", "gevent", "--concurrency", "256"];
            let quiet =
                ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"];
            celery.args(["-m", "celery", "-A", "worker", "worker"]).args(pool).args(quiet);
            celery
        }
    };
    command.current_dir(place);
    command
}

/// The versions that are measured: `Node 20.20.2, rabbitmq-client 5.0.8, …`.
pub async fn versions(stand: &Stand, peer: Peer) -> Result<String> {
    let place = place(stand, peer);
    let (program, named): (_, &[&str]) = match peer {
        Peer::Node => (PathBuf::from("node"), &["rabbitmq-client", "undici", "ioredis"]),
        Peer::FastStream => {
            (place.join("venv/bin/python"), &["faststream", "aio-pika", "aiohttp", "redis", "uvloop"])
        }
        Peer::Celery => (place.join("venv/bin/python"), &["celery", "kombu", "gevent", "requests", "redis"]),
    };
    let said = Command::new(program).arg("--version").output().await?;
    let mut versions = vec![String::from_utf8_lossy(&said.stdout).trim().replace('v', "Node ")];
    let pins = std::fs::read_to_string(peer.sources().join(peer.pins()))?;
    for name in named {
        let version = match peer {
            Peer::Node => {
                let lock: serde_json::Value = serde_json::from_str(&pins)?;
                let version = lock.pointer(&format!("/packages/node_modules~1{name}/version"));
                version.and_then(serde_json::Value::as_str).map(str::to_owned)
            }
            Peer::FastStream | Peer::Celery => {
                pins.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix("==")?.to_owned()))
            }
        };
        versions.push(format!("{name} {}", version.with_context(|| format!("{name} is not pinned"))?));
    }
    Ok(versions.join(", "))
}

async fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<()> {
    let here = folder.join(program);
    let found = if here.is_file() { here } else { PathBuf::from(program) };
    let done = Command::new(found)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("{program} can't be started"))?;
    let words = String::from_utf8_lossy(&done.stderr);
    let last: Vec<&str> = words.lines().rev().take(3).collect();
    ensure!(done.status.success(), "{program} {}: {}", arguments.join(" "), last.join(" / "));
    Ok(())
}
