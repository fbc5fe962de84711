//! Child processes, and what they have used according to the kernel.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a program gets to end after SIGTERM before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Linux reports times to programs in hundredths of a second, whatever the kernel counts in.
const TICKS_PER_S: u64 = 100;
/// How much of a log is shown when something has gone wrong.
const LAST_WORDS: usize = 1500;

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Program {
    /// Its output goes to `{name}.log` in `folder`.
    pub fn start(mut command: Command, name: &str, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        // A proxy between two programs on one machine is never wanted.
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} doesn't start"))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// Returns an error with the end of its log if it has ended by itself.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn last_words(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(LAST_WORDS);
        String::from_utf8_lossy(log.as_bytes().get(from..).unwrap_or_default()).into_owned()
    }

    /// User and system time of all its threads.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(self.proc("stat")?)?;
        // The name is in brackets and may contain anything; the numbers follow the last bracket.
        let (_, numbers) = stat.rsplit_once(')').context("an odd /proc/PID/stat")?;
        let ticks: u64 =
            numbers.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
    }

    /// Resident memory now, and the most that it ever was; in MiB.
    pub fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(self.proc("status")?)?;
        let mib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} in /proc/PID/status"))
        };
        Ok(Memory { now: mib("VmRSS:")?, most: mib("VmHWM:")? })
    }

    /// Sends SIGTERM, and SIGKILL if it doesn't end.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.id()?.to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await?;
        ensure!(told.success(), "kill -TERM {id}: {told}");
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    pub fn id(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended\n{}", self.name, self.last_words()))
    }

    fn proc(&self, file: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/{file}", self.id()?)))
    }
}

/// Resident memory, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub now: f64,
    pub most: f64,
}
