//! What the worker learns about how long tasks take, and the schedules of polls that it makes from that.
//!
//! A life asks for the schedule of its job's model and reports what it has seen; neither waits for I/O. Every few
//! seconds the news go to Redis, the knowledge of all workers comes back, and new schedules are made from it. Without
//! Redis, a worker learns only from its own jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Heartbeat;
use crate::job::Job;
use crate::job::pace::{Durations, Ended, Pace, Schedule};
use crate::ledger::durations::SharedDurations;

/// The time from one exchange with Redis to the next, for each model in use.
const EXCHANGE: Duration = Duration::from_secs(5);
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
    models: HashMap<String, Model>,
    callbacks: Callbacks,
}

#[derive(Debug, Default)]
struct Model {
    known: Durations,
    /// What was seen since the last exchange.
    news: Durations,
    /// Whether a job has asked for a schedule since the last exchange.
    used: bool,
    alone: Option<Arc<Schedule>>,
    called_back: Option<Arc<Schedule>>,
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

    /// The schedule by which a job like this one is polled; `None` while too little is known.
    #[must_use]
    pub fn schedule(&self, job: &Job) -> Option<Arc<Schedule>> {
        if self.pace.is_fixed() {
            return None;
        }
        let mut state = self.lock();
        if let Some(model) = state.models.get_mut(&job.model) {
            model.used = true;
            return if job.calls_back { model.called_back.clone() } else { model.alone.clone() };
        }
        // The other workers' knowledge is requested at once, and arrives before the first poll.
        state.models.insert(job.model.clone(), Model { used: true, ..Model::default() });
        self.met.notify_one();
        None
    }

    /// A life has seen the end of its task; `called` says whether a callback announced it.
    pub fn saw(&self, job: &Job, ended: Ended, called: bool) {
        if self.pace.is_fixed() {
            return;
        }
        let mut state = self.lock();
        let model = state.models.entry(job.model.clone()).or_default();
        model.news.add(ended, &model.known);
        if job.calls_back {
            state.callbacks.count(called);
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

    /// Exchanges once, for every model in use.
    pub async fn exchange(&self, with: &dyn SharedDurations) {
        for (model, news) in self.take_news() {
            let known = with.learn(&model, &news).await;
            if let Err(error) = &known {
                tracing::debug!(model, "how long tasks take is learned alone: {error}");
            }
            self.learn(&model, &news, known.ok());
        }
    }

    fn take_news(&self) -> Vec<(String, Durations)> {
        let in_use = |(name, model): (&String, &mut Model)| {
            let news = std::mem::take(&mut model.news);
            let used = std::mem::take(&mut model.used);
            (used || news.weight() > 0.0).then(|| (name.clone(), news))
        };
        self.lock().models.iter_mut().filter_map(in_use).collect()
    }

    /// `shared` is the knowledge of all workers, including these news.
    fn learn(&self, name: &str, news: &Durations, shared: Option<Durations>) {
        let (known, told) = {
            let mut state = self.lock();
            let told = state.callbacks.part();
            let Some(model) = state.models.get_mut(name) else { return };
            match shared {
                Some(shared) => model.known = shared,
                None => model.known.fold(news),
            }
            (model.known.clone(), told)
        };
        // This takes some milliseconds, so it happens outside of the lock.
        let alone = Schedule::learn(&known, &self.pace, 0.0).map(Arc::new);
        let called_back = match &alone {
            Some(_) if told > 0.0 => Schedule::learn(&known, &self.pace, told).map(Arc::new),
            Some(_) | None => alone.clone(),
        };
        if let Some(model) = self.lock().models.get_mut(name) {
            (model.alone, model.called_back) = (alone, called_back);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
