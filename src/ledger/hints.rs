//! Hints: "look at this job again, now". They carry no truth: who gets one looks for itself, who
//! misses one looks on its timer.
//!
//! There are three, and a job may have one of each: `look <job_id>`, at the record, from the scripts
//! that have moved it; `poll <job_id>`, at the task, since the provider has called back; `slot <job_id>`,
//! since it may be its turn to be submitted. And `recount`, for all: Redis has lost the count of the
//! account's slots, so whoever holds a running task looks at its record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::pace::{Seed, backoff};

/// What is worth a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The record.
    Look,
    /// The task, at the provider.
    Poll,
}

/// Who waits for a hint in this process.
#[derive(Debug, Default, Clone)]
pub struct Hints {
    waiting: Arc<Mutex<HashMap<JobId, Arc<Wakers>>>>,
}

/// While this lives, hints about the job wake [`HintListener::hint`], also those that came since the last
/// one. Any number of the same kind that nobody has waited for are one.
#[derive(Debug)]
pub struct HintListener {
    hints: Hints,
    job: JobId,
    bells: Arc<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    look: Notify,
    poll: Notify,
    slot: Notify,
}

impl Hints {
    /// One life per job per process, so one place per job is enough.
    #[must_use]
    pub fn wait_for(&self, job: &JobId) -> HintListener {
        let bells = Arc::<Wakers>::default();
        self.lock().insert(job.clone(), Arc::clone(&bells));
        HintListener { hints: self.clone(), job: job.clone(), bells }
    }

    /// Wakes who waits for that job to look at its record, if anybody does here.
    pub fn wake(&self, job: &str) {
        if let Some(bells) = self.bells(job) {
            bells.look.notify_one();
        }
    }

    /// Wakes who waits for that job to look at its task; whether anybody does here.
    pub fn poll(&self, job: &str) -> bool {
        let bells = self.bells(job);
        if let Some(bells) = &bells {
            bells.poll.notify_one();
        }
        bells.is_some()
    }

    /// Wakes everybody: hints may have been missed. Those to poll stay missed, or all tasks of this
    /// process would be polled at once.
    fn wake_all(&self) {
        for bells in self.lock().values() {
            bells.look.notify_one();
        }
    }

    /// A message of the channel. One that isn't known is a later version's, and nobody's loss.
    fn hear(&self, message: &str) {
        match message.split_once(' ') {
            Some(("look", job)) => self.wake(job),
            Some(("poll", job)) => drop(self.poll(job)),
            Some(("slot", job)) => {
                if let Some(bells) = self.bells(job) {
                    bells.slot.notify_one();
                }
            }
            None if message == "recount" => self.wake_all(),
            Some(_) | None => {}
        }
    }

