//! The world: what all processes share, the script that is played in it, and the quiet time after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comet_worker::queue::consume::Message;
use lapin::BasicProperties;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::broker::SharedBroker;
use super::ledger::SharedLedger;
use super::net::{Net, Step};
use super::process::Process;
use super::provider::{SharedProvider, own_id};
use super::script::{Cast, Fate, Job, Named, Op, Safeguard, Service, percent};
use super::verdict;
use crate::doubles::images::FakeImages;
use crate::workbench::input;

/// A broker takes a silent connection for dead after this time.
const HEARTBEATS_MISSED: Duration = Duration::from_secs(20);
/// Once the faults have ended, the world comes to its end within this time.
const PEACE_MAX: Duration = Duration::from_secs(6 * 3600);

pub struct World {
    pub cast: Cast,
    pub net: Arc<Net>,
    pub broker: Arc<SharedBroker>,
    pub ledger: Arc<SharedLedger>,
    pub provider: Arc<SharedProvider>,
    pub objects: Arc<InMemory>,
    pub images: Arc<FakeImages>,
    places: Mutex<BTreeMap<usize, Arc<Process>>>,
    processes: AtomicU32,
    panicked: AtomicBool,
    forgot: AtomicBool,
    cancelled: Mutex<BTreeSet<usize>>,
}

/// A promise that was broken, and how.
#[derive(Debug)]
pub struct Broken {
    pub promise: &'static str,
    pub about: String,
    pub cast: Cast,
    pub script: Vec<Op>,
    pub trace: Vec<Step>,
}

pub fn name(job: usize) -> String {
    format!("job-{job}")
}

/// The prompt names the job, so that the provider knows the job of each task.
fn body(number: usize, job: &Job) -> Value {
    let mut input = match job.fate {
        Fate::Succeeds { .. } | Fate::Fails | Fate::Never | Fate::Refused => input(),
        Fate::Invalid => json!({}),
    };
    if let Fate::Succeeds { images } = job.fate {
        input["n"] = images.into();
    }
    if job.fate != Fate::Invalid {
        input["prompt"] = name(number).into();
    }
    if job.named != Named::ByWorker {
        input["external_task_id"] = own_id(number).into();
    }
    json!({"job_id": name(number), "input": input})
}

/// Plays a script, on a clock of its own.
pub fn play(cast: Cast, script: Vec<Op>) -> Result<Vec<Step>, Box<Broken>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let world = World::new(cast);
        (0..world.cast.workers).for_each(|place| world.start(place));
        for op in &script {
            world.act(op).await;
        }
        world.heal();
        let result = world.rest().await;
        let result = if result.is_ok() { verdict::judge(&world).await } else { result };
        // A process knows its world.
        let trace = world.net.trace();
        let processes = std::mem::take(&mut *world.places.lock().unwrap());
        drop(processes);
        match result {
            Ok(()) => Ok(trace),
            Err((promise, about)) => {
                Err(Box::new(Broken { promise, about, cast: world.cast.clone(), script, trace }))
            }
        }
    })
}

impl World {
    fn new(cast: Cast) -> Arc<Self> {
        let confirms_always = cast.without == Some(Safeguard::Confirm);
        Arc::new(Self {
            net: Net::new(cast.seed),
            broker: Arc::new(SharedBroker::new(confirms_always)),
            ledger: Arc::new(SharedLedger::new(&cast)),
            provider: Arc::new(SharedProvider::new(cast.provider, &cast.jobs)),
            objects: Arc::new(InMemory::new()),
            images: Arc::new(FakeImages::default()),
            places: Mutex::default(),
            processes: AtomicU32::new(0),
            panicked: AtomicBool::new(false),
            forgot: AtomicBool::new(false),
            cancelled: Mutex::default(),
            cast,
        })
    }

