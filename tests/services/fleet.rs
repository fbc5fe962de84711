//! What is seen of the fleet: the index of the unfinished jobs, the workers' heartbeats, and `comet-worker status`.

use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::record::{Nonce, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::stage::JobStage;
use comet_worker::job::step::{BeginPrecondition, FreezePrecondition, RestorePrecondition};
use comet_worker::job::{Charged, Digest, FailedTasks, JobId, TaskId};
use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::fleet::RedisFleet;
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger as _, RedisLedger};
use lapin::BasicProperties;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::standstills::a_full_queue;
use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, connected, wait_for};

const EVENT: &str = r#"{"id": "a/failed", "type": "comet.job.failed", "time": "2026-11-28T07:00:00.000Z",
    "data": {"job_id": "a", "reason": "rejected", "message": "no", "charged": "no"}}"#;

struct Bench {
    ledger: RedisLedger,
    fleet: RedisFleet,
    digest: Digest,
}

impl Bench {
    fn on(place: &Place) -> Self {
        let connection =
            || Connection::new(place.redis_url.as_str(), Duration::from_secs(30), || {}).unwrap();
        Self {
            ledger: RedisLedger::new(connection(), &place.prefix, Duration::from_secs(600)),
            fleet: RedisFleet::new(connection(), &place.prefix),
            digest: Digest::new("d".to_owned()),
        }
    }

    fn entry<'a>(&'a self, job: &'a JobId) -> JobRef<'a> {
        JobRef {
            job,
            digest: &self.digest,
            route: RouteName::default_route(),
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots: Slots::NONE,
        }
    }

    async fn begin(&self, job: &JobId, attempt: u32) {
        let nonce = Nonce::new(format!("n-{attempt}"));
        let begun = self.ledger.begin(self.entry(job), attempt, &nonce, &BeginPrecondition::Read).await;
        begun.unwrap();
    }

    async fn stage(&self, job: &JobId) -> Option<JobStage> {
        let listed = self.fleet.job(job.as_str()).await.unwrap().map(|job| job.stage);
        let seen = self.fleet.look(10).await.unwrap();
        let counted: Vec<JobStage> =
            seen.jobs.iter().filter(|(_, n)| **n > 0).map(|(stage, _)| *stage).collect();
        assert_eq!(counted, listed.into_iter().collect::<Vec<_>>(), "it is the only job");
        assert_eq!(seen.oldest.map(|oldest| oldest.stage), listed);
        assert_eq!(self.fleet.jobs(listed, 10).await.unwrap().len(), listed.iter().count());
        listed
    }
}

#[tokio::test]
async fn the_index_follows_a_job_through_all_its_moves_and_ends_with_it() {
    Place::run("index", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        let task = TaskId::new("t-1").unwrap();
        assert_eq!(bench.stage(&job).await, None);
        bench.begin(&job, 1).await;
        assert_eq!(bench.stage(&job).await, Some(JobStage::Submitting));
        bench.ledger.reopen(&job, 1, Some(&Nonce::new("n-1".to_owned()))).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Waiting));
        bench.begin(&job, 2).await;
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Recovering), "another life has found it");
        bench.ledger.accept(bench.entry(&job), 2, &task).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        bench.ledger.cancel(&job).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
        let failed = FailedTasks::NONE.and(task, Charged::No);
        bench.ledger.follow(&job, 2, &failed).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Waiting));
        bench.begin(&job, 3).await;
        let second = TaskId::new("t-2").unwrap();
        bench.ledger.accept(bench.entry(&job), 3, &second).await.unwrap();
        bench.ledger.enter(&job, "").await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Storing));
        let since = bench.fleet.job("a").await.unwrap();
        bench.ledger.enter(&job, "another").await.unwrap();
        bench.ledger.leave(&job, "another", None).await.unwrap();
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.fleet.job("a").await.unwrap(), since, "since the first life that stores");
        let event = Bytes::from_static(EVENT.as_bytes());
        let unfinished = FreezePrecondition::Unfinished;
        bench.ledger.freeze(bench.entry(&job), &unfinished, event.clone(), false).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Publishing));
        for _ in 0..2 {
            bench.ledger.mark_published(bench.entry(&job), &event, false).await.unwrap();
            assert_eq!(bench.stage(&job).await, None);
            bench.ledger.read(&job, Slots::NONE).await.unwrap();
            assert_eq!(bench.stage(&job).await, None, "an end that is still remembered is looked at");
        }
        let recent = bench.fleet.look(10).await.unwrap().recent;
        assert_eq!(recent.len(), 1, "an end that is published twice is one end: {recent:?}");
        assert_eq!((recent[0].job_id.as_str(), recent[0].outcome.as_str()), ("a", "failed"));
        assert_eq!(recent[0].reason.as_deref(), Some("rejected"));
    })
    .await;
}

