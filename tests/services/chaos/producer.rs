//! A producer as one should be: it publishes a job until RabbitMQ has confirmed it, under the same id.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::scene::Scene;
use crate::support::Broker;
use crate::support::jobs::job;

const PAUSE: Duration = Duration::from_millis(150);
/// Every so many jobs, one of some time ago is published once more.
const AGAIN_EVERY: usize = 12;

/// What RabbitMQ has confirmed.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) jobs: Vec<String>,
    /// Copies on purpose.
    pub(super) again: usize,
    /// Publishes without a confirm, repeated; they may have arrived as well.
    pub(super) unconfirmed: usize,
}

/// Until it is stopped; what has been begun is confirmed before it returns.
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
            // By turns one that is running, one that has ended, and the newest, side by side with itself.
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
