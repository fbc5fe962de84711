//! What the worker learns about how long tasks take, and the schedules of polls that it makes from that.
//!
//! A life asks for the schedule of its job's kind, which is its route and its model, and reports what it has seen;
//! neither waits for I/O. What the worker's own jobs show counts at once. Every few seconds the news go to Redis, and the knowledge of all workers
//! comes back. Without Redis, a worker learns only from its own jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Heartbeat;
use crate::job::Job;
use crate::job::pace::{Durations, Ended, Pace, Schedule};
use crate::ledger::durations::SharedDurations;

/// The time from one exchange with Redis to the next, for each kind in use.
const EXCHANGE: Duration = Duration::from_secs(5);
/// The number of ends after which new schedules are made. The jobs between share one, since ten thousand of them may
/// be waiting.
const ENDS_A_SCHEDULE: usize = 10;
/// Roughly how many jobs' callbacks are remembered.
const CALLBACKS_MEMORY: f64 = 50.0;
/// This many ends without a callback are always counted in addition, so the share of callbacks that arrive never
/// reaches one.
const CALLBACKS_MISSED: f64 = 2.0;

/// Shared by all lives of a worker.
#[derive(Debug, Clone)]
pub struct Learning {
    pace: Pace,
    state: Arc<Mutex<State>>,
    met: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    kinds: HashMap<String, Kind>,
    callbacks: Callbacks,
}

#[derive(Debug, Default)]
struct Kind {
    /// What all workers have seen up to the last exchange, and this one since then.
    known: Durations,
    /// What this worker has seen since the last exchange.
    news: Durations,
    /// Whether a job has asked for a schedule since the last exchange.
    used: bool,
    /// The number of ends that the schedules don't know of.
    unlearned: usize,
    alone: Arc<Schedule>,
    called_back: Arc<Schedule>,
}

/// For the jobs that the provider should call back: how many there were lately, and how many callbacks came in time.
#[derive(Debug, Default)]
struct Callbacks {
    jobs: f64,
    told: f64,
}

impl Learning {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, state: Arc::default(), met: Arc::default() }
    }

    /// The schedule by which a job like this one is polled; `None` if the user has fixed it.
    #[must_use]
    pub fn schedule(&self, job: &Job) -> Option<Arc<Schedule>> {
        if self.pace.is_fixed() {
            return None;
        }
        let mut state = self.lock();
        let kind = state.kinds.entry(kind_of(job)).or_insert_with(|| {
            // The other workers' knowledge is requested at once, and arrives before the first poll.
            self.met.notify_one();
            Kind::default()
        });
        kind.used = true;
        Some(Arc::clone(if job.calls_back { &kind.called_back } else { &kind.alone }))
    }

    /// A life has seen the end of its task; `called` says whether a callback announced it.
    pub fn saw(&self, job: &Job, ended: Ended, called: bool) {
        if self.pace.is_fixed() {
            return;
        }
        let mut state = self.lock();
        let State { kinds, callbacks } = &mut *state;
        if job.calls_back {
            callbacks.count(called);
        }
        let kind = kinds.entry(kind_of(job)).or_default();
        kind.known.add(ended);
        kind.news.add(ended);
        kind.unlearned += 1;
        if kind.unlearned >= ENDS_A_SCHEDULE {
            kind.learn(callbacks.part());
        }
    }

    /// Exchanges knowledge with the other workers until `stop`.
    pub async fn share(&self, with: &dyn SharedDurations, heartbeat: &Heartbeat, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.met.notified() => {}
                () = tokio::time::sleep(EXCHANGE) => {}
            }
            heartbeat.touch();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.exchange(with) => {}
            }
        }
    }

    /// Exchanges once, for every kind in use.
    pub async fn exchange(&self, with: &dyn SharedDurations) {
        for (name, news) in self.take_news() {
            match with.learn(&name, &news).await {
                Ok(known) => self.heard(&name, known),
                Err(error) => tracing::debug!(kind = name, "how long tasks take is learned alone: {error}"),
            }
        }
    }

    fn take_news(&self) -> Vec<(String, Durations)> {
        let in_use = |(name, kind): (&String, &mut Kind)| {
            let news = std::mem::take(&mut kind.news);
            let used = std::mem::take(&mut kind.used);
            (used || !news.is_empty()).then(|| (name.clone(), news))
        };
        self.lock().kinds.iter_mut().filter_map(in_use).collect()
    }

    /// `known` is the knowledge of all workers, including the news that this one has told.
    fn heard(&self, name: &str, known: Durations) {
        let mut state = self.lock();
        let State { kinds, callbacks } = &mut *state;
        let Some(kind) = kinds.get_mut(name) else { return };
        kind.known = known;
        kind.known.extend(kind.news.iter());
        kind.learn(callbacks.part());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind_of(job: &Job) -> String {
    format!("{}:{}", job.route_name(), job.model)
}

impl Kind {
    /// Makes the schedules anew; `told` is the part of the ends that callbacks report.
    fn learn(&mut self, told: f64) {
        self.unlearned = 0;
        self.alone = Arc::new(Schedule::learn(&self.known, 0.0));
        self.called_back = Arc::new(Schedule::learn(&self.known, told));
    }
}

impl Callbacks {
    fn count(&mut self, told: bool) {
        let kept = 1.0 - 1.0 / CALLBACKS_MEMORY;
        self.jobs = self.jobs * kept + 1.0;
        self.told = self.told * kept + if told { 1.0 } else { 0.0 };
    }

    fn part(&self) -> f64 {
        self.told / (self.jobs + CALLBACKS_MISSED)
    }
}
