//! The network between a process and a service: how long a request takes, and whether it and its answer arrive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::script::{Service, percent};
use crate::chance::stream;

/// All ways.
#[derive(Debug)]
pub struct Net {
    seed: u64,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By a worker's place.
    cuts: BTreeMap<(usize, Service), Cut>,
    /// How many answers of a service will be lost.
    losing: BTreeMap<Service, u32>,
    /// How often each request was made, by process.
    made: BTreeMap<(u32, &'static str, String), u32>,
    trace: Vec<Step>,
    healed: bool,
    ambush: Option<Ambush>,
}

/// Something happens to the process that does this next.
#[derive(Debug)]
struct Ambush {
    at: &'static str,
    victim: oneshot::Sender<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    until: Instant,
    hangs: bool,
}

/// Something that has happened in the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub at_ms: u64,
    /// The process, by its number; 0 is the world itself.
    pub who: u32,
    pub what: &'static str,
    pub about: String,
}

/// No answer was heard.
#[derive(Debug)]
pub struct NoAnswer;

/// The way of one process to one service.
#[derive(Debug, Clone)]
pub struct Link {
    pub net: Arc<Net>,
    pub process: u32,
    pub place: usize,
    pub service: Service,
}

/// How long a request that is cut off can hang.
const LONGEST_HANG: Duration = Duration::from_secs(50);

impl Net {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { seed, start: Instant::now(), state: Mutex::default() })
    }

    /// Draws for the next request of this kind. The draw depends on which process makes it and how often, so that two
    /// processes draw the same in whichever order they come.
    pub fn dice(&self, process: u32, what: &'static str, about: &str) -> Rng {
        let mut state = self.state.lock().unwrap();
        let made = state.made.entry((process, what, about.to_owned())).or_default();
        *made += 1;
        stream(self.seed, &format!("{process} {what} {about} {made}"))
    }

    pub fn note(&self, who: u32, what: &'static str, about: impl Into<String>) {
        let at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        let step = Step { at_ms, who, what, about: about.into() };
        let mut state = self.state.lock().unwrap();
        let falls = |ambush: &mut Ambush| who > 0 && (what == ambush.at || step.about.ends_with(ambush.at));
        if let Some(ambush) = state.ambush.take_if(falls) {
            // The task that laid the ambush may be gone.
            let _ = ambush.victim.send(who);
        }
        state.trace.push(step);
    }

    /// Waits for the process that does this next, and returns its number.
    pub fn ambush(&self, at: &'static str) -> oneshot::Receiver<u32> {
        let (victim, fell) = oneshot::channel();
        self.state.lock().unwrap().ambush = Some(Ambush { at, victim });
        fell
    }

    /// The steps in order; steps within the same millisecond have no order.
    pub fn trace(&self) -> Vec<Step> {
        let mut trace = self.state.lock().unwrap().trace.clone();
        trace.sort();
        trace
    }

    pub fn cut(&self, place: usize, service: Service, length: Duration, hangs: bool) {
        let cut = Cut { until: Instant::now() + length, hangs };
        self.state.lock().unwrap().cuts.insert((place, service), cut);
    }

    pub fn lose_answer(&self, service: Service) {
        *self.state.lock().unwrap().losing.entry(service).or_default() += 1;
    }

    /// Whether this answer gets lost.
    fn loses(&self, service: Service) -> bool {
        match self.state.lock().unwrap().losing.get_mut(&service) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// From now on no answer is lost, and nothing arrives late.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.losing, state.ambush, state.healed) = (BTreeMap::new(), None, true);
    }

    pub fn is_healed(&self) -> bool {
        self.state.lock().unwrap().healed
    }
}

impl Link {
    pub fn is_cut(&self) -> bool {
        self.standing_cut().is_some()
    }

    fn standing_cut(&self) -> Option<Cut> {
        let cut = self.net.state.lock().unwrap().cuts.get(&(self.place, self.service)).copied();
        cut.filter(|cut| cut.until > Instant::now())
    }

    /// Whether the answer to a request that took effect is lost.
    pub fn loses_answer(&self) -> bool {
        self.is_cut() || self.net.loses(self.service)
    }

    /// Waits as long as a request hangs that is cut off.
    pub async fn hang(&self) {
        if let Some(Cut { until, hangs: true }) = self.standing_cut() {
            sleep(until.duration_since(Instant::now()).min(LONGEST_HANG)).await;
        }
    }

    pub fn dice(&self, what: &'static str, about: &str) -> Rng {
        self.net.dice(self.process, what, about)
    }

    /// Makes a request: `act` is what the service does, in one step.
    pub async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        about: &str,
        act: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let mut dice = self.dice(what, about);
        pause(latency(&mut dice)).await;
        if self.is_cut() {
            if !self.net.is_healed() && percent(&mut dice, 15) {
                self.arrive_late(what, about, act, Duration::from_millis(dice.u64(1..=20_000)));
            }
            self.hang().await;
            return Err(NoAnswer);
        }
        let value = act.await;
        self.net.note(self.process, what, about);
        if self.loses_answer() {
            self.net.note(self.process, "(no answer)", what);
            pause(Duration::from_millis(dice.u64(0..=5_000))).await;
            return Err(NoAnswer);
        }
        pause(latency(&mut dice)).await;
        if self.is_cut() {
            self.net.note(self.process, "(no answer)", what);
            self.hang().await;
            return Err(NoAnswer);
        }
        Ok(value)
    }

    /// The request was already on its way, and arrives when its caller doesn't wait any more.
    fn arrive_late<T: Send + 'static>(
        &self,
        what: &'static str,
        about: &str,
        act: impl Future<Output = T> + Send + 'static,
        after: Duration,
    ) {
        let (net, process, about) = (Arc::clone(&self.net), self.process, about.to_owned());
        tokio::spawn(async move {
            sleep(after).await;
            act.await;
            net.note(process, what, about + " (late)");
        });
    }
}

/// Mostly a few milliseconds.
pub fn latency(dice: &mut Rng) -> Duration {
    Duration::from_millis(match dice.u64(0..20) {
        0..6 => 0,
        6..14 => dice.u64(1..=5),
        14..19 => dice.u64(5..=200),
        _ => dice.u64(200..=3_000),
    })
}

/// An await, however short.
pub async fn pause(length: Duration) {
    if length.is_zero() { tokio::task::yield_now().await } else { sleep(length).await }
}
