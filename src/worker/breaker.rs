//! The breaker. When the account, the provider or one of our own services fails every job, the worker takes no more
//! jobs, reports the cause, and probes by itself whether the cause is gone.

mod cause;
mod pass;
mod posts;
mod turn;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::cause::{Cause, ProbedBy};
use self::pass::Counted;
pub use self::pass::{Pass, Sent};
use self::posts::Posts;
use self::turn::LET_THROUGH_EVERY;
pub use self::turn::{Held, Turn};
pub use self::words::FaultWords;
use super::standstills::CurrentStandstill;
use crate::heartbeat::Heartbeat;
use crate::job::answers::{AccountFault, AccountFaultKind, SubmitOutcome};
use crate::job::pace::{Seed, backoff};
use crate::metrics::{Metrics, PauseReason};

/// The requests by which the worker probes the open causes.
#[async_trait]
pub trait Probe: Send + Sync {
    /// # Errors
    ///
    /// Says why the cause is still open.
    async fn probe(&self, cause: Cause) -> Result<(), FaultWords>;
}

/// What the consumer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It may take as many jobs as configured.
    Open,
    /// It may take one job, to see whether that one succeeds.
    OneJob,
    /// It may take no job.
    Closed,
}

/// One open cause.
#[derive(Debug, Clone)]
struct OpenFault {
    since: Instant,
    words: FaultWords,
    probes: u32,
    next_probe: Instant,
    /// A real job may try.
    letting_one_through: bool,
    /// A held job tries.
    probing: bool,
    /// When a job from the queue may try, even if held jobs wait to try.
    let_through_at: Instant,
}

/// A cause that is gone.
#[derive(Debug, Clone, Copy)]
struct Past {
    probes: u32,
    cleared: Instant,
}

#[derive(Debug, Default, Clone)]
struct State {
    faults: BTreeMap<Cause, OpenFault>,
    /// Causes that went away a short time ago. If one of them returns soon, it is not new.
    past: BTreeMap<Cause, Past>,
    one_is_through: bool,
    /// Jobs that are held with the act that failed.
    held: BTreeMap<Cause, usize>,
}

const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(60);
/// Each probe with a POST may cost a job its outcome.
const LAST_PROBE_OF_POSTS: Duration = Duration::from_secs(300);
/// A cause that has been gone for this long counts as new, even if no POST was accepted since then.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// A probe that takes longer has failed. It doesn't count as a standstill of this process.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// Shared by all lives.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: watch::Sender<State>,
    posts: Counted,
    metrics: Metrics,
}

