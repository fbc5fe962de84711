//! An account with the provider: its money, its slots, and the external ids that it has used.
//!
//! A task takes `n` slots from the moment that it is made to the moment that it ends. Its price is taken at once and
//! given back if it fails, as the gateway does.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use crate::task::Task;

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) key: String,
    /// Images that can still be paid for; `None` is without end.
    pub(crate) balance: Option<u64>,
    /// Slots taken now, and the most that ever were.
    pub(crate) running: u64,
    pub(crate) running_max: u64,
    /// Where the newest task of an external id is.
    external_ids: HashMap<Arc<str>, usize>,
    /// Running tasks that will end, the next to end first: when, and where the task is.
    ending: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Account {
    pub(crate) fn new(key: &str, balance: Option<u64>) -> Self {
        Self {
            key: key.to_owned(),
            balance,
            running: 0,
            running_max: 0,
            external_ids: HashMap::new(),
            ending: BinaryHeap::new(),
        }
    }

    pub(crate) fn can_pay(&self, n: u8) -> bool {
        self.balance.is_none_or(|balance| balance >= n.into())
    }

    pub(crate) fn has_room(&self, n: u8, running_max: Option<u64>) -> bool {
        running_max.is_none_or(|max| self.running + u64::from(n) <= max)
    }

    pub(crate) fn place_of(&self, external_task_id: &str) -> Option<usize> {
        self.external_ids.get(external_task_id).copied()
    }

    /// Takes the slots and the price of a task that was put at `place`.
    pub(crate) fn begin(&mut self, task: &Task, place: usize) {
        self.running += u64::from(task.n);
        self.running_max = self.running_max.max(self.running);
        self.balance = self.balance.map(|balance| balance.saturating_sub(task.n.into()));
        if let Some(id) = &task.external_task_id {
            self.external_ids.insert(Arc::clone(id), place);
        }
        if let Some(ends_ms) = task.ends_ms {
            self.ending.push(Reverse((ends_ms, place)));
        }
    }

    /// The place of a task that has ended by `now_ms` and still holds its slots; the caller ends it.
    pub(crate) fn next_ended(&mut self, now_ms: u64) -> Option<usize> {
        let Reverse((ends_ms, place)) = *self.ending.peek()?;
        (ends_ms <= now_ms).then(|| {
            self.ending.pop();
            place
        })
    }

    /// Frees the slots, and gives the price back if the task failed.
    pub(crate) fn end(&mut self, n: u8, refund: bool) {
        self.running = self.running.saturating_sub(n.into());
        if refund {
            self.balance = self.balance.map(|balance| balance.saturating_add(n.into()));
        }
    }
}
