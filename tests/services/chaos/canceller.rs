//! A user who cancels jobs by the command line, whatever is broken at the time.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::nemesis::between;
use super::scene::Scene;
use crate::support::process::environment;

/// No command takes longer, whatever is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// It cancels one of this many jobs around the end of the queue; some of them are not published yet.
const RECENT: u64 = 40;
const AHEAD: u64 = 8;

/// The jobs whose cancel was requested.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    /// Includes jobs whose cancel got no answer, because the mark may exist.
    pub(super) asked: BTreeSet<String>,
    /// Commands that ended well.
    pub(super) taken: usize,
}

/// Runs until it is stopped.
pub(super) async fn cancel(scene: Rc<Scene>, mut dice: Rng, stopped: watch::Receiver<bool>) -> Cancelled {
    let mut cancelled = Cancelled::default();
    while !*stopped.borrow() {
        sleep(between(&mut dice, 500, 2500)).await;
        let published = scene.tally.borrow().published as u64;
        let job = format!("c-{}", (published + AHEAD).saturating_sub(dice.u64(0..RECENT)));
        cancelled.asked.insert(job.clone());
        let output = comet_worker_cancel(&scene, &job).await;
        cancelled.taken += usize::from(output.status.success());
        let said = [output.stdout, output.stderr].concat();
        scene.diary.note(&format!("cancel {job}: {}", String::from_utf8_lossy(&said).trim_end()));
    }
    cancelled
}

async fn comet_worker_cancel(scene: &Scene, job: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comet-worker"));
    command.args(["cancel", job]).envs(environment(&scene.place, &scene.provider_url));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("a command ends");
    output.expect("comet-worker starts")
}
