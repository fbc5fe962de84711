//! The right to begin one POST.
//!
//! Each POST changes the number of POSTs under way, and thousands of jobs wait for a change of the mode. So that
//! number is kept apart from the mode, and a change wakes only the jobs that are about to post.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::posts::Posts;
use super::{Breaker, Mode, mode};

/// The right to begin one POST. While one job at a time is let through, this is that job's right.
#[derive(Debug)]
pub struct Pass {
    breaker: Breaker,
    sent: Sent,
}

/// Identifies a POST, so that the breaker can learn from its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub(super) number: u64,
    /// The POST was let through alone, to see whether the open causes are gone.
    pub(super) only_one: bool,
}

/// The POSTs of this worker, and the jobs that wait to begin one.
#[derive(Debug, Default, Clone)]
pub(super) struct Counted(Arc<(Mutex<Posts>, Notify)>);

impl Counted {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Posts) -> T) -> T {
        let (posts, changed) = &*self.0;
        let value = change(&mut posts.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_waiters();
        value
    }

    fn start_if_open(&self) -> Option<u64> {
        let mut posts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        posts.may_start().then(|| posts.start())
    }

    fn start(&self) -> u64 {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).start()
    }
}

impl Pass {
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.breaker.posts.change(Posts::end);
        if self.sent.only_one {
            self.breaker.state.send_modify(|state| state.one_is_through = false);
        }
    }
}

impl Breaker {
    /// Waits while too many POSTs are undecided. Returns `None` while no POST may start.
    pub async fn pass(&self) -> Option<Pass> {
        loop {
            let changed = self.posts.0.1.notified();
            let only_one = match self.mode() {
                Mode::Open => false,
                Mode::OneJob => true,
                Mode::Closed => return None,
            };
            let number = if only_one {
                self.takes_the_one_place().then(|| self.posts.start())?
            } else if let Some(number) = self.posts.start_if_open() {
                number
            } else {
                changed.await;
                continue;
            };
            return Some(Pass { breaker: self.clone(), sent: Sent { number, only_one } });
        }
    }

    fn takes_the_one_place(&self) -> bool {
        self.state.send_if_modified(|state| {
            let free = mode(state) == Mode::OneJob && !state.one_is_through;
            state.one_is_through |= free;
            free
        })
    }

    /// Whether the POST that this pass was given for may still be sent.
    #[must_use]
    pub fn still_lets(&self, pass: &Pass) -> bool {
        match self.mode() {
            Mode::Open => true,
            Mode::OneJob => pass.sent.only_one,
            Mode::Closed => false,
        }
    }
}
