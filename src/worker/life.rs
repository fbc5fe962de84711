//! The life of a job: [`crate::job::step`] decides what to do next, and this module does it. Its files have the names
//! of the groups of actions there; `line` is the wait for the right to post.
//!
//! An action that other workers may repeat is given up as soon as the worker stops or loses the connection that
//! brought the job. A POST is not given up, nor is the note of its outcome.

mod download;
mod end;
mod generate;
mod interrupts;
mod line;
mod open;
mod record;
mod retry;
mod store;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::interrupts::Interrupts;
use self::store::FileStoring;
use super::Shared;
use super::breaker::{Pass, Sent};
use super::held_jobs::HeldJobEntry;
use super::submits::{SlowDown, SubmitPermit};
use crate::clock;
use crate::job::pace::{Seed, Watch};
use crate::job::route::Route;
use crate::job::step::{Action, Delivered, Input, Machine, RequeueReason, Rules, Stored};
use crate::job::submission::Submission;
use crate::job::{Envelope, Fault, Job};
use crate::ledger::hints::HintListener;
use crate::ledger::slots::Slots;
use crate::queue::consume::Message;
use crate::traces::LifeTrace;

/// A parsed job, without the parts that can be parsed again.
pub(super) struct Taken {
    pub(super) job: Job,
    pub(super) submission: Result<Kept, Vec<Fault>>,
}

/// Where the submission is until it is posted.
#[derive(Debug)]
pub(super) enum Kept {
    Ready(Submission),
    /// It is as long as the message, which is kept anyway. It is made from the message again when it is time to post.
    InMessage,
    /// It can't be needed any more.
    Gone,
}

/// Longer submissions are not kept beside their message.
const KEPT_MAX: usize = 64 * 1024;

impl Kept {
    pub(super) fn of(submission: Submission) -> Self {
        if submission.size() > KEPT_MAX { Self::InMessage } else { Self::Ready(submission) }
    }
}

