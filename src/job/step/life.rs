//! The state machine itself.

use std::time::Duration;

use bytes::Bytes;

use super::generation::{Generation, Since};
use super::{Act, Expect, Frozen, HandBack, Moved, Rules, Stored, outcome};
use crate::job::{Digest, Fault, Outcome, Success, TaskId, Timings};
use crate::ledger::record::{Nonce, Record, Stage};
use crate::provider::{Answer, ResultImage, View};

/// A success without images is asked for again this often before it is believed.
const EMPTY_RESULTS_MAX: u32 = 3;
const EMPTY_RESULT_WAIT: Duration = Duration::from_secs(10);
/// Results at URLs that the provider itself calls gone are asked for afresh this often.
const GONE_RESULTS_MAX: u32 = 2;
/// Looking on is looking at the record this often, unless a hint comes.
const LOOK_MAX: Duration = Duration::from_secs(5);

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
            // The same input, and what was wrong beside it is corrected.
            Stage::Done { replaceable: true, .. } if self.faults.is_empty() => {
                self.fresh(1, record.round + 1)
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

    /// The right to post is given up unused; whoever comes next gets the next attempt.
    pub fn withheld(&mut self) {
        let At::Gated { attempt, nonce, .. } = self.at.clone() else { return self.unexpected() };
        self.at = At::Reopening { attempt, nonce, hand_back: false };
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
        let (attempt, hand_back) = if let At::Reopening { attempt, hand_back, .. } = self.at {
            (attempt, hand_back)
        } else if let At::Gated { attempt, .. } = self.at {
            (attempt, false)
        } else {
            return self.unexpected();
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
        let (mut seen, mut looks) = (now, 0);
        if let At::LookingOn { attempt: known, nonce: same, seen: since, looks: before, .. } = &self.at
            && (*known, same) == (attempt, &nonce)
        {
            (seen, looks) = (*since, before + 1);
        }
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

fn freeze(outcome: Outcome) -> At {
    At::Freezing { outcome: Box::new(outcome), expect: Expect::Unfinished }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