    pub fn panicked(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Whether the ledger ever lost anything.
    pub fn forgot(&self) -> bool {
        self.forgot.load(Ordering::Relaxed)
    }

    fn start(self: &Arc<Self>, place: usize) {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        self.net.note(number, "starts", place.to_string());
        let process = Process::start(self, place, number);
        self.places.lock().unwrap().insert(place, Arc::clone(&process));
        let world = Arc::clone(self);
        tokio::spawn(async move {
            process.ended.notified().await;
            let mut dice = world.net.dice(number, "end", "");
            // The broker learns of a process's death at once, and of a machine's by its silence.
            if percent(&mut dice, 30) {
                sleep(Duration::from_millis(dice.u64(0..20_000))).await;
            }
            if let Some((session, _)) = process.session() {
                world.broker.close(session);
            }
            sleep(Duration::from_millis(dice.u64(50..=30_000))).await;
            world.start(place);
        });
    }

    fn process(&self, place: usize) -> Arc<Process> {
        Arc::clone(&self.places.lock().unwrap()[&place])
    }

    async fn act(self: &Arc<Self>, op: &Op) {
        if !matches!(op, Op::Advance { .. }) {
            self.net.note(0, "", format!("{op:?}"));
        }
        match *op {
            Op::Deliver { job } => self.broker.enqueue(self.message(job)),
            Op::Advance { ms } => sleep(Duration::from_millis(ms)).await,
            Op::Kill { worker, after_polls } => self.process(worker).kill(after_polls),
            Op::Stop { worker } => self.process(worker).stop.cancel(),
            Op::Freeze { worker, after_polls, ms } => {
                self.freeze(self.process(worker), after_polls, Duration::from_millis(ms));
            }
            Op::Ambush { at, freezes_ms } => self.ambush(at, freezes_ms),
            Op::Cut { worker, from, ms, hangs } => {
                let places = worker.map_or(0..self.cast.workers, |worker| worker..worker + 1);
                for place in places {
                    self.net.cut(place, from, Duration::from_millis(ms), hangs);
                    if from == Service::Broker {
                        self.sever(place);
                    }
                }
            }
            Op::Flush => {
                self.forgot.store(true, Ordering::Relaxed);
                self.ledger.flush();
            }
            Op::LoseWrites { number } => {
                self.forgot.store(true, Ordering::Relaxed);
                self.ledger.lose_writes(number);
            }
            Op::LoseReply { of } => self.net.lose_answer(of),
            Op::DelayPost { ms } => self.provider.delay_next_post(Duration::from_millis(ms)),
            Op::Cancel { job } => self.cancel(job),
            Op::NoMoney { ms } => self.provider.run_out_of_money(Duration::from_millis(ms)),
            Op::NoPosts { ms } => self.provider.answer_no_posts(Duration::from_millis(ms)),
        }
    }

    fn cancel(&self, job: usize) {
        self.cancelled.lock().unwrap().insert(job);
        let name = name(job);
        self.ledger.cancel(&name.parse().unwrap());
        for process in self.places.lock().unwrap().values() {
            process.shared.hints.wake(&name);
        }
    }

    /// Whether the user has cancelled the job at some time.
    pub fn was_cancelled(&self, job: usize) -> bool {
        self.cancelled.lock().unwrap().contains(&job)
    }

    fn message(&self, job: usize) -> Message {
        let body = body(job, &self.cast.jobs[job]).to_string().into();
        let properties = BasicProperties::default().with_message_id(name(job).into());
        Message { body, properties, redelivered: false }
    }

    fn ambush(self: &Arc<Self>, at: &'static str, freezes_ms: Option<u64>) {
        let (world, fell) = (Arc::clone(self), self.net.ambush(at));
        tokio::spawn(async move {
            let Ok(victim) = fell.await else { return };
            let processes: Vec<_> = world.places.lock().unwrap().values().cloned().collect();
            let Some(process) = processes.into_iter().find(|process| process.number == victim) else {
                return;
            };
            match freezes_ms {
                Some(ms) => world.freeze(process, 0, Duration::from_millis(ms)),
                None => process.die(),
            }
        });
    }

    fn freeze(&self, process: Arc<Process>, after_polls: u32, length: Duration) {
        process.freeze(after_polls);
        let broker = Arc::clone(&self.broker);
        let mut dice = self.net.dice(process.number, "freeze", "");
        let net = Arc::clone(&self.net);
        tokio::spawn(async move {
            process.froze.notified().await;
            net.note(process.number, "freezes", format!("{length:?}"));
            let session = process.session();
            if length < HEARTBEATS_MISSED {
                sleep(length).await;
                return process.thaw();
            }
            sleep(HEARTBEATS_MISSED).await;
            if let Some((session, _)) = &session {
                broker.close(*session);
            }
            sleep(length - HEARTBEATS_MISSED).await;
            process.thaw();
            // For a moment its connection looks alive.
            sleep(Duration::from_millis(dice.u64(0..5_000))).await;
            if let Some((_, lost)) = session {
                lost.cancel();
            }
        });
    }

    /// The connection breaks, and each side notices it at its own time.
    fn sever(&self, place: usize) {
        let process = self.process(place);
        let Some((session, lost)) = process.session() else { return };
        let mut dice = self.net.dice(process.number, "sever", "");
        let within = if percent(&mut dice, 50) { 100 } else { 20_000 };
        let noticed = [(); 2].map(|()| Duration::from_millis(dice.u64(0..within)));
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            sleep(noticed[0]).await;
            broker.close(session);
        });
        tokio::spawn(async move {
            sleep(noticed[1]).await;
            lost.cancel();
        });
    }

    /// From now on no new fault begins; what is frozen or cut off recovers in its time.
    fn heal(&self) {
        self.net.note(0, "", "healed");
        self.net.heal();
        self.provider.heal();
        for process in self.places.lock().unwrap().values() {
            process.spare();
        }
    }

    /// Waits until every job has ended.
    async fn rest(&self) -> Result<(), (&'static str, String)> {
        let until = Instant::now() + PEACE_MAX;
        while Instant::now() < until {
            if self.panicked.load(Ordering::Relaxed) {
                return Err(("a life panicked", String::new()));
            }
            if self.is_at_rest() {
                return Ok(());
            }
            sleep(Duration::from_secs(1)).await;
        }
        Err(("a job never comes to its end", String::new()))
    }

    fn is_at_rest(&self) -> bool {
        let idle = |process: &Arc<Process>| process.is_dead() || process.shared.lives.count() == 0;
        self.broker.is_empty()
            && !self.provider.has_posts_under_way()
            && self.places.lock().unwrap().values().all(idle)
    }
}
