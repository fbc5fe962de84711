//! The account's slots in memory: the model of `slots.lua`.

use std::collections::BTreeMap;
use std::time::Duration;

use comet_worker::ledger::slots::Slots;

/// As in `slots.lua`.
const HEAD_KEEPS: Duration = Duration::from_secs(3);

/// The account's slots, and the jobs that hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SlotTable {
    /// `None`: the account has no cap, and nothing is counted.
    cap: Option<u32>,
    recount: Duration,
    /// The number of slots of each job, and until when it holds them at most.
    held: BTreeMap<String, (u32, Duration)>,
    line: BTreeMap<String, Head>,
    /// From when on the count is complete; `None` if it was lost.
    trusted: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Head {
    since: Duration,
    until: Duration,
    count: u32,
}

impl SlotTable {
    pub fn new(cap: u32, recount: Duration) -> Self {
        Self { cap: Some(cap), recount, ..Self::default() }
    }

    pub fn flush(&mut self) {
        *self = Self { cap: self.cap, recount: self.recount, ..Self::default() };
    }

    pub fn begin_count(&mut self) {
        self.trusted.get_or_insert(Duration::ZERO);
    }

    fn taken(&self) -> u32 {
        self.held.values().map(|(count, _)| count).sum()
    }

    /// Takes slots. Returns whether the job has its slots now.
    pub fn take(&mut self, job: &str, slots: Slots, now: Duration) -> bool {
        let Some(cap) = self.cap else { return true };
        if slots.count == 0 {
            return true;
        }
        let trusted = *self.trusted.get_or_insert(now + self.recount);
        if self.held.contains_key(job) {
            self.hold(job, slots, now + slots.keep, now);
            return true;
        }
        self.held.retain(|_, (_, until)| *until > now);
        self.line.retain(|_, head| head.until > now);
        let own = self.line.get(job).copied();
        let since = own.map_or(now, |own| own.since);
        let is_before = |of: &str, head: &Head| {
            of != job && (head.since < since || (head.since == since && (own.is_none() || of < job)))
        };
        let before: u32 =
            self.line.iter().filter(|(of, head)| is_before(of, head)).map(|(_, head)| head.count).sum();
        let needed = slots.count.min(cap);
        let fits = now >= trusted && before + needed + self.taken() <= cap;
        if fits {
            self.hold(job, slots, now + slots.keep, now);
        } else {
            let head = Head { since, until: now + HEAD_KEEPS, count: needed };
            self.line.insert(job.to_owned(), head);
        }
        fits
    }

    pub fn hold(&mut self, job: &str, slots: Slots, until: Duration, now: Duration) {
        if self.cap.is_none() || slots.count == 0 {
            return;
        }
        self.trusted.get_or_insert(now + self.recount);
        let before = self.held.get(job).map_or(Duration::ZERO, |(_, until)| *until);
        self.held.insert(job.to_owned(), (slots.count, until.max(before)));
        self.line.remove(job);
    }

    pub fn release(&mut self, job: &str) {
        self.held.remove(job);
    }
}
