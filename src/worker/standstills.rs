//! Waits that last longer than a moment. Each is logged when it begins and when it ends, shown by `/readyz`, and
//! counted.
//!
//! The breaker reports by itself what stops the intake. This module has the waits without a breaker: for a connection
//! to RabbitMQ, for the confirm of an event or a dead letter, and for the next day where this one's cap is reached. Without them, a worker that can't publish would
//! fill up without a word in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use crate::heartbeat::Heartbeat;
use crate::metrics::{Metrics, PauseReason, Standstill};

/// A wait that lasts this long is a standstill.
const MOMENT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);

/// All waits of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Standstills {
    state: Arc<Mutex<State>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    waits: BTreeMap<(Standstill, u64), Wait>,
    next: u64,
    /// When a publish was last confirmed.
    confirmed: Option<Instant>,
    said: BTreeMap<Standstill, Instant>,
}

/// Something that stands still, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentStandstill {
    /// The label of the metric.
    pub what: &'static str,
    pub since: Instant,
    pub detail: String,
    /// What a person can do, in the imperative.
    pub remedy: String,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    /// Whether it says something how many wait.
    is_counted: bool,
    detail: String,
    remedy: String,
}

/// While this exists, the wait goes on.
#[derive(Debug)]
pub struct OpenStandstill {
    standstills: Standstills,
    key: (Standstill, u64),
}