impl Breaker {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { state: watch::Sender::new(State::default()), posts: Counted::default(), metrics }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        mode(&self.state.borrow())
    }

    /// Returns when the mode may have changed.
    pub async fn changed(&self) {
        let mut receiver = self.state.subscribe();
        let before = mode(&receiver.borrow_and_update());
        // `self` holds the sender, so this wait can't end early.
        let _ = receiver.wait_for(|state| mode(state) != before).await;
    }

    /// Returns once no POST may start any more.
    pub async fn closed(&self) {
        let _ = self.state.subscribe().wait_for(|state| mode(state) == Mode::Closed).await;
    }

    /// The open causes, one line each, for readiness.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.standing().iter().map(ToString::to_string).collect()
    }

    /// The open causes.
    #[must_use]
    pub fn standing(&self) -> Vec<CurrentStandstill> {
        let stands = |(cause, fault): (&Cause, &OpenFault)| CurrentStandstill {
            what: cause.as_str(),
            since: fault.since,
            detail: fault.words.detail.clone(),
            remedy: fault.words.remedy(cause.advice()),
        };
        self.state.borrow().faults.iter().map(stands).collect()
    }

    /// The reasons of the open causes.
    #[must_use]
    pub fn reasons(&self) -> BTreeSet<PauseReason> {
        self.state.borrow().faults.keys().map(|cause| cause.reason()).collect()
    }

    /// Learns from the answer to a POST. While causes are open, only the answer to the job that was let through
    /// counts, because a POST from before the fault may be answered late.
    ///
    /// Only an accepted POST shows that POSTs are answered. A refusal or a "later" may come from the gateway itself
    /// while its backend is still down. After such an answer, another job may try at once, because the answer cost
    /// nothing.
    pub fn note(&self, answer: &SubmitOutcome, sent: Sent) {
        match answer {
            SubmitOutcome::Account(fault) => {
                let cause = cause_of(fault.kind);
                if sent.only_one {
                    self.probe_failed(cause, &fault.message);
                }
                self.fault(cause, &fault.message);
            }
            SubmitOutcome::Accepted(_) => self.accepted(sent, Posts::accepted),
            // The provider has a task under this job's external id. That is an answer, but it says nothing about
            // other jobs.
            SubmitOutcome::Refused(_)
            | SubmitOutcome::Later(_)
            | SubmitOutcome::Unknown { exists: true, .. } => {}
            SubmitOutcome::Unknown { message, exists: false, .. } => {
                let outage = self.posts.change(|posts| posts.unanswered(sent.number));
                if sent.only_one {
                    self.probe_failed(Cause::Posts, unanswered(message));
                }
                if outage {
                    self.fault(Cause::Posts, unanswered(message));
                }
            }
        }
    }

    /// The task of a POST without an answer was found, so only the answer was lost. If this is true of enough POSTs,
    /// there is no outage.
    pub fn found(&self, sent: Sent) {
        self.accepted(Sent { only_one: false, ..sent }, Posts::found);
        if sent.only_one || !self.posts.change(|posts| posts.is_outage()) {
            self.clear(Cause::Posts);
        }
    }

    fn accepted(&self, sent: Sent, count: fn(&mut Posts, u64) -> bool) {
        let forgotten = self.posts.change(|posts| count(posts, sent.number));
        self.state.send_if_modified(|state| {
            // An open cause stays open; the next cause of the same kind counts as new.
            state.past.retain(|cause, _| {
                let is_posts = *cause == Cause::Posts;
                (is_posts && !forgotten) || !(is_posts || cause.is_seen_by_posts())
            });
            // No task waits for this change.
            false
        });
        if sent.only_one {
            for cause in self.let_through() {
                self.clear(cause);
            }
        }
    }

    /// The causes that a real POST probes at the moment.
    fn let_through(&self) -> Vec<Cause> {
        let state = self.state.borrow();
        let through = state.faults.iter().filter(|(cause, fault)| {
            fault.letting_one_through && matches!(cause.probed_by(), ProbedBy::Post { .. })
        });
        through.map(|(cause, _)| *cause).collect()
    }

    pub fn account_fault(&self, fault: &AccountFault) {
        self.fault(cause_of(fault.kind), &fault.message);
    }

    /// Records a fault that stops all jobs. It is logged once until it is gone.
    pub fn fault(&self, cause: Cause, words: impl Into<FaultWords>) {
        let words = words.into();
        let mut is_new = false;
        self.state.send_modify(|state| {
            if state.faults.contains_key(&cause) {
                return;
            }
            is_new = true;
            let now = Instant::now();
            let probes = state.past.get(&cause).map_or(0, |past| past.probes_now(cause, now));
            let fault = OpenFault {
                since: now,
                words: words.clone(),
                probes,
                next_probe: now + wait(cause, probes),
                letting_one_through: false,
                probing: false,
                let_through_at: now + LET_THROUGH_EVERY,
            };
            state.faults.insert(cause, fault);
        });
        if is_new {
            let (detail, remedy) = (&words.detail, words.remedy(cause.advice()));
            tracing::warn!(cause = cause.as_str(), "taking no jobs: {detail}; {remedy}");
            self.show();
        }
    }

    /// The real job that probed this cause has failed.
    fn probe_failed(&self, cause: Cause, words: impl Into<FaultWords>) {
        self.state.send_modify(|state| {
            if let Some(fault) = state.faults.get_mut(&cause)
                && std::mem::take(&mut fault.letting_one_through)
            {
                fault.next_probe = Instant::now() + wait(cause, fault.probes);
                fault.words = words.into();
            }
        });
    }

    fn clear(&self, cause: Cause) {
        let mut was_there = false;
        self.state.send_if_modified(|state| {
            if let Some(fault) = state.faults.remove(&cause) {
                state.past.insert(cause, Past { probes: fault.probes, cleared: Instant::now() });
                was_there = true;
            }
            was_there
        });
        if was_there && cause == Cause::Posts {
            self.posts.change(Posts::recovered);
        }
        if was_there {
            tracing::info!(cause = cause.as_str(), "that is over: taking jobs again");
            self.show();
        }
    }

    fn show(&self) {
        let reasons = self.reasons();
        for reason in PauseReason::ALL {
            self.metrics.paused(*reason, reasons.contains(reason));
        }
    }

    /// Probes the open causes until `stop`, each one at growing intervals of its own.
    pub async fn watch(&self, probe: &dyn Probe, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => heartbeat.touch(),
            }
            self.look_after_turns();
            for cause in self.due() {
                heartbeat.touch();
                if cause.probed_by() == (ProbedBy::Post { after_request: false }) {
                    self.state.send_modify(|state| let_one_through(state, cause));
                    continue;
                }
                let result = tokio::select! {
                    () = stop.cancelled() => return,
                    result = tokio::time::timeout(PROBE_MAX, probe.probe(cause)) => result,
                };
                let result = result.unwrap_or_else(|_| Err(format!("no answer within {PROBE_MAX:?}").into()));
                match result {
                    Ok(()) => match cause.probed_by() {
                        ProbedBy::Request => self.clear(cause),
                        ProbedBy::Post { .. } | ProbedBy::HeldJob { .. } => {
                            self.state.send_modify(|state| let_one_through(state, cause));
                        }
                    },
                    Err(words) => self.state.send_modify(|state| still_there(state, cause, words)),
                }
            }
        }
    }

    fn due(&self) -> Vec<Cause> {
        let state = self.state.borrow();
        let now = Instant::now();
        let is_held = |cause: &Cause| state.held.get(cause).is_some_and(|held| *held > 0);
        let due = |cause: &Cause, fault: &OpenFault| {
            let by_request = match cause.probed_by() {
                ProbedBy::Request | ProbedBy::Post { .. } => true,
                ProbedBy::HeldJob { after_request } => after_request && !fault.probing && !is_held(cause),
            };
            by_request && fault.next_probe <= now && !fault.letting_one_through
        };
        state.faults.iter().filter(|(cause, fault)| due(cause, fault)).map(|(cause, _)| *cause).collect()
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

fn still_there(state: &mut State, cause: Cause, words: FaultWords) {
    if let Some(fault) = state.faults.get_mut(&cause) {
        fault.probes += 1;
        fault.words = words;
        fault.next_probe = Instant::now() + wait(cause, fault.probes);
    }
}

fn wait(cause: Cause, probes: u32) -> Duration {
    let last = if cause == Cause::Posts { LAST_PROBE_OF_POSTS } else { LAST_PROBE };
    backoff(probes.saturating_add(1), FIRST_PROBE, last, Seed::from_text(cause.as_str()))
}

impl Past {
    /// The number from which the probes of a returning cause are counted.
    fn probes_now(self, cause: Cause, now: Instant) -> u32 {
        let ago = now.duration_since(self.cleared);
        if cause.is_seen_by_posts() {
            // No POST was accepted since then, or this entry would have been removed.
            if ago < REMEMBERED { self.probes.saturating_add(1) } else { 0 }
        } else if ago < LAST_PROBE {
            self.probes
        } else {
            0
        }
    }
}

fn unanswered(message: &str) -> String {
    format!("submits get no answer that says whether they are accepted: {message}")
}

fn cause_of(kind: AccountFaultKind) -> Cause {
    match kind {
        AccountFaultKind::Key => Cause::Key,
        AccountFaultKind::Money => Cause::Money,
        AccountFaultKind::Configuration => Cause::Configuration,
        AccountFaultKind::Forbidden => Cause::Forbidden,
        AccountFaultKind::Unreachable => Cause::Provider,
    }
}
