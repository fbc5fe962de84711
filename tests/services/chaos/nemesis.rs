//! The nemesis draws what to break next, and breaks it beside whatever else is broken at the time.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::MutexGuard;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::scene::Scene;
use crate::support::Worker;

/// A random duration from `from_ms` to below `to_ms`.
pub(super) fn between(dice: &mut Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(dice.u64(from_ms..to_ms))
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Kill {
        worker: usize,
    },
    /// Longer than the heartbeat, often longer than the quiet period.
    Freeze {
        worker: usize,
        span: Duration,
    },
    Stop {
        worker: usize,
    },
    CloseConnections,
    MemoryAlarm {
        span: Duration,
    },
    RestartRabbit {
        kill: bool,
    },
    KillRedis {
        span: Duration,
    },
    Flush,
    /// The ledger is lost together with a worker that still knew something.
    FlushAndKill {
        worker: usize,
    },
    TakeStoreAway {
        span: Duration,
    },
    /// The store can be read, but accepts nothing.
    LockStore {
        span: Duration,
    },
    Spoil {
        way: usize,
        trouble: Trouble,
        span: Duration,
    },
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Cut,
    Slow(Duration),
    Deaf,
    Black,
}

const WAYS: [&str; 4] = ["RabbitMQ", "Redis", "the provider", "the file server"];

/// Acts for this long; everything is healed when it returns.
pub(super) async fn rage(scene: &Rc<Scene>, mut dice: Rng, length: Duration) {
    let begun = Instant::now();
    let mut acts = JoinSet::new();
    while begun.elapsed() < length {
        sleep(between(&mut dice, 500, 2600)).await;
        let act = Act::draw(&mut dice, scene.workers.len());
        let here = Rc::clone(scene);
        acts.spawn_local(async move {
            let done = act.carry_out(&here).await.is_some();
            here.tally.borrow_mut().acts += usize::from(done);
            let what = if done { "over" } else { "not now" };
            here.diary.note(&format!("  {what}: {act}"));
        });
        scene.revive().await;
        while let Some(ended) = acts.try_join_next() {
            ended.expect("an act of the nemesis");
        }
    }
    while let Some(ended) = acts.join_next().await {
        ended.expect("an act of the nemesis");
    }
}

impl Act {
    fn draw(dice: &mut Rng, workers: usize) -> Self {
        let worker = dice.usize(0..workers);
        let span = between(dice, 1_000, 6_000);
        let way = dice.usize(0..WAYS.len());
        let trouble = match dice.u64(0..4) {
            0 => Trouble::Cut,
            // A POST arrives in at most two pieces, so it still arrives before the quiet period is over.
            1 => Trouble::Slow(between(dice, 50, 500)),
            2 => Trouble::Deaf,
            _ => Trouble::Black,
        };
        match dice.u64(0..27) {
            0..4 => Self::Kill { worker },
            4..7 => Self::Freeze { worker, span: span + Duration::from_secs(4) },
            7..9 => Self::Stop { worker },
            9..11 => Self::CloseConnections,
            11 => Self::MemoryAlarm { span },
            12..14 => Self::RestartRabbit { kill: span.as_millis().is_multiple_of(2) },
            14 => Self::KillRedis { span },
            15..17 => Self::Flush,
            17..19 => Self::FlushAndKill { worker },
            19 => Self::TakeStoreAway { span },
            20 | 21 => Self::LockStore { span },
            _ => Self::Spoil { way, trouble, span },
        }
    }

