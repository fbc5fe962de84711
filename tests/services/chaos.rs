//! The chaos run has three workers, a private RabbitMQ, a private Redis, and a provider that charges for every POST
//! that it accepts. A nemesis kills, freezes, cuts off, flushes and restarts them for a given time, while a user
//! cancels jobs by the command line. Then everything is healed, and the published jobs, the charges and the events
//! are checked against the promises.
//!
//! `make chaos` runs it for three minutes. `COMET_CHAOS_S` is its length in seconds, and `COMET_SEED` repeats a draw
//! (what is done and when, but not what the processes are doing at that moment). The workers' settings can be
//! overridden by their own variables: `COMET_WORKER__GENERATION__RECEIPTS=false make chaos` removes a safeguard, and
//! must fail.
//!
//! It leaves out what may break a promise by contract: a POST that arrives after `quiet_s`. The way to the provider
//! is slowed down by less than `quiet_s` minus `gate_s` and `submit_timeout_s`.

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
use scene::Scene;
use verdict::Verdict;

use crate::chance::stream;
use crate::seed::{number, seed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_breaks_no_promise() {
    LocalSet::new().run_until(run()).await;
}

async fn run() {
    let length = Duration::from_secs(number("COMET_CHAOS_S").unwrap_or(25));
    let seed = seed();
    let scene = Rc::new(Scene::set(seed).await);
    println!("chaos: {length:?}, COMET_SEED={seed}, history and logs in {}", scene.folder().display());

    let (stop, stopped) = watch::channel(false);
    let cancelling = spawn_local(cancel(Rc::clone(&scene), stream(seed, "cancels"), stopped.clone()));
    let producing = spawn_local(producer::produce(Rc::clone(&scene), stopped));
    nemesis::rage(&scene, stream(seed, "acts"), length).await;
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
        panic!("chaos broke a promise: COMET_SEED={seed}, history and logs in {}", scene.folder().display());
    }
}
