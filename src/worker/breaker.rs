//! The breaker: when the account, the provider or one of our own services stops every job, the
//! worker takes no more of them, says so, and looks by itself whether it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::pace::{Seed, backoff};
use crate::metrics::Metrics;
use crate::provider::{AccountFault, AccountFaultKind, Answer};
use crate::pulse::Pulse;

/// What can stop all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The account has no money: only a real job can tell when it has some again.
    Money,
    /// The key is refused.
    Key,
    /// The base URL or a path leads elsewhere, or the configured model isn't there.
    Configuration,
    /// The key may not do what it is asked to.
    Forbidden,
    /// The provider can't be reached, or several POSTs in a row were never answered or found no channel.
    Provider,
    Redis,
    Storage,
}

impl Cause {
    /// The label of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Money | Self::Key | Self::Configuration | Self::Forbidden => "account",
            Self::Provider => "provider",
            Self::Redis => "redis",
            Self::Storage => "storage",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Money => "top the account up; one job at a time goes on trying",
            Self::Key => "check api.key",
            Self::Configuration => "check api.base_url, api.submit_path, api.query_path and api.model",
            Self::Forbidden => {
                "check what the key may do: its models, its group, the IP addresses it is good for"
            }
            Self::Provider => "jobs wait until it answers again",
            Self::Redis => "check redis.url and the server",
            Self::Storage => "check storage.url, its space and its permissions",
        }
    }
}

/// How each cause is looked at again.
#[async_trait]
pub trait Probe: Send + Sync {
    /// # Errors
    ///
    /// Why it still stands, for people.
    async fn probe(&self, cause: Cause) -> Result<(), String>;
}

/// What the consumer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Take as many as configured.
    Open,
    /// Take one, to see whether it goes through.
    OneJob,
    /// Take none.
    Closed,
}

/// One cause that stands.
#[derive(Debug, Clone)]
struct Fault {
    message: String,
    probes: u32,
    next_probe: Instant,
    /// A real job may try.
    letting_one_through: bool,
}

#[derive(Debug, Default, Clone)]
struct State {
    faults: BTreeMap<Cause, Fault>,
    /// Probes of causes that went away lately: one that comes back soon is not a new one.
    past: BTreeMap<Cause, (u32, Option<Instant>)>,
    one_is_through: bool,
    unknown_in_a_row: u32,
}

const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(60);
/// A probe that hangs is a failed one, and no standstill of this process.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// So many POSTs in a row without a telling answer are the provider's outage, not bad luck.
const UNKNOWN_MAX: u32 = 3;

/// Shared by all lives.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: watch::Sender<State>,
    metrics: Metrics,
}

/// The right to begin one POST. While one job at a time is let through, this is that job.
#[derive(Debug)]
pub struct Pass {
    breaker: Breaker,
    only_one: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.only_one {
            self.breaker.state.send_modify(|state| state.one_is_through = false);
        }
    }
}