    /// Returns `None` if the same part is already being changed.
    async fn carry_out(self, scene: &Scene) -> Option<()> {
        match self {
            Self::Kill { worker } => {
                let mut worker = scene.workers[worker].try_lock().ok()?;
                self.begins(scene);
                kill(scene, &mut worker).await;
            }
            Self::Freeze { worker, span } => {
                let worker = scene.workers[worker].try_lock().ok()?;
                self.begins(scene);
                worker.signal("-STOP").await;
                sleep(span).await;
                worker.signal("-CONT").await;
            }
            Self::Stop { worker } => {
                let mut worker = scene.workers[worker].try_lock().ok()?;
                self.begins(scene);
                stop(scene, &mut worker).await;
            }
            Self::CloseConnections => {
                let rabbit = scene.rabbit.try_lock().ok()?;
                self.begins(scene);
                rabbit.ctl(&["close_all_connections", "chaos"]).await;
            }
            Self::MemoryAlarm { span } => {
                let rabbit = scene.rabbit.try_lock().ok()?;
                self.begins(scene);
                rabbit.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
                sleep(span).await;
                rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
            }
            Self::RestartRabbit { kill } => {
                let mut rabbit = scene.rabbit.try_lock().ok()?;
                self.begins(scene);
                if kill {
                    rabbit.kill().await;
                } else {
                    rabbit.stop().await;
                }
                rabbit.start_again().await;
            }
            Self::KillRedis { span } => {
                let mut redis = scene.redis.try_lock().ok()?;
                self.begins(scene);
                redis.kill().await;
                sleep(span).await;
                redis.start_again().await;
            }
            Self::Flush => {
                let _redis = scene.redis.try_lock().ok()?;
                self.begins(scene);
                flush(scene).await;
            }
            Self::FlushAndKill { worker } => {
                let _redis = scene.redis.try_lock().ok()?;
                let mut worker = scene.workers[worker].try_lock().ok()?;
                self.begins(scene);
                flush(scene).await;
                kill(scene, &mut worker).await;
            }
            Self::TakeStoreAway { span } => {
                let store = scene.store.try_lock().ok()?;
                self.begins(scene);
                store.take_away();
                sleep(span).await;
                store.give_back();
            }
            Self::LockStore { span } => {
                let store = scene.store.try_lock().ok()?;
                self.begins(scene);
                store.lock();
                sleep(span).await;
                store.unlock();
            }
            Self::Spoil { way, trouble, span } => {
                let way = scene.ways[way].try_lock().ok()?;
                self.begins(scene);
                match trouble {
                    Trouble::Cut => way.cut(),
                    Trouble::Slow(by) => way.slow_down(by),
                    Trouble::Deaf => way.swallow_answers(),
                    Trouble::Black => way.swallow_all(),
                }
                sleep(span).await;
                way.open();
            }
        }
        Some(())
    }

    fn begins(self, scene: &Scene) {
        scene.diary.note(&self.to_string());
    }
}

async fn kill(scene: &Scene, worker: &mut MutexGuard<'_, Worker>) {
    worker.kill().await;
    **worker = scene.start_worker();
    scene.diary.note(&format!("  the next one writes {}", worker.log_name()));
}

async fn stop(scene: &Scene, worker: &mut MutexGuard<'_, Worker>) {
    // Before it has come up, the signal kills it.
    let was_up = worker.log().contains("comet-worker runs");
    let begun = Instant::now();
    let status = worker.stop().await;
    let took = begun.elapsed();
    let slowest = scene.tally.borrow().slowest_stop.max(took);
    scene.tally.borrow_mut().slowest_stop = slowest;
    let log = worker.log_name();
    **worker = scene.start_worker();
    let next = worker.log_name();
    let seconds = took.as_secs_f64();
    scene.diary.note(&format!("  {log} ended after {seconds:.1} s, {status}; the next one writes {next}"));
    assert!(status.success() || !was_up, "a worker that is told to stop ends well: see {log}");
}

/// Flushes directly, without the proxy.
async fn flush(scene: &Scene) {
    let client = redis::Client::open(scene.redis_url.as_str()).expect("the private Redis");
    let mut redis = crate::support::connected(&client).await.expect("the private Redis");
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.expect("a flush");
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |span: &Duration| format!("{:.1} s", span.as_secs_f64());
        match self {
            Self::Kill { worker } => write!(f, "SIGKILL to worker {worker}"),
            Self::Freeze { worker, span } => write!(f, "SIGSTOP to worker {worker} for {}", s(span)),
            Self::Stop { worker } => write!(f, "SIGTERM to worker {worker}"),
            Self::CloseConnections => write!(f, "close_all_connections"),
            Self::MemoryAlarm { span } => write!(f, "memory alarm for {}", s(span)),
            Self::RestartRabbit { kill: true } => write!(f, "SIGKILL to RabbitMQ, and a start"),
            Self::RestartRabbit { kill: false } => write!(f, "RabbitMQ stopped and started"),
            Self::KillRedis { span } => write!(f, "SIGKILL to Redis, and a start after {}", s(span)),
            Self::Flush => write!(f, "FLUSHALL"),
            Self::FlushAndKill { worker } => write!(f, "FLUSHALL and SIGKILL to worker {worker}"),
            Self::TakeStoreAway { span } => write!(f, "store gone for {}", s(span)),
            Self::LockStore { span } => write!(f, "store takes nothing for {}", s(span)),
            Self::Spoil { way, trouble, span } => {
                let what = match trouble {
                    Trouble::Cut => "cut".to_owned(),
                    Trouble::Slow(by) => format!("slower by {} ms", by.as_millis()),
                    Trouble::Deaf => "without answers".to_owned(),
                    Trouble::Black => "a black hole".to_owned(),
                };
                write!(f, "way to {} {what} for {}", WAYS[*way], s(span))
            }
        }
    }
}
