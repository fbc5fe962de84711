//! The bounds of one worker's requests: how many at a time, and how many a second.
//!
//! A POST passes this bound before it asks for the right to post, because after that its time is short. So submits go
//! before queries, of which ten thousand may be due. But every fourth request is a query, because the slots of an
//! account become free only when the ends of its tasks are seen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

/// The number of submits that go in a row while a query waits.
const SUBMITS_IN_A_ROW: u32 = 3;
/// A timer is late by a millisecond or so; requests that were missed within this time are made up for.
const MADE_UP_FOR: Duration = Duration::from_millis(20);
/// A request that lets another one go first tries again after this time.
const GIVES_WAY: Duration = Duration::from_millis(1);

/// The bounds, shared by all requests. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// `api.max_requests_per_second`; `None` = no bound.
    rate: Option<Arc<Rate>>,
    /// What `api.max_connections` leaves beside the POSTs; `None` = no bound.
    connections: Option<Arc<Semaphore>>,
}

/// The right to one query or download.
#[derive(Debug)]
pub struct RequestPermit {
    _connection: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Rate {
    interval: Duration,
    state: Mutex<State>,
    // One request of each kind competes at a time, in the order of arrival.
    submits: Semaphore,
    queries: Semaphore,
}

#[derive(Debug)]
struct State {
    /// When the next request may go.
    next: Instant,
    submit_waits: bool,
    query_waits: bool,
    submits_in_a_row: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Submit,
    Query,
}

/// A request that competes, until this is dropped.
struct Contender<'a> {
    rate: &'a Rate,
    kind: Kind,
}

impl Limits {
    /// `requests_per_second`: 0 for no bound. `connections`: for queries and downloads together, 0 for no bound.
    #[must_use]
    pub fn new(requests_per_second: u32, connections: usize) -> Self {
        let rate = (requests_per_second > 0).then(|| Arc::new(Rate::new(requests_per_second)));
        let connections = (connections > 0).then(|| Arc::new(Semaphore::new(connections)));
        Self { rate, connections }
    }

    /// Call it before a POST, whose connection is not counted here.
    pub async fn submit(&self) {
        if let Some(rate) = &self.rate {
            rate.pass(Kind::Submit).await;
        }
    }

    /// Call it before a GET to the API.
    pub async fn query(&self) -> RequestPermit {
        let way = self.download().await;
        if let Some(rate) = &self.rate {
            rate.pass(Kind::Query).await;
        }
        way
    }

    /// Call it before a GET to any other server.
    pub async fn download(&self) -> RequestPermit {
        match &self.connections {
            Some(connections) => {
                RequestPermit { _connection: Arc::clone(connections).acquire_owned().await.ok() }
            }
            None => RequestPermit { _connection: None },
        }
    }
}

impl Rate {
    fn new(per_second: u32) -> Self {
        let state =
            State { next: Instant::now(), submit_waits: false, query_waits: false, submits_in_a_row: 0 };
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            state: Mutex::new(state),
            submits: Semaphore::new(1),
            queries: Semaphore::new(1),
        }
    }

    async fn pass(&self, kind: Kind) {
        let line = match kind {
            Kind::Submit => &self.submits,
            Kind::Query => &self.queries,
        };
        let _turn = line.acquire().await;
        let _waiting = Contender::of(self, kind);
        loop {
            let (now, next) = (Instant::now(), self.lock().next);
            if now < next {
                sleep_until(next).await;
            } else if self.lock().take(kind, now, self.interval) {
                return;
            } else {
                sleep(GIVES_WAY).await;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns true if the request goes now; otherwise the other kind has the turn.
    fn take(&mut self, kind: Kind, now: Instant, interval: Duration) -> bool {
        let enough = self.submits_in_a_row >= SUBMITS_IN_A_ROW;
        match kind {
            Kind::Submit if self.query_waits && enough => return false,
            Kind::Query if self.submit_waits && !enough => return false,
            Kind::Submit => self.submits_in_a_row = self.submits_in_a_row.saturating_add(1),
            Kind::Query => self.submits_in_a_row = 0,
        }
        let earliest = now.checked_sub(MADE_UP_FOR).unwrap_or(now);
        self.next = self.next.max(earliest) + interval;
        true
    }
}

impl<'a> Contender<'a> {
    fn of(rate: &'a Rate, kind: Kind) -> Self {
        let waiting = Self { rate, kind };
        waiting.set(true);
        waiting
    }

    fn set(&self, waits: bool) {
        let mut state = self.rate.lock();
        match self.kind {
            Kind::Submit => state.submit_waits = waits,
            Kind::Query => state.query_waits = waits,
        }
    }
}

impl Drop for Contender<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed(limits: &Limits, submits: usize, queries: usize) -> Vec<(Kind, Instant)> {
        let done: Arc<Mutex<Vec<(Kind, Instant)>>> = Arc::default();
        let mut tasks = Vec::new();
        for number in 0..submits + queries {
            let (limits, done) = (limits.clone(), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                // Queries come first.
                let kind = if number < queries { Kind::Query } else { Kind::Submit };
                match kind {
                    Kind::Query => drop(limits.query().await),
                    Kind::Submit => limits.submit().await,
                }
                done.lock().unwrap().push((kind, Instant::now()));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let done = done.lock().unwrap();
        done.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_requests_go_in_any_second_and_no_more() {
        let done = passed(&Limits::new(10, 0), 20, 80).await;
        assert_eq!(done.len(), 100);
        for (index, (_, at)) in done.iter().enumerate() {
            let within =
                done[index..].iter().filter(|(_, other)| *other - *at < Duration::from_secs(1)).count();
            assert!(within <= 11, "{within} in a second");
        }
        let took = done[99].1 - done[0].1;
        assert!(took <= Duration::from_secs(11), "{took:?}: fewer than there may be");
    }

    #[tokio::test(start_paused = true)]
    async fn submits_go_before_ten_thousand_queries_and_let_some_through() {
        let done = passed(&Limits::new(100, 0), 30, 10_000).await;
        let last = done.iter().rposition(|(kind, _)| *kind == Kind::Submit).unwrap();
        let queries = done[..last].iter().filter(|(kind, _)| *kind == Kind::Query).count();
        assert!((8..=14).contains(&queries), "{queries} queries among 30 submits");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nothing_waits() {
        let begun = Instant::now();
        passed(&Limits::default(), 100, 100).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_connections_are_open_and_no_more() {
        let limits = Limits::new(0, 2);
        let ways = (limits.query().await, limits.download().await);
        let third = tokio::time::timeout(Duration::from_secs(5), limits.query()).await;
        assert!(third.is_err(), "a third connection");
        limits.submit().await;
        drop(ways);
        drop(limits.query().await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gave_up_waiting_holds_no_other_up() {
        let limits = Limits::new(1, 0);
        limits.submit().await;
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(10), limits.submit()).await.is_err());
        }
        let begun = Instant::now();
        drop(limits.query().await);
        assert!(begun.elapsed() <= Duration::from_secs(1));
    }
}
