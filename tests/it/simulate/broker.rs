//! RabbitMQ: one queue of jobs, the sessions that take from it, and everything that was ever published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::queue::consume::{Message, Settle};
use comet_worker::queue::publish::{Outgoing, Publish, PublishError, Routed};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::net::{Link, latency, pause};

/// A consumer that is cut off gets no deliveries, and tries again after this.
const CUT_OFF_FOR: Duration = Duration::from_millis(500);

/// The broker of all processes.
#[derive(Debug, Default)]
pub struct SharedBroker {
    state: Mutex<State>,
    /// Signals that the queue has a message.
    ready: Notify,
    /// The safeguard is removed: events are confirmed although no queue has them.
    confirms_always: bool,
}

#[derive(Debug, Default)]
struct State {
    /// By its number.
    queue: BTreeMap<u64, Copy>,
    with: BTreeMap<u64, (Consumer, Copy)>,
    sessions: BTreeSet<u64>,
    last_number: u64,
    taken: Vec<Outgoing>,
}

/// One message in the queue.
#[derive(Debug, Clone)]
struct Copy {
    message: Message,
    deliveries: i64,
}

/// One consumer of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    pub session: u64,
    pub number: u32,
}

impl SharedBroker {
    pub fn new(confirms_always: bool) -> Self {
        Self { confirms_always, ..Self::default() }
    }

    /// A job's message comes into the queue.
    pub fn enqueue(&self, message: Message) {
        let mut state = self.lock();
        state.last_number += 1;
        let number = state.last_number;
        state.queue.insert(number, Copy { message, deliveries: 0 });
        drop(state);
        self.ready.notify_waiters();
    }

    pub fn open(&self) -> u64 {
        let mut state = self.lock();
        state.last_number += 1;
        let session = state.last_number;
        state.sessions.insert(session);
        session
    }

    /// Requeues everything that this session holds.
    pub fn close(&self, session: u64) {
        let mut state = self.lock();
        state.sessions.remove(&session);
        let held = state.with.iter().filter(|(_, (consumer, _))| consumer.session == session);
        let numbers: Vec<_> = held.map(|(number, _)| *number).collect();
        for number in numbers {
            state.give_back(number);
        }
        drop(state);
        self.ready.notify_waiters();
    }

    /// The next delivery for a consumer that takes this many at once.
    pub async fn next(&self, link: &Link, consumer: Consumer, at_once: usize) -> (u64, Message) {
        loop {
            let mut ready = std::pin::pin!(self.ready.notified());
            ready.as_mut().enable();
            let mut dice = link.dice("take", "");
            pause(latency(&mut dice)).await;
            if link.is_cut() {
                sleep(CUT_OFF_FOR).await;
                continue;
            }
            let taken = self.lock().take(consumer, at_once, dice.u64(..));
            if let Some((number, message)) = taken {
                let about = message.properties.message_id().as_ref().map_or("", |id| id.as_str());
                link.net.note(link.process, "delivery", format!("{number} {about}"));
                return (number, message);
            }
            ready.await;
        }
    }

    /// Whether the queue is empty and no consumer holds a message.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.with.is_empty()
    }

    /// Everything that a queue has taken, in order, except jobs.
    pub fn taken(&self) -> Vec<Outgoing> {
        self.lock().taken.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn publish(&self, message: &Outgoing) {
        if message.exchange.is_empty() && message.routing_key == "comet.jobs" {
            self.enqueue(Message {
                body: message.body.clone(),
                properties: message.properties.clone(),
                redelivered: false,
            });
        } else if !self.confirms_always {
            self.lock().taken.push(message.clone());
        }
    }

    /// It has no effect if the session is gone, because the broker has given the message to another consumer.
    fn settle(&self, number: u64, session: u64, acked: bool) {
        let mut state = self.lock();
        let held = state.with.get(&number).is_some_and(|(consumer, _)| consumer.session == session);
        if held && acked {
            state.with.remove(&number);
            // A place is free.
            self.ready.notify_waiters();
        } else if held {
            state.give_back(number);
            self.ready.notify_waiters();
        }
    }
}

impl State {
    fn take(&mut self, consumer: Consumer, at_once: usize, draw: u64) -> Option<(u64, Message)> {
        let held = self.with.values().filter(|(holder, _)| *holder == consumer).count();
        if held >= at_once || self.queue.is_empty() || !self.sessions.contains(&consumer.session) {
            return None;
        }
        let index = usize::try_from(draw % self.queue.len() as u64).unwrap();
        let number = *self.queue.keys().nth(index).unwrap();
        let copy = self.queue.remove(&number).unwrap();
        let mut message = copy.message.clone();
        message.properties = counted(&message.properties, copy.deliveries);
        self.with.insert(number, (consumer, copy));
        Some((number, message))
    }

    fn give_back(&mut self, number: u64) {
        if let Some((_, mut copy)) = self.with.remove(&number) {
            copy.deliveries += 1;
            self.queue.insert(number, copy);
        }
    }
}

/// Counts deliveries as a quorum queue does.
fn counted(properties: &BasicProperties, deliveries: i64) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(deliveries));
    properties.clone().with_headers(headers)
}

/// How one process publishes.
pub struct LinkedPublisher {
    pub link: Link,
    pub broker: Arc<SharedBroker>,
}

#[async_trait]
impl Publish for LinkedPublisher {
    async fn publish(&self, message: &Outgoing) -> Result<Routed, PublishError> {
        let (broker, owned) = (Arc::clone(&self.broker), message.clone());
        let id = message.properties.message_id().as_ref().map_or("", |id| id.as_str());
        // The hash in the id of an invalid job's event includes the wall clock, which no seed repeats.
        let id = id.rsplit_once("/failed/").map_or(id, |(job, _)| job);
        let about = format!("{} {id}", message.routing_key);
        let publishing = async move { broker.publish(&owned) };
        match self.link.call("publish", &about, publishing).await {
            Ok(()) => Ok(Routed::ToQueue),
            Err(_) => Err(PublishError::Failed("no confirm".to_owned())),
        }
    }

    async fn restore(&self) {}
}

/// One delivery's settling.
pub struct LinkedSettle {
    pub link: Link,
    pub broker: Arc<SharedBroker>,
    pub number: u64,
    pub session: u64,
}

impl LinkedSettle {
    async fn settle(&self, acked: bool) {
        let what = if acked { "ack" } else { "hand back" };
        pause(latency(&mut self.link.dice(what, &self.number.to_string()))).await;
        if !self.link.is_cut() {
            self.link.net.note(self.link.process, what, self.number.to_string());
            self.broker.settle(self.number, self.session, acked);
        }
    }
}

#[async_trait]
impl Settle for LinkedSettle {
    async fn ack(&self) {
        self.settle(true).await;
    }

    async fn requeue(&self) {
        self.settle(false).await;
    }
}
