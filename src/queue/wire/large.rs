//! Messages that are longer than any job may be: one at a time.
//!
//! lapin puts a body together before it hands the message out, so that a worker which only wants to say `too_large` holds it
//! whole; and a prefetch of such messages would be held all at once. The wire knows the size before the body: it takes the one
//! place that there is for such a message, and reads no further on this connection until it has it. The place is given back
//! when the message before has been settled. Where that takes long, lapin gets the message without its body, and the consumer
//! gives it back to the queue after a while: the others go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The one place; clones share it.
#[derive(Debug, Clone)]
pub struct Large(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bodies of more bytes need the place.
    limit: u64,
    place: Arc<Semaphore>,
    /// Of messages on their way to the consumer, in their order.
    taken: Mutex<VecDeque<LargeMessagePermit>>,
}

/// The right to hold a large message.
#[derive(Debug)]
pub struct LargeMessagePermit {
    _permit: OwnedSemaphorePermit,
}

impl Large {
    /// For bodies of more than `limit` bytes.
    #[must_use]
    pub fn over(limit: usize) -> Self {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        Self(Arc::new(Shared { limit, place: Arc::new(Semaphore::new(1)), taken: Mutex::default() }))
    }

    /// The place of a message that has come whole.
    #[must_use]
    pub fn claim(&self, body: usize) -> Option<LargeMessagePermit> {
        if self.is_large(u64::try_from(body).unwrap_or(u64::MAX)) { self.taken().pop_front() } else { None }
    }

    pub(super) fn is_large(&self, body_size: u64) -> bool {
        body_size > self.0.limit
    }

    /// Waits for the place, and keeps it for the consumer.
    pub(super) async fn take(self) {
        if let Ok(permit) = self.0.place.clone().acquire_owned().await {
            self.taken().push_back(LargeMessagePermit { _permit: permit });
        }
    }

    /// A connection has ended: what was on its way over it never comes.
    pub(super) fn forget(&self) {
        self.taken().clear();
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, VecDeque<LargeMessagePermit>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
