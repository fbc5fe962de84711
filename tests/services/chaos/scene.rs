//! The participants: the services, the ways to them, the workers and their store.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::diary::Diary;
use super::producer::Published;
use crate::private::{PrivateRabbit, PrivateRedis};
use crate::support::broker::Letter;
use crate::support::proxy::Proxy;
use crate::support::{Broker, Place, Sim, Worker};

const WORKERS: usize = 3;
/// The time limit after the healing. The workers' breakers may wait a minute before their next probe.
const PATIENCE: Duration = Duration::from_secs(180);

/// The periods are short, so that a run sees many of each. `quiet_s` is longer than gate, POST and delay together. An
/// environment variable of the same name takes precedence.
const SETTINGS: &[(&str, &str)] = &[
    ("AMQP__HEARTBEAT_S", "2"),
    ("AMQP__CONFIRM_TIMEOUT_S", "4"),
    ("AMQP__CONNECT_TIMEOUT_S", "3"),
    ("REDIS__RESPONSE_TIMEOUT_MS", "1000"),
    ("API__SUBMIT_TIMEOUT_S", "3"),
    ("API__QUERY_TIMEOUT_S", "3"),
    ("DOWNLOAD__TIMEOUT_S", "3"),
    ("GENERATION__ON_UNKNOWN_SUBMIT", "trust_lookup"),
    ("GENERATION__GATE_S", "1"),
    ("GENERATION__QUIET_S", "6"),
    ("LOG__FILTER", "info,comet_worker=debug"),
];

/// Root can write into any folder, whatever its permissions are. A process without these rights can't.
const WITHOUT_ROOTS_RIGHTS: [&str; 3] =
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];

/// The store is a link in the workers' folder, so that one step can make it lead nowhere.
const STORE: &str = "store";

/// It accepts an id twice, and charges twice. Nearly every tenth answer is wrong about the charge or is lost. A task
/// that is made late is made after the POST was given up, and before the quiet period is over, also on a slow way.
const PROVIDER: &[&str] = &[
    "--lookup",
    "--duplicates=accept",
    "--submit-latency=300ms",
    "--durations=uniform:500ms-4s",
    "--slow-for=3200ms",
    "--image-px=64",
    "--fault=reply-lost=0.03",
    "--fault=server-error-after=0.02",
    "--fault=bad-gateway-after=0.02",
    "--fault=made-late=0.02",
    "--fault=server-error=0.02",
    "--fault=rate-limited=0.02",
];

/// Each part is locked while it is being changed.
pub(super) struct Scene {
    /// The place as the workers see it: behind the proxies.
    pub(super) place: Place,
    pub(super) amqp_url: String,
    pub(super) redis_url: String,
    pub(super) sim: Sim,
    pub(super) rabbit: Mutex<PrivateRabbit>,
    pub(super) redis: Mutex<PrivateRedis>,
    pub(super) store: Mutex<Store>,
    /// The ways to RabbitMQ, Redis, the provider and its file server.
    pub(super) ways: [Mutex<Proxy>; 4],
    pub(super) workers: Vec<Mutex<Worker>>,
    pub(super) diary: Diary,
    pub(super) tally: RefCell<Tally>,
    pub(super) provider_url: String,
}

/// What is counted during the run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acts: usize,
    /// Jobs so far.
    pub(super) published: usize,
    /// From SIGTERM to the exit.
    pub(super) slowest_stop: Duration,
    /// The logs of workers that ended by themselves.
    pub(super) ended_by_themselves: Vec<String>,
}

