//! A program that can't outlive the test process, however that ends. A guard, the leader of the program's process
//! group, waits for the end of a pipe that the test holds, and then kills its group. So there is nothing to clean up
//! by hand, even after a test that panicked or was killed itself.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

/// RabbitMQ takes 4 to 8 s on an idle machine; tests start several at once, and a busy machine takes ten times as long.
const START_LIMIT: Duration = Duration::from_secs(240);

/// What `rabbitmqctl` or an orderly shutdown may take. On a busy machine its own start takes longer than a minute.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(240);

pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Runs its arguments and ends when they end. A line on its input stops them gently, the end of its input kills the group.
const GUARD: &str = r#"
    exec 3<&0
    "$@" </dev/null & program=$!
    { read -r _ <&3 && kill -TERM $program || kill -KILL 0; } &
    wait $program
    kill -KILL 0
"#;

/// A program with all processes that it has started. Dropping it kills them all.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
}

impl Guarded {
    fn start(command: &[String], environment: &[(&str, String)], log: &Path) -> Self {
        let log = fs::File::create(log).expect("a log file in the node's own folder");
        let guard = Command::new("bash")
            .args(["-c", GUARD, "guard"])
            .args(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("bash can be started");
        Self { guard }
    }

    fn has_ended(&mut self) -> bool {
        self.guard.try_wait().expect("the guard can be asked").is_some()
    }

    /// SIGTERM; returns when the program has ended.
    pub(crate) async fn stop(mut self) {
        let pipe = self.guard.stdin.as_mut().expect("the pipe is open until the end");
        pipe.write_all(b"stop\n").expect("the guard reads the pipe");
        let ended = timeout(ANSWER_LIMIT, async {
            while !self.has_ended() {
                sleep(TICK).await;
            }
        });
        ended.await.expect("the program ends when told to");
    }

    /// Sends SIGKILL to all of them. The guard is gone then, and the others are about to be.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Without an answer there is nothing that could still be done.
        drop(self.guard.wait());
    }
}

/// Starts the command and returns when it answers. A port that was free may have been taken meanwhile, and Erlang's
/// port mapper forgets a killed node a moment late. The program then ends at once, and is started again.
pub(crate) async fn come_up(
    command: &[String],
    environment: &[(&str, String)],
    folder: &Path,
    answers: impl AsyncFn() -> bool,
) -> Guarded {
    let log = folder.join("out.log");
    let up = timeout(START_LIMIT, async {
        loop {
            let mut started = Guarded::start(command, environment, &log);
            while !started.has_ended() {
                if answers().await {
                    return started;
                }
                sleep(TICK).await;
            }
            sleep(10 * TICK).await;
        }
    });
    up.await
        .map_err(|_| fs::read_to_string(&log).unwrap_or_default())
        .expect("the program comes up; its last words are here")
}
