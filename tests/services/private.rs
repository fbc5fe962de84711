//! A RabbitMQ and a Redis that belong to one test alone, for what can't be done to a shared one: stop it, kill it,
//! cut its connections, fill its memory.
//!
//! Each node has a port and a folder of its own, and ends with the test.

mod guarded;
pub(crate) mod stores;

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{sleep, timeout},
};

use guarded::{ANSWER_LIMIT, Guarded, TICK, come_up};

/// A RabbitMQ node without plugins, with the user `guest` and the virtual host `/`.
#[derive(Debug)]
pub(crate) struct PrivateRabbit {
    // It comes before the folder, because fields are dropped in order and a running node would write into the folder
    // again.
    node: Option<Guarded>,
    folder: TempDir,
    port: u16,
    ports_of_erlang: [u16; 2],
}

impl PrivateRabbit {
    /// Starts a node and returns when it accepts connections.
    pub(crate) async fn start() -> Self {
        Self::start_with("[].").await
    }

    /// Starts a node that closes a channel if a delivery on it has waited this long for its acknowledgement. The node
    /// checks its timeout once a minute by default.
    pub(crate) async fn start_with_consumer_timeout(consumer_timeout: Duration) -> Self {
        let timeout_ms = consumer_timeout.as_millis();
        let settings = format!("{{consumer_timeout, {timeout_ms}}}, {{channel_tick_interval, 500}}");
        Self::start_with(&format!("[{{rabbit, [{settings}]}}].")).await
    }

    async fn start_with(advanced: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), advanced).await
    }

    /// Starts a node of the same cluster as this one.
    pub(crate) async fn start_beside(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cookie = ".erlang.cookie";
        fs::copy(self.folder.path().join(cookie), folder.path().join(cookie)).expect("the same cookie");
        let node = Self::start_in(folder, "[].").await;
        node.ctl(&["stop_app"]).await;
        node.ctl(&["join_cluster", &self.name()]).await;
        node.ctl(&["start_app"]).await;
        node.ctl(&["await_startup"]).await;
        node
    }

    /// Starts a node that also accepts connections by TLS, and logins by a certificate alone (by its common name), on
    /// the port that is returned. The files `ca.pem`, `server.pem` and `server.key` are in this folder.
    pub(crate) async fn start_with_tls(files: &Path) -> (Self, u16) {
        let [port] = free_ports();
        let file = |name: &str| files.join(name).display().to_string();
        let settings = [
            format!("listeners.ssl.1 = 127.0.0.1:{port}"),
            format!("ssl_options.cacertfile = {}", file("ca.pem")),
            format!("ssl_options.certfile = {}", file("server.pem")),
            format!("ssl_options.keyfile = {}", file("server.key")),
            "ssl_options.verify = verify_peer".to_owned(),
            "ssl_options.fail_if_no_peer_cert = false".to_owned(),
            "ssl_cert_login_from = common_name".to_owned(),
            "auth_mechanisms.1 = PLAIN".to_owned(),
            "auth_mechanisms.2 = EXTERNAL".to_owned(),
        ];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugins = "[rabbitmq_auth_mechanism_ssl].";
        (Self::start_by(folder, "[].", plugins, &settings.join("\n")).await, port)
    }

    async fn start_in(folder: TempDir, advanced: &str) -> Self {
        Self::start_by(folder, advanced, "[].", "").await
    }

    async fn start_by(folder: TempDir, advanced: &str, plugins: &str, more: &str) -> Self {
        fs::create_dir(folder.path().join("none")).expect("an empty folder");
        fs::write(folder.path().join("env.conf"), "").expect("an empty configuration");
        fs::write(folder.path().join("plugins"), plugins).expect("a list of plugins");
        fs::write(folder.path().join("advanced.config"), advanced).expect("a configuration");
        let [port, erlang, control] = free_ports();
        // A nearly full disk is no reason for an alarm on a throw-away node.
        let settings =
            format!("listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\n{more}\n");
        fs::write(folder.path().join("rabbitmq.conf"), settings).expect("a configuration");
        let mut rabbit = Self { node: None, folder, port, ports_of_erlang: [erlang, control] };
        rabbit.start_again().await;
        rabbit
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs `rabbitmqctl` against this node and returns what it prints; panics if it fails.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("rabbitmqctl"));
        command.args(["-q", "--node", &self.name()]).args(arguments);
        command.envs(self.environment()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(ANSWER_LIMIT, command.output())
            .await
            .expect("rabbitmqctl ends")
            .expect("rabbitmqctl can be started");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {words}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the node has logged about this.
    pub(crate) fn log_lines(&self, words: &str) -> Vec<String> {
        let log = self.folder.path().join("log").join(format!("{}.log", self.name()));
        let log = fs::read_to_string(log).expect("the node's log");
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// An orderly shutdown; data and port are kept for `start_again`.
    pub(crate) async fn stop(&mut self) {
        self.node.take().expect("the node runs").stop().await;
    }

    /// SIGKILL; data and port are kept for `start_again`.
    ///
    /// RabbitMQ 3.10 confirms a new quorum queue up to half a second before it is on the disk, and the queue never
    /// works again if the node is killed meanwhile. That is RabbitMQ's fault and not tested here, so its tables are
    /// synced first.
    pub(crate) async fn kill(&mut self) {
        self.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).await;
        self.node.take().expect("the node runs").kill();
        silence(self.port).await;
    }

    /// Starts the same node again after `stop` or `kill`; returns when it accepts connections.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.node.is_none(), "the node runs already");
        let command = [program("rabbitmq-server").display().to_string()];
        let port = self.port;
        self.node = Some(
            come_up(&command, &self.environment(), self.folder.path(), async || talks_amqp(port).await).await,
        );
        // A node accepts connections shortly before it has finished its start.
        self.ctl(&["await_startup"]).await;
    }

    fn name(&self) -> String {
        format!("comet-test-{}@localhost", self.port)
    }

    /// Every place where a node or `rabbitmqctl` looks for configuration is set, so the machine's own RabbitMQ has no
    /// effect.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let inside = |name: &str| self.folder.path().join(name).display().to_string();
        let [erlang, control] = self.ports_of_erlang;
        vec![
            // Erlang makes its cookie in here, fresh and readable by the owner alone.
            ("HOME", inside("")),
            ("RABBITMQ_CONF_ENV_FILE", inside("env.conf")),
            ("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf")),
            ("RABBITMQ_CONFIG_FILES", inside("none")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", inside("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins")),
            ("RABBITMQ_NODENAME", self.name()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", erlang.to_string()),
            // The default is a range of eleven ports for the whole machine, too few for tests side by side.
            ("RABBITMQ_CTL_DIST_PORT_MIN", control.to_string()),
            ("RABBITMQ_CTL_DIST_PORT_MAX", control.saturating_add(20).to_string()),
            ("RABBITMQ_MNESIA_BASE", inside("data")),
            ("RABBITMQ_LOG_BASE", inside("log")),
            ("RABBITMQ_PID_FILE", inside("pid")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
        ]
    }
}

