//! What the lives of a batch need of a queue: a delivery that can be settled, and a way out for events and dead letters.
//! The folder takes the place of RabbitMQ.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::types::AMQPValue;
use tokio::sync::mpsc::UnboundedSender;

use super::folder::Folder;
use crate::job::event::{Event, EventView};
use crate::queue::consume::Settle;
use crate::queue::message;
use crate::queue::publish::{Outgoing, Publish, PublishError, Routed};
use crate::queue::topology::Names;

/// What happens to the jobs.
#[derive(Debug)]
pub(super) enum News {
    /// A job has ended, and its event is in the folder.
    Ended(Box<EventView>, String),
    /// An event can't be written into the folder, and is tried again.
    Trouble(String),
    /// The worker can't end this job by itself.
    Dead { body: String, reason: String, detail: String },
    /// The message goes back to where it came from, and is settled as well.
    Republished { body: Bytes },
    /// The life of the job with this number is over; `again`: it has to live once more.
    Settled { number: usize, again: bool },
}

/// Writes events into the folder.
pub(super) struct FolderPublisher {
    pub(super) folder: Arc<Folder>,
    pub(super) names: Names,
    pub(super) news: UnboundedSender<News>,
}

#[async_trait]
impl Publish for FolderPublisher {
    async fn publish(&self, outgoing: &Outgoing) -> Result<Routed, PublishError> {
        let body = String::from_utf8_lossy(&outgoing.body).into_owned();
        if outgoing.exchange == self.names.events {
            let Some(event) = Event::from_stored(outgoing.body.clone()) else { return Ok(Routed::ToQueue) };
            let (folder, text) = (Arc::clone(&self.folder), body.clone());
            let writing = tokio::task::spawn_blocking(move || folder.write(&event.id, &text));
            let failed = |error: String| {
                let words = format!("can't write into {}: {error}", self.folder.path().display());
                self.tell(News::Trouble(format!("{words}; make space there, it is tried again")));
                PublishError::Failed(words)
            };
            let is_new = match writing.await {
                Ok(written) => written.map_err(|error| failed(error.to_string()))?,
                Err(error) => return Err(failed(error.to_string())),
            };
            if let (true, Ok(view)) = (is_new, EventView::parse(&outgoing.body)) {
                self.tell(News::Ended(Box::new(view), body));
            }
        } else if outgoing.routing_key == self.names.dead {
            let header = |name: &str| {
                let value =
                    outgoing.properties.headers().as_ref().and_then(|headers| headers.inner().get(name));
                match value {
                    Some(AMQPValue::LongString(text)) => {
                        String::from_utf8_lossy(text.as_bytes()).into_owned()
                    }
                    Some(_) | None => String::new(),
                }
            };
            self.tell(News::Dead { body, reason: header(message::REASON), detail: header(message::DETAIL) });
        } else if outgoing.routing_key == self.names.jobs {
            self.tell(News::Republished { body: outgoing.body.clone() });
        }
        Ok(Routed::ToQueue)
    }

    async fn restore(&self) {}
}

impl FolderPublisher {
    fn tell(&self, news: News) {
        // The other end goes away with the batch.
        let _ = self.news.send(news);
    }
}

/// One delivery of a job.
pub(super) struct Settling {
    pub(super) number: usize,
    pub(super) news: UnboundedSender<News>,
}

#[async_trait]
impl Settle for Settling {
    async fn ack(&self) {
        let _ = self.news.send(News::Settled { number: self.number, again: false });
    }

    async fn requeue(&self) {
        let _ = self.news.send(News::Settled { number: self.number, again: true });
    }
}
