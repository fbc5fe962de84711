//! The process is killed before or after each of its effects, including those on the store, and another one gets the
//! job, perhaps with a Redis that has lost its memory.

use comet_worker::job::record::Stage;
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

/// What the worker runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    /// The provider finds nothing by our id; a job with an unknown outcome is parked.
    Parks { flushed: bool },
    /// The provider finds tasks by our id, and a miss is trusted.
    Trusts { flushed: bool },
    /// Only Redis has the gate.
    WithoutReceipts,
}

const WORLDS: [World; 5] = [
    World::Parks { flushed: false },
    World::Parks { flushed: true },
    World::Trusts { flushed: false },
    World::Trusts { flushed: true },
    World::WithoutReceipts,
];

/// No way has more effects.
const EFFECTS_MAX: usize = 40;

impl World {
    fn bench(self) -> Workbench {
        match self {
            Self::Parks { .. } => Workbench::new(),
            Self::Trusts { .. } => Workbench::trusting(),
            Self::WithoutReceipts => Workbench::without_receipts(),
        }
    }

    /// What the restart finds.
    fn restart(self, bench: &Workbench) {
        match self {
            Self::Parks { flushed: true } | Self::Trusts { flushed: true } => bench.flush(),
            Self::Parks { flushed: false } | Self::Trusts { flushed: false } | Self::WithoutReceipts => {}
        }
    }

    /// Whether the kill left the outcome of a POST open.
    async fn is_left_open(self, bench: &Workbench) -> bool {
        let stage = bench.stage("a").await;
        if self == Self::WithoutReceipts
            || matches!(stage, Some(Stage::Generating { .. } | Stage::Done { .. }))
        {
            return matches!(stage, Some(Stage::Submitting { .. }));
        }
        let receipts = bench.store.receipts("a").await;
        let has = |kind: &str| receipts.iter().filter(|receipt| receipt.starts_with(kind)).count();
        has("task") + has("result") == 0 && has("intent") > has("refused")
    }

    fn parks(self) -> bool {
        !matches!(self, Self::Trusts { .. })
    }
}

impl Way {
    fn bench(self, world: World) -> Workbench {
        let bench = world.bench();
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

    /// A job that was never paid for has no receipt, so its end is worded anew if Redis has lost the first wording.
    fn can_be_told(self, world: World) -> bool {
        let flushed = matches!(world, World::Parks { flushed: true } | World::Trusts { flushed: true });
        !(flushed && matches!(self, Self::Invalid))
    }

    /// How the job ends without a kill: the reason of its failure, if it fails.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::AcceptedAtTheSecondTry | Self::Unrouted => None,
            Self::Refused => Some("rejected"),
            Self::Invalid => Some("invalid_request"),
        }
    }
}

/// The result of one process.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Ended,
    /// It was killed, and the delivery goes to another process.
    Killed,
    /// It was killed after its acknowledgement.
    KilledAfterItsAck,
}

/// One process gets the job, and is killed at this effect if it reaches it.
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

/// Another process gets the job, and isn't killed.
async fn last_process(bench: &Workbench, way: Way, at: &str) {
    assert_eq!(bench.another().run(way.message()).await, Some(Settled::Acked), "{at}");
}

/// `left_open`: for how many POSTs a kill left the outcome open.
fn check(bench: &Workbench, way: Way, world: World, left_open: Option<usize>, at: &str) {
    let end = bench.broker.end("a");
    let reason = match left_open {
        Some(_) if world.parks() => Some("outcome_unknown"),
        // The answer with the refusal was lost, and the next attempt is accepted.
        Some(1..) if matches!(way, Way::Refused) => None,
        Some(_) | None => way.reason(),
    };
    assert_eq!(end.reason.as_deref(), reason, "{at}");
    assert!(bench.charges("a") <= 1, "{at}: paid for twice");
    assert!(bench.broker.corrections("a").is_empty(), "{at}: no worker was late");
}

async fn kill_everywhere(world: World) {
    for way in WAYS.into_iter().filter(|way| way.can_be_told(world)) {
        for side in [Side::Before, Side::After] {
            for number in 0.. {
                let at = format!("{way:?} {world:?} killed {side:?} {number}");
                let bench = way.bench(world);
                let came = process(&bench, way, number, side).await;
                let posts = bench.provider.posts().len();
                let mut left_open = None;
                if came == Came::Killed {
                    world.restart(&bench);
                    left_open = world.is_left_open(&bench).await.then_some(posts);
                    last_process(&bench, way, &at).await;
                    if left_open.is_some() && world.parks() {
                        assert_eq!(bench.provider.posts().len(), posts, "{at}: posted on a guess");
                    }
                }
                check(&bench, way, world, left_open, &at);
                if came == Came::Ended {
                    assert!(number >= 5, "{way:?} has {number} effects");
                    break;
                }
                assert!(number < EFFECTS_MAX, "{way:?} has no end");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_effect_loses_no_job_pays_for_none_twice_and_tells_one_end() {
    kill_everywhere(World::Parks { flushed: false }).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_effect_and_a_flush_of_redis_do_neither() {
    kill_everywhere(World::Parks { flushed: true }).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_effect_ends_no_job_as_unknown_where_the_provider_finds_it() {
    for flushed in [false, true] {
        kill_everywhere(World::Trusts { flushed }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_receipts_a_kill_at_any_effect_does_neither() {
    kill_everywhere(World::WithoutReceipts).await;
}

#[tokio::test(start_paused = true)]
async fn two_kills_at_any_two_effects_do_neither() {
    let way = Way::AcceptedAtTheSecondTry;
    for world in WORLDS {
        for first in 0..20 {
            for second in 0..20 {
                let at = format!("{world:?} killed after {first}, then before {second}");
                let mut bench = way.bench(world);
                let mut left_open = false;
                let mut came = process(&bench, way, first, Side::After).await;
                if came == Came::Killed {
                    world.restart(&bench);
                    left_open |= world.is_left_open(&bench).await;
                    bench = bench.another();
                    came = process(&bench, way, second, Side::Before).await;
                }
                if came == Came::Killed {
                    world.restart(&bench);
                    left_open |= world.is_left_open(&bench).await;
                    last_process(&bench, way, &at).await;
                }
                check(&bench, way, world, left_open.then_some(0), &at);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_during_a_post_that_still_arrives_pays_once_and_ends_unknown() {
    for world in WORLDS {
        let bench = world.bench();
        bench.provider.hold_posts();
        let delivery = bench.deliver(job("a"));
        bench.until_posted(1).await;
        delivery.kill().await;
        bench.provider.release_posts();
        world.restart(&bench);
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        let unknown = world.parks().then_some("outcome_unknown");
        assert_eq!(bench.broker.end("a").reason.as_deref(), unknown, "{world:?}");
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1), "{world:?}");
    }
}
