//! Lets the jobs live, as many at a time as the worker may hold, until all have ended or a signal comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::folder::Folder;
use super::ports::{FolderPublisher, News, Settling};
use super::show::Show;
use crate::cli::parts;
use crate::cli::run::health::Probes;
use crate::cli::run::shared::{Ports, shared};
use crate::clock::Clock;
use crate::config::Config;
use crate::heartbeat::Heartbeats;
use crate::job::{Digest, JobId};
use crate::ledger::hints::Hints;
use crate::ledger::in_memory::{InMemoryLedger, Table};
use crate::ledger::slots::Account;
use crate::metrics::Metrics;
use crate::queue::consume::{Message, Settle as _};
use crate::shutdown::Signals;
use crate::traces::Traces;
use crate::worker::breaker::Mode;
use crate::worker::life::Interrupts;
use crate::worker::preflight::preflight;
use crate::worker::{Shared, delivery, panics, store_watch};

/// After this, the tasks of an earlier run that go on here are counted again among the running ones.
const RECOUNT: Duration = Duration::from_secs(10);
/// The pause before a job lives once more.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(500);
/// No broker wants its deliveries back.
const HELD_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// For the note of the last POST.
const AFTER_LAST_POST: Duration = Duration::from_secs(4);

/// One job to be done.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) id: JobId,
    pub(super) digest: Digest,
    /// The message.
    pub(super) text: String,
}

pub(super) struct Feed {
    shared: Arc<Shared>,
    news: UnboundedReceiver<News>,
    settled: tokio::sync::mpsc::UnboundedSender<News>,
    max: usize,
    /// How long a stop may take.
    end_max: Duration,
    stop: CancellationToken,
}

impl Feed {
    pub(super) fn new(config: &Config, folder: Arc<Folder>) -> anyhow::Result<Self> {
        let metrics = Metrics::default();
        let (settled, news) = unbounded_channel();
        let hints = Hints::default();
        let cap = config.generation.max_running;
        let account = (cap > 0).then_some(Account { cap, recount: RECOUNT });
        let clock = Clock::default();
        let table = Table::new(config.redis.remember, account);
        let ledger = InMemoryLedger::new(table, hints.clone(), move || clock.now());
        let publisher = FolderPublisher { folder, names: parts::names(config), news: settled.clone() };
        let ports =
            Ports { ledger: Arc::new(ledger), publisher: Arc::new(publisher), hints, traces: Traces::off() };
        Ok(Self {
            shared: Arc::new(shared(config, ports, &metrics)?),
            news,
            settled,
            max: usize::from(config.worker.max_in_flight),
            end_max: config.api.submit_timeout + AFTER_LAST_POST,
            stop: CancellationToken::new(),
        })
    }

    /// Returns when all jobs have ended, or after a signal.
    ///
    /// # Errors
    ///
    /// The folder can't be used, or a second signal came.
    pub(super) async fn run(mut self, work: Vec<Work>, show: &mut Show) -> anyhow::Result<()> {
        let mut signals = Signals::catch()?;
        let watching = self.watch();
        tokio::select! {
            ready = preflight(&self.shared, &self.stop) => ready.map_err(anyhow::Error::msg)?,
            () = signals.next() => return Ok(()),
        }
        let jobs = Jobs::new(work);
        self.live(jobs, show, &mut signals).await?;
        self.stop.cancel();
        watching.close();
        let _ = timeout(AFTER_LAST_POST, watching.wait()).await;
        Ok(())
    }

    /// What goes on beside the lives: the breaker's probes, the standstills, the look at the folder.
    fn watch(&self) -> TaskTracker {
        let (tasks, heartbeats) = (TaskTracker::new(), Heartbeats::default());
        let loops =
            |name| (Arc::clone(&self.shared), heartbeats.register(name, Duration::MAX), self.stop.clone());
        let (shared, heartbeat, stop) = loops("breaker");
        tasks.spawn(async move {
            let probes = Probes(Shared::clone(&shared));
            shared.breaker.watch(&probes, &heartbeat, &stop).await;
        });
        let (shared, heartbeat, stop) = loops("standstills");
        tasks.spawn(async move { shared.standstills.watch(&shared.breaker, &heartbeat, &stop).await });
        let (shared, heartbeat, stop) = loops("store");
        tasks.spawn(async move { store_watch::watch(&shared, &heartbeat, &stop).await });
        tasks
    }

