//! Publishes the end of a job: its event, the copy to `reply_to`, and dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::life::Interrupts;
use super::standstills::Standstills;
use crate::clock;
use crate::job::Job;
use crate::job::event::{Event, rfc_3339};
use crate::job::pace::{Seed, backoff};
use crate::job::request::DeadLetter;
use crate::job::step::RequeueReason;
use crate::metrics::Metrics;
use crate::metrics::Standstill;
use crate::queue;
use crate::queue::consume::Message;
use crate::queue::message::{dead_properties, event_properties, handed_on_properties};
use crate::queue::publish::{Outgoing, Publish, PublishError, Routed};
use crate::queue::topology::Names;

/// A publish that is under way when the worker stops gets this much time, so that its confirm isn't lost and the
/// event isn't published twice.
const LAST_CONFIRM: Duration = Duration::from_secs(2);

/// The way out for events and dead letters.
#[derive(Clone)]
pub struct Publishing {
    pub publisher: Arc<dyn Publish>,
    pub names: Names,
    pub standstills: Standstills,
    pub metrics: Metrics,
}

impl Publishing {
    /// Publishes the frozen bytes of a terminal event, unchanged, until they are confirmed.
    ///
    /// # Errors
    ///
    /// The interrupt; the event may have been published, and the next worker with the job publishes it again.
    pub async fn event(&self, job: &Job, body: Bytes, interrupts: &Interrupts) -> Result<(), RequeueReason> {
        let Some(event) = Event::from_stored(body) else {
            // Only our workers write it, so the record is damaged; the next reader can't read it either.
            tracing::error!("the stored event can't be read back; the job stays in the queue");
            return Err(RequeueReason::Unreadable);
        };
        let message = self.outgoing(job, &event, true);
        match self.confirmed(&message, interrupts).await? {
            Routed::ToQueue => {}
            Routed::Nowhere => {
                static WARNED: AtomicBool = AtomicBool::new(false);
                self.metrics.event_unrouted();
                let names = &self.names;
                if !WARNED.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        exchange = names.events,
                        routing_key = event.kind.routing_key(),
                        kept_in = names.unrouted,
                        "no queue takes this event; bind one to the exchange (said once, counted always)"
                    );
                }
                let kept =
                    Outgoing { exchange: String::new(), routing_key: names.unrouted.clone(), ..message };
                self.to_queue(&kept, interrupts).await?;
            }
        }
        self.metrics.event_published(event.kind);
        if let Some(reply_to) = &job.envelope.reply_to {
            let copy = Outgoing {
                exchange: String::new(),
                routing_key: reply_to.clone(),
                mandatory: false,
                ..self.outgoing(job, &event, false)
            };
            // If the reply queue or its broker is gone, nothing waits for it: the event itself is published.
            if let Err(error) = interrupts.or(self.publisher.publish(&copy)).await? {
                tracing::debug!(reply_to, "the copy of the event was not confirmed: {error}");
            }
        }
        Ok(())
    }

    /// Publishes an event without waiting for its confirm.
    pub fn unawaited(&self, job: &Job, event: Event) {
        let message = self.outgoing(job, &event, false);
        let (publisher, metrics) = (self.publisher.clone(), self.metrics.clone());
        tokio::spawn(async move {
            match publisher.publish(&message).await {
                Ok(_) => metrics.event_published(event.kind),
                Err(error) => tracing::debug!(
                    "an event that is published once, and not waited for, was not confirmed: {error}"
                ),
            }
        });
    }

    /// Publishes a dead letter with its reason until it is confirmed.
    ///
    /// # Errors
    ///
    /// The interrupt; the message stays in its queue.
    pub async fn dead_letter(
        &self,
        original: &Message,
        dead: &DeadLetter,
        interrupts: &Interrupts,
    ) -> Result<(), RequeueReason> {
        let message = Outgoing {
            exchange: String::new(),
            routing_key: self.names.dead.clone(),
            mandatory: true,
            properties: dead_properties(
                &original.properties,
                dead.reason.as_str(),
                &dead.detail,
                &rfc_3339(clock::unix_ms()),
            ),
            body: original.body.clone(),
        };
        self.to_queue(&message, interrupts).await?;
        self.metrics.dead_letter(dead.reason);
        Ok(())
    }

    /// Republishes a message to the tail of its own queue until the publish is confirmed. This is for a message close to
    /// the broker's delivery limit (20 by default from RabbitMQ 4.0 on), which would be taken for poison although it was
    /// only waiting, and for a copy that would wait in the place of another job.
    ///
    /// # Errors
    ///
    /// The interrupt; the message stays where it is.
    pub async fn republish(&self, original: &Message, interrupts: &Interrupts) -> Result<(), RequeueReason> {
        let message = Outgoing {
            exchange: String::new(),
            routing_key: self.names.jobs.clone(),
            mandatory: true,
            properties: handed_on_properties(&original.properties),
            body: original.body.clone(),
        };
        self.to_queue(&message, interrupts).await
    }

    fn outgoing(&self, job: &Job, event: &Event, mandatory: bool) -> Outgoing {
        Outgoing {
            exchange: self.names.events.clone(),
            routing_key: event.kind.routing_key().to_owned(),
            mandatory,
            properties: event_properties(job, &event.id, event.kind.event_type()),
            body: event.body.clone(),
        }
    }

    /// Publishes to one of our own queues, and declares the queue again if it was deleted.
    async fn to_queue(&self, message: &Outgoing, interrupts: &Interrupts) -> Result<(), RequeueReason> {
        let mut failures = 0;
        while self.confirmed(message, interrupts).await? == Routed::Nowhere {
            failures += 1;
            tracing::warn!(queue = message.routing_key, "the queue is gone; the job waits for it");
            self.publisher.restore().await;
            let wait = backoff(
                failures,
                Duration::from_millis(100),
                Duration::from_secs(5),
                Seed::from_text("publish"),
            );
            interrupts.or(tokio::time::sleep(wait)).await?;
        }
        Ok(())
    }

    async fn confirmed(&self, message: &Outgoing, interrupts: &Interrupts) -> Result<Routed, RequeueReason> {
        let unconfirmed = "RabbitMQ has not confirmed a message yet";
        let waiting = self.standstills.wait(Standstill::Publishing, unconfirmed, ALARMS);
        let mut failures = 0;
        loop {
            match self.once(message, interrupts).await? {
                Ok(routed) => {
                    self.standstills.confirmed();
                    return Ok(routed);
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::debug!("publishing again: {error}");
                    }
                    if let PublishError::NoExchange(exchange) = &error {
                        tracing::warn!(exchange, "the exchange is gone; the event waits for it");
                        self.publisher.restore().await;
                    }
                    waiting.because(error.to_string(), remedy(&error));
                    interrupts.or(tokio::time::sleep(pause(&error, failures))).await?;
                }
            }
        }
    }

    /// Publishes once; an interrupt gives it [`LAST_CONFIRM`] more.
    async fn once(
        &self,
        message: &Outgoing,
        interrupts: &Interrupts,
    ) -> Result<Result<Routed, PublishError>, RequeueReason> {
        let patience = async {
            let why = interrupts.any().await;
            tokio::time::sleep(LAST_CONFIRM).await;
            why
        };
        tokio::select! {
            biased;
            result = self.publisher.publish(message) => Ok(result),
            why = patience => Err(why),
        }
    }
}

