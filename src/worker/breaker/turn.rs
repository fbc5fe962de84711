//! The turn of one held job to try the act that fails for all jobs: storing an image, or a download.
//!
//! While such a cause is open, the held jobs wait, and one of them at a time tries, at growing intervals. If no job
//! is held, because the broker wants its deliveries back, a job from the queue is let through. From time to time a
//! job from the queue is let through even if jobs are held, because those may be the jobs that can never succeed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Breaker, Cause, FaultWords, ProbedBy, State, wait};

/// A job from the queue is let through this often, however many jobs are held.
pub(super) const LET_THROUGH_EVERY: Duration = Duration::from_secs(600);

/// The right to try the act once.
#[derive(Debug)]
pub struct Turn {
    breaker: Breaker,
    cause: Cause,
    /// The act fails for all jobs at the moment, and this job tries it.
    is_probe: bool,
    is_told: bool,
}

/// A job that is held because the act failed, and that waits for its turn. Dropping this releases the job.
#[derive(Debug)]
pub struct Held {
    breaker: Breaker,
    cause: Cause,
}

impl Breaker {
    #[must_use]
    pub fn stands(&self, cause: Cause) -> bool {
        self.state.borrow().faults.contains_key(&cause)
    }

    /// Returns at once if the act works. If it fails for all jobs, one job at a time gets the turn, at growing
    /// intervals.
    pub async fn turn(&self, cause: Cause) -> Turn {
        let mut changes = self.state.subscribe();
        loop {
            let mut asked = Asked::Go { is_probe: false };
            self.state.send_if_modified(|state| {
                asked = ask(state, cause);
                let is_probe = matches!(asked, Asked::Go { is_probe: true });
                if let Some(fault) = state.faults.get_mut(&cause).filter(|_| is_probe) {
                    fault.probing = true;
                }
                is_probe
            });
            let until = match asked {
                Asked::Go { is_probe } => {
                    return Turn { breaker: self.clone(), cause, is_probe, is_told: false };
                }
                Asked::Wait { until } => until,
            };
            let is_other = |state: &State| ask(state, cause) != Asked::Wait { until };
            tokio::select! {
                () = sleep_until(until) => {}
                // `self` holds the sender, so this wait can't end early.
                _ = changes.wait_for(is_other) => {}
            }
        }
    }

    /// A job's act has failed, and the job will try again.
    #[must_use]
    pub fn hold(&self, cause: Cause) -> Held {
        self.state.send_modify(|state| *state.held.entry(cause).or_default() += 1);
        Held { breaker: self.clone(), cause }
    }

    /// The act has worked for some job.
    pub fn worked(&self, cause: Cause) {
        self.clear(cause);
    }

    /// Lets a job from the queue through if the held jobs don't show whether the act works.
    pub(super) fn look_after_turns(&self) {
        let now = Instant::now();
        self.state.send_if_modified(|state| {
            let mut lets_through = false;
            for (cause, fault) in &mut state.faults {
                let ProbedBy::HeldJob { after_request } = cause.probed_by() else { continue };
                if fault.letting_one_through {
                    continue;
                }
                let is_held = state.held.get(cause).is_some_and(|held| *held > 0);
                let is_due = if is_held {
                    fault.let_through_at <= now
                } else {
                    !after_request && fault.next_probe <= now && !fault.probing
                };
                if is_due {
                    fault.letting_one_through = true;
                    fault.let_through_at = now + LET_THROUGH_EVERY;
                    lets_through = true;
                }
            }
            lets_through
        });
    }
}

impl Turn {
    /// Whether the act fails for all jobs at the moment, and this job tries it.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The act has worked, so it works for all jobs.
    pub fn worked(mut self) {
        self.is_told = true;
        self.breaker.worked(self.cause);
    }

    /// The act has failed.
    pub fn failed(mut self, words: impl Into<FaultWords>) {
        self.is_told = true;
        self.end(Some(words.into()));
    }

    fn end(&self, words: Option<FaultWords>) {
        self.breaker.state.send_if_modified(|state| {
            let fault = state.faults.get_mut(&self.cause).filter(|_| self.is_probe);
            let Some(fault) = fault else { return false };
            (fault.probing, fault.letting_one_through) = (false, false);
            if let Some(words) = words {
                fault.probes = fault.probes.saturating_add(1);
                fault.words = words;
            }
            fault.next_probe = Instant::now() + wait(self.cause, fault.probes);
            true
        });
    }
}

impl Drop for Turn {
    /// A job that had to stop before it tried leaves its turn to another job.
    fn drop(&mut self) {
        if !self.is_told {
            self.end(None);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.breaker.state.send_modify(|state| {
            let held = state.held.entry(self.cause).or_default();
            *held = held.saturating_sub(1);
        });
    }
}

/// The answer to a request for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Go {
        is_probe: bool,
    },
    /// The job waits at least until this time, or until another job's turn has ended.
    Wait {
        until: Instant,
    },
}

