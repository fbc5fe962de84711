//! Redis loses its memory while a job is under way: the receipts say how far the job is.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::Stage;
use tokio::time::Instant;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job};

const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_flush_between_two_attempts_leaves_the_next_worker_the_next_attempt() {
    let bench = Workbench::new();
    bench.provider.reply([Reply::Later(None)]);
    let mut held = bench.effects.hold("reopen", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    delivery.kill().await;
    assert!(matches!(bench.stage("a").await, Some(Stage::New { attempt: 2 })));
    bench.flush();

    let taken_over = Instant::now();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert!(bench.provider.posts()[1].at - taken_over < AT_ONCE);
    assert_eq!(bench.store.receipts("a").await, ["intent-1", "intent-2", "refused-1", "result", "task-2"]);
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 2));
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_flush_during_a_post_lets_no_other_life_post() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let posting = bench.deliver(job("a"));
    bench.until_posted(1).await;
    bench.flush();
    let other = bench.another();
    let looking_on = other.deliver(job("a"));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(matches!(bench.stage("a").await, Some(Stage::Submitting { attempt: 1, .. })), "rebuilt");
    bench.flush();
    bench.provider.release_posts();

    assert_eq!(posting.ended().await, Some(Settled::Acked));
    assert_eq!(looking_on.ended().await, Some(Settled::Acked));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    assert_eq!(bench.broker.ends("a").len(), 2);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_flush_during_a_generation_is_followed_by_a_look_at_the_same_task_at_once() {
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(300));
    let first = bench.deliver(job("a"));
    bench.until_polled(3).await;
    bench.flush();
    let polls = bench.provider.polls();
    let taken_over = Instant::now();
    let second = bench.another().deliver(job("a"));
    bench.until_polled(polls + 1).await;
    assert!(taken_over.elapsed() < AT_ONCE, "{:?}", taken_over.elapsed());
    let Some(Stage::Generating { attempt: 1, task, .. }) = bench.stage("a").await else {
        panic!("not rebuilt")
    };
    assert_eq!(task.as_str(), "task-1");

    assert_eq!(first.ended().await, Some(Settled::Acked));
    assert_eq!(second.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 2);
    assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_flush_between_the_result_and_its_record_changes_no_byte() {
    let bench = Workbench::new();
    let mut held = bench.effects.hold("result", Side::After);
    let delivery = bench.deliver(job("a"));
    held.reached().await;
    bench.flush();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    bench.flush();
    drop(held);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    assert_eq!(bench.broker.ends("a").len(), 2);
    bench.broker.end("a");
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_done_is_told_again_in_its_sealed_bytes_after_a_flush() {
    let replies = [Reply::Accept, Reply::Refuse { content_policy: true }, Reply::Lost { made: true }];
    for reply in replies {
        let bench = Workbench::new();
        bench.provider.reply([reply]);
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        for _ in 0..2 {
            bench.flush();
            let again = Instant::now();
            assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked), "{reply:?}");
            assert!(again.elapsed() < AT_ONCE, "{reply:?}");
            assert!(matches!(bench.stage("a").await, Some(Stage::Done { .. })), "{reply:?}");
        }
        let sealed = bench.store.receipt("a", "result").await.unwrap();
        assert_eq!(bench.broker.ends("a"), [sealed.clone(), sealed.clone(), sealed], "{reply:?}");
        assert_eq!(bench.provider.posts().len(), 1, "{reply:?}");
        let fetched = if reply == Reply::Accept { 1 } else { 0 };
        assert_eq!(bench.images.fetched().len(), fetched, "{reply:?}: nothing is stored again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_at_any_effect_under_a_running_worker_changes_nothing() {
    for number in 0.. {
        let bench = Workbench::new();
        bench.provider.reply([Reply::Later(None)]);
        let mut at = bench.effects.hold_number(number);
        let delivery = bench.deliver(job("a"));
        let ended = async {
            let settled = delivery.ended().await;
            assert_eq!(settled, Some(Settled::Acked), "at {number}");
        };
        tokio::pin!(ended);
        let flushed = tokio::select! {
            biased;
            () = at.reached() => true,
            () = &mut ended => false,
        };
        if !flushed {
            assert!(number > 15, "{number} effects");
            return;
        }
        bench.flush();
        drop(at);
        ended.await;
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 2), "at {number}");
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded), "at {number}");
    }
}
