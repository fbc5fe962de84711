//! `comet-worker sweep`, as a process: against a folder that a worker uses, and a bucket.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use comet_worker::job::receipt::IntentFacts;
use comet_worker::job::record::Nonce;
use comet_worker::job::route::RouteName;
use comet_worker::job::{Digest, JobId, SentUnder};
use comet_worker::receipts::Receipts;
use comet_worker::storage::{Storage, StorageOptions};
use serde_json::json;

use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::{Said, tool};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const DAY: Duration = Duration::from_secs(86_400);

async fn sweep(environment: &[(String, String)], arguments: &[&str]) -> Said {
    tool(environment, &[&["sweep"], arguments].concat()).await
}

/// The files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn names(files: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> =
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn make_older(file: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn a_sweep_beside_a_running_worker_removes_what_ended_long_ago_and_nothing_else() {
    Place::run("sweep", async |place| {
        let sim = Sim::start(&["--durations", "fixed:200ms"]).await;
        let mut first = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("ended.v1", 2) {
            broker.publish(place, &job).await;
        }
        broker.publish(place, &job("young")).await;
        let ends = broker.ends(place, 3).await;
        assert!(first.stop().await.success(), "{}", first.log());
        let slow = Sim::start(&["--durations", "fixed:600s"]).await;
        let _second = Worker::start(place, &slow, &[]);
        broker.publish(place, &job("open")).await;
        let receipts = place.images().join("receipts");
        let has = |name: &str| names(&files(&receipts)).contains(&name.to_owned());
        wait_for("the task's receipt", async || has("open.task-1").then_some(())).await;
        std::fs::write(receipts.join("probe-crashed"), "1").unwrap();
        for file in files(&receipts) {
            if !names(std::slice::from_ref(&file))[0].starts_with("young.") {
                make_older(&file, 40 * DAY);
            }
        }
        let (before, images) = (files(&receipts), files(&place.images().join("images")));
        assert_eq!(images.len(), 3);

        let environment = environment(place, &slow.url);
        let would = sweep(&environment, &["--older-than", "30d", "--dry-run", "--verbose"]).await;
        assert_eq!(would.code, Some(0), "{would:?}");
        assert!(would.words.contains("unfinished job_id=open"), "{would:?}");
        assert_eq!(
            would.data.trim_end(),
            "would remove 6 receipts of 2 jobs and 1 leftover probe; kept: 1 job younger than 30d, 1 job unfinished"
        );
        assert_eq!(files(&receipts), before, "a dry run");

        let swept = sweep(&environment, &["--older-than", "30d", "--json"]).await.json();
        assert_eq!(
            swept,
            json!({
                "dry_run": false,
                "older_than_s": 30 * 86_400,
                "removed": {"jobs": 2, "receipts": 6, "probes": 1},
                "kept": {"young": 1, "unfinished": 1, "outcome_unknown": 0, "not_understood": 0},
                "failed": 0,
            })
        );
        let left =
            ["open.intent-1", "open.task-1", "store-id", "young.intent-1", "young.result", "young.task-1"];
        assert_eq!(names(&files(&receipts)), left);
        assert_eq!(files(&place.images().join("images")), images, "images are never touched");

        // While Redis remembers it, a swept job is still the same job, although its event is gone.
        broker.publish(place, &job("ended.v1-0")).await;
        let letter = broker.next(&place.dead_queue()).await;
        assert_eq!(letter.header("x-comet-reason").as_deref(), Some("forgotten"));
        // The event of a job that was not swept is published again, unchanged.
        broker.publish(place, &job("young")).await;
        let again = broker.ends(place, 1).await;
        assert_eq!(again["young"][0].body, ends["young"][0].body);
        assert_eq!(slow.report().await.number("submits"), 1, "only the open one");

        let nothing = sweep(&environment, &["--older-than", "30d", "--json"]).await.json();
        assert_eq!(nothing["removed"], json!({"jobs": 0, "receipts": 0, "probes": 0}));
    })
    .await;
}

#[tokio::test]
async fn a_sweep_that_was_asked_wrongly_says_what_to_write_and_ends_with_2() {
    let memory = [("COMET_WORKER__STORAGE__URL".to_owned(), "memory:".to_owned())];
    let without = [("COMET_WORKER__GENERATION__RECEIPTS".to_owned(), "false".to_owned())];
    for (environment, arguments, words) in [
        (&[][..], &[][..], "--older-than"),
        (&[], &["--older-than", "30"], "such as 30d"),
        (&[], &["--older-than", "a while"], "such as 30d"),
        (&[], &["--older-than", "6d"], "redis.remember_s (604800 s)"),
        (&memory, &["--older-than", "30d"], "storage.url is memory:"),
        (&without, &["--older-than", "30d"], "generation.receipts is false"),
    ] {
        let said = sweep(environment, arguments).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.words.contains(words) && said.data.is_empty(), "{words}: {said:?}");
    }
}

