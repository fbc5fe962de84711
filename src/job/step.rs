//! Every decision there is in the life of a job: what to do next, and what an outcome makes of it.
//!
//! [`Life`] is a state machine without clock and I/O. [`Life::next`] says what to do; the shell in
//! `worker/life.rs` does it and reports what came of it through one of the other methods. A fresh
//! job, a retried, a redelivered and a resumed one all begin with [`Act::Read`] and take the same
//! way; what differs is what the record says.
//!
//! What can't be found here: a way to [`Act::Post`] that doesn't lead through [`Act::Begin`] of the
//! same attempt by the same life; a second [`Act::Post`] after an answer that leaves open whether
//! the first was accepted; an [`Act::Ack`] that doesn't follow a published event or dead letter.

mod outcome;

use std::time::Duration;

use bytes::Bytes;

use super::pace::{Pace, Seed};
use super::{Digest, Fault, Outcome, StoredImage, Success, TaskId, Timings};
use crate::ledger::record::{Nonce, Record, Stage};
use crate::provider::{Answer, ResultImage, View};

/// The bounds that a life keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `generation.gate_s`: a POST leaves within this after the right to it was asked for.
    pub gate: Duration,
    /// `generation.quiet_s`: after this an unanswered POST of another hand can't arrive any more.
    pub quiet: Duration,
    /// `generation.timeout_s`, or the job's own.
    pub timeout: Duration,
    pub pace: Pace,
    pub seed: Seed,
}

/// A success without images is asked for again this often before it is believed.
const EMPTY_RESULTS_MAX: u32 = 3;
const EMPTY_RESULT_WAIT: Duration = Duration::from_secs(10);
/// Results at URLs that the provider itself calls gone are asked for afresh this often.
const GONE_RESULTS_MAX: u32 = 2;
/// Looking on is looking at the record this often, unless a hint comes.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Read the record. Report to [`Life::read`].
    Read,
    /// Wait for a place among the submits, then ask the ledger for the right to post `attempt`.
    /// Report to [`Life::begun`].
    Begin { attempt: u32, round: u32 },
    /// Send the paid POST, now. Report to [`Life::answered`].
    Post,
    /// Write down the task id, until it lands. Report to [`Life::accepted`].
    Accept { attempt: u32, task: TaskId },
    /// Write down that attempt `attempt` was surely not accepted. Report to [`Life::reopened`].
    Reopen { attempt: u32, nonce: Nonce },
    /// Another hand may have posted: wait until then, or for a hint, and [`Act::Read`] again.
    LookOn { until: Duration },
    /// Wait until `at`, or for a hint, then query the task. Report to [`Life::viewed`].
    Poll { task: TaskId, at: Duration },
    /// Download, check and store the images. Report to [`Life::stored`].
    Store { task: TaskId, images: Vec<ResultImage> },
    /// Freeze the outcome. Report to [`Life::frozen`].
    Freeze { outcome: Box<Outcome>, expect: Expect },
    /// Publish the event. Report to [`Life::told`].
    Tell { event: Bytes },
    /// Publish the dead letter: another job has this id. Report to [`Life::told`].
    Conflict,
    /// Acknowledge the delivery. The life is over.
    Ack,
    /// Give the delivery back to RabbitMQ. The life is over.
    HandBack { why: HandBack },
}

/// Why a delivery is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandBack {
    /// The account or the provider refuses every job just now.
    Paused,
    /// The record can't be read by this worker.
    Unreadable,
    /// The worker stops.
    Stopping,
    /// Half of the broker's consumer timeout is over.
    HeldLong,
    /// The connection that brought the delivery is gone; the broker has given it back itself.
    Disconnected,
}

impl HandBack {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Unreadable => "unreadable",
            Self::Stopping => "stopping",
            Self::HeldLong => "held_long",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What the record must be for an outcome to be frozen. A record that is missing, since Redis lost
/// it, hinders nobody who knows better.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Nothing has been posted for this job.
    Unposted,
    /// Nobody has moved it since.
    Submitting { nonce: Nonce },
    /// Any but done: the outcome of a task is knowledge.
    Unfinished,
}

/// The ledger's answer to [`Act::Begin`] and [`Act::Reopen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// Done, with this nonce.
    Yes(Nonce),
    /// The record is not what it was taken for.
    No(Option<Record>),
}

/// The ledger's answer to [`Act::Freeze`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frozen {
    /// These are the bytes to publish: ours, or those of whoever was first.
    Event(Bytes),
    /// The record is not what it was taken for.
    Moved(Option<Record>),
}

