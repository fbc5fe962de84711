//! The process is killed before or after each of its effects, and another one gets the job.

use comet_worker::ledger::record::Stage;
use serde_json::json;

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
use crate::workbench::{Workbench, job, message};

/// A way that a job can take.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    AcceptedAtTheSecondTry,
    Refused,
    Invalid,
    Unrouted,
}

const WAYS: [Way; 5] = [Way::Plain, Way::AcceptedAtTheSecondTry, Way::Refused, Way::Invalid, Way::Unrouted];

/// No way has more effects.
const EFFECTS_MAX: usize = 30;

impl Way {
    fn bench(self) -> Workbench {
        let bench = Workbench::new();
        match self {
            Self::Plain | Self::Invalid => {}
            Self::AcceptedAtTheSecondTry => bench.provider.reply([Reply::Later(None)]),
            Self::Refused => bench.provider.reply([Reply::Refuse { content_policy: false }]),
            Self::Unrouted => bench.broker.unbind("job.succeeded"),
        }
        bench
    }

    fn message(self) -> comet_worker::queue::consume::Message {
        match self {
            Self::Plain | Self::AcceptedAtTheSecondTry | Self::Refused | Self::Unrouted => job("a"),
            Self::Invalid => message(&json!({"job_id": "a", "input": {}})),
        }
    }

    /// How the job ends where nobody is killed: the reason of its failure, if it is one.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::AcceptedAtTheSecondTry | Self::Unrouted => None,
            Self::Refused => Some("rejected"),
            Self::Invalid => Some("invalid_request"),
        }
    }
}

/// What one process came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Ended,
    /// It was killed, and the delivery goes to somebody else.
    Killed,
    /// It was killed after its ack.
    KilledAfterItsAck,
}

/// One process gets the job, and is killed at that effect if it comes so far.
async fn process(bench: &Workbench, way: Way, number: usize, side: Side) -> Came {
    bench.effects.kill_at(number, side);
    let mut delivery = bench.deliver(way.message());
    let ended = tokio::select! {
        biased;
        () = bench.effects.killed() => None,
        ended = delivery.end() => Some(ended),
    };
    if let Some(settled) = ended {
        assert_eq!(settled, Some(Settled::Acked), "{way:?}");
        return Came::Ended;
    }
    match delivery.kill().await {
        None => Came::Killed,
        Some(Settled::Acked) => Came::KilledAfterItsAck,
        Some(Settled::HandedBack) => panic!("nothing hands this job back: {way:?}"),
    }
}

/// Whether the kill left open what came of a POST.
async fn is_left_open(bench: &Workbench) -> bool {
    matches!(bench.stage("a").await, Some(Stage::Submitting { .. }))
}

fn check(bench: &Workbench, way: Way, left_open: bool, at: &str) {
    let end = bench.broker.end("a");
    let reason = if left_open { Some("outcome_unknown") } else { way.reason() };
    assert_eq!(end.reason.as_deref(), reason, "{way:?} {at}");
    assert!(bench.charges("a") <= 1, "{way:?} {at}: paid for twice");
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_effect_loses_no_job_pays_for_none_twice_and_tells_one_end() {
    for way in WAYS {
        for side in [Side::Before, Side::After] {
            let mut number = 0;
            loop {
                let at = format!("killed {side:?} {number}");
                let bench = way.bench();
                let came = process(&bench, way, number, side).await;
                let left_open = is_left_open(&bench).await;
                let posts = bench.provider.posts().len();
                if came == Came::Killed {
                    let next = bench.another();
                    assert_eq!(next.run(way.message()).await, Some(Settled::Acked), "{way:?} {at}");
                    if left_open {
                        assert_eq!(bench.provider.posts().len(), posts, "{way:?} {at}: posted on a guess");
                    }
                }
                check(&bench, way, left_open, &at);
                if came == Came::Ended {
                    assert!(number >= 5, "{way:?} has {number} effects");
                    break;
                }
                number += 1;
                assert!(number < EFFECTS_MAX, "{way:?} has no end");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_kills_at_any_two_effects_do_neither() {
    for first in 0..12 {
        for second in 0..12 {
            let way = Way::AcceptedAtTheSecondTry;
            let at = format!("killed after {first}, then before {second}");
            let bench = way.bench();
            let mut left_open = false;
            let mut came = process(&bench, way, first, Side::After).await;
            let mut bench = bench;
            if came == Came::Killed {
                left_open |= is_left_open(&bench).await;
                bench = bench.another();
                came = process(&bench, way, second, Side::Before).await;
            }
            if came == Came::Killed {
                left_open |= is_left_open(&bench).await;
                assert_eq!(bench.another().run(way.message()).await, Some(Settled::Acked), "{at}");
            }
            check(&bench, way, left_open, &at);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_during_a_post_that_still_arrives_pays_once_and_ends_unknown() {
    let bench = Workbench::new();
    bench.provider.hold_posts();
    let delivery = bench.deliver(job("a"));
    bench.until_posted(1).await;
    delivery.kill().await;
    bench.provider.release_posts();
    assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
}
