//! The account's slots in memory: what `slots.lua` does in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use super::DueHint;
use crate::job::JobId;
use crate::ledger::slots::{Account, Slots};

/// As in `slots.lua`.
const HEAD_KEEPS: Duration = Duration::from_secs(3);

/// The account's slots, the jobs that hold them, and the jobs that wait for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SlotTable {
    /// `None`: the account has no cap, and nothing is counted.
    account: Option<Account>,
    held: BTreeMap<JobId, Held>,
    /// The heads of the lines.
    line: BTreeMap<JobId, Head>,
    /// From when on the count is complete; `None` if it was lost.
    trusted: Option<Duration>,
}

/// What a task holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    count: u32,
    /// When they become free, whatever has happened to the task.
    until: Duration,
}

/// A job that waits, and the slots that are reserved for it while it keeps asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Head {
    since: Duration,
    until: Duration,
    count: u32,
}

impl SlotTable {
    pub(super) fn of(account: Option<Account>) -> Self {
        Self { account, ..Self::default() }
    }

    pub(super) fn begin_count(&mut self) {
        self.trusted.get_or_insert(Duration::ZERO);
    }

    /// Whether the job may be submitted; if so, its slots are taken, unless it has them. If not, slots are reserved
    /// for it while it keeps asking. The oldest ask comes first; otherwise small jobs would starve a large one.
    pub(super) fn take(
        &mut self,
        job: &JobId,
        slots: Slots,
        now: Duration,
        hints: &mut Vec<DueHint>,
    ) -> bool {
        let Some(account) = self.account.filter(|_| slots.count > 0) else { return true };
        let trusted = self.meet_count(account, now, hints);
        if self.held.contains_key(job) {
            self.hold_anew(job, slots, now, hints);
            return true;
        }
        let counted = self.held.len();
        self.held.retain(|_, held| held.until > now);
        let swept = self.held.len() < counted;
        // A job that comes back late keeps its place, unless another has asked in between.
        let own = self.line.get(job).copied();
        let since = own.map_or(now, |own| own.since);
        self.sweep_line(now);
        let is_before = |of: &JobId, head: &Head| {
            of != job && (head.since < since || (head.since == since && (own.is_none() || of < job)))
        };
        let heads = self.line.iter().filter(|(of, head)| is_before(of, head));
        let before: u32 = heads.map(|(_, head)| head.count).sum();
        // A job that is larger than the account's cap runs alone.
        let needed = slots.count.min(account.cap);
        let fits = now >= trusted && before + needed + self.taken() <= account.cap;
        if fits {
            self.hold_anew(job, slots, now, hints);
        } else {
            self.line.insert(job.clone(), Head { since, until: now + HEAD_KEEPS, count: needed });
        }
        if swept {
            self.wake(account, now, hints);
        }
        fits
    }

    /// The job's task runs, or may run: it holds its slots until then at least, even beyond the cap.
    pub(super) fn hold(
        &mut self,
        job: &JobId,
        slots: Slots,
        until: Duration,
        now: Duration,
        hints: &mut Vec<DueHint>,
    ) {
        let Some(account) = self.account.filter(|_| slots.count > 0) else { return };
        self.meet_count(account, now, hints);
        let longest = now.saturating_add(slots.keep);
        let before = self.held.get(job).map(|held| held.until).filter(|before| *before <= longest);
        let until = before.map_or(until, |before| before.max(until));
        self.held.insert(job.clone(), Held { count: slots.count, until });
        self.line.remove(job);
    }

    pub(super) fn hold_anew(&mut self, job: &JobId, slots: Slots, now: Duration, hints: &mut Vec<DueHint>) {
        self.hold(job, slots, now.saturating_add(slots.keep), now, hints);
    }

    /// The job's task doesn't run any more.
    pub(super) fn release(&mut self, job: &JobId, now: Duration, hints: &mut Vec<DueHint>) {
        if let Some(account) = self.account
            && self.held.remove(job).is_some()
        {
            self.wake(account, now, hints);
        }
    }

    /// If the count was lost, it starts again, and every running task has to be reported. Returns from when on the
    /// count is complete.
    fn meet_count(&mut self, account: Account, now: Duration, hints: &mut Vec<DueHint>) -> Duration {
        *self.trusted.get_or_insert_with(|| {
            hints.push(DueHint::Recount);
            now + account.recount
        })
    }

    fn taken(&self) -> u32 {
        self.held.values().map(|held| held.count).sum()
    }

    fn sweep_line(&mut self, now: Duration) {
        self.line.retain(|_, head| head.until > now);
    }

    /// Sends a hint to each head whose turn it is now.
    fn wake(&mut self, account: Account, now: Duration, hints: &mut Vec<DueHint>) {
        self.sweep_line(now);
        let mut heads: Vec<_> = self.line.iter().collect();
        heads.sort_by_key(|(job, head)| (head.since, *job));
        let mut free = account.cap.saturating_sub(self.taken());
        for (job, head) in heads {
            let Some(left) = free.checked_sub(head.count) else { return };
            free = left;
            hints.push(DueHint::Slot(job.clone()));
        }
    }
}
