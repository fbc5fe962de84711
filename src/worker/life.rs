//! The life of a job, acted out: decide in [`crate::job::step`], act here, settle the delivery.
//!
//! An act that others may repeat is given up as soon as the worker stops or loses the connection
//! that brought the job. A POST isn't, nor is the note of what it came to.

mod finishing;
mod first;
mod interrupts;
mod looking;
mod patience;
mod standing;
mod storing;
mod submitting;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::Instrument;

pub use self::interrupts::Interrupts;
use self::storing::Entry;
use super::breaker::{Pass, Sent};
use super::submits::{Place, SlowDown};
use super::{Shared, copies, panics, tell};
use crate::clock;
use crate::job::pace::{Seed, Watch};
use crate::job::request::{self, DeadLetter, DeadReason};
use crate::job::step::{Act, Basis, HandBack, Life, Rules};
use crate::job::{Envelope, Fault, Job, JobId, TaskId};
use crate::ledger::hints::Waiting;
use crate::ledger::slots::Slots;
use crate::queue::consume::{Message, Settle};
use crate::queue::message;

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
        Ok(taken) => {
            let span = tracing::info_span!("job", job_id = %taken.job.id);
            Box::pin(run(shared, Box::new(taken), message, settle, interrupts).instrument(span))
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

/// A job as it was read, without what can be read again.
struct Taken {
    job: Job,
    submission: Result<Submission, Vec<Fault>>,
}

/// The JSON that goes to the provider.
#[derive(Debug)]
enum Submission {
    Ready(Bytes),
    /// It is as long as the message, which is kept anyhow: it is made from that once more when it is time to post.
    InMessage,
    /// It can't be needed any more.
    Gone,
}

/// Longer bodies are not kept beside their message.
const KEPT_MAX: usize = 64 * 1024;

impl Submission {
    fn of(body: Bytes) -> Self {
        if body.len() > KEPT_MAX { Self::InMessage } else { Self::Ready(body) }
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
    let own = shared.settings.names.queues();
    if let Some(queue) = request.job.envelope.reply_to.take_if(|queue| own.contains(&queue.as_str())) {
        tracing::info!(job_id = %request.job.id, queue, "reply_to names a queue of the worker's own, which gets no copy of the event");
    }
    Ok(Taken { job: request.job, submission: request.body.map(Submission::of) })
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
            shared.metrics.handed_back("copy");
            return settle.ack().await;
        }
        Err(why) => return hand_back(shared, settle, why).await,
    };
    if let Some(dead) = shared.panics.quarantined(&id) {
        return Box::pin(bury(shared, &original, &dead, settle, interrupts)).await;
    }
    match panics::caught(acting(shared, *taken, original, interrupts)).await {
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
    taken: Taken,
    original: Box<Message>,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, Result<(), HandBack>> {
    let Taken { job, submission } = taken;
    let settings = &shared.settings;
    let rules = Rules {
        gate: settings.gate,
        quiet: settings.quiet,
        timeout: job.timeout_s.map_or(settings.timeout, Duration::from_secs),
        hold: settings.hold,
        patience: settings.patience,
        receipts: settings.receipts,
        trust_lookup: settings.trust_lookup,
        max_attempts: settings.max_attempts,
        pace: settings.pace,
        learned: shared.learning.schedule(&job),
        seed: Seed::of(&job.id),
    };
    let (submission, faults) = match submission {
        Ok(submission) => (submission, Vec::new()),
        Err(faults) => (Submission::Gone, faults),
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
        submission,
        original,
        life,
        interrupts,
        right: None,
        unanswered: None,
        rests_until: None,
        hints,
        entry,
        slots,
        watch: Watch::default(),
        slow_down: None,
    };
    Box::pin(async move {
        let acted = actor.act().await;
        shared.downloads.forget(&actor.job.id);
        if acted.is_err() {
            if actor.life.tried().is_some() {
                Box::pin(actor.leave()).await;
            }
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
    pass: Pass,
}

/// A life and what it needs to be acted out.
struct Actor<'a> {
    shared: &'a Shared,
    job: Job,
    submission: Submission,
    /// The message as it came, for a dead letter; dropped when it can't be needed any more.
    original: Option<Box<Message>>,
    life: Life,
    interrupts: &'a Interrupts,
    right: Option<Right>,
    /// The POST of this life that had no answer.
    unanswered: Option<Sent>,
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

/// What thousands of jobs do at a time.
enum Wait {
    /// For the time of the next look at the task.
    Task { task: TaskId, at: Duration },
    /// For the right to post.
    Line { attempt: u32, round: u32, basis: Basis },
    /// For the record: after a restart, of every job that was in flight.
    Record,
    /// For a place among those that read receipts.
    Reader,
}

impl Wait {
    /// Any other act is given back.
    fn of(act: Act) -> Result<Self, Box<Act>> {
        if let Act::Poll { task, at } = act {
            Ok(Self::Task { task, at })
        } else if let Act::Begin { attempt, round, basis, cancels: false } = act {
            Ok(Self::Line { attempt, round, basis })
        } else if act == Act::Read {
            Ok(Self::Record)
        } else if act == Act::Recall {
            Ok(Self::Reader)
        } else {
            Err(Box::new(act))
        }
    }
}

impl Actor<'_> {
    /// Until the delivery may be acked.
    ///
    /// A job waits for its task nearly all of the time, and before that in a line, and ten thousand of them do. All other acts need
    /// much more memory than a [`Wait`]; they share one piece of it, up to the next one.
    async fn act(&mut self) -> Result<(), HandBack> {
        loop {
            match Wait::of(self.next()) {
                Ok(Wait::Task { task, at }) => self.poll(task, at).await?,
                Ok(Wait::Line { attempt, round, basis }) => {
                    Box::pin(self.begin(attempt, round, basis)).await?
                }
                Ok(Wait::Record) => self.read().await?,
                Ok(Wait::Reader) => {
                    let _place = self.interrupts.or(self.shared.receipts.reader()).await?;
                    Box::pin(self.recall()).await?
                }
                Err(act) if *act == Act::Ack => return Ok(()),
                Err(act) => Box::pin(self.work(act)).await?,
            }
        }
    }

    fn next(&mut self) -> Act {
        if !self.life.may_post() {
            self.submission = Submission::Gone;
            self.right = None;
        }
        self.life.next(self.shared.clock.now())
    }

    /// This act and all that follow, up to the next wait or the end.
    async fn work(&mut self, act: Box<Act>) -> Result<(), HandBack> {
        let mut act = *act;
        loop {
            match act {
                Act::Poll { .. } | Act::Begin { cancels: false, .. } | Act::Read | Act::Recall | Act::Ack => {
                    return Ok(());
                }
                Act::Restore { over, rebuilt } => self.restore(over, rebuilt).await?,
                Act::ReadAgain => self.read_again().await?,
                Act::Begin { attempt, round, basis, cancels: true } => {
                    self.begin_to_cancel(attempt, round, basis).await?
                }
                Act::Ask { attempt, nonce } => self.ask(attempt, nonce).await?,
                Act::Post if self.must_not_post() => self.life.withheld(),
                Act::Post => self.post().await?,
                Act::Accept { attempt, task } => self.accept(attempt, task).await?,
                Act::NoteTask { attempt, task } => self.note_task(attempt, task).await?,
                Act::Refuse { attempt } => self.refuse(attempt).await?,
                Act::Reopen { attempt, nonce } => self.reopen(attempt, nonce).await?,
                Act::SeeIntent { attempt } => self.see_intent(attempt).await?,
                Act::LookUp => self.look_up().await?,
                Act::LookOn { until } => self.look_on(until).await?,
                Act::NoteFailure { attempt, task, charged } => {
                    self.note_failure(attempt, task, charged).await?
                }
                Act::Follow { attempt, failed } => self.follow(attempt, failed).await?,
                Act::Shut { attempt, cancels } => self.shut(attempt, cancels).await?,
                Act::Park => self.park().await?,
                Act::Enter => self.enter().await?,
                Act::Store { task, images } => self.store(task, images).await?,
                Act::Seal { outcome, corrects } => self.seal(*outcome, corrects).await?,
                Act::Freeze { words, expect } => self.freeze(words, expect).await?,
                Act::Tell { event } => {
                    tell::event(self.shared, &self.job, event, self.interrupts).await?;
                    self.life.told();
                }
                // The record first lives on for ever, then is only remembered: in this order nothing is lost.
                Act::Remember { sealed } => self.remember(sealed).await?,
                Act::Bury { why } => self.bury(why).await?,
                Act::HandBack { why: HandBack::Unreadable } => {
                    self.interrupts.or(tokio::time::sleep(UNREADABLE_PAUSE)).await?;
                    return Err(HandBack::Unreadable);
                }
                Act::HandBack { why } => return Err(why),
            }
            act = self.next();
        }
    }
}
