//! The life of a job: [`crate::job::step`] decides what to do next, and this module does it.
//!
//! An act that other workers may repeat is given up as soon as the worker stops or loses the connection that brought
//! the job. A POST is not given up, nor is the note of its outcome.

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

pub use self::interrupts::Interrupts;
use self::storing::ImageStoring;
use super::breaker::{Pass, Sent};
use super::submits::{SlowDown, SubmitPermit};
use super::{Shared, publish};
use crate::clock;
use crate::job::pace::{Seed, Watch};
use crate::job::step::{Action, BeginPrecondition, Machine, RequeueReason, Rules};
use crate::job::{Envelope, Fault, Job, TaskId};
use crate::ledger::hints::HintListener;
use crate::ledger::slots::Slots;
use crate::queue::consume::Message;

/// A job whose record this worker can't read is requeued after this pause, so that other workers get time for it.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// A parsed job, without the parts that can be parsed again.
pub(super) struct Taken {
    pub(super) job: Job,
    pub(super) submission: Result<Submission, Vec<Fault>>,
}

/// The JSON that goes to the provider.
#[derive(Debug)]
pub(super) enum Submission {
    Ready(Bytes),
    /// The JSON is as long as the message, which is kept anyway. It is made from the message again when it is time to
    /// post.
    InMessage,
    /// The JSON can't be needed any more.
    Gone,
}

/// Longer bodies are not kept beside their message.
const KEPT_MAX: usize = 64 * 1024;

impl Submission {
    pub(super) fn of(body: Bytes) -> Self {
        if body.len() > KEPT_MAX { Self::InMessage } else { Self::Ready(body) }
    }
}

/// The only life of a job in this process; it runs until the delivery may be acknowledged.
pub(super) fn acting<'a>(
    shared: &'a Shared,
    taken: Taken,
    original: Box<Message>,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, Result<(), RequeueReason>> {
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
    let life = Machine::new(rules, job.digest.clone(), faults, queued_ms(&job.envelope))
        .with_sight(shared.lives.kept(&job.id));
    let life = if original.is_first_delivery() { life.delivered_first() } else { life };
    let hints = shared.hints.wait_for(&job.id);
    let original = Some(original);
    let entry = ImageStoring::none();
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

fn queued_ms(envelope: &Envelope) -> Option<u64> {
    let published_ms = i64::try_from(envelope.timestamp_s?).ok()?.checked_mul(1000)?;
    // Two clocks are compared, so a negative difference is the clocks' fault.
    Some(u64::try_from(clock::unix_ms() - published_ms).unwrap_or(0))
}

/// The right to one POST: a submit permit, and the breaker's pass.
struct SubmitRight {
    _place: SubmitPermit,
    pass: Pass,
}

/// A life, and what its acts need.
struct Actor<'a> {
    shared: &'a Shared,
    job: Job,
    submission: Submission,
    /// The message as it came, for a dead letter; dropped when it can't be needed any more.
    original: Option<Box<Message>>,
    life: Machine,
    interrupts: &'a Interrupts,
    right: Option<SubmitRight>,
    /// The POST of this life that got no answer.
    unanswered: Option<Sent>,
    /// Until this time this job posts nothing, though other jobs may.
    rests_until: Option<Instant>,
    hints: HintListener,
    entry: ImageStoring,
    /// How long the task takes.
    watch: Watch,
    /// The slots of the account that the job's task takes.
    slots: Slots,
    /// The slow-down that the other workers don't know of yet.
    slow_down: Option<SlowDown>,
}

/// The waits in which thousands of jobs can be at a time.
enum Wait {
    /// Waits for the time of the task's next poll.
    Task { task: TaskId, at: Duration },
    /// Waits for the right to post.
    Line { attempt: u32, round: u32, basis: BeginPrecondition },
    /// Waits for the record. After a restart, every job that was in flight does so.
    Record,
    /// Waits for a permit to read receipts.
    Reader,
}

