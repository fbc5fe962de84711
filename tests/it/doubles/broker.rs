//! RabbitMQ: what was published, how each delivery was settled, and the ways in which a publish fails.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::event::{EventKind, EventView};
use comet_worker::queue::consume::Settle;
use comet_worker::queue::publish::{Outgoing, Publish, PublishError, Routed};
use tokio::sync::watch;

use super::effects::Effects;

/// How a publish fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishFault {
    /// The broker never received it.
    NotTaken,
    /// The broker has it, but the confirm is lost.
    TakenUnconfirmed,
    /// One of the queues refuses it; the others have it.
    RefusedByOne,
}

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Acked,
    HandedBack,
}

/// The broker, over the connections of one process.
#[derive(Debug)]
pub struct FakeBroker {
    effects: Effects,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Outgoing>,
    tried: usize,
    faults: VecDeque<PublishFault>,
    /// Routing keys for which every publish fails.
    closed: HashSet<String>,
    /// Routing keys to which a publish never ends.
    stalled: HashSet<String>,
    /// Routing keys that no queue takes.
    unrouted: HashSet<String>,
}

impl FakeBroker {
    pub fn new(effects: Effects) -> Self {
        Self { effects, state: Mutex::default() }
    }

    /// Makes the next publishes fail like this; later ones succeed.
    pub fn fail(&self, faults: impl IntoIterator<Item = PublishFault>) {
        self.lock().faults.extend(faults);
    }

    /// From now on every publish to this routing key fails.
    pub fn close(&self, routing_key: &str) {
        self.lock().closed.insert(routing_key.to_owned());
    }

    /// A publish to this routing key never ends.
    pub fn stall(&self, routing_key: &str) {
        self.lock().stalled.insert(routing_key.to_owned());
    }

    /// No queue takes this routing key until it is bound again.
    pub fn unbind(&self, routing_key: &str) {
        self.lock().unrouted.insert(routing_key.to_owned());
    }

    pub fn bind(&self, routing_key: &str) {
        self.lock().unrouted.remove(routing_key);
    }

    /// Everything that a queue has taken, in order.
    pub fn taken(&self) -> Vec<Outgoing> {
        self.lock().taken.clone()
    }

    /// What the queues have taken after the first `seen` messages.
    pub fn taken_since(&self, seen: usize) -> Vec<Outgoing> {
        self.lock().taken.iter().skip(seen).cloned().collect()
    }

    /// How often anything was published, with or without success.
    pub fn tried(&self) -> usize {
        self.lock().tried
    }

    /// What the queue with this name has taken directly, without the exchange.
    pub fn queue(&self, name: &str) -> Vec<Outgoing> {
        let of_queue = |message: &Outgoing| message.exchange.is_empty() && message.routing_key == name;
        self.taken().into_iter().filter(of_queue).collect()
    }

    /// The terminal events of a job, including those kept as unrouted, but without copies to `reply_to` and
    /// corrections.
    pub fn ends(&self, job: &str) -> Vec<Bytes> {
        self.terminal(job, false)
    }

    /// The corrections of a job's end, in the same way.
    pub fn corrections(&self, job: &str) -> Vec<Bytes> {
        self.terminal(job, true)
    }

    fn terminal(&self, job: &str, corrections: bool) -> Vec<Bytes> {
        let mut ends = Vec::new();
        for message in self.taken() {
            let is_event =
                message.exchange == "comet.events" || message.routing_key == "comet.events.unrouted";
            if is_event {
                let view = EventView::parse(&message.body).unwrap();
                let is_end = view.job_id == job && view.kind().is_some_and(EventKind::is_terminal);
                if is_end && view.supersedes.is_some() == corrections {
                    ends.push(message.body);
                }
            }
        }
        ends
    }

    /// The one terminal event of a job, parsed; copies of it must be the same bytes.
    pub fn end(&self, job: &str) -> EventView {
        let ends = self.ends(job);
        let first = ends.first().unwrap_or_else(|| panic!("no terminal event of {job}"));
        assert!(ends.iter().all(|end| end == first), "two wordings of the end of {job}: {ends:?}");
        EventView::parse(first).unwrap()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn take(&self, message: &Outgoing) -> Result<Routed, PublishError> {
        let mut state = self.lock();
        state.tried += 1;
        let not_taken = || PublishError::Failed("as scripted".to_owned());
        if state.closed.contains(&message.routing_key) {
            return Err(not_taken());
        }
        match state.faults.pop_front() {
            Some(PublishFault::NotTaken) => Err(not_taken()),
            Some(PublishFault::TakenUnconfirmed) => {
                state.taken.push(message.clone());
                Err(not_taken())
            }
            Some(PublishFault::RefusedByOne) => {
                state.taken.push(message.clone());
                Err(PublishError::Refused(message.exchange.clone()))
            }
            // A message that isn't mandatory is dropped silently.
            None if state.unrouted.contains(&message.routing_key) => {
                Ok(if message.mandatory { Routed::Nowhere } else { Routed::ToQueue })
            }
            None => {
                state.taken.push(message.clone());
                Ok(Routed::ToQueue)
            }
        }
    }
}

#[async_trait]
impl Publish for FakeBroker {
    async fn publish(&self, message: &Outgoing) -> Result<Routed, PublishError> {
        let taking = async {
            tokio::task::yield_now().await;
            if self.lock().stalled.contains(&message.routing_key) {
                std::future::pending::<()>().await;
            }
            self.take(message)
        };
        self.effects.act("publish", taking).await
    }

    async fn restore(&self) {
        // What is gone here comes back by `bind`.
    }
}

/// The settling of one delivery, which [`Self::settled`] returns.
#[derive(Debug)]
pub struct FakeSettle {
    pub effects: Effects,
    pub settled: watch::Sender<Option<Settled>>,
}

impl FakeSettle {
    fn settle(&self, how: Settled) {
        let before = self.settled.send_replace(Some(how));
        assert_eq!(before, None, "a delivery is settled once");
    }
}

#[async_trait]
impl Settle for FakeSettle {
    async fn ack(&self) {
        self.effects.act("ack", async { self.settle(Settled::Acked) }).await;
    }

    async fn requeue(&self) {
        self.effects.act("hand_back", async { self.settle(Settled::HandedBack) }).await;
    }
}
