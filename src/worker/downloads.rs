//! The downloads of all jobs: how many run at a time, and which have worked or failed of late. If a download fails,
//! the downloads that work for other jobs show where the fault is. If the downloads of several jobs fail in the same
//! way and none works, downloads have stopped for all jobs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::breaker::FaultWords;
use crate::job::JobId;
use crate::job::image::FetchError;
use crate::job::image::trouble::Trouble;
use crate::job::step::{Blame, Others};

/// The number of downloads that worked that are remembered, one of each job and host; and the number of jobs whose
/// downloads fail.
const REMEMBERED_MAX: usize = 64;
/// If the downloads of this many jobs fail in the same way and none works, the jobs are not at fault.
const JOBS_MIN: usize = 3;
/// A job whose downloads have failed for less than this may only be too early, because some hosts copy images lazily.
const FAILING_MIN: Duration = Duration::from_secs(10);

/// Shared by all lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Downloads {
    /// `download.max_at_once` permits.
    places: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    worked: VecDeque<Worked>,
    /// Why the downloads of each job fail, since the last download that worked.
    failing: BTreeMap<JobId, Trouble>,
}

#[derive(Debug)]
struct Worked {
    job: JobId,
    host: String,
    at: Instant,
}

/// The right to have one image in memory, from before its download until it is stored or given up.
#[derive(Debug)]
pub struct DownloadPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Downloads {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once.max(1))), seen: Arc::default() }
    }

    /// Waits for a permit.
    pub async fn place(&self) -> DownloadPermit {
        DownloadPermit { _permit: Arc::clone(&self.places).acquire_owned().await.ok() }
    }

    /// Notes that an image of this job has arrived complete from this host.
    pub fn note(&self, job: &JobId, host: &str) {
        let mut seen = self.lock();
        seen.failing.clear();
        let worked = &mut seen.worked;
        worked.retain(|known| known.job != *job || known.host != host);
        worked.push_back(Worked { job: job.clone(), host: host.to_owned(), at: Instant::now() });
        if worked.len() > REMEMBERED_MAX {
            worked.pop_front();
        }
    }

    /// What has worked for other jobs since `since`.
    #[must_use]
    pub fn others(&self, job: &JobId, host: &str, since: Instant) -> Others {
        let is_since = |known: &&Worked| known.at >= since && known.job != *job;
        let worked = &self.lock().worked;
        let of = |known: &Worked| if known.host == host { Others::SameHost } else { Others::Elsewhere };
        worked.iter().filter(is_since).map(of).max().unwrap_or(Others::None)
    }

    /// Notes that a download of this job has failed, as all its downloads have since `since`. Returns what to
    /// say about it if downloads have stopped for all jobs.
    #[must_use]
    pub fn failed(&self, job: &JobId, error: &FetchError, since: Instant) -> Option<FaultWords> {
        let trouble = error.trouble;
        // A file that is not an image says nothing about the network or the host.
        if trouble.blame() == Blame::Job || since.elapsed() < FAILING_MIN {
            return None;
        }
        let mut seen = self.lock();
        // A download of another job worked while this job's failed, so this failure says nothing about other jobs.
        if seen.worked.back().is_some_and(|last| last.at >= since) {
            return None;
        }
        if seen.failing.len() < REMEMBERED_MAX {
            seen.failing.insert(job.clone(), trouble);
        }
        let alike = seen.failing.values().filter(|other| other.is_like(trouble)).count();
        (alike >= JOBS_MIN).then(|| {
            let message = &error.message;
            let detail =
                format!("the images of {alike} jobs can't be downloaded, and no other's can: {message}");
            FaultWords { detail, ..FaultWords::from(error) }
        })
    }

    /// The job has ended, so its failed downloads don't count any more.
    pub fn forget(&self, job: &JobId) {
        self.lock().failing.remove(job);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
        let begun = Instant::now();
        let others = |id: &str, host: &str, since| downloads.others(&job(id), host, since);
        assert_eq!(others("a", "one", begun), Others::None);
        downloads.note(&job("a"), "one");
        assert_eq!(others("a", "one", begun), Others::None, "its own");
        downloads.note(&job("b"), "two");
        assert_eq!(others("a", "one", begun), Others::Elsewhere);
        downloads.note(&job("b"), "one");
        assert_eq!(others("a", "one", begun), Others::SameHost);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(others("a", "one", Instant::now()), Others::None, "before that");
        assert_eq!(others("a", "one", begun), Others::SameHost);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let downloads = Downloads::new(1);
        for number in 0..1000 {
            downloads.note(&job(&format!("j-{number}")), "one");
            downloads.note(&job("a"), "one");
        }
        assert_eq!(downloads.lock().worked.len(), REMEMBERED_MAX);
    }

    fn error(trouble: Trouble) -> FetchError {
        FetchError::new(trouble, "HTTP 403")
    }

    /// Lets a job fail for eleven seconds and once more.
    async fn stops(downloads: &Downloads, id: &str, trouble: Trouble) -> bool {
        let since = Instant::now();
        tokio::time::sleep(Duration::from_secs(11)).await;
        downloads.failed(&job(id), &error(trouble), since).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn downloads_of_three_jobs_that_fail_alike_while_none_works_are_an_outage() {
        let downloads = Downloads::new(1);
        for _ in 0..10 {
            assert!(!stops(&downloads, "a", Trouble::Spent(403)).await, "one job, however often");
        }
        assert!(!stops(&downloads, "b", Trouble::Spent(403)).await);
        assert!(!stops(&downloads, "c", Trouble::Spent(404)).await, "another fault");
        assert!(!stops(&downloads, "d", Trouble::AnotherKind).await, "its own fault");
        assert_eq!(
            downloads.failed(&job("e"), &error(Trouble::Spent(403)), Instant::now()),
            None,
            "only just"
        );
        let since = Instant::now();
        tokio::time::sleep(Duration::from_secs(11)).await;
        let told = downloads.failed(&job("f"), &error(Trouble::Spent(403)), since).unwrap();
        assert!(told.detail.ends_with("and no other's can: HTTP 403"), "{told:?}");
        assert!(
            told.remedy.as_ref().is_some_and(|remedy| remedy.contains("download.user_agent")),
            "{told:?}"
        );
        downloads.note(&job("g"), "one");
        assert!(!stops(&downloads, "a", Trouble::Spent(403)).await, "one has worked");
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_fail_while_another_works_say_nothing_about_the_others() {
        let downloads = Downloads::new(1);
        let since = Instant::now();
        tokio::time::sleep(Duration::from_secs(11)).await;
        downloads.note(&job("good"), "one");
        tokio::time::sleep(Duration::from_secs(600)).await;
        for id in ["a", "b", "c", "d"] {
            assert_eq!(downloads.failed(&job(id), &error(Trouble::Spent(404)), since), None, "{id}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_way_out_is_one_fault_whatever_it_looks_like() {
        let downloads = Downloads::new(1);
        assert!(!stops(&downloads, "a", Trouble::Unresolved).await);
        assert!(!stops(&downloads, "b", Trouble::Silent).await);
        assert!(stops(&downloads, "c", Trouble::Tls).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_has_ended_is_none_of_them() {
        let downloads = Downloads::new(1);
        for id in ["a", "b", "c", "d"] {
            assert!(!stops(&downloads, id, Trouble::Spent(404)).await, "{id}");
            downloads.forget(&job(id));
        }
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