fn ask(state: &State, cause: Cause) -> Asked {
    // Another job's turn ends by itself, and its end is signalled.
    const ANOTHERS: Duration = Duration::from_secs(3600);
    let now = Instant::now();
    match state.faults.get(&cause) {
        None => Asked::Go { is_probe: false },
        Some(fault) if fault.probing => Asked::Wait { until: fault.next_probe + ANOTHERS },
        Some(fault) if fault.next_probe <= now => Asked::Go { is_probe: true },
        Some(fault) => Asked::Wait { until: fault.next_probe },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::super::{Mode, Probe};
    use super::*;
    use crate::heartbeat::Heartbeats;
    use crate::metrics::Metrics;

    struct NoRequest;

    #[async_trait::async_trait]
    impl Probe for NoRequest {
        async fn probe(&self, cause: Cause) -> Result<(), FaultWords> {
            panic!("{cause:?} is probed by what failed")
        }
    }

    fn watched() -> Breaker {
        let breaker = Breaker::new(Metrics::default());
        let watcher = breaker.clone();
        tokio::spawn(async move {
            let heartbeat = Heartbeats::new().register("breaker", Duration::from_secs(60));
            watcher.watch(&NoRequest, &heartbeat, &CancellationToken::new()).await;
        });
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_cause_stands_one_at_a_time_tries_at_growing_distances() {
        for cause in [Cause::Images, Cause::Downloads] {
            let breaker = watched();
            let first = breaker.turn(cause).await;
            assert!(!first.is_probe());
            drop(first);
            breaker.fault(cause, "nothing works");
            let tries: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
            let lives: Vec<_> = (0..100)
                .map(|_| {
                    let (breaker, tries) = (breaker.clone(), Arc::clone(&tries));
                    tokio::spawn(async move {
                        loop {
                            let turn = breaker.turn(cause).await;
                            if !turn.is_probe() {
                                return;
                            }
                            tries.lock().unwrap().push(Instant::now());
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            if tries.lock().unwrap().len() == 12 {
                                return turn.worked();
                            }
                            turn.failed("still");
                        }
                    })
                })
                .collect();
            for life in lives {
                life.await.unwrap();
            }
            let tries = tries.lock().unwrap();
            assert_eq!(tries.len(), 12);
            let apart: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(apart[10] >= Duration::from_secs(48) && apart[0] < Duration::from_secs(5), "{apart:?}");
            assert_eq!(breaker.mode(), Mode::Open);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_up_is_anothers() {
        let breaker = watched();
        breaker.fault(Cause::Downloads, "nothing works");
        let turn = breaker.turn(Cause::Downloads).await;
        assert!(turn.is_probe());
        let second = tokio::time::timeout(Duration::from_secs(600), breaker.turn(Cause::Downloads)).await;
        assert!(second.is_err(), "while another tries");
        drop(turn);
        assert!(breaker.turn(Cause::Downloads).await.is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_held_a_job_of_the_queue_is_let_through_and_its_act_tells() {
        let breaker = watched();
        breaker.fault(Cause::Downloads, "nothing works");
        assert_eq!(breaker.mode(), Mode::Closed);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(breaker.mode(), Mode::OneJob);
        breaker.turn(Cause::Downloads).await.failed("still");
        assert_eq!(breaker.mode(), Mode::Closed);
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(breaker.mode(), Mode::OneJob);
        breaker.turn(Cause::Downloads).await.worked();
        assert_eq!(breaker.mode(), Mode::Open);
    }

    /// Finding out what a nearly full store accepts costs no generation.
    #[tokio::test(start_paused = true)]
    async fn where_no_image_is_held_a_request_of_our_own_comes_before_a_job() {
        struct Room(std::sync::atomic::AtomicBool);

        #[async_trait::async_trait]
        impl Probe for Room {
            async fn probe(&self, cause: Cause) -> Result<(), FaultWords> {
                assert_eq!(cause, Cause::Images);
                let has_room = self.0.load(std::sync::atomic::Ordering::Relaxed);
                if has_room { Ok(()) } else { Err("no space".into()) }
            }
        }

        let room = Arc::new(Room(false.into()));
        let breaker = Breaker::new(Metrics::default());
        let (watcher, probe) = (breaker.clone(), Arc::clone(&room));
        tokio::spawn(async move {
            let heartbeat = Heartbeats::new().register("breaker", Duration::from_secs(60));
            watcher.watch(&*probe, &heartbeat, &CancellationToken::new()).await;
        });
        breaker.fault(Cause::Images, "no space");
        for _ in 0..36_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(breaker.mode(), Mode::Closed);
        }
        room.0.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert_eq!(breaker.mode(), Mode::OneJob);
        breaker.turn(Cause::Images).await.worked();
        assert_eq!(breaker.mode(), Mode::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_will_never_succeed_keep_no_other_from_trying() {
        let breaker = watched();
        breaker.fault(Cause::Downloads, "nothing works");
        let held = breaker.clone();
        tokio::spawn(async move {
            let _held = held.hold(Cause::Downloads);
            loop {
                let turn = held.turn(Cause::Downloads).await;
                if !turn.is_probe() {
                    return;
                }
                turn.failed("gone");
            }
        });
        let begun = Instant::now();
        while breaker.mode() != Mode::OneJob {
            breaker.changed().await;
        }
        assert!(begun.elapsed() <= LET_THROUGH_EVERY * 2, "{:?}", begun.elapsed());
        breaker.worked(Cause::Downloads);
        assert_eq!(breaker.mode(), Mode::Open);
    }
}
