//! A worker, as a process that can be killed.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::process::{Child, Command};

use super::{Place, Sim, wait_for};

pub struct Worker {
    child: Child,
    log: PathBuf,
}

/// The configuration of a worker in a place, as environment variables.
pub fn environment(place: &Place, provider_url: &str) -> Vec<(String, String)> {
    let images = format!("file:{}", place.images().display());
    [
        ("AMQP__URL", place.amqp_url.as_str()),
        ("AMQP__QUEUE", &place.queue()),
        ("AMQP__EXCHANGE", &place.exchange()),
        ("AMQP__DEAD_QUEUE", &place.dead_queue()),
        ("AMQP__UNROUTED_QUEUE", &place.unrouted_queue()),
        ("REDIS__URL", &place.redis_url),
        ("REDIS__PREFIX", &place.prefix),
        ("API__BASE_URL", provider_url),
        ("API__KEY", "sk-sim"),
        ("STORAGE__URL", &images),
        ("STORAGE__FSYNC", "false"),
        ("DOWNLOAD__ALLOW_PRIVATE_HOSTS", "true"),
        ("ADMIN__LISTEN", "127.0.0.1:0"),
        ("LOG__FORMAT", "text"),
        ("POLL__FIRST_MS", "200"),
        ("POLL__MIN_MS", "200"),
        ("POLL__MAX_MS", "500"),
    ]
    .into_iter()
    .map(|(key, value)| (format!("COMET_WORKER__{key}"), value.to_owned()))
    .collect()
}

impl Worker {
    /// `settings` override the environment: `("GENERATION__QUIET_S", "3")`.
    pub fn start(place: &Place, sim: &Sim, settings: &[(&str, &str)]) -> Self {
        Self::start_by(&[], place, sim, settings)
    }

    /// Starts it with variables of other programs, such as a cloud's credentials.
    pub fn start_with(
        place: &Place,
        sim: &Sim,
        settings: &[(&str, &str)],
        variables: &[(String, String)],
    ) -> Self {
        Self::start_by_with(&[], place, sim, settings, variables)
    }

    /// Starts it through a program that turns itself into the worker: `["setpriv", …]`.
    pub fn start_by(starter: &[&str], place: &Place, sim: &Sim, settings: &[(&str, &str)]) -> Self {
        Self::start_by_with(starter, place, sim, settings, &[])
    }

    fn start_by_with(
        starter: &[&str],
        place: &Place,
        sim: &Sim,
        settings: &[(&str, &str)],
        variables: &[(String, String)],
    ) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = place.folder.path().join(format!("worker-{number}.log"));
        let words = [starter, &[env!("CARGO_BIN_EXE_comet-worker"), "run"]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .envs(environment(place, &sim.url))
            .envs(settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), (*value).to_owned())))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("comet-worker starts");
        Self { child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn log_name(&self) -> String {
        self.log.file_name().unwrap().to_string_lossy().into_owned()
    }

    pub async fn says(&self, words: &str) {
        wait_for(&format!("{words:?} in the log:\n{}", self.log()), async || {
            self.log().contains(words).then_some(())
        })
        .await;
    }

    /// Where the admin server listens.
    pub async fn admin_address(&self) -> String {
        wait_for("the admin address", async || {
            let log = self.log();
            let (_, rest) = log.split_once("address=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .await
    }

    /// A page of the admin server: status and text.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let address = self.admin_address().await;
        let reply = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    pub async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &id]).status().await.unwrap();
        assert!(status.success(), "kill {signal} {id}");
    }

    pub async fn exit(&mut self) -> ExitStatus {
        let waiting = self.child.wait();
        tokio::time::timeout(std::time::Duration::from_secs(90), waiting).await.expect("it ends").unwrap()
    }

    /// Sends SIGTERM, and returns its exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("-TERM").await;
        self.exit().await
    }

    /// Sends SIGKILL: the worker itself requeues nothing.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it holds now, and the most that it has held.
    pub fn memory_mb(&self) -> u64 {
        self.status_mb("VmRSS:")
    }

    pub fn memory_peak_mb(&self) -> u64 {
        self.status_mb("VmHWM:")
    }

    fn status_mb(&self, name: &str) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1000
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// An example that is built beside the worker.
pub fn program(example: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_comet-worker")).with_file_name("examples").join(example)
}