/// What came of [`Act::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    All(Vec<StoredImage>),
    /// The provider says that an image is no longer there (403, 404, 410).
    Gone(String),
    /// What is there is no image that we store.
    Invalid(String),
    /// The provider's file server failed, several times.
    Failed(String),
}

/// One job, from its delivery to its ack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    rules: Rules,
    digest: Digest,
    /// Empty for a job that can be run.
    faults: Vec<Fault>,
    round: u32,
    polls: u32,
    timings: Timings,
    at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum At {
    Unread,
    Ready {
        attempt: u32,
    },
    /// The record says that we may post, and nothing was sent.
    Gated {
        attempt: u32,
        nonce: Nonce,
        asked: Duration,
    },
    Accepting {
        attempt: u32,
        task: TaskId,
    },
    Reopening {
        attempt: u32,
        nonce: Nonce,
        hand_back: bool,
    },
    LookingOn {
        attempt: u32,
        nonce: Nonce,
        seen: Duration,
        looks: u32,
        due: Duration,
    },
    Generating(Generation),
    Storing {
        generation: Generation,
        images: Vec<ResultImage>,
        units: Option<String>,
    },
    Freezing {
        outcome: Box<Outcome>,
        expect: Expect,
    },
    Telling {
        event: Bytes,
    },
    Conflicting,
    Told,
    HandingBack(HandBack),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Generation {
    task: TaskId,
    /// When it was accepted; before this life began, perhaps.
    accepted: Since,
    next_poll: Duration,
    /// Queries in a row without an answer about the task.
    failures: u32,
    empty_results: u32,
    gone_results: u32,
    /// When the provider first called it a success.
    succeeded: Option<Duration>,
    failed_downloads: u32,
}

/// A moment that may lie before the clock's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Since {
    noted: Duration,
    age_then: Duration,
}

impl Since {
    fn age(self, now: Duration) -> Duration {
        now.saturating_sub(self.noted) + self.age_then
    }
}

impl Life {
    /// A delivery has come in; nothing is known but the message.
    #[must_use]
    pub fn new(rules: Rules, digest: Digest, faults: Vec<Fault>, queued_ms: Option<u64>) -> Self {
        let timings = Timings { queued: queued_ms, ..Timings::default() };
        Self { rules, digest, faults, round: 1, polls: 0, timings, at: At::Unread }
    }

    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    #[must_use]
    pub fn polls(&self) -> u32 {
        self.polls
    }

    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Whether the body for the provider can still be needed.
    #[must_use]
    pub fn may_post(&self) -> bool {
        matches!(
            self.at,
            At::Unread | At::Ready { .. } | At::Gated { .. } | At::Reopening { .. } | At::LookingOn { .. }
        )
    }

    /// Decides. `now` counts from an arbitrary zero and includes the time that the machine slept.
    #[must_use]
    pub fn next(&self, now: Duration) -> Act {
        match &self.at {
            At::Unread => Act::Read,
            At::Ready { attempt } => Act::Begin { attempt: *attempt, round: self.round },
            At::Gated { attempt, nonce, asked } => {
                if now.saturating_sub(*asked) > self.rules.gate {
                    Act::Reopen { attempt: *attempt, nonce: nonce.clone() }
                } else {
                    Act::Post
                }
            }
            At::Accepting { attempt, task } => Act::Accept { attempt: *attempt, task: task.clone() },
            At::Reopening { attempt, nonce, .. } => Act::Reopen { attempt: *attempt, nonce: nonce.clone() },
            At::LookingOn { nonce, seen, due, .. } => {
                if now.saturating_sub(*seen) >= self.rules.quiet {
                    Act::Freeze {
                        outcome: Box::new(outcome::left_open()),
                        expect: Expect::Submitting { nonce: nonce.clone() },
                    }
                } else if now >= *due {
                    Act::Read
                } else {
                    Act::LookOn { until: (*due).min(*seen + self.rules.quiet) }
                }
            }
            At::Generating(generation) => {
                Act::Poll { task: generation.task.clone(), at: generation.next_poll }
            }
            At::Storing { generation, images, .. } => {
                Act::Store { task: generation.task.clone(), images: images.clone() }
            }
            At::Freezing { outcome, expect } => {
                Act::Freeze { outcome: outcome.clone(), expect: expect.clone() }
            }
            At::Telling { event } => Act::Tell { event: event.clone() },
            At::Conflicting => Act::Conflict,
            At::Told => Act::Ack,
            At::HandingBack(why) => Act::HandBack { why: *why },
        }
    }