const ALARMS: &str = "look at RabbitMQ's alarms (memory, disk) and at amqp.url";

/// What a person can do about the error.
fn remedy(error: &PublishError) -> String {
    match error {
        PublishError::Connect(_) | PublishError::Failed(_) => queue::REMEDY.to_owned(),
        PublishError::NotConfirmed(_) => ALARMS.to_owned(),
        PublishError::Refused(_) => {
            "make room in the bound queue that is full (x-max-length with x-overflow = reject-publish), raise its \
             limit, or unbind it"
                .to_owned()
        }
        PublishError::Forbidden(exchange) => {
            let resource = if exchange.is_empty() { "amq.default (the default exchange)" } else { exchange };
            format!("give the user of amqp.url the write right on {resource}")
        }
        PublishError::NoExchange(_) => "make the exchange, or set amqp.declare = true".to_owned(),
    }
}

/// The pause before the next try. Each repetition of a refused message also goes to all its other queues, so such
/// repetitions come at growing intervals. Any other trouble may pass at any moment.
fn pause(error: &PublishError, failures: u32) -> Duration {
    let (first, last) = match error {
        PublishError::Refused(_) | PublishError::Forbidden(_) => {
            (Duration::from_secs(1), Duration::from_secs(300))
        }
        PublishError::Connect(_)
        | PublishError::Failed(_)
        | PublishError::NoExchange(_)
        | PublishError::NotConfirmed(_) => (Duration::from_millis(100), Duration::from_secs(5)),
    };
    backoff(failures, first, last, Seed::from_text("publish"))
}
