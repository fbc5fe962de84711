//! A correct producer: it publishes a job under the same id until RabbitMQ has confirmed it.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::scene::Scene;
use crate::support::Broker;
use crate::support::jobs::job;

const PAUSE: Duration = Duration::from_millis(150);
/// After this many jobs, an older one is published once more.
const AGAIN_EVERY: usize = 12;

/// The jobs that RabbitMQ has confirmed.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) jobs: Vec<String>,
    /// Intended copies.
    pub(super) again: usize,
    /// Publishes that got no confirm and were repeated; they may have arrived as well.
    pub(super) unconfirmed: usize,
}

/// Runs until it is stopped; a publish that has begun is confirmed before it returns.
pub(super) async fn produce(scene: Rc<Scene>, stopped: watch::Receiver<bool>) -> Published {
    let mut published = Published::default();
    let mut broker = None;
    while !*stopped.borrow() {
        let number = published.jobs.len();
        let id = format!("c-{number}");
        until_confirmed(&scene, &mut broker, &id, &mut published.unconfirmed).await;
        published.jobs.push(id);
        scene.tally.borrow_mut().published = published.jobs.len();
        if number % AGAIN_EVERY == AGAIN_EVERY - 1 {
            // It takes a running job, an ended one, and the newest in turn; the newest is published twice at the same
            // time.
            let back = [5, 60, 0][(number / AGAIN_EVERY) % 3];
            let id = published.jobs[number.saturating_sub(back)].clone();
            until_confirmed(&scene, &mut broker, &id, &mut published.unconfirmed).await;
            published.again += 1;
        }
        sleep(PAUSE).await;
    }
    published
}

async fn until_confirmed(scene: &Scene, broker: &mut Option<Broker>, id: &str, unconfirmed: &mut usize) {
    loop {
        if broker.is_none() {
            let connecting = Broker::try_connect(&scene.amqp_url);
            *broker = timeout(Duration::from_secs(5), connecting).await.ok().and_then(Result::ok);
        }
        if let Some(connected) = broker {
            match connected.try_publish(&scene.place.queue(), job(id).to_string().as_bytes()).await {
                Ok(()) => return,
                Err(_) => *unconfirmed += 1,
            }
            *broker = None;
        }
        sleep(Duration::from_millis(300)).await;
    }
}