#[tokio::test]
async fn an_outcome_that_a_receipt_has_leaves_the_index_with_its_event() {
    Place::run("sealed", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        bench.begin(&job, 1).await;
        bench.ledger.accept(bench.entry(&job), 1, &TaskId::new("t").unwrap()).await.unwrap();
        let event = Bytes::from_static(EVENT.as_bytes());
        bench.ledger.mark_published(bench.entry(&job), &event, true).await.unwrap();
        assert_eq!(bench.stage(&job).await, None);
        assert_eq!(bench.fleet.look(10).await.unwrap().recent.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_index_that_redis_has_lost_comes_back_with_the_records_and_without_them() {
    Place::run("lost", async |place| {
        let bench = Bench::on(place);
        let job: JobId = "a".parse().unwrap();
        let task = TaskId::new("t").unwrap();
        bench.begin(&job, 1).await;
        bench.ledger.accept(bench.entry(&job), 1, &task).await.unwrap();
        let before = bench.fleet.job("a").await.unwrap();
        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let index = format!("{{{}}}:unfinished", place.prefix);
        let _: i64 = redis::cmd("DEL").arg(&index).query_async(&mut redis).await.unwrap();
        assert_eq!(bench.stage(&job).await, None);
        bench.ledger.read(&job, Slots::NONE).await.unwrap();
        assert_eq!(bench.fleet.job("a").await.unwrap(), before, "with the time of its acceptance");

        let keys = [index, bench.ledger.key(&job)];
        let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut redis).await.unwrap();
        let running = Stage::Generating { attempt: 1, task, age: Duration::ZERO };
        let nothing = RestorePrecondition::Nothing;
        bench.ledger.restore(bench.entry(&job), nothing, &running, None).await.unwrap();
        assert_eq!(bench.stage(&job).await, Some(JobStage::Generating));
    })
    .await;
}

async fn status(place: &Place, sim: &Sim, arguments: &[&str]) -> Value {
    tool(&environment(place, &sim.url), &[&["status", "--json"], arguments].concat()).await.json()
}

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
async fn the_admin_port_answers_for_the_whole_fleet_and_acts_with_the_token_alone() {
    Place::run("api", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let token = "0123456789abcdef";
        let worker = Worker::start(place, &sim, &[("ADMIN__TOKEN", token)]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("p", 3) {
            broker.publish(place, &job).await;
        }
        wait_for("three generations", async || (sim.report().await.number("running") == 3).then_some(()))
            .await;
        let (address, client) = (worker.admin_address().await, reqwest::Client::new());
        let url = |path: &str| format!("http://{address}/api/{path}");
        let get =
            async |path: &str| client.get(url(path)).send().await.unwrap().json::<Value>().await.unwrap();
        let post = async |path: &str, token: Option<&str>| {
            let request = client.post(url(path));
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let reply = request.send().await.unwrap();
            (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
        };
        let seen = wait_for("a fleet of one", async || {
            let seen = get("fleet").await;
            (seen["workers"][0]["in_flight"] == 3 && seen["jobs"]["generating"] == 3).then_some(seen)
        })
        .await;
        let by_command = status(place, &sim, &[]).await;
        for member in ["workers", "jobs", "queues", "slots", "pace_per_s", "oldest", "recent", "time"] {
            assert_eq!(seen[member].is_null(), by_command[member].is_null(), "{member}: {seen}");
        }
        assert_eq!(get("jobs?stage=generating&limit=2").await["jobs"].as_array().unwrap().len(), 2);
        assert_eq!(get("jobs/p-0").await, status(place, &sim, &["p-0"]).await);

        let mut live = client.get(url("live")).send().await.unwrap();
        let first = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(first.starts_with("event: fleet\ndata: {"), "{first}");

        assert_eq!(post("jobs/p-0/cancel", None).await.0, 401);
        let (code, said) = post("jobs/p-0/cancel", Some(token)).await;
        assert_eq!((code, &said["state"]), (200, &"generating".into()), "{said}");
        broker.ends(place, 1).await;
        wait_for("its end", async || (get("jobs/p-0").await["outcome"] == "cancelled").then_some(())).await;
        assert_eq!(post("jobs/p-0/cancel", Some(token)).await.0, 409);
        let (code, said) = post("jobs/p-0/resolve", Some(token)).await;
        assert_eq!(code, 400, "{said}");

        broker.publish_raw(place, b"no job at all", BasicProperties::default()).await;
        broker.ready_is(&place.dead_queue(), 1).await;
        let letters = get("dead").await;
        let key = letters["letters"][0]["key"].as_str().unwrap();
        assert_eq!(letters["letters"][0]["reason"], "not_json", "{letters}");
        let (code, said) = post(&format!("dead/{key}/replay"), Some(token)).await;
        assert_eq!((code, &said["done"]), (200, &true.into()), "{said}");
        assert_eq!(post("dead/0000000000000000/replay", Some(token)).await.0, 404);
        // It is no job, so it comes back, and says how often it was replayed.
        wait_for("the letter again", async || {
            (get("dead").await["letters"][0]["replays"] == 1).then_some(())
        })
        .await;
        assert!(!worker.log().contains(token), "{}", worker.log());
        // Three were published, and one has ended.
        wait_for("the backlog", async || {
            let (_, metrics) = worker.admin("/metrics").await;
            let dead = "comet_queue_messages{queue=\"dead\"} 1\n";
            (metrics.contains("comet_backlog_jobs{} 2\n") && metrics.contains(dead)).then_some(())
        })
        .await;
        let other = Worker::start(place, &sim, &[]);
        wait_for("two workers", async || {
            (get("fleet").await["workers"].as_array()?.len() == 2).then_some(())
        })
        .await;
        wait_for("one that shows the backlog", async || {
            let (one, two) = (worker.admin("/metrics").await.1, other.admin("/metrics").await.1);
            let shows = |text: &str| text.contains("comet_backlog_jobs{} ");
            (shows(&one) != shows(&two)).then_some(())
        })
        .await;
    })
    .await;
}
