//! What the commands show of a fleet of real workers.

use lapin::BasicProperties;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::status;
use crate::standstills::a_full_queue;
use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, connected, wait_for};

#[tokio::test]
async fn status_shows_the_fleet_as_the_providers_own_books_do() {
    Place::run("status", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let environment = environment(place, &sim.url);
        let mut first = Worker::start(place, &sim, &[("WORKER__MAX_IN_FLIGHT", "8")]);
        let second = Worker::start(place, &sim, &[("WORKER__MAX_IN_FLIGHT", "8")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("s", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("16 generations", async || (sim.report().await.number("running") == 16).then_some(())).await;
        let seen = wait_for("two workers with 16 jobs", async || {
            let seen = status(place, &sim, &[]).await;
            let held: u64 =
                seen["workers"].as_array()?.iter().filter_map(|worker| worker["in_flight"].as_u64()).sum();
            (held == 16 && seen["jobs"]["generating"] == 16).then_some(seen)
        })
        .await;
        assert_eq!(seen["workers"].as_array().unwrap().len(), 2, "{seen}");
        let worker = &seen["workers"][0];
        for field in ["id", "host", "version", "started", "seen"] {
            assert!(worker[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {seen}");
        }
        assert_eq!(worker["standstills"], serde_json::json!([]), "{seen}");
        assert_eq!(seen["queues"], serde_json::json!({"jobs": 4, "dead": 0, "unrouted": 0}));
        assert_eq!(seen["oldest"]["stage"], "generating", "{seen}");
        for stage in ["waiting", "submitting", "recovering", "storing", "publishing"] {
            assert_eq!(seen["jobs"][stage], 0, "{stage}: {seen}");
        }

        let listed = tool(&environment, &["status", "--json", "--jobs", "generating", "--limit", "9"]).await;
        assert_eq!(listed.data.lines().count(), 9, "{listed:?}");
        let running: Value = serde_json::from_str(listed.data.lines().next().unwrap()).unwrap();
        let running = running["job_id"].as_str().unwrap();
        let life = status(place, &sim, &[running]).await;
        assert_eq!((&life["stage"], &life["outcome"]), (&"generating".into(), &Value::Null), "{life}");
        let task = life["task_id"].as_str().unwrap();
        let external = life["external_task_id"].as_str().unwrap();
        assert_eq!(sim.report().await.tasks()[external], [task], "{life}");
        let what: Vec<&str> = life["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|moment| moment["what"].as_str().unwrap())
            .collect();
        assert_eq!(what, ["submitting", "accepted"], "{life}");

        tool(&environment, &["cancel", running]).await;
        broker.publish_raw(place, br#"{"job_id": "wrong", "input": {}}"#, BasicProperties::default()).await;
        broker.publish_raw(place, b"no job at all", BasicProperties::default()).await;
        broker.ends(place, 1).await;
        let ended = wait_for("its end", async || {
            let life = status(place, &sim, &[running]).await;
            (life["stage"].is_null() && life["outcome"] == "cancelled").then_some(life)
        })
        .await;
        assert_eq!((&ended["charged"], &ended["task_id"]), (&"yes".into(), &task.into()), "{ended}");
        let recent = status(place, &sim, &[]).await["recent"][0].clone();
        assert_eq!((&recent["job_id"], &recent["outcome"]), (&running.into(), &"cancelled".into()));

        let text = tool(&environment, &["status"]).await;
        assert!(text.data.contains("2 workers run") && text.data.contains("LATEST ENDS"), "{text:?}");
        let text = tool(&environment, &["status", running]).await;
        assert!(text.data.contains("charged") && text.data.contains("accepted  attempt: 1"), "{text:?}");
        let unknown = tool(&environment, &["status", "nobody"]).await;
        assert_eq!(unknown.code, Some(1), "{unknown:?}");
        assert!(unknown.words.contains("knows nobody"), "{unknown:?}");
        let wrong = tool(&environment, &["status", "--jobs", "flying"]).await;
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
        assert!(wrong.words.contains("generating") && wrong.words.contains("all"), "{wrong:?}");

        assert!(first.stop().await.success());
        let left = status(place, &sim, &[]).await;
        assert_eq!(
            left["workers"].as_array().unwrap().len(),
            1,
            "a worker that stops takes its leave: {left}"
        );
        drop(second);
    })
    .await;
}

#[tokio::test]
async fn what_keeps_a_worker_from_its_work_is_in_the_status_with_what_to_do() {
    Place::run("stands", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let full = a_full_queue(&broker.channel, place).await;
        broker.publish(place, &job("stuck")).await;
        let seen = wait_for("a job that can't be published", async || {
            let seen = status(place, &sim, &[]).await;
            let stands = &seen["workers"][0]["standstills"][0];
            (stands["what"] == "publishing" && seen["jobs"]["publishing"] == 1).then_some(seen)
        })
        .await;
        let stands = &seen["workers"][0]["standstills"][0];
        assert!(stands["detail"].as_str().unwrap().contains("1 waiting"), "{seen}");
        assert!(stands["do"].as_str().unwrap().contains("x-max-length"), "{seen}");
        assert!(stands["since"].as_str().is_some(), "{seen}");
        broker.delete_queue(&full).await;

        sim.faults(serde_json::json!({"no-money": 1.0})).await;
        broker.publish(place, &job("poor")).await;
        let seen = wait_for("the account's standstill", async || {
            let seen = status(place, &sim, &[]).await;
            (seen["workers"][0]["standstills"][0]["what"] == "account").then_some(seen)
        })
        .await;
        let what_to_do = seen["workers"][0]["standstills"][0]["do"].as_str().unwrap();
        assert!(what_to_do.contains("top the account up"), "{seen}");
        let text = tool(&environment(place, &sim.url), &["status"]).await;
        assert!(text.data.contains("STANDS STILL\n  account"), "{text:?}");
    })
    .await;
}

#[tokio::test]
async fn after_a_flush_the_running_jobs_are_seen_again_without_waiting_for_their_ends() {
    Place::run("seenagain", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("f", 5) {
            broker.publish(place, &job).await;
        }
        let five = async || {
            let seen = status(place, &sim, &[]).await;
            (seen["jobs"]["generating"] == 5 && seen["workers"][0]["in_flight"] == 5).then_some(())
        };
        wait_for("five generations", five).await;
        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{{{}}}*", place.prefix)).query_async(&mut redis).await.unwrap();
        let _: i64 = redis::cmd("DEL").arg(keys).query_async(&mut redis).await.unwrap();
        wait_for("five generations again", five).await;
        let report = sim.report().await;
        assert_eq!((report.number("accepted"), report.number("running")), (5, 5), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_command_that_waits_says_that_the_whole_fleet_stands_still_and_why() {
    Place::run("waits", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let mut maker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        maker.says("taking jobs").await;
        assert!(maker.stop().await.success());
        let file = place.folder.path().join("job.json");
        std::fs::write(&file, job("w").to_string()).unwrap();
        let mut submit = tokio::process::Command::new(env!("CARGO_BIN_EXE_comet-worker"))
            .args(["submit", "--wait"])
            .arg(&file)
            .envs(environment(place, &sim.url))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut words = BufReader::new(submit.stderr.take().unwrap()).lines();
        let mut until = async |wanted: &str| {
            while let Some(line) = words.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return;
                }
            }
            panic!("it ended without {wanted:?}");
        };
        until("no worker runs").await;
        sim.faults(serde_json::json!({"no-money": 1.0})).await;
        let _worker = Worker::start(place, &sim, &[]);
        until("the fleet stands still: account").await;
        sim.faults(serde_json::json!({})).await;
        until("1 succeeded").await;
        assert!(submit.wait().await.unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn a_paid_task_whose_message_is_gone_is_found_and_taken_over_when_the_job_is_sent_again() {
    Place::run("orphan", async |place| {
        let sim = Sim::start(&["--durations", "fixed:5s"]).await;
        let environment = environment(place, &sim.url);
        let mut worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("lost")).await;
        broker.publish_raw(place, br#"{"job_id": "wrong", "input": {}}"#, BasicProperties::default()).await;
        let receipts = place.images().join("receipts");
        wait_for("its receipt", async || {
            let mut folders =
                std::fs::read_dir(&receipts).ok()?.filter_map(|entry| entry.ok()?.path().read_dir().ok());
            folders
                .any(|mut files| {
                    files.any(|file| {
                        file.is_ok_and(|file| file.file_name().to_string_lossy().ends_with(".task-1"))
                    })
                })
                .then_some(())
        })
        .await;
        broker.ends(place, 1).await;
        worker.kill().await;
        broker.delete_queue(&place.queue()).await;

        let young = tool(&environment, &["orphans"]).await;
        assert!(young.code == Some(0) && young.words.contains("no orphans"), "{young:?}");
        let found = tool(&environment, &["orphans", "--older-than", "0s", "--json"]).await;
        assert_eq!((found.code, found.data.lines().count()), (Some(1), 1), "{found:?}");
        let orphan: Value = serde_json::from_str(found.data.trim()).unwrap();
        assert_eq!((&orphan["job_id"], &orphan["stage"]), (&"lost".into(), &"generating".into()));
        let external = orphan["external_task_id"].as_str().unwrap();
        assert_eq!(sim.report().await.tasks()[external], [orphan["task_id"].as_str().unwrap()]);
        let text = tool(&environment, &["orphans", "--older-than", "0s"]).await;
        assert!(text.data.starts_with("lost  task ") && text.words.contains("1 paid attempt"), "{text:?}");

        let _worker = Worker::start(place, &sim, &[]);
        wait_for("the queue", async || {
            broker.try_publish(&place.queue(), job("lost").to_string().as_bytes()).await.ok()
        })
        .await;
        assert_eq!(broker.ends(place, 1).await["lost"][0].json()["type"], "comet.job.succeeded");
        assert_eq!(sim.report().await.number("accepted"), 1);
        let none = tool(&environment, &["orphans", "--older-than", "0s"]).await;
        assert_eq!(none.code, Some(0), "{none:?}");
    })
    .await;
}

#[tokio::test]
async fn without_receipts_an_end_that_redis_still_remembers_has_no_stage_and_without_redis_nothing_is_shown()
{
    Place::run("norec", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let _worker = Worker::start(place, &sim, &[("GENERATION__RECEIPTS", "false")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        broker.ends(place, 1).await;
        let mut environment = environment(place, &sim.url);
        environment.push(("COMET_WORKER__GENERATION__RECEIPTS".to_owned(), "false".to_owned()));
        let life = wait_for("its end", async || {
            let life = tool(&environment, &["status", "--json", "a"]).await.json();
            life["stage"].is_null().then_some(life)
        })
        .await;
        assert_eq!((&life["outcome"], &life["charged"]), (&"succeeded".into(), &"yes".into()), "{life}");

        environment.retain(|(name, _)| !name.ends_with("REDIS__URL"));
        environment.push(("COMET_WORKER__REDIS__URL".to_owned(), "redis://:secret@127.0.0.1:1".to_owned()));
        for command in [&["status"][..], &["status", "a"], &["status", "--jobs", "all"]] {
            let said = tool(&environment, command).await;
            assert!(
                said.code == Some(1) && said.words.contains("check redis.url and the server"),
                "{said:?}"
            );
            assert!(!said.words.contains("secret"), "{said:?}");
        }
    })
    .await;
}
