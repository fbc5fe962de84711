//! Stores with a fault: what `check` reports of each without starting a worker, and what a worker does with it.

use serde_json::Value;

use crate::support::fake_s3::{FakeS3, Fault};
use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const QUICK: &[(&str, &str)] = &[("GENERATION__QUIET_S", "3"), ("AMQP__HEARTBEAT_S", "2")];

/// What `check` finds about the store: verdict and message.
pub(crate) async fn found(place: &Place, store: &[(String, String)]) -> Vec<(String, String)> {
    // No server listens there; this test is only about the store.
    let environment = [environment(place, "http://127.0.0.1:9"), store.to_vec()].concat();
    let said = tool(&environment, &["check", "--json"]).await;
    let findings = said.data.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    let findings = findings.filter(|finding| finding["check"] == "storage");
    let findings: Vec<_> =
        findings.map(|finding| (text(&finding, "verdict"), text(&finding, "message"))).collect();
    assert!(!findings.is_empty(), "{said:?}");
    findings
}

pub(crate) fn says(findings: &[(String, String)], verdict: &str, words: &str) {
    let has = findings.iter().any(|(is, message)| is == verdict && message.contains(words));
    assert!(has, "no {verdict} with {words:?} in {findings:?}");
}

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn check_finds_what_a_bucket_lacks_and_says_what_to_do() {
    Place::run("check-s3", async |place| {
        for (fault, verdict, words) in [
            (Fault::None, "ok", "so its receipts are a gate"),
            (Fault::LooksFirst, "warning", "use a store with atomic conditional writes"),
            (Fault::MayNotList, "fail", "allow s3:ListBucket"),
            (Fault::MayNotDelete, "warning", "allow s3:DeleteObject"),
            (Fault::NoConditionalPut, "fail", "generation.receipts = false"),
            (Fault::WantsChecksum, "ok", "written, read back and deleted"),
            (Fault::Answers(301, "PermanentRedirect"), "fail", "set storage.region (AWS_REGION)"),
            (Fault::Answers(400, "AuthorizationHeaderMalformed"), "fail", "set storage.region (AWS_REGION)"),
            (Fault::Answers(403, "RequestTimeTooSkewed"), "fail", "set this machine's clock"),
            (Fault::Answers(400, "ExpiredToken"), "fail", "fresh credentials"),
            (Fault::Answers(503, "SlowDown"), "fail", "jobs wait until it takes more again"),
            (Fault::Answers(403, "InvalidAccessKeyId"), "fail", "check the credentials"),
            (Fault::Answers(403, "SignatureDoesNotMatch"), "fail", "check the credentials"),
            (Fault::Answers(507, "XMinioStorageFull"), "fail", "make space"),
        ] {
            let store = FakeS3::start(fault).await;
            let findings = found(place, &store.environment()).await;
            says(&findings, verdict, words);
            let fails = findings.iter().filter(|(is, _)| is == "fail").count();
            assert_eq!(fails, usize::from(verdict == "fail"), "{fault:?}: {findings:?}");
            if verdict != "ok" {
                assert!(
                    !findings.iter().any(|(is, said)| is == "ok" && said.contains("gate"))
                        || words.contains("Delete")
                );
            }
        }
        // If the server refuses a checksum, it is left out.
        let store = FakeS3::start(Fault::WantsChecksum).await;
        let without = [store.environment(), vec![set("AWS_CHECKSUM_ALGORITHM", "none")]].concat();
        says(&found(place, &without).await, "fail", "InvalidRequest");
    })
    .await;
}

