//! A process: the worker's shell, and what can happen to it. It dies at any poll of any of its tasks, and then none
//! of them is polled again. While it is frozen, none is polled until it thaws.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use comet_worker::heartbeat::Heartbeats;
use comet_worker::receipts::Receipts;
use comet_worker::storage::Storage;
use comet_worker::worker::breaker::{Cause, FaultWords, Mode, Probe};
use comet_worker::worker::delivery;
use comet_worker::worker::life::Interrupts;
use comet_worker::worker::publish::Publishing;
use comet_worker::worker::{Shared, store_watch};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::broker::{Consumer, LinkedPublisher, LinkedSettle};
use super::ledger::Linked;
use super::net::Link;
use super::provider::{LinkedProvider, TIMEOUT};
use super::script::{Safeguard, Service};
use super::store::{LinkedImages, LinkedStore};
use super::world::World;
use crate::around::Through;
use crate::workbench::Workbench;

/// `worker.max_in_flight`
const AT_ONCE: usize = 8;
/// The pause between two tries at a session.
const RETRY: Duration = Duration::from_millis(500);

pub struct Process {
    pub number: u32,
    pub shared: Shared,
    pub stop: CancellationToken,
    /// Notified once the process has ended, by its death or by itself.
    pub ended: Notify,
    /// Notified once an ordered freeze has begun.
    pub froze: Notify,
    vitals: Mutex<Vitals>,
    world: Arc<World>,
}

#[derive(Default)]
struct Vitals {
    dead: bool,
    frozen: bool,
    /// It dies after this many polls.
    dies_after: Option<u32>,
    /// It freezes after this many polls.
    freezes_after: Option<u32>,
    /// Tasks that should have been polled while it was frozen.
    waiting: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    session: Option<(u64, CancellationToken)>,
}