#[tokio::test]
async fn a_bucket_is_swept_like_a_folder() {
    let endpoint = std::env::var("COMET_TEST_S3_ENDPOINT")
        .expect("COMET_TEST_S3_ENDPOINT is missing: run through make test");
    let endpoint = url::Url::parse(&endpoint).unwrap();
    let bucket = format!("comet-{}", uuid::Uuid::new_v4());
    let created = reqwest::Client::new().put(endpoint.join(&bucket).unwrap()).send().await.unwrap();
    assert!(created.status().is_success(), "{created:?}");
    let options = StorageOptions {
        url: format!("s3://{bucket}/team"),
        prefix: "prod".to_owned(),
        fsync: true,
        endpoint: Some(endpoint.clone()),
        region: Some("us-east-1".to_owned()),
        path_style: true,
        ..StorageOptions::default()
    };
    let receipts = Receipts::new(Storage::open(&options).unwrap());
    let id = receipts.store_id().await.unwrap().id;
    let jobs: [JobId; 2] = ["ended".parse().unwrap(), "open".parse().unwrap()];
    for job in &jobs {
        let (digest, under) = (Digest::new("d".to_owned()), SentUnder::from_words("cw-1").unwrap());
        let of = IntentFacts {
            job,
            digest: &digest,
            route: RouteName::default_route(),
            round: 1,
            under: &under,
            max_attempts: 1,
        };
        receipts.intend(of, 1, &Nonce::new("n".to_owned())).await.unwrap();
    }
    let event = br#"{"id":"ended/failed","type":"comet.job.failed","data":{"job_id":"ended"}}"#;
    receipts.seal(&jobs[0], Bytes::from_static(event)).await.unwrap();

    let settings = [
        ("STORAGE__URL", options.url.as_str()),
        ("STORAGE__PREFIX", "prod"),
        ("STORAGE__ENDPOINT", endpoint.as_str()),
        ("STORAGE__REGION", "us-east-1"),
        ("STORAGE__PATH_STYLE", "true"),
        ("REDIS__REMEMBER_S", "1"),
    ];
    let environment = settings.map(|(key, value)| (format!("COMET_WORKER__{key}"), value.to_owned()));
    wait_for("all of it to be a second old", async || {
        let would = sweep(&environment, &["--older-than", "1s", "--dry-run", "--json"]).await.json();
        (would["kept"]["young"] == 0).then_some(())
    })
    .await;
    let swept = sweep(&environment, &["--older-than", "1s", "--json"]).await.json();
    assert_eq!(swept["removed"], json!({"jobs": 1, "receipts": 2, "probes": 0}), "{swept}");
    assert_eq!(swept["kept"]["unfinished"], 1, "{swept}");
    assert!(receipts.history(&jobs[0]).await.unwrap().attempts.is_empty());
    assert_eq!(receipts.history(&jobs[1]).await.unwrap().attempts.len(), 1);
    assert_eq!(receipts.store_id().await.unwrap().id, id);
}

/// A lifecycle rule over all of `receipts/` does this one day.
#[tokio::test]
async fn a_store_that_has_lost_its_id_is_refused_with_the_way_out() {
    Place::run("store-id", async |place| {
        let sim = Sim::start(&["--durations", "fixed:200ms"]).await;
        let mut first = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        broker.ends(place, 1).await;
        assert!(first.stop().await.success(), "{}", first.log());
        std::fs::remove_file(place.images().join("receipts/store-id")).unwrap();

        let mut refused = Worker::start(place, &sim, &[]);
        assert!(!refused.exit().await.success());
        let key = format!("{{{}}}:store-id", place.prefix);
        let log = refused.log();
        assert!(log.contains("lost its receipts/store-id") && log.contains(&key), "{log}");

        let client = redis::Client::open(place.redis_url.as_str()).unwrap();
        let mut redis = crate::support::connected(&client).await.unwrap();
        let deleted: u32 = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
        assert_eq!(deleted, 1);
        let _again = Worker::start(place, &sim, &[]);
        broker.publish(place, &job("b")).await;
        broker.ends(place, 1).await;
    })
    .await;
}