    fn bells(&self, job: &str) -> Option<Arc<Wakers>> {
        self.lock().get(&job.parse::<JobId>().ok()?).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Wakers>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HintListener {
    /// Of either kind.
    pub async fn hint(&self) -> Hint {
        tokio::select! {
            biased;
            () = self.bells.look.notified() => Hint::Look,
            () = self.bells.poll.notified() => Hint::Poll,
        }
    }

    /// To ask for the account's slots once more.
    pub async fn slot(&self) {
        self.bells.slot.notified().await;
    }

    /// To look at the record; one to poll is kept for who can heed it.
    pub async fn look(&self) {
        self.bells.look.notified().await;
    }
}

/// The message that tells of a task that is worth a look.
pub(super) fn to_poll(job: &JobId) -> String {
    format!("poll {job}")
}

impl Drop for HintListener {
    fn drop(&mut self) {
        self.hints.lock().remove(&self.job);
    }
}

/// Listens until `stop`, over a connection of its own that is made anew when it breaks.
pub async fn listen(
    endpoint: Endpoint,
    channel: String,
    hints: Hints,
    heartbeat: Heartbeat,
    stop: CancellationToken,
) {
    let seed = Seed::from_text(&channel);
    let (mut failures, mut refusal_told) = (0, false);
    while !stop.is_cancelled() {
        heartbeat.touch();
        let subscribed = tokio::time::timeout(Duration::from_secs(5), subscribe(&endpoint, &channel)).await;
        match subscribed {
            Ok(Ok(pubsub)) => {
                failures = 0;
                hints.wake_all();
                relay(pubsub, &hints, &heartbeat, &stop).await;
            }
            // Every other trouble of Redis's is also met, and told, where records are moved.
            Ok(Err(error)) if is_refused(&error) => {
                if !std::mem::replace(&mut refusal_told, true) {
                    tracing::warn!(
                        "no hints from Redis: {error}; jobs wait for their slots and their cancellations longer than they need: \
                         allow the user of redis.url the command subscribe and the channel ({channel})"
                    );
                }
                // Without hints the waiting jobs look for themselves, at each try to listen.
                hints.wake_all();
            }
            Ok(Err(_)) | Err(_) => {}
        }
        failures += 1;
        let wait = backoff(failures, Duration::from_millis(200), Duration::from_secs(5), seed);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn subscribe(endpoint: &Endpoint, channel: &str) -> redis::RedisResult<redis::aio::PubSub> {
    let mut pubsub = Box::pin(endpoint.listen()).await?;
    pubsub.subscribe(channel).await?;
    Ok(pubsub)
}

/// Whether hints would be heard.
///
/// # Errors
///
/// Why not, for people.
pub async fn try_to_listen(endpoint: &Endpoint, channel: &str) -> Result<(), String> {
    subscribe(endpoint, channel).await.map(drop).map_err(|error| error.to_string())
}

fn is_refused(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoPerm)
}

/// Until the connection breaks or goes dead: a ping every few seconds tells.
async fn relay(pubsub: redis::aio::PubSub, hints: &Hints, heartbeat: &Heartbeat, stop: &CancellationToken) {
    let (mut sink, mut stream) = pubsub.split();
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        heartbeat.touch();
        tokio::select! {
            () = stop.cancelled() => return,
            message = stream.next() => match message {
                Some(message) => {
                    let text: String = message.get_payload().unwrap_or_default();
                    hints.hear(&text);
                }
                None => return,
            },
            _ = tick.tick() => {
                let pong = tokio::time::timeout(Duration::from_secs(5), sink.ping::<redis::Value>()).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn job(id: &str) -> JobId {
        id.parse().unwrap()
    }

    #[test]
    fn a_message_wakes_only_who_waits_for_that_job_and_says_what_to_look_at() {
        let hints = Hints::default();
        let (one, other) = (hints.wait_for(&job("a")), hints.wait_for(&job("b")));
        hints.hear(&to_poll(&job("a")));
        assert_eq!(one.hint().now_or_never(), Some(Hint::Poll));
        hints.hear("look a");
        assert_eq!(one.hint().now_or_never(), Some(Hint::Look));
        for message in ["", "poll", "look", "poll ", "poll a b", "dance a", "poll c", "look c"] {
            hints.hear(message);
        }
        assert_eq!(one.hint().now_or_never(), None);
        assert_eq!(other.hint().now_or_never(), None);
    }

    #[test]
    fn the_next_in_line_is_woken_alone_and_for_a_recount_everybody_looks() {
        let hints = Hints::default();
        let (one, other) = (hints.wait_for(&job("a")), hints.wait_for(&job("b")));
        hints.hear("slot a");
        assert_eq!(one.slot().now_or_never(), Some(()));
        assert_eq!((one.hint().now_or_never(), other.slot().now_or_never()), (None, None));
        hints.hear("recount");
        assert_eq!(
            (one.hint().now_or_never(), other.hint().now_or_never()),
            (Some(Hint::Look), Some(Hint::Look))
        );
    }

    #[test]
    fn many_hints_to_poll_are_one_and_hide_none_to_look() {
        let hints = Hints::default();
        let waiting = hints.wait_for(&job("a"));
        for _ in 0..200 {
            assert!(hints.poll("a"));
        }
        assert_eq!(waiting.look().now_or_never(), None, "who can't poll isn't woken");
        hints.wake("a");
        assert_eq!(waiting.hint().now_or_never(), Some(Hint::Look));
        assert_eq!(waiting.hint().now_or_never(), Some(Hint::Poll));
        assert_eq!(waiting.hint().now_or_never(), None);
    }

    #[test]
    fn nobody_is_told_about_a_job_that_nobody_holds_any_more() {
        let hints = Hints::default();
        drop(hints.wait_for(&job("a")));
        assert!(!hints.poll("a"));
        hints.wake_all();
    }
}