impl Standstills {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { state: Arc::default(), metrics }
    }

    /// Begins a wait. `detail` says what is waited for; `remedy` says what a person can do, in the imperative.
    #[must_use]
    pub fn wait(
        &self,
        what: Standstill,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> OpenStandstill {
        let mut state = self.state();
        let key = (what, state.next);
        state.next += 1;
        let is_counted = match what {
            // Of a line's jobs only the head registers its wait.
            Standstill::RabbitMq | Standstill::Message | Standstill::Spend => false,
            Standstill::Publishing => true,
        };
        let wait = Wait { since: Instant::now(), is_counted, detail: detail.into(), remedy: remedy.into() };
        state.waits.insert(key, wait);
        OpenStandstill { standstills: self.clone(), key }
    }

    /// The broker has confirmed a publish.
    pub fn confirmed(&self) {
        self.state().confirmed = Some(Instant::now());
    }

    /// The oldest wait for `what`, however short it is.
    #[must_use]
    pub fn now(&self, what: Standstill) -> Option<String> {
        self.state().oldest(what).map(|(wait, _)| wait.words())
    }

    /// The standstills that keep every job from ending, or from beginning, one sentence each.
    #[must_use]
    pub fn hindering(&self) -> Vec<String> {
        let state = self.state();
        let others_go_out = |wait: &Wait| state.confirmed.is_some_and(|confirmed| confirmed > wait.since);
        let lasting = |what: Standstill| {
            let (wait, count) = state.oldest(what).filter(|(wait, _)| wait.since.elapsed() >= MOMENT)?;
            let hinders = what == Standstill::Spend || !others_go_out(wait);
            hinders.then(|| format!("{}: {}; {}", what.as_str(), wait.detail_of(count), wait.remedy))
        };
        [Standstill::Publishing, Standstill::Spend].into_iter().filter_map(lasting).collect()
    }

    /// The waits that have become standstills: the oldest of each kind.
    #[must_use]
    pub fn standing(&self) -> Vec<CurrentStandstill> {
        let state = self.state();
        let of = |what: Standstill| {
            let (wait, count) = state.oldest(what).filter(|(wait, _)| wait.since.elapsed() >= MOMENT)?;
            Some(CurrentStandstill {
                what: what.as_str(),
                since: wait.since,
                detail: wait.detail_of(count),
                remedy: wait.remedy.clone(),
            })
        };
        Standstill::ALL.iter().copied().filter_map(of).collect()
    }

    /// Logs the standstills that begin and end, until `stop`.
    pub async fn watch(&self, breaker: &Breaker, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        let mut paused = BTreeMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => heartbeat.touch(),
            }
            self.say();
            self.count_paused(breaker, &mut paused);
        }
    }

    fn say(&self) {
        let mut state = self.state();
        for &what in Standstill::ALL {
            let stands = state.oldest(what).filter(|(wait, _)| wait.since.elapsed() >= MOMENT);
            let words = stands
                .map(|(wait, count)| (wait.since, format!("{}; {}", wait.detail_of(count), wait.remedy)));
            match (words, state.said.get(&what).copied()) {
                (Some((since, words)), None) => {
                    tracing::warn!(
                        what = what.as_str(),
                        "standstill since {} s: {words}",
                        since.elapsed().as_secs()
                    );
                    state.said.insert(what, since);
                    self.metrics.standstill(what, true);
                }
                (None, Some(since)) => {
                    let lasted = since.elapsed().as_secs();
                    tracing::info!(what = what.as_str(), "the standstill is over after {lasted} s");
                    state.said.remove(&what);
                    self.metrics.standstill(what, false);
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    /// Counts what the breaker stops for in the metric once it has lasted for a moment; the breaker logs it at once.
    fn count_paused(&self, breaker: &Breaker, paused: &mut BTreeMap<PauseReason, Instant>) {
        let open = breaker.reasons();
        for &reason in PauseReason::ALL {
            if open.contains(&reason) {
                let since = *paused.entry(reason).or_insert_with(Instant::now);
                self.metrics.long_pause(reason, since.elapsed() >= MOMENT);
            } else if paused.remove(&reason).is_some() {
                self.metrics.long_pause(reason, false);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest wait of a kind, and how many waits there are.
    fn oldest(&self, what: Standstill) -> Option<(&Wait, usize)> {
        let mut waits = self.waits.range((what, 0)..=(what, u64::MAX)).map(|(_, wait)| wait);
        let first = waits.next()?;
        Some((first, 1 + waits.count()))
    }
}

impl fmt::Display for CurrentStandstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.detail, self.remedy)
    }
}

impl Wait {
    /// The detail, with how many wait for the same where there can be several.
    fn detail_of(&self, count: usize) -> String {
        if self.is_counted { format!("{count} waiting, {}", self.detail) } else { self.detail.clone() }
    }

    fn words(&self) -> String {
        format!("{}; {}", self.detail, self.remedy)
    }
}

impl OpenStandstill {
    /// Replaces the description of the wait when more is known.
    pub fn because(&self, detail: impl Into<String>, remedy: impl Into<String>) {
        if let Some(wait) = self.standstills.state().waits.get_mut(&self.key) {
            (wait.detail, wait.remedy) = (detail.into(), remedy.into());
        }
    }
}

impl Drop for OpenStandstill {
    fn drop(&mut self) {
        self.standstills.state().waits.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stands(metrics: &Metrics, what: &str) -> bool {
        metrics.encode().contains(&format!("comet_standstill{{what=\"{what}\"}} 1"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stuck_for_a_moment_is_counted_until_it_ends() {
        let metrics = Metrics::new();
        let standstills = Standstills::new(metrics.clone());
        let waiting = standstills.wait(Standstill::Publishing, "an event is refused", "make room");
        advance(9 * SECOND).await;
        standstills.say();
        assert!(!stands(&metrics, "publishing"), "too early");
        assert_eq!(standstills.hindering(), Vec::<String>::new());
        advance(SECOND).await;
        standstills.say();
        assert!(stands(&metrics, "publishing"));
        assert_eq!(standstills.hindering(), ["publishing: 1 waiting, an event is refused; make room"]);
        drop(waiting);
        standstills.say();
        assert!(!stands(&metrics, "publishing"));
        assert_eq!(standstills.hindering(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn where_others_are_confirmed_a_stuck_one_hinders_no_readiness() {
        let standstills = Standstills::new(Metrics::new());
        let _waiting = standstills.wait(Standstill::Publishing, "an event is refused", "make room");
        advance(5 * SECOND).await;
        standstills.confirmed();
        advance(6 * SECOND).await;
        assert_eq!(standstills.hindering(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_wait_is_told_with_the_number_of_all() {
        let standstills = Standstills::new(Metrics::new());
        let first = standstills.wait(Standstill::Publishing, "first", "do this");
        advance(SECOND).await;
        let _second = standstills.wait(Standstill::Publishing, "second", "do that");
        first.because("first, refused", "do this");
        advance(10 * SECOND).await;
        assert_eq!(standstills.hindering(), ["publishing: 2 waiting, first, refused; do this"]);
        drop(first);
        assert_eq!(standstills.hindering(), ["publishing: 1 waiting, second; do that"]);
    }
}
