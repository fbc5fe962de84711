//! `comet-worker health`, beside a worker that lives, waits, hangs or is gone.

use crate::support::tool::{Said, tool};
use crate::support::{Place, Sim, Worker, wait_for};

/// Runs the command with the configuration of a container: the address where the worker listens, and no secret.
async fn health(listen: &str, arguments: &[&str]) -> Said {
    let environment = [("COMET_WORKER__ADMIN__LISTEN".to_owned(), listen.to_owned())];
    tool(&environment, &[&["health"], arguments].concat()).await
}

#[tokio::test]
async fn it_tells_a_worker_that_lives_from_one_that_takes_jobs() {
    Place::run("health-command", async |place| {
        let sim = Sim::start(&[]).await;
        let worker = Worker::start(place, &sim, &[]);
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        let listen = worker.admin_address().await;
        let alive = health(&listen, &[]).await;
        assert_eq!((alive.code, alive.data.as_str(), alive.words.as_str()), (Some(0), "alive\n", ""));
        let ready = health(&listen, &["--ready"]).await;
        assert!(ready.code == Some(0) && ready.data.starts_with("ready\n"), "{ready:?}");
        // As in a container, where it listens everywhere.
        let port = listen.rsplit(':').next().unwrap();
        assert_eq!(health(&format!("0.0.0.0:{port}"), &[]).await.code, Some(0));

        let without_redis = Worker::start(place, &sim, &[("REDIS__URL", "redis://127.0.0.1:1")]);
        let listen = without_redis.admin_address().await;
        let alive = health(&listen, &[]).await;
        assert_eq!(alive.code, Some(0), "waiting for Redis is no reason for a restart: {alive:?}");
        let waiting = wait_for("what is in the way", async || {
            let ready = health(&listen, &["--ready"]).await;
            ready.words.contains("redis.url").then_some(ready)
        })
        .await;
        assert_eq!((waiting.code, waiting.data.as_str()), (Some(1), ""), "{waiting:?}");
        assert!(waiting.words.contains("not ready"), "{waiting:?}");
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_hangs_or_is_gone_is_not_alive() {
    Place::run("health-gone", async |place| {
        let sim = Sim::start(&[]).await;
        let mut worker = Worker::start(place, &sim, &[]);
        let listen = worker.admin_address().await;
        worker.signal("-STOP").await;
        let hangs = health(&listen, &["--timeout", "1"]).await;
        assert_eq!(hangs.code, Some(1), "{hangs:?}");
        assert!(hangs.words.contains("did not answer within 1 s"), "{hangs:?}");
        worker.kill().await;
        let gone = health(&listen, &[]).await;
        assert_eq!(gone.code, Some(1), "{gone:?}");
        assert!(gone.words.contains("no worker answers") && gone.words.contains("admin.listen"), "{gone:?}");
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_wrongly_names_what_to_set() {
    for (listen, words) in
        [("", "admin.listen"), ("127.0.0.1:0", "port 0"), ("9464", "an address and a port such as")]
    {
        let said = health(listen, &[]).await;
        assert!(said.code == Some(2) && said.words.contains(words), "{listen:?}: {said:?}");
    }
}
