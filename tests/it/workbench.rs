//! A worker built from doubles, to which a test delivers messages.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use comet_worker::clock::Clock;
use comet_worker::heartbeat::Heartbeats;
use comet_worker::job::record::{Record, Snapshot, Stage};
use comet_worker::job::request;
use comet_worker::ledger::Ledger;
use comet_worker::ledger::hints::Hints;
use comet_worker::ledger::slots::{Account, Slots};
use comet_worker::limits::Limits;
use comet_worker::metrics::Metrics;
use comet_worker::queue::consume::Message;
use comet_worker::receipts::Receipts;
use comet_worker::storage::{Storage, StorageOptions};
use comet_worker::traces::Traces;
use comet_worker::worker::breaker::{Breaker, Cause, FaultWords, Probe};
use comet_worker::worker::copies::Copies;
use comet_worker::worker::delivery;
use comet_worker::worker::downloads::Downloads;
use comet_worker::worker::held_jobs::HeldJobs;
use comet_worker::worker::in_flight::JobsInFlight;
use comet_worker::worker::learning::Learning;
use comet_worker::worker::life::Interrupts;
use comet_worker::worker::panics::Panics;
use comet_worker::worker::preflight::Weaknesses;
use comet_worker::worker::publish::Publishing;
use comet_worker::worker::slots::SlotLine;
use comet_worker::worker::standstills::Standstills;
use comet_worker::worker::submits::Submits;
use comet_worker::worker::{Settings, Shared, store_watch};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::settings::{names, settings};
use crate::doubles::broker::{FakeBroker, FakeSettle, Settled};
use crate::doubles::effects::Effects;
use crate::doubles::images::FakeImages;
use crate::doubles::ledger::{MemoryLedger, memory_ledger};
use crate::doubles::observed::{ObservedLedger, observed};
use crate::doubles::provider::FakeProvider;
use crate::doubles::store::ObservedStore;

/// What a test may change.
pub struct Options {
    pub settings: Settings,
    pub submits_at_once: usize,
    pub max_in_flight: u16,
    /// `generation.max_running`: the ledger and the shell count slots.
    pub max_running: u32,
    /// A store of its own, by `storage.url`, in place of the observed one.
    pub storage_url: Option<String>,
}

/// One process, and the world around it.
pub struct Workbench {
    pub memory: Arc<MemoryLedger>,
    pub ledger: Arc<ObservedLedger>,
    pub provider: Arc<FakeProvider>,
    pub broker: Arc<FakeBroker>,
    pub images: Arc<FakeImages>,
    pub store: Arc<ObservedStore>,
    pub effects: Effects,
    pub shared: Shared,
    /// Cancelled when the process stops.
    pub stop: CancellationToken,
    /// Cancelled when the connection that brings the deliveries is lost.
    pub lost: CancellationToken,
    submits_at_once: usize,
    max_running: u32,
    pub max_in_flight: u16,
}

/// A life under way.
pub struct Delivery {
    life: JoinHandle<()>,
    settled: watch::Receiver<Option<Settled>>,
}

/// The input of a job that can be run.
pub fn input() -> Value {
    let image = |name| json!({"subject_image": format!("https://example.com/{name}.png")});
    json!({"prompt": "at the table", "subject_image_list": [image("a"), image("b")]})
}

pub fn job(id: &str) -> Message {
    message(&json!({"job_id": id, "input": input()}))
}

/// A message as RabbitMQ delivers it a second time.
pub fn again(id: &str) -> Message {
    Message { redelivered: true, ..job(id) }
}

pub fn message(body: &Value) -> Message {
    Message { body: body.to_string().into(), properties: BasicProperties::default(), redelivered: false }
}

pub fn external(job: &str) -> String {
    external_of(&json!({"job_id": job, "input": input()}), 1)
}

/// The external id of this generation of a job.
pub fn external_of(job: &Value, generation: u32) -> String {
    let body = job.to_string();
    let request = request::parse(body.as_bytes(), &request::Properties::default(), &request::Rules::page());
    request.unwrap().job.external_ids.of_generation(generation).as_str().to_owned()
}

