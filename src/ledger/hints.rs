//! Hints: "look at this job again, now". They carry no facts: a worker that gets one reads the state itself, and a
//! worker that misses one reads it when its timer ends.
//!
//! There are three kinds, and a job may have one of each: `look <job_id>` means the record, and is sent by the
//! scripts that have moved it; `poll <job_id>` means the task, since the provider has called back; `slot <job_id>`
//! means that it may be the job's turn to be submitted. And `recount` is for all jobs: Redis has lost the count of
//! the account's slots, so every worker with a running task reads its record. The ledger in memory sends the same
//! ones, within the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use crate::heartbeat::Heartbeat;
use crate::job::JobId;
use crate::job::pace::{Backoff, Seed};

/// What should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The record.
    Look,
    /// The task at the provider.
    Poll,
}

/// The jobs that wait for hints in this process.
#[derive(Debug, Default, Clone)]
pub struct Hints {
    waiting: Arc<Mutex<HashMap<JobId, Arc<Wakers>>>>,
}

/// While this exists, hints about the job wake [`HintListener::hint`], including hints since the last call. Several
/// waiting hints of the same kind count as one.
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
    /// A process has only one life for each job, so one entry for each job is enough.
    #[must_use]
    pub fn wait_for(&self, job: &JobId) -> HintListener {
        let bells = Arc::<Wakers>::default();
        self.lock().insert(job.clone(), Arc::clone(&bells));
        HintListener { hints: self.clone(), job: job.clone(), bells }
    }

    /// Wakes the life of that job in this process, if there is one, to read its record.
    pub fn wake(&self, job: &str) {
        if let Some(bells) = self.bells(job) {
            bells.look.notify_one();
        }
    }

    /// Wakes the life of that job in this process to query its task; returns whether there is one.
    pub fn poll(&self, job: &str) -> bool {
        let bells = self.bells(job);
        if let Some(bells) = &bells {
            bells.poll.notify_one();
        }
        bells.is_some()
    }

    /// Wakes the life of that job in this process to ask for the account's slots again.
    pub(super) fn wake_for_slot(&self, job: &str) {
        if let Some(bells) = self.bells(job) {
            bells.slot.notify_one();
        }
    }

    /// Wakes all waiting jobs, since hints may have been missed. Missed hints to poll stay missed; otherwise this
    /// process would poll all its tasks at once.
    pub fn wake_all(&self) {
        for bells in self.lock().values() {
            bells.look.notify_one();
        }
    }

    /// Handles a message of the channel. An unknown message is from a later version and is ignored.
    fn hear(&self, message: &str) {
        match message.split_once(' ') {
            Some(("look", job)) => self.wake(job),
            Some(("poll", job)) => drop(self.poll(job)),
            Some(("slot", job)) => self.wake_for_slot(job),
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
    /// Waits for a hint to look or to poll.
    pub async fn hint(&self) -> Hint {
        tokio::select! {
            biased;
            () = self.bells.look.notified() => Hint::Look,
            () = self.bells.poll.notified() => Hint::Poll,
        }
    }

    /// Waits for a hint to ask for the account's slots again.
    pub async fn slot(&self) {
        self.bells.slot.notified().await;
    }

    /// Waits for a hint to look at the record; a hint to poll is kept for a later call that can use it.
    pub async fn look(&self) {
        self.bells.look.notified().await;
    }
}

/// The message that asks a worker to poll the job's task.
pub(super) fn to_poll(job: &JobId) -> String {
    format!("poll {job}")
}

impl Drop for HintListener {
    fn drop(&mut self) {
        self.hints.lock().remove(&self.job);
    }
}

/// Listens until `stop`, on a connection of its own that is replaced when it breaks.
pub async fn listen(
    endpoint: Endpoint,
    channel: String,
    hints: Hints,
    heartbeat: Heartbeat,
    stop: CancellationToken,
) {
    let seed = Seed::from_text(&channel);
    let mut retries = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), seed);
    let mut refusal_told = false;
    while !stop.is_cancelled() {
        heartbeat.touch();
        let subscribed = tokio::time::timeout(Duration::from_secs(5), subscribe(&endpoint, &channel)).await;
        match subscribed {
            Ok(Ok(pubsub)) => {
                retries.worked();
                hints.wake_all();
                relay(pubsub, &hints, &heartbeat, &stop).await;
            }
            // The code that moves records meets every other trouble with Redis too, and logs it.
            Ok(Err(error)) if is_refused(&error) => {
                if !std::mem::replace(&mut refusal_told, true) {
                    tracing::warn!(
                        "no hints from Redis: {error}; jobs wait for their slots and their cancellations longer than they need: \
                         allow the user of redis.url the command subscribe and the channel ({channel})"
                    );
                }
                // Without hints, the waiting jobs look for themselves whenever listening is tried.
                hints.wake_all();
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(retries.failed()) => {}
        }
    }
}

async fn subscribe(endpoint: &Endpoint, channel: &str) -> redis::RedisResult<redis::aio::PubSub> {
    let mut pubsub = Box::pin(endpoint.listen()).await?;
    pubsub.subscribe(channel).await?;
    Ok(pubsub)
}

/// Checks whether hints would arrive.
///
/// # Errors
///
/// Why they would not, for a person.
pub async fn try_to_listen(endpoint: &Endpoint, channel: &str) -> Result<(), String> {
    subscribe(endpoint, channel).await.map(drop).map_err(|error| error.to_string())
}

fn is_refused(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoPerm)
}

/// Passes hints on until the connection breaks or doesn't answer a ping, which is sent every few seconds.
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
    fn no_life_is_told_about_a_job_that_is_not_held_any_more() {
        let hints = Hints::default();
        drop(hints.wait_for(&job("a")));
        assert!(!hints.poll("a"));
        hints.wake_all();
    }
}
