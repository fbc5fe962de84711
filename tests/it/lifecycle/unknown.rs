//! A POST without a usable answer: it is looked up, never repeated on a guess, and the event is corrected if the
//! truth comes out later.

use std::time::Duration;

use comet_worker::job::event::{EventKind, EventView};
use comet_worker::job::record::Stage;
use lapin::types::AMQPValue;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job, until};

const QUIET: Duration = Duration::from_secs(120);
const AT_ONCE: Duration = Duration::from_secs(2);

fn lost(made: bool) -> [Reply; 1] {
    [Reply::Lost { made }]
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_found_by_its_external_id_is_adopted_at_once() {
    for bench in [Workbench::new(), Workbench::trusting()] {
        bench.provider.find_by_external_id(true);
        bench.provider.reply(lost(true));
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        let posted = Instant::now();
        until("an adopted task", || bench.effects.count("accept") == 1).await;
        assert!(posted.elapsed() < AT_ONCE, "{:?}", posted.elapsed());
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!(bench.broker.end("a").task_id.as_deref(), Some("task-1"));
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
        assert!(bench.broker.queue("comet.jobs.dead").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_found_only_after_a_while_is_adopted_then() {
    for bench in [Workbench::new(), Workbench::trusting()] {
        for after in [Duration::from_secs(30), QUIET - Duration::from_secs(5)] {
            let id = format!("after-{}", after.as_secs());
            bench.provider.find_late(after);
            bench.provider.reply(lost(true));
            assert_eq!(bench.run(job(&id)).await, Some(Settled::Acked));
            assert_eq!(bench.broker.end(&id).kind(), Some(EventKind::Succeeded));
            assert_eq!(bench.charges(&id), 1);
        }
        assert_eq!(bench.provider.posts().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_never_found_is_parked_after_the_quiet_period_behind_a_shut_gate() {
    for made in [true, false] {
        let bench = Workbench::new();
        bench.provider.reply(lost(made));
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        let posted = Instant::now();
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert!(posted.elapsed() >= QUIET - Duration::from_secs(1), "{:?}", posted.elapsed());
        assert!(posted.elapsed() < QUIET + Duration::from_secs(6), "{:?}", posted.elapsed());

        let end = bench.broker.end("a");
        assert_eq!(end.kind(), Some(EventKind::Failed));
        assert_eq!(end.reason.as_deref(), Some("outcome_unknown"));
        assert_eq!(end.charged.as_deref(), Some("unknown"));
        let [dead] = bench.broker.queue("comet.jobs.dead").try_into().unwrap();
        assert_eq!(dead.body, job("a").body);
        let headers = dead.properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers.get("x-comet-reason"), Some(&AMQPValue::LongString("outcome_unknown".into())));
        assert_eq!(bench.store.receipts("a").await, ["intent-1", "intent-2", "result"]);
        let shut = bench.store.receipt("a", "intent-2").await.unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&shut).unwrap()["shut"], true);
        let way = [
            "intent-1",
            "post",
            "intent-2",
            "publish",
            "result",
            "freeze",
            "publish",
            "mark_published",
            "ack",
        ];
        let done: Vec<_> = bench.effects.done().into_iter().filter(|name| *name != "read").collect();
        assert_eq!(done[1..], way);
        assert_eq!(bench.provider.posts().len(), 1);
        assert!(*bench.provider.lookups().last().unwrap() >= posted + QUIET - Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_quiet_period_goes_on_over_lost_connections_and_over_a_flush() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let dying = bench.deliver(job("a"));
    bench.until_posted(1).await;
    dying.kill().await;
    let mut other = bench.another();
    let begun = Instant::now();
    for _ in 0..3 {
        let life = other.deliver(job("a"));
        tokio::time::sleep(QUIET / 4).await;
        other.lost.cancel();
        assert_eq!(life.ended().await, None, "the broker has it back");
        other.lost = tokio_util::sync::CancellationToken::new();
        bench.flush();
    }
    assert_eq!(other.run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert!(begun.elapsed() >= QUIET, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < QUIET + Duration::from_secs(6), "{:?}", begun.elapsed());

    // Another process knows nothing about it, and starts its own count.
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let dying = bench.deliver(job("a"));
    bench.until_posted(1).await;
    dying.kill().await;
    let other = bench.another();
    let life = other.deliver(job("a"));
    tokio::time::sleep(QUIET / 2).await;
    life.kill().await;
    let begun = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert!(begun.elapsed() >= QUIET, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_is_trusted_and_finds_nothing_lets_the_next_attempt_post_after_the_quiet_period() {
    let bench = Workbench::trusting();
    bench.provider.reply(lost(false));
    assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
    let posts = bench.provider.posts();
    assert_eq!(posts.len(), 2);
    assert!(posts[1].at - posts[0].at >= QUIET - Duration::from_secs(1), "{:?}", posts[1].at - posts[0].at);
    assert_eq!(posts[0].external_task_id, posts[1].external_task_id);
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "intent-2", "refused-1", "result", "task-2"]);
    assert_eq!(bench.charges("a"), 1);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
}

/// The stand-in's scenarios found this: a POST was lost, no look-up worked, and every further POST was answered with
/// "external id exists", without an end.
#[tokio::test(start_paused = true)]
async fn a_miss_is_not_trusted_where_the_provider_says_that_the_task_exists() {
    for receipts in [true, false] {
        let bench = Workbench::with(|options| {
            options.settings.rules.trust_lookup = true;
            options.settings.rules.receipts = receipts;
        });
        bench.provider.reply([Reply::Lost { made: true }, Reply::Exists]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 2));
        assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_without_an_answer_is_no_miss_and_decides_nothing() {
    for (trust, made) in [(false, true), (true, true), (true, false)] {
        let bench = if trust { Workbench::trusting() } else { Workbench::new() };
        bench.provider.find_by_external_id(true);
        bench.provider.reply(lost(made));
        bench.provider.cut_off(true);
        let delivery = bench.deliver(job("a"));
        tokio::time::sleep(5 * QUIET).await;
        assert!(delivery.is_open());
        assert_eq!(bench.store.receipts("a").await, ["intent-1"], "nothing is decided");
        assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { attempt: 1, .. })));
        assert!(bench.provider.lookups().len() > 50);

        bench.provider.cut_off(false);
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, if made { 1 } else { 2 }));
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_on_at_a_dead_hand_adopts_its_task_at_once() {
    let bench = Workbench::new();
    bench.provider.find_by_external_id(true);
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    posting.kill().await;
    let taken_over = Instant::now();
    let next = bench.another();
    let delivery = next.deliver(job("a"));
    bench.until_polled(0).await;
    until("an adopted task", || bench.effects.count("accept") == 1).await;
    assert!(taken_over.elapsed() < AT_ONCE, "{:?}", taken_over.elapsed());
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_after_the_job_was_given_up_is_told_as_a_correction() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    bench.provider.release_posts();
    assert_eq!(posting.ended().await, Some(Settled::Acked));

    let first = bench.broker.end("a");
    assert_eq!((first.id.as_str(), bench.broker.ends("a").len()), ("a/failed", 2));
    let [correction] = bench.broker.corrections("a").try_into().unwrap();
    let view = EventView::parse(&correction).unwrap();
    assert_eq!((view.kind(), view.id.as_str()), (Some(EventKind::Succeeded), "a/resolved"));
    assert_eq!(view.supersedes.as_deref(), Some("a/failed"));
    assert_eq!((view.task_id.as_deref(), view.images.len()), (Some("task-1"), 1));
    let all = ["intent-1", "intent-2", "resolved", "result", "task-1"];
    assert_eq!(bench.store.receipts("a").await, all);
    assert_eq!(bench.store.receipt("a", "resolved").await.unwrap(), correction);
    assert_eq!(bench.broker.taken().last().unwrap().body, correction, "after the first event");
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    let Some(Stage::Done { event, .. }) = bench.stage("a").await else { panic!("not done") };
    assert_eq!(event, correction, "a copy gets the truth");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_sealed_as_refused_is_the_end_for_who_gives_the_job_up_too() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Refuse { content_policy: false }]);
    let mut held = bench.effects.hold("result", Side::After);
    let posting = bench.deliver(job("a"));
    held.reached().await;
    let other = bench.another();
    let mut at_the_dead_letter = bench.effects.hold("publish", Side::Before);
    let looking_on = other.deliver(job("a"));
    tokio::select! {
        () = at_the_dead_letter.reached() => {}
        () = tokio::time::sleep(2 * QUIET) => panic!("neither followed nor given up"),
    }
    drop((held, at_the_dead_letter));
    assert_eq!(posting.ended().await, Some(Settled::Acked));
    assert_eq!(looking_on.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("rejected"));
    assert!(bench.broker.queue("comet.jobs.dead").is_empty(), "the receipts told it");
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_while_the_job_is_being_given_up_is_told_as_a_correction() {
    let bench = Workbench::new();
    bench.provider.tasks_take(2 * QUIET);
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    let mut sealing = bench.effects.hold("result", Side::Before);
    let giving_up = bench.another().deliver(job("a"));
    sealing.reached().await;
    bench.provider.release_posts();
    bench.until_polled(1).await;
    drop(sealing);
    assert_eq!(giving_up.ended().await, Some(Settled::Acked));
    assert_eq!(posting.ended().await, Some(Settled::Acked));
    check_corrected(&bench);
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_after_the_job_was_given_up_and_forgotten_by_redis_is_told_as_a_correction() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    bench.flush();
    bench.provider.release_posts();
    assert_eq!(posting.ended().await, Some(Settled::Acked));
    check_corrected(&bench);
}

#[tokio::test(start_paused = true)]
async fn a_correction_that_a_stop_or_a_crash_cut_short_is_told_by_the_next_worker() {
    for killed in [true, false] {
        let bench = Workbench::new();
        bench.provider.tasks_take(4 * QUIET);
        bench.provider.hold_posts();
        let posting = bench.deliver(job("a"));
        bench.until_posted(1).await;
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        bench.provider.release_posts();
        until("the id in a receipt", || bench.effects.count("task-1") == 1).await;
        if killed {
            posting.kill().await;
        } else {
            bench.stop.cancel();
            assert_eq!(posting.ended().await, Some(Settled::HandedBack));
        }
        assert!(bench.broker.corrections("a").is_empty());
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        bench.broker.end("a");
        let [correction] = bench.broker.corrections("a").try_into().unwrap();
        assert_eq!(bench.store.receipt("a", "resolved").await.unwrap(), correction);
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    }
}

fn check_corrected(bench: &Workbench) {
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert_eq!(bench.broker.ends("a").len(), 2);
    let corrections = bench.broker.corrections("a");
    assert!(corrections.iter().all(|copy| *copy == corrections[0]), "{corrections:?}");
    let view = EventView::parse(&corrections[0]).unwrap();
    assert_eq!((view.kind(), view.id.as_str()), (Some(EventKind::Succeeded), "a/resolved"));
    assert_eq!(view.supersedes.as_deref(), Some("a/failed"));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}