/// A Redis with an append-only file.
#[derive(Debug)]
pub(crate) struct PrivateRedis {
    node: Option<Guarded>,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl PrivateRedis {
    /// Starts a server and returns when it answers. Its file is synced with every write, so that `kill` loses nothing
    /// that was answered.
    pub(crate) async fn start() -> Self {
        Self::start_with("always").await
    }

    /// The same with another `appendfsync`.
    pub(crate) async fn start_with(append_fsync: &'static str) -> Self {
        Self::start_as(&["--save", "", "--appendonly", "yes", "--appendfsync", append_fsync]).await
    }

    /// With these arguments.
    pub(crate) async fn start_as(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = free_ports();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Self { node: None, folder, port, arguments };
        redis.start_again().await;
        redis
    }

    /// A sentinel that watches the Redis at that port, by the name `main`.
    pub(crate) async fn start_sentinel(watched: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = [
            format!("sentinel monitor main 127.0.0.1 {watched} 2"),
            "sentinel down-after-milliseconds main 500".to_owned(),
            "sentinel failover-timeout main 5000".to_owned(),
        ];
        let file = folder.path().join("sentinel.conf");
        fs::write(&file, settings.join("\n")).expect("a configuration");
        let [port] = free_ports();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let mut sentinel = Self { node: None, folder, port, arguments };
        sentinel.start_again().await;
        sentinel
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A command, and its answer.
    pub(crate) async fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = crate::support::connected(&client).await.expect("a connection");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// An orderly shutdown; data and port are kept for `start_again`.
    pub(crate) async fn stop(&mut self) {
        self.node.take().expect("the server runs").stop().await;
    }

    /// SIGKILL; data and port are kept for `start_again`.
    pub(crate) async fn kill(&mut self) {
        self.node.take().expect("the server runs").kill();
        silence(self.port).await;
    }

    /// The same server again after `stop` or `kill`; returns when it answers.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.node.is_none(), "the server runs already");
        let mut command = vec![program("redis-server").display().to_string()];
        let port = self.port.to_string();
        let folder = self.folder.path().display().to_string();
        // A file of settings comes first.
        command.extend(self.arguments.iter().take_while(|argument| !argument.starts_with("--")).cloned());
        let places = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder].map(str::to_owned);
        command.extend(places);
        command.extend(self.arguments.iter().skip_while(|argument| !argument.starts_with("--")).cloned());
        let port = self.port;
        self.node = Some(come_up(&command, &[], self.folder.path(), async || answers_ping(port).await).await);
    }
}

/// Does it speak AMQP? Connection.Start is what a broker says to the protocol header.
async fn talks_amqp(port: u16) -> bool {
    ask(port, b"AMQP\0\0\x09\x01", b"\x01\0\0").await
}

async fn answers_ping(port: u16) -> bool {
    ask(port, b"PING\r\n", b"+PONG").await
}

async fn ask(port: u16, question: &[u8], wanted: &[u8]) -> bool {
    let conversation = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(question).await.ok()?;
        let mut answer = vec![0; wanted.len()];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = timeout(Duration::from_secs(2), conversation).await;
    answer.ok().flatten().is_some_and(|answer| answer == wanted)
}

/// A killed program takes a moment to be gone.
async fn silence(port: u16) {
    let silent = timeout(ANSWER_LIMIT, async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            sleep(TICK).await;
        }
    });
    silent.await.expect("it has stopped listening");
}

/// Ports without a listener, chosen at once so that they differ.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| listen_below_the_outgoing_ports());
    listeners.map(|listener| listener.local_addr().expect("the port of a listener").port())
}

/// Listens where Linux takes no ports for outgoing connections, so that a stopped node finds its port free again.
fn listen_below_the_outgoing_ports() -> TcpListener {
    (0..100)
        .map(|_| 10_000 + RandomState::new().build_hasher().finish() % 22_000)
        .filter_map(|port| u16::try_from(port).ok())
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("a free port")
}

/// A program from the folder that `COMET_TEST_PROGRAMS` names, if it is set, or this machine's own. Debian's programs
/// in `/usr/sbin` insist on root and change to the user rabbitmq; the real programs are behind them.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let chosen = std::env::var_os("COMET_TEST_PROGRAMS").map(PathBuf::from);
    let folders = chosen.into_iter().chain([PathBuf::from("/usr/lib/rabbitmq/bin")]);
    folders
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .expect("RabbitMQ and Redis are installed; `make test` sees to that")
}