/// Waits for something to become true, some hours at most.
pub async fn until(what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if is_true() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn open(url: String) -> Storage {
    Storage::open(&StorageOptions { url, ..StorageOptions::default() }).unwrap()
}

impl Workbench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            settings: settings(),
            submits_at_once: 32,
            max_in_flight: 256,
            max_running: 0,
            storage_url: None,
        };
        adjust(&mut options);
        let effects = Effects::default();
        let account = Account { cap: options.max_running, recount: Duration::from_secs(30) };
        let memory = Arc::new(memory_ledger((account.cap > 0).then_some(account)));
        let ledger = Arc::new(observed(Arc::clone(&memory), effects.clone()));
        let provider = Arc::new(FakeProvider::new(effects.clone()));
        let broker = Arc::new(FakeBroker::new(effects.clone()));
        let images = Arc::new(FakeImages::default());
        let store = Arc::new(ObservedStore::new(effects.clone()));
        let storage = match options.storage_url {
            Some(url) => open(url),
            None => Storage::around(Arc::<ObservedStore>::clone(&store)),
        };
        let metrics = Metrics::new();
        let standstills = Standstills::new(metrics.clone());
        let shared = Shared {
            receipts: Receipts::new(storage.clone()),
            ledger: Arc::<ObservedLedger>::clone(&ledger),
            provider: Arc::<FakeProvider>::clone(&provider),
            images: Arc::<FakeImages>::clone(&images),
            storage,
            publishing: Publishing {
                publisher: Arc::<FakeBroker>::clone(&broker),
                names: names(),
                standstills: standstills.clone(),
                metrics: metrics.clone(),
            },
            breaker: Breaker::new(metrics.clone()),
            submits: Submits::new(options.submits_at_once),
            slots: SlotLine::new(options.max_running),
            limits: Limits::default(),
            polls: Arc::new(Semaphore::new(64)),
            downloads: Downloads::new(16),
            hints: Hints::default(),
            lives: JobsInFlight::default(),
            held_jobs: HeldJobs::new(metrics.clone()),
            learning: Learning::new(options.settings.rules.pace),
            copies: Copies::new(options.max_in_flight),
            panics: Panics::default(),
            standstills,
            weaknesses: Weaknesses::default(),
            metrics,
            traces: Traces::off(),
            clock: Clock::default(),
            settings: Arc::new(options.settings),
        };
        Self {
            memory,
            ledger,
            provider,
            broker,
            images,
            store,
            effects,
            shared,
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            submits_at_once: options.submits_at_once,
            max_running: options.max_running,
            max_in_flight: options.max_in_flight,
        }
    }

    /// Another process in the same world; what was in memory is gone.
    pub fn another(&self) -> Self {
        self.effects.revive();
        let metrics = Metrics::new();
        let standstills = Standstills::new(metrics.clone());
        let shared = Shared {
            publishing: Publishing {
                standstills: standstills.clone(),
                metrics: metrics.clone(),
                ..self.shared.publishing.clone()
            },
            breaker: Breaker::new(metrics.clone()),
            submits: Submits::new(self.submits_at_once),
            slots: SlotLine::new(self.max_running),
            polls: Arc::new(Semaphore::new(64)),
            downloads: Downloads::new(16),
            hints: Hints::default(),
            lives: JobsInFlight::default(),
            learning: Learning::new(self.shared.settings.rules.pace),
            copies: Copies::new(self.max_in_flight),
            panics: Panics::default(),
            standstills,
            weaknesses: Weaknesses::default(),
            metrics,
            ..self.shared.clone()
        };
        Self {
            memory: Arc::clone(&self.memory),
            ledger: Arc::clone(&self.ledger),
            provider: Arc::clone(&self.provider),
            broker: Arc::clone(&self.broker),
            images: Arc::clone(&self.images),
            store: Arc::clone(&self.store),
            effects: self.effects.clone(),
            shared,
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            submits_at_once: self.submits_at_once,
            max_running: self.max_running,
            max_in_flight: self.max_in_flight,
        }
    }

    /// Configured with a consumer timeout longer than any wait.
    pub fn patient() -> Self {
        Self::with(|options| options.settings.rules.hold = Duration::from_secs(100 * 24 * 3600))
    }

    /// As configured with `generation.receipts = false`.
    pub fn without_receipts() -> Self {
        Self::with(|options| options.settings.rules.receipts = false)
    }

    /// As configured with `generation.on_unknown_submit = "trust_lookup"`, with a provider that finds
    /// tasks by their external id.
    pub fn trusting() -> Self {
        let bench = Self::with(|options| options.settings.rules.trust_lookup = true);
        bench.provider.find_by_external_id(true);
        bench
    }

    /// Redis loses its memory.
    pub fn flush(&self) {
        self.memory.flush();
    }

    /// The user cancels the job, and this process gets the hint.
    pub async fn cancel(&self, job: &str) {
        self.memory.cancel(&job.parse().unwrap()).await.unwrap();
        self.shared.hints.wake(job);
    }

    /// Begins the life of a delivery.
    pub fn deliver(&self, message: Message) -> Delivery {
        let (sender, settled) = watch::channel(None);
        let settle = FakeSettle { effects: self.effects.clone(), settled: sender };
        let hold = self.shared.settings.rules.hold;
        let interrupts = Interrupts::new(self.stop.clone(), self.lost.clone(), hold);
        let shared = self.shared.clone();
        let life =
            tokio::spawn(
                async move { delivery::process(&shared, Box::new(message), &settle, &interrupts).await },
            );
        Delivery { life, settled }
    }

    /// Delivers, and waits for the end.
    pub async fn run(&self, message: Message) -> Option<Settled> {
        self.deliver(message).ended().await
    }

    /// Watches the breaker, as the daemon does.
    pub fn watch_breaker(&self) {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        tokio::spawn(async move {
            let heartbeat = Heartbeats::new().register("breaker", Duration::from_secs(60));
            shared.breaker.watch(&Probes(&shared), &heartbeat, &stop).await;
        });
    }

    /// Reads the record of a job without an effect.
    pub async fn record(&self, job: &str) -> Option<Box<Record>> {
        self.known(job).await.record
    }

    pub async fn known(&self, job: &str) -> Snapshot {
        self.memory.read(&job.parse().unwrap(), Slots::NONE).await.unwrap()
    }

    pub async fn stage(&self, job: &str) -> Option<Stage> {
        self.record(job).await.map(|record| record.stage)
    }

    /// How many generations were paid for that job.
    pub fn charges(&self, job: &str) -> u32 {
        self.provider.charges().get(&external(job)).copied().unwrap_or(0)
    }

    /// Whether the metrics have this line.
    pub fn measures(&self, line: &str) -> bool {
        self.shared.metrics.encode().lines().any(|measured| measured == line)
    }

    pub async fn until_posted(&self, number: usize) {
        until("so many POSTs", || self.provider.posts().len() >= number).await;
    }

    pub async fn until_polled(&self, number: usize) {
        until("so many polls", || self.provider.polls() >= number).await;
    }
}

