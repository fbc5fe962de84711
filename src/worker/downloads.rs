//! The downloads of all jobs: so many at a time, and which have worked of late. What works for others tells whose fault it is
//! where a download fails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::job::JobId;
use crate::job::step::Others;

/// So many downloads that worked are remembered, one of each job and host.
const REMEMBERED_MAX: usize = 64;

/// Shared by all lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Downloads {
    /// `download.max_at_once` of them.
    places: Arc<Semaphore>,
    worked: Arc<Mutex<VecDeque<Worked>>>,
}

#[derive(Debug)]
struct Worked {
    job: JobId,
    host: String,
    at: Instant,
}

/// The right to have one image in memory: from before its download until it is stored, or given up.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Downloads {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once.max(1))), worked: Arc::default() }
    }

    /// Waits for a free place.
    pub async fn place(&self) -> Place {
        Place { _permit: Arc::clone(&self.places).acquire_owned().await.ok() }
    }

    /// An image of this job has come from this host, whole.
    pub fn note(&self, job: &JobId, host: &str) {
        let mut worked = self.lock();
        worked.retain(|known| known.job != *job || known.host != host);
        worked.push_back(Worked { job: job.clone(), host: host.to_owned(), at: Instant::now() });
        if worked.len() > REMEMBERED_MAX {
            worked.pop_front();
        }
    }

    /// What has worked since then for other jobs than this one.
    #[must_use]
    pub fn others(&self, job: &JobId, host: &str, since: Option<Instant>) -> Others {
        let is_since = |known: &&Worked| since.is_none_or(|since| known.at >= since) && known.job != *job;
        let worked = self.lock();
        let of = |known: &Worked| if known.host == host { Others::SameHost } else { Others::Elsewhere };
        worked.iter().filter(is_since).map(of).max().unwrap_or(Others::None)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Worked>> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(id: &str) -> JobId {
        id.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_works_for_other_jobs_tells_of_the_host_and_of_the_network() {
        let downloads = Downloads::new(1);
        let begun = Some(Instant::now());
        let others = |id: &str, host: &str, since| downloads.others(&job(id), host, since);
        assert_eq!(others("a", "one", begun), Others::None);
        downloads.note(&job("a"), "one");
        assert_eq!(others("a", "one", begun), Others::None, "its own");
        downloads.note(&job("b"), "two");
        assert_eq!(others("a", "one", begun), Others::Elsewhere);
        downloads.note(&job("b"), "one");
        assert_eq!(others("a", "one", begun), Others::SameHost);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(others("a", "one", Some(Instant::now())), Others::None, "before that");
        assert_eq!(others("a", "one", None), Others::SameHost);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let downloads = Downloads::new(1);
        for number in 0..1000 {
            downloads.note(&job(&format!("j-{number}")), "one");
            downloads.note(&job("a"), "one");
        }
        assert_eq!(downloads.lock().len(), REMEMBERED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_a_time() {
        let downloads = Downloads::new(1);
        let place = downloads.place().await;
        assert!(tokio::time::timeout(Duration::from_secs(5), downloads.place()).await.is_err());
        drop(place);
        downloads.place().await;
    }
}