    /// The record was read; `None` is no record.
    pub fn read(&mut self, record: Option<Record>, now: Duration) {
        let Some(record) = record else {
            return self.fresh(1, 1);
        };
        if record.digest != self.digest {
            return match record.stage {
                Stage::Done { replaceable: true, .. } => self.fresh(1, record.round + 1),
                Stage::Done { replaceable: false, .. }
                | Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. } => self.at = At::Conflicting,
            };
        }
        match record.stage {
            Stage::New { attempt } => self.fresh(attempt, record.round),
            Stage::Submitting { attempt, nonce } => {
                self.round = record.round;
                self.look_on(attempt, nonce, now);
            }
            Stage::Generating { task, age, .. } => {
                self.round = record.round;
                // Whoever takes over looks at once.
                self.at = At::Generating(Generation::new(task, Since { noted: now, age_then: age }, now));
            }
            Stage::Done { event, .. } => {
                self.round = record.round;
                self.at = At::Telling { event };
            }
        }
    }

    /// The record can't be read, and is not guessed at.
    pub fn unreadable(&mut self) {
        self.at = At::HandingBack(HandBack::Unreadable);
    }

    /// The ledger was asked, at `asked`, for the right to post.
    pub fn begun(&mut self, moved: Moved, asked: Duration, now: Duration) {
        let At::Ready { attempt } = self.at else { return self.unexpected() };
        match moved {
            Moved::Yes(nonce) => self.at = At::Gated { attempt, nonce, asked },
            Moved::No(record) => self.read(record, now),
        }
    }

    /// The POST came to this.
    pub fn answered(&mut self, answer: Answer, took: Duration) {
        let At::Gated { attempt, nonce, .. } = self.at.clone() else { return self.unexpected() };
        let expect = Expect::Submitting { nonce: nonce.clone() };
        self.at = match answer {
            Answer::Accepted(task) => {
                self.timings.submit = Some(milliseconds(took));
                At::Accepting { attempt, task }
            }
            Answer::Later(_) => At::Reopening { attempt, nonce, hand_back: false },
            Answer::Account(_) => At::Reopening { attempt, nonce, hand_back: true },
            Answer::Refused(refusal) => At::Freezing { outcome: Box::new(outcome::refused(refusal)), expect },
            Answer::Unknown { message, provider_code } => {
                At::Freezing { outcome: Box::new(outcome::unknown(message, provider_code)), expect }
            }
        };
    }

    /// The task id is in the ledger, and this is the record now.
    pub fn accepted(&mut self, record: Record, now: Duration) {
        let At::Accepting { .. } = self.at else { return self.unexpected() };
        match record.stage {
            Stage::Generating { task, age, .. } => {
                let first = now + self.rules.pace.wait(0, self.rules.seed);
                self.at = At::Generating(Generation::new(task, Since { noted: now, age_then: age }, first));
            }
            // It was ended while the POST was under way: that outcome stands.
            Stage::Done { event, .. } => self.at = At::Telling { event },
            Stage::New { .. } | Stage::Submitting { .. } => self.at = At::Unread,
        }
    }

    /// The attempt is closed as not accepted, or somebody else moved the record.
    pub fn reopened(&mut self, moved: Moved, now: Duration) {
        let (attempt, hand_back) = match self.at {
            At::Reopening { attempt, hand_back, .. } => (attempt, hand_back),
            At::Gated { attempt, .. } => (attempt, false),
            _ => return self.unexpected(),
        };
        match moved {
            Moved::Yes(_) if hand_back => self.at = At::HandingBack(HandBack::Paused),
            Moved::Yes(_) => self.at = At::Ready { attempt: attempt + 1 },
            Moved::No(record) => self.read(record, now),
        }
    }

    /// The task was queried at `asked`.
    pub fn viewed(&mut self, view: View, asked: Duration, now: Duration) {
        let At::Generating(mut generation) = self.at.clone() else { return self.unexpected() };
        self.polls += 1;
        let last_look = generation.accepted.age(asked) >= self.rules.timeout;
        let answered = !matches!(view, View::Unavailable { .. });
        generation.failures = if answered { 0 } else { generation.failures + 1 };
        self.at = match view {
            View::Running | View::NotFound { .. } if last_look => freeze(outcome::timed_out(generation.task)),
            View::Running | View::NotFound { .. } => {
                let due = now + self.rules.pace.wait(self.polls, self.rules.seed);
                let deadline = now + self.rules.timeout.saturating_sub(generation.accepted.age(now));
                generation.next_poll = due.min(deadline);
                At::Generating(generation)
            }
            View::Unavailable { after, .. } => {
                let wait = self.rules.pace.wait_after_failure(generation.failures, self.rules.seed);
                generation.next_poll = now + after.unwrap_or_default().max(wait);
                At::Generating(generation)
            }
            View::Failed { message, content_policy, units } => {
                self.timings.generate = Some(milliseconds(generation.accepted.age(now)));
                freeze(outcome::failed(generation.task, message, content_policy, units))
            }
            View::Succeeded { images, units } if images.is_empty() => {
                generation.empty_results += 1;
                generation.next_poll = now + EMPTY_RESULT_WAIT;
                if generation.empty_results > EMPTY_RESULTS_MAX {
                    freeze(outcome::without_images(generation.task, units))
                } else {
                    At::Generating(generation)
                }
            }
            View::Succeeded { images, units } => {
                self.timings.generate.get_or_insert(milliseconds(generation.accepted.age(now)));
                generation.succeeded.get_or_insert(now);
                At::Storing { generation, images, units }
            }
        };
    }

    /// The images are stored, or are not to be had.
    pub fn stored(&mut self, stored: Stored, took: Duration, now: Duration) {
        let At::Storing { mut generation, units, .. } = self.at.clone() else { return self.unexpected() };
        self.at = match stored {
            Stored::All(images) => {
                self.timings.store = Some(milliseconds(took));
                freeze(Outcome::Succeeded(Success { task_id: generation.task, images, units }))
            }
            Stored::Invalid(message) => freeze(outcome::invalid_result(generation.task, message, units)),
            Stored::Gone(message) => {
                generation.gone_results += 1;
                generation.next_poll = now;
                if generation.gone_results > GONE_RESULTS_MAX {
                    freeze(outcome::expired(generation.task, message, units))
                } else {
                    At::Generating(generation)
                }
            }
            Stored::Failed(message) => {
                generation.failed_downloads += 1;
                let tried_for = now.saturating_sub(generation.succeeded.unwrap_or(now));
                let wait = self.rules.pace.wait_after_failure(generation.failed_downloads, self.rules.seed);
                generation.next_poll = now + wait;
                // Paid for, so it is worth as much patience as the generation itself.
                if tried_for >= self.rules.timeout {
                    freeze(outcome::expired(generation.task, message, units))
                } else {
                    At::Generating(generation)
                }
            }
        };
    }

    /// The outcome is in the ledger, ours or somebody else's.
    pub fn frozen(&mut self, frozen: Frozen, now: Duration) {
        match frozen {
            Frozen::Event(event) => self.at = At::Telling { event },
            Frozen::Moved(record) => self.read(record, now),
        }
    }

    /// The event, or the dead letter, is confirmed.
    pub fn told(&mut self) {
        self.at = At::Told;
    }

    fn fresh(&mut self, attempt: u32, round: u32) {
        self.round = round;
        self.at = if self.faults.is_empty() {
            At::Ready { attempt }
        } else {
            let outcome = Box::new(outcome::invalid(self.faults.clone()));
            At::Freezing { outcome, expect: Expect::Unposted }
        };
    }

    /// The quiet period counts from the first sight of this very ask.
    fn look_on(&mut self, attempt: u32, nonce: Nonce, now: Duration) {
        let (seen, looks) = match &self.at {
            At::LookingOn { attempt: known, nonce: same, seen, looks, .. }
                if *known == attempt && *same == nonce =>
            {
                (*seen, looks + 1)
            }
            _ => (now, 0),
        };
        let wait =
            self.rules.pace.wait(looks + 1, self.rules.seed).clamp(Duration::from_millis(100), LOOK_MAX);
        self.at = At::LookingOn { attempt, nonce, seen, looks, due: now + wait };
    }

    /// A report that answers no act: a fault of the shell. Beginning anew with the record is right
    /// at every point.
    fn unexpected(&mut self) {
        debug_assert!(false, "a report that answers no act: {:?}", self.at);
        self.at = At::Unread;
    }
}

impl Generation {
    fn new(task: TaskId, accepted: Since, next_poll: Duration) -> Self {
        Self {
            task,
            accepted,
            next_poll,
            failures: 0,
            empty_results: 0,
            gone_results: 0,
            succeeded: None,
            failed_downloads: 0,
        }
    }
}

fn freeze(outcome: Outcome) -> At {
    At::Freezing { outcome: Box::new(outcome), expect: Expect::Unfinished }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