    async fn live(&mut self, mut jobs: Jobs, show: &mut Show, signals: &mut Signals) -> anyhow::Result<()> {
        loop {
            let mode = self.shared.breaker.mode();
            while jobs.may_begin(mode, self.max)
                && let Some(number) = jobs.next()
            {
                jobs.running.insert(number, mode);
                self.begin(number, &jobs);
            }
            if jobs.are_done() {
                return Ok(());
            }
            show.progress(jobs.running.len(), self.shared.breaker.standing().first());
            tokio::select! {
                biased;
                () = signals.next() => break,
                Some(news) = self.news.recv() => jobs.take(news, show),
                () = self.shared.breaker.changed() => {}
                () = sleep_until(Instant::now() + TICK) => {}
            }
        }
        show.stopping();
        self.stop.cancel();
        let ending = async {
            while !jobs.running.is_empty() {
                match self.news.recv().await {
                    Some(news) => jobs.take(news, show),
                    None => return,
                }
            }
        };
        // What doesn't end in this time goes on from its receipts the next time.
        tokio::select! {
            _ = timeout(self.end_max, ending) => Ok(()),
            () = signals.next() => anyhow::bail!("stopped at once, by a second signal; the same command goes on from here"),
        }
    }

    fn begin(&self, number: usize, jobs: &Jobs) {
        let Some(work) = jobs.all.get(number) else { return };
        let body = work.text.clone().into();
        // The receipts are asked first, since a job may have been begun in an earlier run.
        let message = Box::new(Message { body, properties: BasicProperties::default(), redelivered: true });
        let interrupts = Interrupts::new(self.stop.clone(), CancellationToken::new(), HELD_MAX);
        let settling = Settling { number, news: self.settled.clone() };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let life = async { delivery::process(&shared, message, &settling, &interrupts).await };
            if let Err(panic) = panics::caught(life).await {
                tracing::error!("a job panicked, and lives once more: {panic}");
                settling.requeue().await;
            }
        });
    }
}

/// The jobs by their numbers.
struct Jobs {
    all: Vec<Work>,
    waiting: VecDeque<usize>,
    /// Those that live once more, not before this time.
    again: VecDeque<(Instant, usize)>,
    /// Each with the mode in which it was begun.
    running: BTreeMap<usize, Mode>,
}

impl Jobs {
    fn new(all: Vec<Work>) -> Self {
        Self { waiting: (0..all.len()).collect(), all, again: VecDeque::new(), running: BTreeMap::new() }
    }

    fn next(&mut self) -> Option<usize> {
        if self.again.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            return self.again.pop_front().map(|(_, number)| number);
        }
        self.waiting.pop_front()
    }

    /// One job at a time is let through beside those that run, whose generations may take long.
    fn may_begin(&self, mode: Mode, max: usize) -> bool {
        let is_free = match mode {
            Mode::Open => true,
            Mode::OneJob => !self.running.values().any(|begun| *begun == Mode::OneJob),
            Mode::Closed => false,
        };
        is_free && self.running.len() < max
    }

    fn are_done(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.again.is_empty()
    }

    fn take(&mut self, news: News, show: &mut Show) {
        match news {
            News::Ended(view, event) => show.ended(&view, &event),
            News::Trouble(words) => show.trouble(words),
            News::Dead { body, reason, detail } => show.dead(&body, &reason, &detail),
            News::Republished { body } => {
                let number = self.all.iter().position(|work| work.text.as_bytes() == body);
                self.again.extend(number.map(|number| (Instant::now() + AGAIN_AFTER, number)));
            }
            News::Settled { number, again } => {
                self.running.remove(&number);
                if again {
                    self.again.push_back((Instant::now() + AGAIN_AFTER, number));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_at_a_time_is_let_through_beside_those_that_run() {
        let mut jobs = Jobs::new(Vec::new());
        for number in 0..3 {
            assert!(jobs.may_begin(Mode::Open, 5));
            jobs.running.insert(number, Mode::Open);
        }
        assert!(!jobs.may_begin(Mode::Closed, 5));
        assert!(
            jobs.may_begin(Mode::OneJob, 5),
            "three generations run, and none of them tells whether it is over"
        );
        jobs.running.insert(3, Mode::OneJob);
        assert!(!jobs.may_begin(Mode::OneJob, 5), "it is tried already");
        assert!(jobs.may_begin(Mode::Open, 5) && !jobs.may_begin(Mode::Open, 4));
        jobs.running.remove(&3);
        assert!(jobs.may_begin(Mode::OneJob, 5) && !jobs.may_begin(Mode::OneJob, 3));
    }
}
