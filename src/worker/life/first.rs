//! Two futures, and the first of them to be ready.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// What the first of two futures gives; `earlier` where both are ready. It is as large as the two of them: an `async` block that
    /// selects between futures that it was given keeps each of them twice, and every wait of every job is one of these.
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