/// Runs the only life of a job in this process, until the delivery may be acknowledged.
pub(super) fn run_life<'a>(
    shared: &'a Shared,
    taken: Taken,
    original: Box<Message>,
    interrupts: &'a Interrupts,
) -> BoxFuture<'a, Result<(), RequeueReason>> {
    let Taken { job, submission } = taken;
    let settings = &shared.settings;
    let timeout = job.timeout_s.map_or(settings.rules.timeout, Duration::from_secs);
    let rules = Rules { timeout, ..settings.rules };
    let (submission, faults) = match submission {
        Ok(submission) => (submission, Vec::new()),
        Err(faults) => (Kept::Gone, faults),
    };
    let slots = Slots { count: job.slots, keep: rules.timeout + rules.quiet + rules.gate };
    let delivered = Delivered {
        digest: job.digest.clone(),
        route: job.route.as_ref().map(|route| route.name.clone()),
        faults,
        queued_ms: queued_ms(&job.envelope),
        learned: shared.learning.schedule(&job),
        seed: Seed::of(&job.id),
    };
    let machine = Machine::new(rules, delivered).with_intent_seen(shared.lives.kept(&job.id));
    let machine = if original.is_first_delivery() { machine.delivered_first() } else { machine };
    let queue = &shared.publishing.names.jobs;
    let trace = shared.traces.life(&job, queue, queued_ms(&job.envelope), !original.is_first_delivery());
    let hints = shared.hints.wait_for(&job.id);
    let original = Some(original);
    let storing = FileStoring::none();
    let held = shared.held_jobs.enter(&job.id);
    let mut actor = Actor {
        shared,
        job,
        submission,
        original,
        machine,
        interrupts,
        right: None,
        unanswered: None,
        no_post_before: None,
        hints,
        storing,
        slots,
        published: None,
        held,
        watch: Watch::default(),
        slow_down: None,
        trace,
    };
    Box::pin(async move {
        let acted = actor.act().await;
        shared.downloads.forget(&actor.job.id);
        if acted.is_err() {
            if actor.machine.tried().is_some() {
                Box::pin(actor.leave()).await;
            }
            shared.lives.keep(&actor.job.id, actor.machine.intent_seen());
        }
        actor.trace.end(acted.as_ref().err().map(|why| why.as_str()));
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

/// One life: the machine that decides, and what its actions need.
struct Actor<'a> {
    shared: &'a Shared,
    job: Job,
    submission: Kept,
    /// The message as it came, for a dead letter; dropped when it can't be needed any more.
    original: Option<Box<Message>>,
    machine: Machine,
    interrupts: &'a Interrupts,
    right: Option<SubmitRight>,
    /// The POST of this life that got no answer.
    unanswered: Option<Sent>,
    /// Until this time this job posts nothing, though other jobs may.
    no_post_before: Option<Duration>,
    hints: HintListener,
    storing: FileStoring,
    /// The terminal event that was published last.
    published: Option<Bytes>,
    /// What the job is at, for people.
    held: HeldJobEntry,
    /// How long the task takes.
    watch: Watch,
    /// The slots of the account that the job's task takes.
    slots: Slots,
    /// A slow-down that is still to be written into Redis.
    slow_down: Option<SlowDown>,
    trace: LifeTrace,
}

impl Actor<'_> {
    /// Performs one action after another until the delivery may be acknowledged.
    ///
    /// A job spends nearly all of its time waiting for its task, and before that in a line, and ten thousand jobs
    /// wait at a time. So the futures of these waits are small; all other actions, which need much more memory, have
    /// an allocation of their own.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`perform` has every other action")]
    async fn act(&mut self) -> Result<(), RequeueReason> {
        loop {
            if !self.machine.action().may_lead_to_post() {
                self.submission = Kept::Gone;
                self.right = None;
            }
            self.trace.starts(self.machine.action());
            let input = match self.machine.action() {
                Action::Poll(generation) => {
                    let (task, at) = (generation.task().clone(), generation.next_poll());
                    self.poll(task, at).await?
                }
                Action::AskToPost { attempt, round, basis, cancels: false } => {
                    let (attempt, round, basis) = (*attempt, *round, basis.clone());
                    Some(Box::pin(self.begin(attempt, round, basis)).await?)
                }
                Action::Read { .. } => Some(self.read().await?),
                Action::ReadReceipts { why } => {
                    let why = why.clone();
                    let _permit = self.interrupts.or(self.shared.receipts.reader()).await?;
                    Some(Box::pin(self.recall(why)).await?)
                }
                Action::Ack => return Ok(()),
                action => {
                    let action = action.clone();
                    Box::pin(self.perform(action)).await?
                }
            };
            let Some(input) = input else { continue };
            self.trace.ended(&input);
            let waits_for_images = matches!(input, Input::Stored { stored: Stored::Not(_), .. });
            self.apply(input);
            // A death during the wait isn't the images' fault, so this life's count is taken back.
            if waits_for_images && self.machine.tried().is_some() {
                Box::pin(self.leave()).await;
            }
        }
    }

    /// The machine goes on with no job whose route this worker doesn't know.
    fn route(&self) -> Result<Arc<Route>, RequeueReason> {
        self.job.route.clone().ok_or(RequeueReason::UnknownRoute)
    }

    fn apply(&mut self, input: Input) {
        if let Err(misfit) = self.machine.apply(input, self.shared.clock.now()) {
            debug_assert!(false, "{misfit}");
            self.shared.metrics.misfit();
            tracing::error!("a fault of this program, after which the record is read again: {misfit}");
        }
    }

    /// Performs an action, and returns its result; `None` if the action is to be performed again.
    async fn perform(&mut self, action: Action) -> Result<Option<Input>, RequeueReason> {
        Ok(Some(match action {
            Action::ReadPublishedEvent => self.read_again().await?,
            Action::Restore { over, rebuilt } => self.restore(over, *rebuilt).await?,
            Action::AskToPost { attempt, round, basis, .. } => {
                self.begin_to_cancel(attempt, round, basis).await?
            }
            Action::AskGate { attempt, nonce, .. } => self.ask(attempt, nonce).await?,
            Action::Post { until, .. } => self.post(until).await?,
            Action::RecordTask { attempt, task } => self.accept(attempt, task).await?,
            Action::NoteTask { attempt, task, .. } => self.note_task(attempt, task).await?,
            Action::Redeliver { if_unknown, .. } => self.redeliver(if_unknown).await?,
            Action::NoteRefusal { attempt, .. } => self.refuse(attempt).await?,
            Action::CloseAttempt { attempt, nonce, .. } => self.reopen(attempt, nonce).await?,
            Action::SeeIntent { open } => self.see_intent(open.attempt()).await?,
            Action::LookUp { .. } => self.look_up().await?,
            Action::LookOn { until, .. } => self.look_on(until).await?,
            Action::Shut { attempt, cancels, .. } => self.shut(attempt, cancels).await?,
            Action::Park { .. } => self.park().await?,
            Action::QueryOther { generation, message, .. } => {
                self.query_other(generation.task(), &message).await?
            }
            Action::NoteFailure { attempt, task, charged } => {
                self.note_failure(attempt, task, charged).await?
            }
            Action::NextGeneration { attempt, failed } => self.follow(attempt, failed).await?,
            Action::CountEntry(storing) => self.enter(&storing).await?,
            Action::Store(storing) => return self.store(&storing).await,
            Action::Seal { outcome, corrects } => self.seal(*outcome, corrects).await?,
            Action::Freeze { source, expect, .. } => self.freeze(source, expect).await?,
            Action::Publish { event, .. } => self.publish(event).await?,
            Action::MarkPublished { sealed } => self.remember(sealed).await?,
            Action::DeadLetter { why } => self.dead_letter(why).await?,
            Action::Requeue { why } => return Err(self.before_requeue(why).await),
            // `act` performs these.
            Action::Read { .. } | Action::ReadReceipts { .. } | Action::Poll(_) | Action::Ack => {
                return Ok(None);
            }
        }))
    }
}
