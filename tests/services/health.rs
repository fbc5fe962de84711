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

#[tokio::test]
async fn systemd_is_told_that_it_runs_what_it_waits_for_and_that_it_stops() {
    Place::run("systemd", async |place| {
        let sim = Sim::start(&[]).await;
        let socket = place.folder.path().join("notify");
        let listener = tokio::net::UnixDatagram::bind(&socket).unwrap();
        let variables = [
            ("NOTIFY_SOCKET".to_owned(), socket.to_str().unwrap().to_owned()),
            ("WATCHDOG_USEC".to_owned(), "900000".to_owned()),
        ];
        let until = async |wanted: &str| {
            wait_for(&format!("{wanted:?} to systemd"), async || {
                let mut told = [0; 4096];
                let length = listener.recv(&mut told).await.unwrap();
                let told = String::from_utf8_lossy(&told[..length]).into_owned();
                told.lines().any(|line| line.starts_with(wanted)).then_some(told)
            })
            .await
        };
        let away = [("REDIS__URL", "redis://127.0.0.1:1")];
        let mut worker = Worker::start_with(place, &sim, &away, &variables);
        until("READY=1").await;
        let status = until("STATUS=takes no jobs: redis").await;
        assert!(status.contains("redis.url"), "{status}");
        until("WATCHDOG=1").await;
        worker.stop().await;
        let mut worker = Worker::start_with(place, &sim, &[], &variables);
        until("STATUS=takes jobs").await;
        assert!(worker.stop().await.success());
        until("STOPPING=1").await;
    })
    .await;
}
