//! The sweep: receipts that are of no more use are removed, those of unfinished jobs never.
//!
//! A job's receipts go all together or not at all: when every one of them is older than the age that
//! was asked for, and the job has ended and waits for nobody. The age is the store's own
//! `last_modified` against the clock of the machine that sweeps. Nothing rests on those two agreeing
//! but the age's order of magnitude, and an age is days.
//!
//! # While workers run
//!
//! Workers read and create receipts meanwhile, and nothing stops them. What keeps the two apart is
//! the age, not a lock:
//!
//! - A job that is under way has a receipt that is young, or no `result`: it is kept. A young receipt
//!   behind an old `result` (a task id that was noted late, a correction) makes the whole job young.
//! - A copy of the job's message that comes after its end is answered by the word of Redis, which remembers it
//!   for `redis.remember_s`, and the age is not shorter than that. With Redis flushed it is answered
//!   from the receipts: `intent-1`, by which a worker sees that there was a job at all, and `result`.
//!   So these two are the last to go, and the answer is the same until the first of them has gone.
//! - A copy that comes after that is a new job, and paid for. The age must therefore be longer than
//!   any copy can lie in a queue; the user is told so, since nobody here can know it.
//! - A worker that has read `intent-1` and finds no `result`, since both went in between, takes the
//!   job for one whose POST is open: it looks it up. That takes a copy of that age at that moment.
//! - Receipts are never changed, so what was listed is what is removed, unless somebody has removed
//!   it and a new job of that id has come since. Two sweeps at once could do that; therefore `result`
//!   is read again right before its job goes, and where it is gone, so is the claim to the rest.
//!
//! # Half way
//!
//! A sweep may die at any point. It leaves `result`, by which the next one sees that the job has
//! ended, until nothing else is there but `resolved`, which by itself is a leftover: it is never
//! written before `result`. In the other order a `result` that says "unknown" would wait for a person
//! who has been there.

mod removal;

use object_store::path::Path;

use crate::job::event::{EventKind, EventView};
use crate::job::{JobId, Reason};

pub use removal::{Kept, Removed, Sweep, Tally};

/// What a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first intent: without it nobody reads the others.
    FirstIntent,
    /// What is of use to a job that is under way only, or to a person.
    Step,
    Result,
    Resolved,
    /// A newer worker's.
    Unknown,
}

impl Kind {
    fn of(text: &str) -> Self {
        match text {
            "intent-1" => return Self::FirstIntent,
            "result" => return Self::Result,
            "resolved" => return Self::Resolved,
            _ => {}
        }
        let is_step = text.rsplit_once('-').is_some_and(|(word, number)| {
            matches!(word, "intent" | "refused" | "task" | "failed" | "resolve")
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_step { Self::Step } else { Self::Unknown }
    }

    /// Who goes first; the reasons are in the head of this file.
    fn turn(self) -> u8 {
        match self {
            Self::Unknown | Self::Step => 0,
            Self::FirstIntent => 1,
            Self::Result => 2,
            Self::Resolved => 3,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Receipt {
    kind: Kind,
    key: Path,
    /// The store's time, in Unix milliseconds.
    written_ms: i64,
}

/// The job and the kind of a receipt by its name. A job's id may have dots, a kind has none.
fn named(name: &str) -> Option<(JobId, Kind)> {
    let (job, kind) = name.rsplit_once('.')?;
    Some((job.parse().ok()?, Kind::of(kind)))
}

/// Why the receipts of a job stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// One of them is not old enough.
    Young,
    /// There is no result.
    Unfinished,
    /// Its outcome is unknown, and a person has not cleared it up.
    OutcomeUnknown,
    /// A newer worker's, or no longer readable.
    NotUnderstood,
}

/// What the names and the times say of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Keep(Keep),
    /// It has ended, but how is in its `result`.
    Ended {
        resolved: bool,
    },
    /// What an earlier sweep left.
    Leftover,
}

fn look(receipts: &[Receipt], before_ms: i64) -> Look {
    let has = |kind: Kind| receipts.iter().any(|receipt| receipt.kind == kind);
    let (result, resolved) = (has(Kind::Result), has(Kind::Resolved));
    if receipts.iter().any(|receipt| receipt.written_ms >= before_ms) {
        Look::Keep(Keep::Young)
    } else if has(Kind::Unknown) {
        Look::Keep(Keep::NotUnderstood)
    } else if result {
        Look::Ended { resolved }
    } else if resolved && !has(Kind::FirstIntent) && !has(Kind::Step) {
        Look::Leftover
    } else {
        Look::Keep(Keep::Unfinished)
    }
}

/// Why a job that has ended so stays all the same.
fn holds_back(result: &[u8], resolved: bool) -> Option<Keep> {
    if resolved {
        return None;
    }
    let Ok(event) = EventView::parse(result) else { return Some(Keep::NotUnderstood) };
    if !event.kind().is_some_and(EventKind::is_terminal) {
        return Some(Keep::NotUnderstood);
    }
    let is_unknown = event.reason.as_deref() == Some(Reason::OutcomeUnknown.as_str());
    is_unknown.then_some(Keep::OutcomeUnknown)
}

#[cfg(test)]
mod tests;
