//! The life of a job, acted out: decide in [`crate::job::step`], act here, settle the delivery.
//!
//! An act that others may repeat is given up as soon as the worker stops or loses the connection
//! that brought the job. A POST isn't, nor is the note of what it came to.

mod finishing;
mod looking;
mod patience;
mod standing;
mod storing;
mod submitting;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::storing::Entry;
use super::breaker::Pass;
use super::submits::{Place, SlowDown};
use super::{Shared, copies, panics, tell};
use crate::clock;
use crate::job::pace::{Seed, Watch};
use crate::job::request::{self, DeadLetter, DeadReason, Request};
use crate::job::step::{Act, HandBack, Life, Rules};
use crate::job::{Envelope, Job, JobId};
use crate::ledger::hints::Waiting;
use crate::ledger::slots::Slots;
use crate::queue::consume::{Message, Settle};
use crate::queue::message;

/// What ends a life before its end.
#[derive(Debug, Clone)]
pub struct Interrupts {
    /// The worker stops.
    pub stop: CancellationToken,
    /// The connection that brought the delivery is gone.
    pub lost: CancellationToken,
    /// The delivery has been held for as long as the broker can be expected to bear.
    pub held_until: Instant,
}

impl Interrupts {
    /// The first of them.
    pub async fn any(&self) -> HandBack {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => HandBack::Disconnected,
            () = self.stop.cancelled() => HandBack::Stopping,
            () = tokio::time::sleep_until(self.held_until) => HandBack::HeldLong,
        }
    }

    /// Lets `future` run until an interrupt.
    ///
    /// # Errors
    ///
    /// The interrupt; what the future was doing may or may not have happened.
    pub fn or<T>(&self, future: impl Future<Output = T>) -> impl Future<Output = Result<T, HandBack>> {
        // Boxed: a future that is passed on by value lies in the caller's twice for as long as it runs.
        let mut future = Box::pin(future);
        async move {
            tokio::select! {
                biased;
                why = self.any() => Err(why),
                value = &mut future => Ok(value),
            }
        }
    }
}

/// So many deliveries are near the limit at which a broker gives a message up (20 by default).
const DELIVERIES_MAX: u64 = 15;
/// A record that this worker can't read is left to others for a moment before the job goes back.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// A job over which the worker panicked is not tried again at once.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// One delivery, from its arrival to its settling.
///
/// Ten thousand of these wait, so nothing is kept in them that only their beginning needs: what a future has moved out of a
/// variable still takes its place.
pub fn live<'a>(
    shared: &'a Shared,
    message: Box<Message>,
    settle: &'a dyn Settle,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, ()> {
    if message::deliveries(&message.properties) >= DELIVERIES_MAX {
        return Box::pin(hand_on(shared, message, settle, interrupts));
    }
    match parsed(shared, &message) {
        Ok(request) => {
            let span = tracing::info_span!("job", job_id = %request.job.id);
            Box::pin(run(shared, Box::new(request), message, settle, interrupts).instrument(span))
        }
        Err(dead) => Box::pin(async move { bury(shared, &message, &dead, settle, interrupts).await }),
    }
}

/// To the tail of its queue, where the broker counts its deliveries anew.
async fn hand_on(shared: &Shared, message: Box<Message>, settle: &dyn Settle, interrupts: &Interrupts) {
    match tell::hand_on(shared, &message, interrupts).await {
        Ok(()) => {
            shared.metrics.handed_back("handed_on");
            settle.ack().await;
        }
        Err(why) => hand_back(shared, settle, why).await,
    }
}

fn parsed(shared: &Shared, message: &Message) -> Result<Request, DeadLetter> {
    let Message { body, properties, .. } = message;
    if body.len() > shared.settings.message_bytes_max {
        let detail =
            format!("{} bytes; amqp.max_message_bytes is {}", body.len(), shared.settings.message_bytes_max);
        return Err(DeadLetter { reason: DeadReason::TooLarge, detail });
    }
    request::parse(body, &message::properties(properties), &shared.settings.request_rules)
}

