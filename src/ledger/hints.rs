//! Hints: "look at this job again, now". They carry no truth: who gets one looks at the record, who
//! misses one looks on its timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::job::JobId;
use crate::job::pace::{Seed, backoff};
use crate::pulse::Pulse;

/// Who waits for a hint in this process.
#[derive(Debug, Default, Clone)]
pub struct Hints {
    waiting: Arc<Mutex<HashMap<JobId, Arc<Notify>>>>,
}

/// While this lives, hints about the job wake [`Waiting::hint`], also those that came since the last
/// one.
#[derive(Debug)]
pub struct Waiting {
    hints: Hints,
    job: JobId,
    notify: Arc<Notify>,
}

impl Hints {
    /// One life per job per process, so one place per job is enough.
    #[must_use]
    pub fn wait_for(&self, job: &JobId) -> Waiting {
        let notify = Arc::new(Notify::new());
        self.lock().insert(job.clone(), Arc::clone(&notify));
        Waiting { hints: self.clone(), job: job.clone(), notify }
    }

    /// Wakes who waits for that job, if anybody does here.
    pub fn wake(&self, job: &str) {
        let Ok(job) = job.parse::<JobId>() else { return };
        if let Some(notify) = self.lock().get(&job) {
            notify.notify_one();
        }
    }

    /// Wakes everybody: hints may have been missed.
    fn wake_all(&self) {
        for notify in self.lock().values() {
            notify.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    pub async fn hint(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hints.lock().remove(&self.job);
    }
}

/// Listens until `stop`, over a connection of its own that is made anew when it breaks.
pub async fn listen(
    client: redis::Client,
    channel: String,
    hints: Hints,
    pulse: Pulse,
    stop: CancellationToken,
) {
    let seed = Seed::from_text(&channel);
    let mut failures = 0;
    while !stop.is_cancelled() {
        pulse.touch();
        let subscribed = tokio::time::timeout(Duration::from_secs(5), subscribe(&client, &channel)).await;
        if let Ok(Ok(pubsub)) = subscribed {
            failures = 0;
            hints.wake_all();
            relay(pubsub, &hints, &pulse, &stop).await;
        }
        failures += 1;
        let wait = backoff(failures, Duration::from_millis(200), Duration::from_secs(5), seed);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn subscribe(client: &redis::Client, channel: &str) -> redis::RedisResult<redis::aio::PubSub> {
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe(channel).await?;
    Ok(pubsub)
}

/// Until the connection breaks or goes dead: a ping every few seconds tells.
async fn relay(pubsub: redis::aio::PubSub, hints: &Hints, pulse: &Pulse, stop: &CancellationToken) {
    let (mut sink, mut stream) = pubsub.split();
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        pulse.touch();
        tokio::select! {
            () = stop.cancelled() => return,
            message = stream.next() => match message {
                Some(message) => {
                    let text: String = message.get_payload().unwrap_or_default();
                    if let Some(job) = text.strip_prefix("look ") {
                        hints.wake(job);
                    }
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
