//! The interrupts that end a life early.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::job::step::RequeueReason;

/// The interrupts that end one life early. Every wait of the life polls them, so one future waits for them all the
/// time, from the first wait on. Only the task that polled last is woken.
pub struct Interrupts {
    /// The worker stops.
    pub stop: CancellationToken,
    /// The connection that brought the delivery is lost.
    pub lost: CancellationToken,
    first: Mutex<Interrupt>,
}

enum Interrupt {
    Awaited(BoxFuture<'static, RequeueReason>),
    Came(RequeueReason),
}

impl Interrupts {
    /// `hold`: for how long the broker can be expected to let the delivery be held.
    #[must_use]
    pub fn new(stop: CancellationToken, lost: CancellationToken, hold: Duration) -> Self {
        let held_until = Instant::now() + hold;
        let (stopped, gone) = (stop.clone(), lost.clone());
        let first = async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => RequeueReason::Disconnected,
                () = stopped.cancelled() => RequeueReason::Stopping,
                () = sleep_until(held_until) => RequeueReason::HeldLong,
            }
        };
        Self { stop, lost, first: Mutex::new(Interrupt::Awaited(Box::pin(first))) }
    }

    /// Waits for the first interrupt.
    pub fn any(&self) -> impl Future<Output = RequeueReason> {
        poll_fn(|context| self.poll(context))
    }

    /// Runs `future` until an interrupt.
    ///
    /// # Errors
    ///
    /// The interrupt; what the future was doing may or may not have happened.
    pub fn or<T>(&self, future: impl Future<Output = T>) -> impl Future<Output = Result<T, RequeueReason>> {
        First::of(self.any().map(Err), future.map(Ok))
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<RequeueReason> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Interrupt::Awaited(future) = &mut *first {
            match future.as_mut().poll(context) {
                Poll::Ready(why) => *first = Interrupt::Came(why),
                Poll::Pending => return Poll::Pending,
            }
        }
        match &*first {
            // The delivery is gone with the connection, so there is nothing to requeue, whatever interrupt came
            // first.
            Interrupt::Came(_) if self.lost.is_cancelled() => Poll::Ready(RequeueReason::Disconnected),
            Interrupt::Came(why) => Poll::Ready(*why),
            Interrupt::Awaited(_) => Poll::Pending,
        }
    }
}

pin_project! {
    /// Returns the output of the future that is ready first; of `earlier` if both are ready. It is only as large as
    /// both futures together. An `async` block that selects between futures passed to it stores each of them twice,
    /// and every wait of every job uses this type.
    pub(super) struct First<E, L> {
        #[pin]
        earlier: E,
        #[pin]
        later: L,
    }
}

impl<E, L> First<E, L> {
    pub(super) fn of(earlier: E, later: L) -> Self {
        Self { earlier, later }
    }
}

impl<T, E: Future<Output = T>, L: Future<Output = T>> Future for First<E, L> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        match this.earlier.poll(context) {
            Poll::Ready(value) => Poll::Ready(value),
            Poll::Pending => this.later.poll(context),
        }
    }
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stop, lost) = (self.stop.is_cancelled(), self.lost.is_cancelled());
        f.debug_struct("Interrupts").field("stop", &stop).field("lost", &lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    fn interrupts() -> Interrupts {
        let hold = Duration::from_secs(60);
        Interrupts::new(CancellationToken::new(), CancellationToken::new(), hold)
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_first_is_remembered_until_the_connection_is_gone() {
        let interrupts = interrupts();
        assert_eq!(interrupts.or(ready(7)).await, Ok(7));
        interrupts.stop.cancel();
        assert_eq!(interrupts.any().await, RequeueReason::Stopping);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(
            interrupts.or(ready(7)).await,
            Err(RequeueReason::Stopping),
            "before what is ready as well"
        );
        interrupts.lost.cancel();
        assert_eq!(interrupts.or(pending::<()>()).await, Err(RequeueReason::Disconnected));
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_is_woken_by_what_was_waited_for_from_the_first_on() {
        let interrupts = interrupts();
        for _ in 0..3 {
            let short = tokio::time::sleep(Duration::from_secs(19));
            assert_eq!(interrupts.or(short).await, Ok(()));
        }
        let begun = Instant::now();
        assert_eq!(interrupts.or(pending::<()>()).await, Err(RequeueReason::HeldLong));
        assert!(begun.elapsed() <= Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}