async fn run(
    shared: &Shared,
    request: Box<Request>,
    original: Box<Message>,
    settle: &dyn Settle,
    interrupts: &Interrupts,
) {
    let id = request.job.id.clone();
    let alone = match Box::pin(copies::enter(shared, &id, &original, interrupts)).await {
        Ok(Some(alone)) => alone,
        Ok(None) => {
            shared.metrics.handed_back("copy");
            return settle.ack().await;
        }
        Err(why) => return hand_back(shared, settle, why).await,
    };
    if let Some(dead) = shared.panics.quarantined(&id) {
        return Box::pin(bury(shared, &original, &dead, settle, interrupts)).await;
    }
    match panics::caught(acting(shared, *request, original, interrupts)).await {
        Ok(Ok(())) => {
            shared.panics.forget(&id);
            settle.ack().await;
        }
        Ok(Err(why)) => hand_back(shared, settle, why).await,
        Err(panic) => Box::pin(panicked(shared, &id, panic, settle, interrupts)).await,
    }
    drop(alone);
}

/// The only life of a job here, acted out until the delivery may be acked.
fn acting<'a>(
    shared: &'a Shared,
    request: Request,
    original: Box<Message>,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, Result<(), HandBack>> {
    let Request { job, body } = request;
    let settings = &shared.settings;
    let rules = Rules {
        gate: settings.gate,
        quiet: settings.quiet,
        timeout: job.timeout_s.map_or(settings.timeout, Duration::from_secs),
        hold: settings.hold,
        receipts: settings.receipts,
        trust_lookup: settings.trust_lookup,
        max_attempts: settings.max_attempts,
        pace: settings.pace,
        learned: shared.learning.schedule(&job),
        seed: Seed::of(&job.id),
    };
    let (body, faults) = match body {
        Ok(body) => (Some(body), Vec::new()),
        Err(faults) => (None, faults),
    };
    let slots = Slots { count: job.images, keep: rules.timeout + rules.quiet + rules.gate };
    let life = Life::new(rules, job.digest.clone(), faults, queued_ms(&job.envelope))
        .with_sight(shared.lives.kept(&job.id));
    let life = if original.is_first_delivery() { life.delivered_first() } else { life };
    let hints = shared.hints.wait_for(&job.id);
    let original = Some(original);
    let entry = Entry::none();
    let mut actor = Actor {
        shared,
        job,
        body,
        original,
        life,
        interrupts,
        right: None,
        rests_until: None,
        hints,
        entry,
        slots,
        watch: Watch::default(),
        slow_down: None,
    };
    Box::pin(async move {
        let acted = actor.act().await;
        if acted.is_err() {
            shared.lives.keep(&actor.job.id, actor.life.sight());
        }
        acted
    })
}

/// Until the dead letter is confirmed, and the delivery acked.
async fn bury(
    shared: &Shared,
    original: &Message,
    dead: &DeadLetter,
    settle: &dyn Settle,
    interrupts: &Interrupts,
) {
    tracing::warn!(reason = dead.reason.as_str(), "dead letter: {}", dead.detail);
    match tell::bury(shared, original, dead, interrupts).await {
        Ok(()) => settle.ack().await,
        Err(why) => hand_back(shared, settle, why).await,
    }
}

async fn panicked(shared: &Shared, job: &JobId, panic: String, settle: &dyn Settle, interrupts: &Interrupts) {
    shared.metrics.job_panicked();
    shared.metrics.handed_back("panicked");
    let times = shared.panics.note(job, panic.clone());
    tracing::error!(times, "a job's life panicked; the job goes back to the queue: {panic}");
    if let Err(HandBack::Disconnected) = interrupts.or(tokio::time::sleep(AFTER_PANIC)).await {
        return;
    }
    settle.hand_back().await;
}

async fn hand_back(shared: &Shared, settle: &dyn Settle, why: HandBack) {
    shared.metrics.handed_back(why.as_str());
    match why {
        // The broker has done it itself.
        HandBack::Disconnected => {}
        HandBack::Paused
        | HandBack::Unreadable
        | HandBack::NeedsMessage
        | HandBack::Stopping
        | HandBack::HeldLong => settle.hand_back().await,
    }
}

fn queued_ms(envelope: &Envelope) -> Option<u64> {
    let published_ms = i64::try_from(envelope.timestamp_s?).ok()?.checked_mul(1000)?;
    // Two clocks are compared: a negative difference is theirs, not ours.
    Some(u64::try_from(clock::unix_ms() - published_ms).unwrap_or(0))
}