impl Wait {
    /// Returns any other action unchanged.
    fn of(act: Action) -> Result<Self, Box<Action>> {
        if let Action::Poll { task, at } = act {
            Ok(Self::Task { task, at })
        } else if let Action::Begin { attempt, round, basis, cancels: false } = act {
            Ok(Self::Line { attempt, round, basis })
        } else if act == Action::Read {
            Ok(Self::Record)
        } else if act == Action::Recall {
            Ok(Self::Reader)
        } else {
            Err(Box::new(act))
        }
    }
}

impl Actor<'_> {
    /// Does one action after another until the delivery may be acknowledged.
    ///
    /// A job spends nearly all of its time waiting for its task, and before that in a line, and ten thousand jobs
    /// wait at a time. All other acts need much more memory than a [`Wait`]. They share one allocation up to the next
    /// wait.
    async fn act(&mut self) -> Result<(), RequeueReason> {
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
                Err(act) if *act == Action::Ack => return Ok(()),
                Err(act) => Box::pin(self.work(act)).await?,
            }
        }
    }

    fn next(&mut self) -> Action {
        if !self.life.may_post() {
            self.submission = Submission::Gone;
            self.right = None;
        }
        self.life.next(self.shared.clock.now())
    }

    /// Does this action and all that follow, up to the next wait or the end.
    async fn work(&mut self, act: Box<Action>) -> Result<(), RequeueReason> {
        let mut act = *act;
        loop {
            match act {
                Action::Poll { .. }
                | Action::Begin { cancels: false, .. }
                | Action::Read
                | Action::Recall
                | Action::Ack => {
                    return Ok(());
                }
                Action::Restore { over, rebuilt } => self.restore(over, rebuilt).await?,
                Action::ReadAgain => self.read_again().await?,
                Action::Begin { attempt, round, basis, cancels: true } => {
                    self.begin_to_cancel(attempt, round, basis).await?
                }
                Action::Ask { attempt, nonce } => self.ask(attempt, nonce).await?,
                Action::Post if self.must_not_post() => self.life.withheld(),
                Action::Post => self.post().await?,
                Action::Accept { attempt, task } => self.accept(attempt, task).await?,
                Action::NoteTask { attempt, task } => self.note_task(attempt, task).await?,
                Action::Refuse { attempt } => self.refuse(attempt).await?,
                Action::Reopen { attempt, nonce } => self.reopen(attempt, nonce).await?,
                Action::SeeIntent { attempt } => self.see_intent(attempt).await?,
                Action::LookUp => self.look_up().await?,
                Action::LookOn { until } => self.look_on(until).await?,
                Action::NoteFailure { attempt, task, charged } => {
                    self.note_failure(attempt, task, charged).await?
                }
                Action::Follow { attempt, failed } => self.follow(attempt, failed).await?,
                Action::Shut { attempt, cancels } => self.shut(attempt, cancels).await?,
                Action::Park => self.park().await?,
                Action::Enter => self.enter().await?,
                Action::Store { task, images } => self.store(task, images).await?,
                Action::Seal { outcome, corrects } => self.seal(*outcome, corrects).await?,
                Action::Freeze { words, expect } => self.freeze(words, expect).await?,
                Action::Publish { event } => {
                    publish::event(self.shared, &self.job, event, self.interrupts).await?;
                    self.life.published();
                }
                // The event is published first, and the record begins to expire only then, so nothing is lost.
                Action::Remember { sealed } => self.remember(sealed).await?,
                Action::DeadLetter { why } => self.dead_letter(why).await?,
                Action::Requeue { why: RequeueReason::Unreadable } => {
                    self.interrupts.or(tokio::time::sleep(UNREADABLE_PAUSE)).await?;
                    return Err(RequeueReason::Unreadable);
                }
                Action::Requeue { why } => return Err(why),
            }
            act = self.next();
        }
    }
}
