//! The provider's time, by the `Date` of its replies: our clock needs not agree with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::provider::wire::Reply;

/// An older reading is ignored, since one of the two clocks may have been set meanwhile.
const READING_LASTS: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct TheirClock {
    clock: Clock,
    /// The provider's time in Unix milliseconds, and our time at that moment.
    reading: Mutex<Option<(i64, Duration)>>,
}

impl TheirClock {
    pub(super) fn read(&self, reply: &Reply<'_>) {
        if let Some(theirs) = reply.date_ms() {
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some((theirs, self.clock.now()));
        }
    }

    /// The provider's time now, or a little earlier.
    pub(super) fn now(&self) -> Option<i64> {
        let (theirs, ours) = (*self.reading.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = self.clock.now().saturating_sub(ours);
        (passed <= READING_LASTS).then_some(())?;
        Some(theirs.saturating_add(i64::try_from(passed.as_millis()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::wire::tests::reply;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_the_last_reply_for_a_minute() {
        let clock = TheirClock::default();
        assert_eq!(clock.now(), None);
        clock.read(&Reply { date: Some("Wed, 21 Oct 2026 07:28:00 GMT"), ..reply(200, "{}") });
        tokio::time::advance(Duration::from_secs(7)).await;
        clock.read(&reply(200, "{}"));
        assert_eq!(clock.now(), Some(1_792_567_687_000));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), None);
    }
}
