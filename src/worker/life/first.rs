//! A future that waits for the first of two futures.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

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