#[tokio::test]
async fn check_reads_variables_with_a_line_break_and_names_what_is_missing() {
    Place::run("check-keys", async |place| {
        let store = FakeS3::start(Fault::None).await;
        let with = |more: &[(&str, &str)]| {
            let more = more.iter().map(|(name, value)| set(name, value)).collect();
            [store.environment(), more].concat()
        };
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"] {
            says(&found(place, &with(&[(name, "eu-1\n")])).await, "ok", "written, read back and deleted");
            let findings = found(place, &with(&[(name, "eu\n1")])).await;
            says(&findings, "fail", &format!("{name} holds a character that can't be in it (number 3"));
        }
        let nowhere = [
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", ""),
            ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9"),
            ("AWS_PROFILE", "prod"),
        ];
        let findings = found(place, &with(&nowhere)).await;
        says(&findings, "fail", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set");
        says(&findings, "warning", "AWS_PROFILE=prod is set, and profiles (~/.aws) are not read");

        let plain = store.url.replace("http:", "https:");
        let findings = found(place, &with(&[("COMET_WORKER__STORAGE__ENDPOINT", &plain)])).await;
        says(&findings, "fail", "see whether the store's certificate is good");
        let findings =
            found(place, &with(&[("COMET_WORKER__STORAGE__ENDPOINT", "http://127.0.0.1:9")])).await;
        says(&findings, "fail", "Connection refused");
    })
    .await;
}

/// 501, a busy store, a token that expires: a pause with one log line, and then the jobs' images.
#[tokio::test]
async fn a_store_that_answers_with_a_fault_costs_a_pause_and_no_job() {
    Place::run("store-pause", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let store = FakeS3::start(Fault::None).await;
        let worker = Worker::start_with(place, &sim, QUICK, &store.environment());
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("first")).await;
        broker.ends(place, 1).await;
        for (number, (status, code)) in
            [(503, "SlowDown"), (400, "ExpiredToken"), (403, "RequestTimeTooSkewed")].into_iter().enumerate()
        {
            store.has_now(Fault::Answers(status, code));
            let mine = jobs(&format!("p{number}"), 3);
            for job in &mine {
                broker.publish(place, job).await;
            }
            worker.says(&format!("the store answers {status} {code}")).await;
            wait_for("no readiness", async || (worker.admin("/readyz").await.0 == 503).then_some(())).await;
            store.has_now(Fault::None);
            let ends = broker.ends(place, 3).await;
            assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        }
        sim.report().await.nothing_was_paid_for_twice();
        assert_eq!(sim.report().await.number("accepted"), 10);
    })
    .await;
}