impl Breaker {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { state: watch::Sender::new(State::default()), metrics }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        mode(&self.state.borrow())
    }

    /// Returns when the mode may have changed.
    pub async fn changed(&self) {
        let mut receiver = self.state.subscribe();
        let before = mode(&receiver.borrow_and_update());
        // The sender is in self, so this can't end early.
        let _ = receiver.wait_for(|state| mode(state) != before).await;
    }

    /// Returns once no POST may start any more.
    pub async fn closed(&self) {
        let _ = self.state.subscribe().wait_for(|state| mode(state) == Mode::Closed).await;
    }

    /// What stands, a line each, for readiness and people.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let state = self.state.borrow();
        state
            .faults
            .iter()
            .map(|(cause, fault)| format!("{}: {}; {}", cause.as_str(), fault.message, cause.advice()))
            .collect()
    }

    /// `None` while no POST may start.
    #[must_use]
    pub fn pass(&self) -> Option<Pass> {
        let mut pass = None;
        self.state.send_if_modified(|state| match mode(state) {
            Mode::Open => {
                pass = Some(false);
                false
            }
            Mode::OneJob if !state.one_is_through => {
                state.one_is_through = true;
                pass = Some(true);
                true
            }
            Mode::OneJob | Mode::Closed => false,
        });
        pass.map(|only_one| Pass { breaker: self.clone(), only_one })
    }

    /// Learns from the answer to a POST.
    pub fn note(&self, answer: &Answer) {
        match answer {
            Answer::Account(fault) => self.account_fault(fault),
            Answer::Accepted(_) => {
                self.state.send_if_modified(|state| std::mem::take(&mut state.unknown_in_a_row) > 0);
                self.one_went_through();
            }
            Answer::Refused(_) | Answer::Later(_) => {
                self.state.send_if_modified(|state| std::mem::take(&mut state.unknown_in_a_row) > 0);
            }
            Answer::Unknown { message, .. } => {
                let mut in_a_row = 0;
                self.state.send_modify(|state| {
                    state.unknown_in_a_row += 1;
                    in_a_row = state.unknown_in_a_row;
                });
                if in_a_row >= UNKNOWN_MAX {
                    self.fault(Cause::Provider, message);
                }
            }
        }
    }

    pub fn account_fault(&self, fault: &AccountFault) {
        let cause = match fault.kind {
            AccountFaultKind::Key => Cause::Key,
            AccountFaultKind::Money => Cause::Money,
            AccountFaultKind::Configuration => Cause::Configuration,
            AccountFaultKind::Forbidden => Cause::Forbidden,
            AccountFaultKind::Unreachable => Cause::Provider,
        };
        self.fault(cause, &fault.message);
    }

    /// Something stops all jobs. Logged once, until it has gone away.
    pub fn fault(&self, cause: Cause, message: &str) {
        let mut is_new = false;
        self.state.send_modify(|state| {
            let now = Instant::now();
            if let Some(fault) = state.faults.get_mut(&cause) {
                if std::mem::take(&mut fault.letting_one_through) {
                    fault.next_probe = now + wait(cause, fault.probes);
                    message.clone_into(&mut fault.message);
                }
                return;
            }
            is_new = true;
            let (past, cleared) = state.past.get(&cause).copied().unwrap_or_default();
            let recent = cleared.is_some_and(|cleared| now.duration_since(cleared) < LAST_PROBE);
            let probes = if recent { past } else { 0 };
            let fault = Fault {
                message: message.to_owned(),
                probes,
                next_probe: now + wait(cause, probes),
                letting_one_through: false,
            };
            state.faults.insert(cause, fault);
        });
        if is_new {
            tracing::warn!(cause = cause.as_str(), "taking no jobs: {message}; {}", cause.advice());
            self.show();
        }
    }

    /// Only the job that was let through tells: a POST from before the fault may be accepted late.
    fn one_went_through(&self) {
        let tells =
            self.state.borrow().faults.get(&Cause::Money).is_some_and(|fault| fault.letting_one_through);
        if tells {
            self.clear(Cause::Money);
        }
    }

    fn clear(&self, cause: Cause) {
        let mut was_there = false;
        self.state.send_if_modified(|state| {
            if let Some(fault) = state.faults.remove(&cause) {
                state.past.insert(cause, (fault.probes, Some(Instant::now())));
                was_there = true;
            }
            if cause == Cause::Provider {
                state.unknown_in_a_row = 0;
            }
            was_there
        });
        if was_there {
            tracing::info!(cause = cause.as_str(), "that is over: taking jobs again");
            self.show();
        }
    }

    fn show(&self) {
        let state = self.state.borrow();
        for label in ["account", "provider", "redis", "storage"] {
            self.metrics.paused(label, state.faults.keys().any(|cause| cause.as_str() == label));
        }
    }

    /// Looks at what stands until `stop`, each with its own growing distance.
    pub async fn watch(&self, probe: &dyn Probe, pulse: &Pulse, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => pulse.touch(),
            }
            for cause in self.due() {
                pulse.touch();
                if cause == Cause::Money {
                    self.state.send_modify(|state| let_one_through(state, cause));
                    continue;
                }
                let result = tokio::select! {
                    () = stop.cancelled() => return,
                    result = tokio::time::timeout(PROBE_MAX, probe.probe(cause)) => result,
                };
                let result = result.unwrap_or_else(|_| Err(format!("no answer within {PROBE_MAX:?}")));
                match result {
                    Ok(()) => self.clear(cause),
                    Err(message) => self.state.send_modify(|state| still_there(state, cause, message)),
                }
            }
        }
    }

    fn due(&self) -> Vec<Cause> {
        let state = self.state.borrow();
        let now = Instant::now();
        let due = |fault: &Fault| fault.next_probe <= now && !fault.letting_one_through;
        state.faults.iter().filter(|(_, fault)| due(fault)).map(|(cause, _)| *cause).collect()
    }
}

fn mode(state: &State) -> Mode {
    if state.faults.is_empty() {
        Mode::Open
    } else if state.faults.values().all(|fault| fault.letting_one_through) {
        Mode::OneJob
    } else {
        Mode::Closed
    }
}

fn let_one_through(state: &mut State, cause: Cause) {
    if let Some(fault) = state.faults.get_mut(&cause) {
        fault.probes += 1;
        fault.letting_one_through = true;
    }
}

fn still_there(state: &mut State, cause: Cause, message: String) {
    if let Some(fault) = state.faults.get_mut(&cause) {
        fault.probes += 1;
        fault.message = message;
        fault.next_probe = Instant::now() + wait(cause, fault.probes);
    }
}

fn wait(cause: Cause, probes: u32) -> Duration {
    backoff(probes + 1, FIRST_PROBE, LAST_PROBE, Seed::from_text(cause.as_str()))
}