impl Scene {
    pub(super) async fn set(seed: u64) -> Self {
        let (rabbit, redis) = tokio::join!(PrivateRabbit::start(), PrivateRedis::start_with("everysec"));
        let files = Proxy::to_nowhere().await;
        let files_url = files.through("http://127.0.0.1/");
        let own = ["--seed", &seed.to_string(), "--public-base", &files_url];
        let sim = Sim::start(&[PROVIDER, &own].concat()).await;
        files.lead_to(port(&sim.url));
        let (amqp_url, redis_url) = (rabbit.url(), redis.url());
        let ways = [way(&amqp_url).await, way(&redis_url).await, way(&sim.url).await, files];
        let folder = tempfile::Builder::new()
            .prefix(&format!("chaos-{seed}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder for history and logs");
        let mut place = Place {
            amqp_url: ways[0].through(&amqp_url),
            redis_url: ways[1].through(&redis_url),
            prefix: "chaos".to_owned(),
            folder,
        };
        // Kept until the promises are known to hold.
        place.folder.disable_cleanup(true);
        let provider_url = ways[2].through(&sim.url).trim_end_matches('/').to_owned();
        let diary = Diary::begin(place.folder.path());
        let store = Store::open(place.folder.path(), &place.images());
        let mut scene = Self {
            place,
            amqp_url,
            redis_url,
            sim,
            rabbit: Mutex::new(rabbit),
            redis: Mutex::new(redis),
            store: Mutex::new(store),
            ways: ways.map(Mutex::new),
            workers: Vec::new(),
            diary,
            tally: RefCell::default(),
            provider_url,
        };
        scene.workers = (0..WORKERS).map(|_| Mutex::new(scene.start_worker())).collect();
        let broker = Broker::try_connect(&scene.amqp_url).await.expect("the private RabbitMQ");
        broker.listen(&scene.place).await;
        scene
    }

    /// The folder of the images and receipts.
    pub(super) fn store(&self) -> PathBuf {
        self.place.folder.path().join(STORE)
    }

    pub(super) fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    pub(super) fn start_worker(&self) -> Worker {
        let is_free = |key: &str| std::env::var_os(format!("COMET_WORKER__{key}")).is_none();
        let mut settings: Vec<_> = SETTINGS.iter().copied().filter(|(key, _)| is_free(key)).collect();
        settings.extend([("API__BASE_URL", self.provider_url.as_str()), ("STORAGE__PREFIX", STORE)]);
        let is_root = fs::metadata(self.folder()).expect("the folder of the run").uid() == 0;
        let starter: &[&str] = if is_root { &WITHOUT_ROOTS_RIGHTS } else { &[] };
        Worker::start_by(starter, &self.place, &self.sim, &settings)
    }

    /// Restarts a process that has ended by itself, as an orchestrator does.
    pub(super) async fn revive(&self) {
        for (number, worker) in self.workers.iter().enumerate() {
            let Ok(mut worker) = worker.try_lock() else { continue };
            if !worker.runs() {
                let status = worker.exit().await;
                let log = worker.log_name();
                self.diary.note(&format!("worker {number} ended by itself, {status}: see {log}"));
                self.tally.borrow_mut().ended_by_themselves.push(log);
                *worker = self.start_worker();
            }
        }
    }

    /// Waits until every published job has its event and nothing is queued, or for as long as can be expected. It
    /// then stops the workers, and returns all events.
    pub(super) async fn settle(&self, published: &Published) -> Told {
        let broker = Broker::try_connect(&self.amqp_url).await.expect("the private RabbitMQ");
        let mut told = Told::default();
        let begun = Instant::now();
        loop {
            self.revive().await;
            told.collect(&broker, &self.place).await;
            let untold = published.jobs.iter().filter(|job| !told.ended.contains(*job)).count();
            if untold == 0 {
                told.queued = self.queued().await;
            }
            if (untold == 0 && told.queued == (0, 0)) || begun.elapsed() > PATIENCE {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        told.queued = self.queued().await;
        for worker in &self.workers {
            let mut worker = worker.lock().await;
            let status = worker.stop().await;
            self.diary.note(&format!("{} stopped: {status}", worker.log_name()));
        }
        told.collect(&broker, &self.place).await;
        for (queue, letters) in
            [(self.place.dead_queue(), &mut told.dead), (self.place.unrouted_queue(), &mut told.unrouted)]
        {
            while let Some(letter) = broker.take(&queue).await {
                letters.push(letter);
            }
        }
        told
    }

    /// Jobs that are ready, and those that a worker holds.
    async fn queued(&self) -> (usize, usize) {
        let question =
            ["list_queues", "--no-table-headers", "name", "messages_ready", "messages_unacknowledged"];
        let table = self.rabbit.lock().await.ctl(&question).await;
        let queue = self.place.queue();
        let row = table.lines().find_map(|line| line.strip_prefix(&queue)).expect("the job queue");
        let counts: Vec<usize> = row.split_whitespace().map(|count| count.parse().unwrap()).collect();
        (counts[0], counts[1])
    }

    pub(super) fn clear_up(&self) {
        fs::remove_dir_all(self.folder()).expect("the folder of the run");
    }
}

/// The messages that came out of RabbitMQ.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) events: Vec<Letter>,
    pub(super) dead: Vec<Letter>,
    pub(super) unrouted: Vec<Letter>,
    /// What the job queue still has: ready, and not acknowledged.
    pub(super) queued: (usize, usize),
    ended: BTreeSet<String>,
}

impl Told {
    async fn collect(&mut self, broker: &Broker, place: &Place) {
        while let Some(letter) = broker.take(&format!("{}.told", place.prefix)).await {
            self.ended.insert(letter.json()["data"]["job_id"].as_str().unwrap().to_owned());
            self.events.push(letter);
        }
    }
}

/// A proxy to the server of this URL.
async fn way(url: &str) -> Proxy {
    Proxy::to(port(url)).await
}

fn port(url: &str) -> u16 {
    let url: url::Url = url.parse().expect("a URL");
    url.port().expect("a port")
}

/// A folder that can vanish for a while with its content, or accept nothing new.
pub(super) struct Store {
    link: PathBuf,
    there: PathBuf,
    away: PathBuf,
}

impl Store {
    fn open(folder: &Path, images: &Path) -> Self {
        let store =
            Self { link: images.join(STORE), there: folder.join(STORE), away: folder.join("no-folder") };
        fs::create_dir(images).unwrap();
        fs::create_dir(&store.there).unwrap();
        // A path below a plain file can be neither read nor written, and isn't just missing either.
        fs::write(&store.away, "").unwrap();
        symlink(&store.there, &store.link).unwrap();
        store
    }

    pub(super) fn take_away(&self) {
        self.lead_to(&self.away);
    }

    pub(super) fn give_back(&self) {
        self.lead_to(&self.there);
    }

    /// Existing objects can be read, but nothing can be added.
    pub(super) fn lock(&self) {
        set_permissions(&self.there, 0o555);
    }

    pub(super) fn unlock(&self) {
        set_permissions(&self.there, 0o755);
    }

    fn lead_to(&self, target: &Path) {
        let new = self.link.with_extension("new");
        symlink(target, &new).unwrap();
        fs::rename(&new, &self.link).unwrap();
    }
}

/// Goes from the top, so that no new folder is missed.
fn set_permissions(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    let inside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    for folder in inside.filter(|entry| entry.file_type().unwrap().is_dir()) {
        set_permissions(&folder.path(), mode);
    }
}
