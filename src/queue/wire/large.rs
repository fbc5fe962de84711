//! Lets messages that are longer than any job may be pass only one at a time.
//!
//! lapin puts a body together before it returns the message. So a worker that only wants to dead-letter it as
//! `too_large` holds all of it, and would hold a whole prefetch of such messages at once. The wire filter knows the
//! size before the body. It takes the one permit for such messages, and reads no further on this connection until it
//! has it. The permit is returned when the message before has been settled. If that takes long, lapin gets the
//! message without its body, and the consumer requeues it after a while, so that the other messages go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The only permit for large messages; clones share it.
#[derive(Debug, Clone)]
pub struct Large(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bodies of more bytes need the permit.
    limit: u64,
    place: Arc<Semaphore>,
    /// The permits of messages on their way to the consumer, in their order.
    taken: Mutex<VecDeque<LargeMessagePermit>>,
}

/// The right to hold a large message.
#[derive(Debug)]
pub struct LargeMessagePermit {
    _permit: OwnedSemaphorePermit,
}

impl Large {
    /// Creates the permit for bodies of more than `limit` bytes.
    #[must_use]
    pub fn over(limit: usize) -> Self {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        Self(Arc::new(Shared { limit, place: Arc::new(Semaphore::new(1)), taken: Mutex::default() }))
    }

    /// Takes over the permit of a message that has arrived whole.
    #[must_use]
    pub fn claim(&self, body: usize) -> Option<LargeMessagePermit> {
        if self.is_large(u64::try_from(body).unwrap_or(u64::MAX)) { self.taken().pop_front() } else { None }
    }

    pub(super) fn is_large(&self, body_size: u64) -> bool {
        body_size > self.0.limit
    }

    /// Waits for the permit, and keeps it for the consumer.
    pub(super) async fn take(self) {
        if let Ok(permit) = self.0.place.clone().acquire_owned().await {
            self.taken().push_back(LargeMessagePermit { _permit: permit });
        }
    }

    /// A connection has ended, so messages on their way over it never arrive.
    pub(super) fn forget(&self) {
        self.taken().clear();
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, VecDeque<LargeMessagePermit>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