/// The probe of a nearly full store is as large as what was refused, so no more generations are bought.
#[tokio::test]
async fn a_store_that_is_nearly_full_buys_no_more_generations() {
    Place::run("nearly-full", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let store = FakeS3::start(Fault::Room(1000)).await;
        let settings = [QUICK, &[("WORKER__MAX_IN_FLIGHT", "4")]].concat();
        let worker = Worker::start_with(place, &sim, &settings, &store.environment());
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("full", 40) {
            broker.publish(place, &job).await;
        }
        worker.says("507 XMinioStorageFull").await;
        let bought = sim.report().await.number("accepted");
        assert!(bought <= 8, "{bought}");
        tokio::time::sleep(std::time::Duration::from_secs(15)).await;
        assert_eq!(sim.report().await.number("accepted"), bought, "{}", worker.log());
        store.has_now(Fault::None);
        let ends = broker.ends(place, 40).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

/// Without the right to delete, the worker still resumes when the fault is over.
#[tokio::test]
async fn a_worker_that_may_not_delete_goes_on_after_a_fault() {
    Place::run("no-delete", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let store = FakeS3::start(Fault::MayNotDelete).await;
        let worker = Worker::start_with(place, &sim, QUICK, &store.environment());
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        broker.ends(place, 1).await;
        store.has_now(Fault::Answers(503, "ServiceUnavailable"));
        broker.publish(place, &job("b")).await;
        worker.says("taking no jobs").await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        store.has_now(Fault::MayNotDelete);
        let ends = broker.ends(place, 1).await;
        assert_eq!(ends["b"][0].json()["type"], "comet.job.succeeded");
        let probes = store.keys().into_iter().filter(|key| key.starts_with("/comet/probe-")).count();
        assert!(probes <= 1, "{:?}", store.keys());
    })
    .await;
}

/// A mount that vanishes leaves an empty folder at its place.
#[tokio::test]
async fn a_folder_that_vanishes_under_a_worker_closes_the_intake_and_nothing_goes_underneath() {
    Place::run("vanished", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let worker = Worker::start(place, &sim, QUICK);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("before")).await;
        broker.ends(place, 1).await;

        let (root, away) = (place.images(), place.folder.path().join("away"));
        std::fs::rename(&root, &away).unwrap();
        std::fs::create_dir(&root).unwrap();
        for job in jobs("under", 5) {
            broker.publish(place, &job).await;
        }
        worker.says("the folder is gone").await;
        let (status, text) = worker.admin("/readyz").await;
        assert!(status == 503 && text.contains("mount it again"), "{text}");
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let underneath = std::fs::read_dir(&root).unwrap().count();
        assert_eq!(underneath, 0, "nothing is written to the disk underneath");
        assert_eq!(sim.report().await.number("accepted"), 1, "and nothing is paid for without a gate");

        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&away, &root).unwrap();
        let ends = broker.ends(place, 5).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

/// An idle worker notices it too, although no job uses the store.
#[tokio::test]
async fn a_store_that_loses_its_id_under_an_idle_worker_closes_the_intake_and_gets_no_other() {
    Place::run("lost-id", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let worker = Worker::start(place, &sim, QUICK);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        broker.ends(place, 1).await;
        let id = place.images().join("receipts/store-id");
        let name = std::fs::read(&id).unwrap();
        std::fs::remove_file(&id).unwrap();
        worker.says("its receipts/store-id is gone").await;
        let closed = async || (worker.admin("/readyz").await.0 == 503).then_some(());
        wait_for("no readiness", closed).await;
        assert!(!id.exists(), "no id is given anew");
        std::fs::write(&id, name).unwrap();
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        broker.publish(place, &job("b")).await;
        broker.ends(place, 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_on_a_store_that_is_no_gate_says_so_and_takes_jobs() {
    Place::run("no-gate", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let store = FakeS3::start(Fault::LooksFirst).await;
        let worker = Worker::start_with(place, &sim, QUICK, &store.environment());
        worker.says("so its receipts are no gate").await;
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        let (_, text) = worker.admin("/readyz").await;
        assert!(text.starts_with("ready\nwarning: payment guarantee: none"), "{text}");
    })
    .await;
}

/// Like FAT, exFAT and many of CIFS and FUSE: the system call for hard links is refused to this process.
#[tokio::test]
async fn a_folder_without_hard_links_is_a_gate_by_a_rename_that_replaces_nothing() {
    Place::run("no-links", async |place| {
        let (source, library) =
            (place.folder.path().join("no_links.c"), place.folder.path().join("no_links.so"));
        let refusing = "#include <errno.h>\n\
            int link(const char *a, const char *b) { errno = EPERM; return -1; }\n\
            int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }\n";
        std::fs::write(&source, refusing).unwrap();
        let compiled = tokio::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .await
            .unwrap();
        assert!(compiled.success());
        let preload = [set("LD_PRELOAD", &library.display().to_string())];
        says(&found(place, &preload).await, "ok", "so its receipts are a gate");

        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let _worker = Worker::start_with(place, &sim, QUICK, &preload);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("linkless", 10) {
            broker.publish(place, &job).await;
        }
        let ends = broker.ends(place, 10).await;
        assert!(ends.values().all(|copies| copies[0].json()["type"] == "comet.job.succeeded"));
        sim.report().await.nothing_was_paid_for_twice();
        let staged =
            walk(&place.images().join("receipts")).into_iter().filter(|name| name.contains('#')).count();
        assert_eq!(staged, 0, "nothing is left beside the receipts");
    })
    .await;
}

/// The names of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { walk(&path) } else { vec![entry.file_name().into_string().unwrap()] }
        })
        .collect()
}
