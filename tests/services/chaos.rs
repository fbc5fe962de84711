//! The chaos run: three workers, a private RabbitMQ and a private Redis, a provider that charges for every POST that it takes,
//! and a nemesis that kills, freezes, cuts off, flushes and restarts them for as long as one cares to watch, while a user cancels
//! jobs by the command line. Then everything is healed, and what was published, charged and told is held against the promises.
//!
//! `make chaos` runs it for three minutes. `COMET_CHAOS_S` is its length in seconds, `COMET_CHAOS_SEED` repeats a draw (what is
//! drawn and when; what the processes are at in that moment is theirs). The workers' settings can be overridden by their own
//! variables: `COMET_WORKER__GENERATION__RECEIPTS=false make chaos` takes a safeguard out, and must fail.
//!
//! What breaks a promise by contract is left out: a POST that arrives after `quiet_s`. The way to the provider is slowed down
//! by less than what `quiet_s` has over `gate_s` and `submit_timeout_s`.

mod canceller;
mod diary;
mod nemesis;
mod producer;
mod scene;
mod verdict;

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use canceller::cancel;
use nemesis::Dice;
use scene::Scene;
use verdict::Verdict;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_breaks_no_promise() {
    LocalSet::new().run_until(run()).await;
}

async fn run() {
    let length = Duration::from_secs(number("COMET_CHAOS_S").unwrap_or(40));
    let seed = number("COMET_CHAOS_SEED");
    let seed = seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    let scene = Rc::new(Scene::set(seed).await);
    println!("chaos: {length:?}, COMET_CHAOS_SEED={seed}, history and logs in {}", scene.folder().display());

    let (stop, stopped) = watch::channel(false);
    let cancelling = spawn_local(cancel(Rc::clone(&scene), Dice::new(seed), stopped.clone()));
    let producing = spawn_local(producer::produce(Rc::clone(&scene), stopped));
    nemesis::rage(&scene, Dice::new(seed), length).await;
    scene.diary.note("all is healed; nothing new is published");
    stop.send_replace(true);
    let published = producing.await.expect("the producer goes on until the end");
    let cancelled = cancelling.await.expect("the user goes on until the end");

    let healed = Instant::now();
    let told = scene.settle(&published).await;
    scene.diary.note(&format!("settled after {:.1} s", healed.elapsed().as_secs_f64()));
    let verdict = Verdict::of(&scene, &published, &cancelled, told).await;
    scene.diary.note(&format!("the verdict on seed {seed}:\n{verdict}"));
    if verdict.holds() {
        scene.clear_up();
    } else {
        scene.diary.note(&verdict.evidence(scene.folder()));
        panic!(
            "chaos broke a promise: COMET_CHAOS_SEED={seed}, history and logs in {}",
            scene.folder().display()
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