/// Counts the polls until then.
fn comes_now(polls_left: &mut Option<u32>) -> bool {
    match polls_left {
        Some(0) => {
            *polls_left = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

enum Pulse {
    Alive,
    Frozen,
    Dead,
}

impl Process {
    pub fn start(world: &Arc<World>, place: usize, number: u32) -> Arc<Self> {
        let link = |service| Link { net: Arc::clone(&world.net), process: number, place, service };
        let process = Arc::new(Self {
            number,
            shared: shared(world, number, &link),
            stop: CancellationToken::new(),
            ended: Notify::new(),
            froze: Notify::new(),
            vitals: Mutex::default(),
            world: Arc::clone(world),
        });
        let sessions = Arc::clone(&process);
        let broker = link(Service::Broker);
        process.spawn(async move { sessions.sessions(&broker).await });
        let watching = Arc::clone(&process);
        process.spawn(async move { watching.watch_breaker().await });
        process
    }

    /// Freezes after this many polls, and then notifies [`Self::froze`].
    pub fn freeze(&self, after_polls: u32) {
        self.lock().freezes_after = Some(after_polls);
    }

    pub fn thaw(&self) {
        let mut vitals = self.lock();
        vitals.frozen = false;
        let waiting = std::mem::take(&mut vitals.waiting);
        drop(vitals);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn kill(&self, after_polls: u32) {
        if after_polls == 0 {
            self.die();
        } else {
            self.lock().dies_after = Some(after_polls);
        }
    }

    pub fn spare(&self) {
        let mut vitals = self.lock();
        (vitals.dies_after, vitals.freezes_after) = (None, None);
    }

    pub fn die(&self) {
        let mut vitals = self.lock();
        if std::mem::replace(&mut vitals.dead, true) {
            return;
        }
        let tasks = std::mem::take(&mut vitals.tasks);
        drop(vitals);
        tasks.iter().for_each(AbortHandle::abort);
        self.world.net.note(self.number, "ends", "");
        self.ended.notify_one();
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The session, and what tells the process that it is lost.
    pub fn session(&self) -> Option<(u64, CancellationToken)> {
        self.lock().session.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vitals> {
        self.vitals.lock().unwrap()
    }

    /// Called before each poll of a task.
    fn pulse(&self, context: &Context<'_>) -> Pulse {
        let mut vitals = self.lock();
        if vitals.dead {
            return Pulse::Dead;
        }
        if !vitals.frozen && comes_now(&mut vitals.freezes_after) {
            vitals.frozen = true;
            self.froze.notify_one();
        }
        if vitals.frozen {
            vitals.waiting.push(context.waker().clone());
            return Pulse::Frozen;
        }
        if comes_now(&mut vitals.dies_after) {
            drop(vitals);
            self.die();
            return Pulse::Dead;
        }
        Pulse::Alive
    }

    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let task = tokio::spawn(Mortal { process: Arc::clone(self), task: Box::pin(task) });
        self.lock().tasks.push(task.abort_handle());
        task
    }

    /// Runs one session after another until the stop, as the daemon does, and then waits for all lives.
    async fn sessions(self: &Arc<Self>, link: &Link) {
        let mut lives = Vec::new();
        while !self.stop.is_cancelled() {
            if link.is_cut() {
                sleep(RETRY).await;
                continue;
            }
            let session = self.world.broker.open();
            let lost = CancellationToken::new();
            self.lock().session = Some((session, lost.clone()));
            self.take(link, session, &lost, &mut lives).await;
            if self.stop.is_cancelled() {
                break;
            }
            self.world.net.note(self.number, "session lost", "");
            self.world.broker.close(session);
            sleep(RETRY).await;
        }
        for life in lives {
            let _ = life.await;
        }
        self.die();
    }

    async fn take(
        self: &Arc<Self>,
        link: &Link,
        session: u64,
        lost: &CancellationToken,
        lives: &mut Vec<JoinHandle<()>>,
    ) {
        let mut mode = Mode::Closed;
        let mut consumer = Consumer { session, number: 0 };
        loop {
            let wanted = self.shared.breaker.mode();
            if wanted != mode {
                mode = wanted;
                consumer.number += 1;
            }
            let at_once = match mode {
                Mode::Open => AT_ONCE,
                Mode::OneJob => 1,
                Mode::Closed => 0,
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = lost.cancelled() => return,
                () = self.shared.breaker.changed() => {}
                (number, message) = self.world.broker.next(link, consumer, at_once) => {
                    let (process, link, lost) = (Arc::clone(self), link.clone(), lost.clone());
                    let broker = Arc::clone(&self.world.broker);
                    lives.push(self.spawn(async move {
                        let hold = process.shared.settings.rules.hold;
                        let interrupts = Interrupts::new(process.stop.clone(), lost, hold);
                        let settle = LinkedSettle { link, broker, number, session };
                        delivery::process(&process.shared, Box::new(message), &settle, &interrupts).await;
                    }));
                }
            }
        }
    }

    /// The breaker is watched only while a cause is open; otherwise its ticks would be most of the steps.
    async fn watch_breaker(&self) {
        let pulse = Heartbeats::new().register("breaker", Duration::from_secs(60));
        let never = CancellationToken::new();
        let probes = Probes(&self.shared);
        loop {
            let breaker = &self.shared.breaker;
            if breaker.mode() == Mode::Open {
                breaker.changed().await;
                continue;
            }
            let open = async {
                while breaker.mode() != Mode::Open {
                    breaker.changed().await;
                }
            };
            tokio::select! {
                biased;
                () = open => {}
                () = breaker.watch(&probes, &pulse, &never) => {}
            }
        }
    }
}

/// What the lives of one process share. The process's name is in its events, so that no two processes word an outcome
/// in the same way by chance.
fn shared(world: &Arc<World>, number: u32, link: &dyn Fn(Service) -> Link) -> Shared {
    let cast = &world.cast;
    let base = Workbench::with(|options| {
        options.max_running = cast.max_running;
        let settings = &mut options.settings;
        settings.rules.gate = cast.gate;
        settings.rules.quiet = cast.quiet;
        settings.rules.receipts = cast.receipts;
        settings.rules.trust_lookup = cast.trust_lookup;
        // Longer than an outage, so that no result expires within one.
        settings.rules.timeout = TIMEOUT;
        // Shorter than one: no result expires where none can be had, or none tells whose fault it is.
        settings.rules.patience = Duration::from_secs(60);
        settings.source = format!("/worker-{number}");
    });
    let storage = Storage::around(Arc::new(LinkedStore {
        link: link(Service::Store),
        objects: Arc::clone(&world.objects),
        creates_always: cast.without == Some(Safeguard::CreateIfAbsent),
    }));
    Shared {
        receipts: Receipts::new(storage.clone()),
        ledger: Arc::new(Through(Linked { link: link(Service::Ledger), ledger: Arc::clone(&world.ledger) })),
        provider: Arc::new(LinkedProvider {
            link: link(Service::Provider),
            provider: Arc::clone(&world.provider),
        }),
        images: Arc::new(LinkedImages { link: link(Service::Downloads), images: Arc::clone(&world.images) }),
        storage,
        publishing: Publishing {
            publisher: Arc::new(LinkedPublisher {
                link: link(Service::Broker),
                broker: Arc::clone(&world.broker),
            }),
            ..base.shared.publishing.clone()
        },
        ..base.shared
    }
}

/// A task of a process.
struct Mortal {
    process: Arc<Process>,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.process.pulse(context) {
            Pulse::Dead => Poll::Ready(()),
            Pulse::Frozen => Poll::Pending,
            Pulse::Alive => {
                let polled = std::panic::AssertUnwindSafe(|| self.task.poll_unpin(context));
                match std::panic::catch_unwind(polled) {
                    Ok(polled) => polled,
                    Err(_) => {
                        self.process.world.panicked();
                        Poll::Ready(())
                    }
                }
            }
        }
    }
}

struct Probes<'a>(&'a Shared);

#[async_trait::async_trait]
impl Probe for Probes<'_> {
    async fn probe(&self, cause: Cause) -> Result<(), FaultWords> {
        match cause {
            Cause::Money => unreachable!("only a real job tells whether there is money"),
            Cause::Downloads => Err("only what failed tells".into()),
            Cause::Key | Cause::Configuration | Cause::Forbidden | Cause::Provider | Cause::Posts => {
                self.0.provider.probe().await.map_err(|fault| fault.message.into())
            }
            Cause::Redis => self.0.ledger.probe().await.map_err(|error| FaultWords::from(&error)),
            Cause::Storage | Cause::Images => store_watch::probe(self.0).await,
        }
    }
}
