//! The processing of one delivery, from its arrival until it is settled: it becomes a job, or a dead letter, the job
//! lives ([`life`](super::life)), and the delivery is acknowledged or requeued.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::Instrument;

use super::life::{Interrupts, Kept, Taken, run_life};
use super::{Shared, copies, panics};
use crate::job::JobId;
use crate::job::request::{self, DeadLetter, DeadReason};
use crate::job::step::RequeueReason;
use crate::metrics::HandedBack;
use crate::queue::consume::{Message, Settle};
use crate::queue::message;

/// This many deliveries are close to the limit at which a broker drops a message (20 by default).
const DELIVERIES_MAX: u64 = 15;
/// A job over which the worker panicked is not tried again at once.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// One delivery, from its arrival until it is settled.
///
/// Ten thousand of these wait, so they keep nothing that only their beginning needs. A variable still takes its place
/// in a future after its value has moved out.
pub fn process<'a>(
    shared: &'a Shared,
    message: Box<Message>,
    settle: &'a dyn Settle,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, ()> {
    if message::deliveries(&message.properties) >= DELIVERIES_MAX {
        return Box::pin(republish(shared, message, settle, interrupts));
    }
    match parsed(shared, &message) {
        Ok(taken) => {
            let span = tracing::info_span!("job", job_id = %taken.job.id);
            Box::pin(run(shared, Box::new(taken), message, settle, interrupts).instrument(span))
        }
        Err(dead) => Box::pin(async move { dead_letter(shared, &message, &dead, settle, interrupts).await }),
    }
}

/// Republishes the message to the tail of its queue, where the broker counts its deliveries anew.
async fn republish(shared: &Shared, message: Box<Message>, settle: &dyn Settle, interrupts: &Interrupts) {
    match shared.publishing.republish(&message, interrupts).await {
        Ok(()) => {
            shared.metrics.handed_back(HandedBack::HandedOn);
            settle.ack().await;
        }
        Err(why) => requeue(shared, settle, why).await,
    }
}

fn parsed(shared: &Shared, message: &Message) -> Result<Taken, DeadLetter> {
    let Message { body, properties, .. } = message;
    if body.len() > shared.settings.message_bytes_max {
        let detail =
            format!("{} bytes; amqp.max_message_bytes is {}", body.len(), shared.settings.message_bytes_max);
        return Err(DeadLetter { reason: DeadReason::TooLarge, detail });
    }
    let mut request = request::parse(body, &message::properties(properties), &shared.settings.request_rules)?;
    if message::drops_tracestate(properties) {
        let most = message::TRACESTATE_MAX;
        tracing::info!(job_id = %request.job.id, "its tracestate is longer than {most} characters and is not carried to its events");
    }
    let own = shared.publishing.names.queues();
    if let Some(queue) = request.job.envelope.reply_to.take_if(|queue| own.contains(&queue.as_str())) {
        tracing::info!(job_id = %request.job.id, queue, "reply_to names a queue of the worker's own, which gets no copy of the event");
    }
    Ok(Taken { job: request.job, submission: request.submission.map(Kept::of) })
}

async fn run(
    shared: &Shared,
    taken: Box<Taken>,
    original: Box<Message>,
    settle: &dyn Settle,
    interrupts: &Interrupts,
) {
    let id = taken.job.id.clone();
    let alone = match Box::pin(copies::enter(shared, &id, &original, interrupts)).await {
        Ok(Some(alone)) => alone,
        Ok(None) => {
            shared.metrics.handed_back(HandedBack::Copy);
            return settle.ack().await;
        }
        Err(why) => return requeue(shared, settle, why).await,
    };
    if let Some(dead) = shared.panics.quarantined(&id) {
        return Box::pin(dead_letter(shared, &original, &dead, settle, interrupts)).await;
    }
    match panics::caught(run_life(shared, *taken, original, interrupts)).await {
        Ok(Ok(())) => {
            shared.panics.forget(&id);
            settle.ack().await;
        }
        Ok(Err(why)) => requeue(shared, settle, why).await,
        Err(panic) => Box::pin(panicked(shared, &id, panic, settle, interrupts)).await,
    }
    drop(alone);
}

/// Publishes a dead letter until it is confirmed, and acknowledges the delivery.
async fn dead_letter(
    shared: &Shared,
    original: &Message,
    dead: &DeadLetter,
    settle: &dyn Settle,
    interrupts: &Interrupts,
) {
    tracing::warn!(reason = dead.reason.as_str(), "dead letter: {}", dead.detail);
    match shared.publishing.dead_letter(original, dead, interrupts).await {
        Ok(()) => settle.ack().await,
        Err(why) => requeue(shared, settle, why).await,
    }
}

async fn panicked(shared: &Shared, job: &JobId, panic: String, settle: &dyn Settle, interrupts: &Interrupts) {
    shared.metrics.job_panicked();
    shared.metrics.handed_back(HandedBack::Panicked);
    let times = shared.panics.note(job, panic.clone());
    tracing::error!(times, "a job's life panicked; the job goes back to the queue: {panic}");
    if let Err(RequeueReason::Disconnected) = interrupts.or(tokio::time::sleep(AFTER_PANIC)).await {
        return;
    }
    settle.requeue().await;
}

async fn requeue(shared: &Shared, settle: &dyn Settle, why: RequeueReason) {
    shared.metrics.requeued(why);
    match why {
        // The broker has requeued it itself.
        RequeueReason::Disconnected => {}
        RequeueReason::Paused
        | RequeueReason::Unreadable
        | RequeueReason::UnknownRoute
        | RequeueReason::NeedsMessage
        | RequeueReason::Stopping
        | RequeueReason::HeldLong => settle.requeue().await,
    }
}