struct Probes<'a>(&'a Shared);

#[async_trait::async_trait]
impl Probe for Probes<'_> {
    async fn probe(&self, cause: Cause) -> Result<(), FaultWords> {
        match cause {
            Cause::Money => panic!("only a real job tells whether there is money"),
            Cause::Downloads => Err("only what failed tells".into()),
            Cause::Key | Cause::Configuration | Cause::Forbidden | Cause::Provider | Cause::Posts => {
                self.0.provider.probe().await.map_err(|fault| fault.message.into())
            }
            Cause::Redis => self.0.ledger.probe().await.map_err(|error| FaultWords::from(&error)),
            Cause::Storage | Cause::Images => store_watch::probe(self.0).await,
        }
    }
}

impl Delivery {
    /// Waits for the end of the life, and returns how it settled the delivery; `None` if it didn't.
    pub async fn ended(mut self) -> Option<Settled> {
        self.end().await
    }

    /// Like [`Self::ended`], for a test that may have to kill the life.
    pub async fn end(&mut self) -> Option<Settled> {
        let bound = Duration::from_secs(3 * 24 * 3600);
        let life = tokio::time::timeout(bound, &mut self.life).await.expect("a life ends within three days");
        if let Err(error) = life {
            std::panic::resume_unwind(error.into_panic());
        }
        *self.settled.borrow()
    }

    pub fn is_open(&self) -> bool {
        self.settled.borrow().is_none() && !self.life.is_finished()
    }

    /// Kills the process. Returns how the delivery had been settled before.
    pub async fn kill(self) -> Option<Settled> {
        self.life.abort();
        let _ = self.life.await;
        *self.settled.borrow()
    }
}