/// The right to one POST: a place in the line, and the breaker's pass.
struct Right {
    _place: Place,
    _pass: Pass,
}

/// A life and what it needs to be acted out.
struct Actor<'a> {
    shared: &'a Shared,
    job: Job,
    /// What goes to the provider; dropped once it can't be needed any more.
    body: Option<Bytes>,
    /// The message as it came, for a dead letter; dropped with it.
    original: Option<Box<Message>>,
    life: Life,
    interrupts: &'a Interrupts,
    right: Option<Right>,
    /// Until then this job posts nothing, though others may.
    rests_until: Option<Instant>,
    hints: Waiting,
    entry: Entry,
    /// How long the task takes.
    watch: Watch,
    /// What its task takes of the account.
    slots: Slots,
    /// What the other workers are still to be told.
    slow_down: Option<SlowDown>,
}

impl Actor<'_> {
    /// Until the delivery may be acked.
    ///
    /// A job waits in [`Actor::poll`] for nearly all of its time. Acts that need much more memory than that are boxed: a future
    /// is as large as its largest part, and ten thousand of them wait.
    async fn act(&mut self) -> Result<(), HandBack> {
        loop {
            if !self.life.may_post() {
                self.body = None;
                self.right = None;
            }
            match self.life.next(self.shared.clock.now()) {
                Act::Read => self.read().await?,
                Act::Recall => {
                    let _place = self.interrupts.or(self.shared.receipts.reader()).await?;
                    Box::pin(self.recall()).await?;
                }
                Act::Restore { over, rebuilt } => Box::pin(self.restore(over, rebuilt)).await?,
                Act::ReadAgain => Box::pin(self.read_again()).await?,
                Act::Begin { attempt, round, basis, cancels: false } => {
                    Box::pin(self.begin(attempt, round, basis)).await?
                }
                Act::Begin { attempt, round, basis, cancels: true } => {
                    Box::pin(self.begin_to_cancel(attempt, round, basis)).await?
                }
                Act::Ask { attempt, nonce } => Box::pin(self.ask(attempt, nonce)).await?,
                Act::Post if self.must_not_post() => self.life.withheld(),
                Act::Post => Box::pin(self.post()).await?,
                Act::Accept { attempt, task } => Box::pin(self.accept(attempt, task)).await?,
                Act::NoteTask { attempt, task } => Box::pin(self.note_task(attempt, task)).await?,
                Act::Refuse { attempt } => Box::pin(self.refuse(attempt)).await?,
                Act::Reopen { attempt, nonce } => self.reopen(attempt, nonce).await?,
                Act::SeeIntent { attempt } => Box::pin(self.see_intent(attempt)).await?,
                Act::LookUp => Box::pin(self.look_up()).await?,
                Act::LookOn { until } => self.look_on(until).await?,
                Act::NoteFailure { attempt, task, charged } => {
                    Box::pin(self.note_failure(attempt, task, charged)).await?
                }
                Act::Follow { attempt, failed } => Box::pin(self.follow(attempt, failed)).await?,
                Act::Shut { attempt, cancels } => Box::pin(self.shut(attempt, cancels)).await?,
                Act::Park => Box::pin(self.park()).await?,
                Act::Poll { task, at } => self.poll(task, at).await?,
                Act::Enter => Box::pin(self.enter()).await?,
                Act::Store { task, images } => Box::pin(self.store(task, images)).await?,
                Act::Seal { outcome, corrects } => Box::pin(self.seal(*outcome, corrects)).await?,
                Act::Freeze { words, expect } => Box::pin(self.freeze(words, expect)).await?,
                Act::Tell { event } => {
                    Box::pin(tell::event(self.shared, &self.job, event, self.interrupts)).await?;
                    self.life.told();
                }
                // The record first lives on for ever, then is only remembered: in this order nothing is lost.
                Act::Remember { sealed } => Box::pin(self.remember(sealed)).await?,
                Act::Bury { why } => Box::pin(self.bury(why)).await?,
                Act::Ack => return Ok(()),
                Act::HandBack { why: HandBack::Unreadable } => {
                    self.interrupts.or(tokio::time::sleep(UNREADABLE_PAUSE)).await?;
                    return Err(HandBack::Unreadable);
                }
                Act::HandBack { why } => return Err(why),
            }
        }
    }
}
