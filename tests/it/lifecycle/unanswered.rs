//! Only the provider's POST fails. Its GET answers, so only a real POST can show when the fault is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comet_worker::job::answers::AccountFaultKind;
use comet_worker::job::event::EventKind;
use comet_worker::worker::breaker::Mode;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::provider::{End, Reply};
use crate::workbench::{Delivery, Workbench, job, until};

/// The jobs that wait at the broker, taken as the breaker allows and requeued at their place.
struct Queue {
    ready: VecDeque<String>,
    open: Vec<(String, Delivery)>,
}

impl Queue {
    fn of(number: usize) -> Self {
        Self { ready: (0..number).map(|number| format!("j{number}")).collect(), open: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.open.is_empty()
    }

    /// Runs for this long, or until nothing is left.
    async fn run(&mut self, bench: &Workbench, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.is_empty() {
            let mut open = Vec::new();
            let mut back = Vec::new();
            for (id, delivery) in self.open.drain(..) {
                if delivery.is_open() {
                    open.push((id, delivery));
                } else if delivery.ended().await == Some(Settled::HandedBack) {
                    back.push(id);
                }
            }
            self.open = open;
            for id in back.into_iter().rev() {
                self.ready.push_front(id);
            }
            let room = match bench.shared.breaker.mode() {
                Mode::Open => usize::from(bench.max_in_flight).saturating_sub(self.open.len()),
                Mode::OneJob => 1,
                Mode::Closed => 0,
            };
            for id in self.ready.drain(..room.min(self.ready.len())) {
                self.open.push((id.clone(), bench.deliver(job(&id))));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// A switch that makes POSTs fail.
fn failing(bench: &Workbench, reply: Reply) -> Arc<AtomicBool> {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    bench.provider.program(move |_| {
        let reply = if switch.load(Ordering::Relaxed) { reply } else { Reply::Accept };
        (reply, End::Succeeds)
    });
    fails
}

/// How many of the jobs have ended like this; `None`: with a picture.
fn ended(bench: &Workbench, jobs: usize, reason: Option<&str>) -> usize {
    let ids = (0..jobs).map(|number| format!("j{number}"));
    ids.filter(|id| !bench.broker.ends(id).is_empty())
        .filter(|id| bench.broker.end(id).reason.as_deref() == reason)
        .count()
}

#[tokio::test(start_paused = true)]
async fn while_no_post_is_answered_those_under_way_and_a_few_probes_end_unknown_and_the_others_wait() {
    for made in [false, true] {
        let bench = Workbench::new();
        bench.watch_breaker();
        let fails = failing(&bench, Reply::Lost { made });
        let mut queue = Queue::of(150);
        queue.run(&bench, Duration::from_secs(1800)).await;
        let posts = bench.provider.posts().len();
        assert!(posts <= 32 + 15, "{posts} POSTs in half an hour");
        assert!(bench.measures("comet_paused{reason=\"provider\"} 1"));
        assert!(bench.shared.breaker.faults()[0].contains("growing distances"));

        fails.store(false, Ordering::Relaxed);
        queue.run(&bench, Duration::from_secs(7200)).await;
        assert!(queue.is_empty(), "{} are left", queue.ready.len());
        let unknown = ended(&bench, 150, Some("outcome_unknown"));
        assert_eq!(unknown, posts, "each job that was posted meanwhile, and no other");
        assert_eq!(ended(&bench, 150, None), 150 - unknown);
        assert!(bench.provider.charges().values().all(|charges| *charges == 1));
        assert_eq!(bench.shared.breaker.mode(), Mode::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_every_second_post_is_asked_ever_more_rarely() {
    let bench = Workbench::new();
    bench.watch_breaker();
    let mut number = 0;
    bench.provider.program(move |_| {
        number += 1;
        (if number % 2 == 0 { Reply::Accept } else { Reply::Lost { made: false } }, End::Succeeds)
    });
    // A burst is under way before the first answer; after that the intervals grow.
    bench.provider.reply([Reply::Lost { made: false }; 3]);
    let mut queue = Queue::of(150);
    queue.run(&bench, Duration::from_secs(1800)).await;
    let posts = bench.provider.posts().len();
    assert!(posts <= 32 + 45, "{posts} POSTs in half an hour");
}

#[tokio::test(start_paused = true)]
async fn no_post_starts_while_the_first_few_without_an_answer_are_undecided() {
    let bench = Workbench::with(|options| options.submits_at_once = 4);
    bench.provider.reply([Reply::Lost { made: false }]);
    bench.run(job("first")).await;
    bench.provider.hold_posts();
    let deliveries = ["b", "c", "d", "e"].map(|id| bench.deliver(job(id)));
    bench.until_posted(3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.provider.posts().len(), 3, "two more decide it");
    bench.provider.release_posts();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked), "an accepted one lets the others go");
    }
    assert_eq!(bench.provider.posts().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_later_don_t_show_that_posts_are_answered_and_cost_no_distance() {
    let later = Reply::Later(None);
    for reply in [Reply::Refuse { content_policy: true }, later, Reply::Exists] {
        let bench = Workbench::new();
        bench.watch_breaker();
        bench.provider.reply([Reply::Lost { made: false }; 3]);
        for id in ["a", "b", "c"] {
            bench.run(job(id)).await;
        }
        until("a probe", || bench.shared.breaker.mode() == Mode::OneJob).await;
        bench.provider.reply([reply]);
        let probing = bench.deliver(job("d"));
        bench.until_posted(4).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if reply != later {
            assert_eq!(bench.shared.breaker.mode(), Mode::OneJob, "{reply:?}: the next one may try at once");
            assert_eq!(bench.run(job("e")).await, Some(Settled::Acked));
        }
        assert_eq!(probing.ended().await, Some(Settled::Acked));
        assert_eq!(bench.shared.breaker.mode(), Mode::Open, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_risked_only_once_the_provider_answers_at_all() {
    let bench = Workbench::new();
    bench.watch_breaker();
    failing(&bench, Reply::Lost { made: false });
    bench.provider.stand(Some(AccountFaultKind::Unreachable));
    let mut queue = Queue::of(100);
    queue.run(&bench, Duration::from_secs(3600)).await;
    assert_eq!(bench.provider.posts().len(), 32);
    assert!(bench.provider.probes().len() > 10);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_only_posts_see_is_tried_at_growing_distances_though_each_get_is_answered() {
    for kind in [AccountFaultKind::Key, AccountFaultKind::Configuration, AccountFaultKind::Unreachable] {
        let bench = Workbench::with(|options| options.submits_at_once = 1);
        bench.watch_breaker();
        let fails = failing(&bench, Reply::Account(kind));
        let mut queue = Queue::of(3);
        queue.run(&bench, Duration::from_secs(1800)).await;
        let posts = bench.provider.posts().len();
        assert!(posts <= 45, "{kind:?}: {posts} POSTs in half an hour");
        fails.store(false, Ordering::Relaxed);
        queue.run(&bench, Duration::from_secs(600)).await;
        assert!(queue.is_empty(), "{kind:?}");
        for id in ["j0", "j1", "j2"] {
            assert_eq!(bench.broker.end(id).kind(), Some(EventKind::Succeeded));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_task_is_found_was_answered_in_all_but_words() {
    let bench = Workbench::new();
    bench.watch_breaker();
    bench.provider.find_by_external_id(true);
    failing(&bench, Reply::Lost { made: true });
    let mut queue = Queue::of(100);
    queue.run(&bench, Duration::from_secs(600)).await;
    assert!(queue.is_empty(), "{} are left", queue.ready.len());
    assert_eq!(ended(&bench, 100, None), 100);
}
