//! Every scenario that the stand-in can play: each alone, and many of them together.

pub mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::seed::seed;
use crate::support::broker::Letter;
use crate::support::jobs::job;
use crate::support::listener::{Listener, SELDOM};
use crate::support::{Broker, Place, Sim, Worker, wait_for};
use table::{EXPECTED, HELD, ONE_IMAGE, STOPS, SUCCEEDED, fits};

/// Stand-ins beside each other.
const ABREAST: usize = 12;

const SIM: &[&str] = &[
    "--lookup",
    "--format",
    "mixed",
    "--durations",
    "fixed:500ms",
    "--slow-for",
    "800ms",
    "--image-px",
    "64",
];

const SETTINGS: &[(&str, &str)] = &[
    ("GENERATION__TIMEOUT_S", "15"),
    ("GENERATION__QUIET_S", "3"),
    ("GENERATION__ON_UNKNOWN_SUBMIT", "trust_lookup"),
    ("API__SUBMIT_TIMEOUT_S", "2"),
    ("DOWNLOAD__TIMEOUT_S", "5"),
    ("DOWNLOAD__ATTEMPTS", "3"),
    ("DOWNLOAD__PATIENCE_S", "8"),
];

fn pair(id: &str) -> Value {
    let mut job = job(id);
    job["input"]["n"] = json!(2);
    job
}

fn outcome(event: &Value) -> String {
    let images = event["data"]["images"].as_array().map_or(0, Vec::len);
    let succeeded = if images == 1 { ONE_IMAGE } else { SUCCEEDED };
    event["data"]["reason"].as_str().unwrap_or(succeeded).to_owned()
}

/// How often each outcome came.
async fn outcomes(broker: &Broker, place: &Place, jobs: usize) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for copies in broker.ends(place, jobs).await.into_values() {
        *outcomes.entry(outcome(&copies[0].json())).or_default() += 1;
    }
    outcomes
}

/// Plays a scenario alone and returns the outcomes of its jobs.
async fn play(name: &str, with: &str, expected: &str) -> BTreeMap<String, usize> {
    let seen = RefCell::new(BTreeMap::new());
    Place::run("scene", async |place| {
        let mut arguments = vec!["--scenario", name];
        if !with.is_empty() {
            arguments.extend(["--scenario", with]);
        }
        let sim = Sim::start(&[SIM, &arguments].concat()).await;
        let broker = Broker::connect(place).await;
        let called =
            if name.starts_with("callback-") { Some(Listener::start(place, &sim).await) } else { None };
        let worker = Worker::start(place, &sim, &[SETTINGS, &calls(called.as_ref(), name)].concat());
        worker.says("taking jobs").await;
        broker.listen(place).await;
        for number in 0..3 {
            broker.publish(place, &pair(&format!("{name}-{number}"))).await;
        }
        if expected == HELD {
            let struck = async || sim.report().await.0["faults"].as_object().map(serde_json::Map::len);
            wait_for(name, async || (struck().await? > 0).then_some(())).await;
            if let Some((_, words)) = STOPS.iter().find(|(stops, _)| *stops == name) {
                let told = async || worker.admin("/readyz").await;
                let says = async || {
                    let (status, text) = told().await;
                    (status == 503 && text.contains(words)).then_some(())
                };
                wait_for(&format!("{name}: not ready, {words}"), says).await;
            }
            sim.faults(json!({})).await;
        }
        let ending = outcomes(&broker, place, 3);
        // A scenario that ends no job is reported by its name, not by a panic without it.
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(100), ending).await {
            *seen.borrow_mut() = ended;
        }
        sim.report().await.nothing_was_paid_for_twice();
        if let Some(called) = called {
            assert_eq!(called.accepted().await > 0, name != "callback-lost", "{name}: calls that were taken");
            called.stop(&broker).await;
        }
    })
    .await;
    seen.into_inner()
}

/// The settings for a worker that gets callbacks. It polls by itself only if no callback comes, so the end of each
/// job is seen through a callback or not at all.
fn calls<'a>(called: Option<&'a Listener>, name: &str) -> Vec<(&'static str, &'a str)> {
    let Some(called) = called else { return Vec::new() };
    let seldom = if name == "callback-lost" { &[][..] } else { &SELDOM };
    [&called.settings()[..], seldom].concat()
}

/// The names that `comet-sim --list-scenarios` gives.
async fn listed() -> Vec<String> {
    let listed = Sim::says(&["--list-scenarios"]).await;
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn each_scenario_alone_ends_its_jobs_as_it_should() {
    let mut names: Vec<&str> = EXPECTED.iter().map(|(name, _, _)| *name).collect();
    let mut listed = listed().await;
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(names, listed, "each scenario has an expected outcome here");
    // `SCENARIOS=busy,failed` plays these alone.
    let only = std::env::var("SCENARIOS").unwrap_or_default();
    let is_played = |name: &str| only.is_empty() || only.split(',').any(|played| played == name);
    let playing =
        EXPECTED.iter().filter(|(name, _, _)| is_played(name)).map(|&(name, with, expected)| async move {
            let seen = play(name, with, expected).await;
            let outcome = if expected == HELD { SUCCEEDED } else { expected };
            let fits = seen == BTreeMap::from([(outcome.to_owned(), 3)]);
            println!("{} {name}: {expected}, {seen:?}", if fits { " " } else { "!" });
            (!fits).then_some(name)
        });
    let wrong: Vec<_> =
        stream::iter(playing).buffer_unordered(ABREAST).filter_map(async |name| name).collect().await;
    assert_eq!(wrong, Vec::<&str>::new());
}

/// Whether the scenario stops the intake until it is over. A fault of the account or of the route does; a fault of a
/// file does only if it hits all files.
pub fn stops(name: &str) -> bool {
    name != "no-channel" && !name.starts_with("file-") && STOPS.iter().any(|(stops, _)| *stops == name)
}

/// The scenarios of a task's submit and its polls, or those of its files and its callbacks.
fn one_job_s(files: bool) -> Vec<(&'static str, &'static str)> {
    let is_of_files = |name: &str| name.starts_with("file-") || name.starts_with("callback-");
    let chosen = EXPECTED.iter().filter(|(name, _, _)| !stops(name) && is_of_files(name) == files);
    chosen.map(|(name, _, _)| (*name, "0.02")).collect()
}

#[tokio::test]
async fn faults_of_submits_and_looks_at_once_end_each_job_as_those_that_struck_it_call_for() {
    mix("mix-tasks", 80, one_job_s(false)).await;
}

#[tokio::test]
async fn faults_of_files_and_callbacks_at_once_end_each_job_as_those_that_struck_it_call_for() {
    mix("mix-files", 140, one_job_s(true)).await;
}

#[tokio::test]
async fn faults_of_the_account_at_once_end_no_job_and_nothing_is_paid_twice() {
    let account = EXPECTED.iter().filter(|(name, _, _)| stops(name)).map(|(name, _, _)| (*name, "0.2,1s,1x"));
    mix("mix-account", 40, account.collect()).await;
}

/// The ends of the mixed jobs. Other jobs keep coming meanwhile, because no job ends for a failed download while
/// downloads work for no job.
async fn ends_beside_others(broker: &Broker, place: &Place, jobs: usize) -> BTreeMap<String, Vec<Letter>> {
    let mut ends = BTreeMap::new();
    let mixed =
        |ends: &BTreeMap<String, Vec<Letter>>| ends.keys().filter(|job| job.starts_with("mix-")).count();
    let mut others = 0;
    while mixed(&ends) < jobs {
        let before = mixed(&ends);
        wait_for("the end of one more job", async || {
            broker.publish(place, &pair(&format!("other-{others}"))).await;
            others += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            broker.rest(place, &mut ends).await;
            (mixed(&ends) > before).then_some(())
        })
        .await;
    }
    ends
}

/// Plays scenarios at once, each with its odds, on this many jobs, and checks each job's end against the scenarios
/// that hit it.
pub async fn mix(name: &str, jobs: usize, odds: Vec<(&'static str, &'static str)>) {
    Place::run(name, async |place| {
        let all: Vec<String> = odds.iter().map(|(name, odds)| format!("{name}={odds}")).collect();
        let seed = seed().to_string();
        println!("COMET_SEED={seed}");
        let own = ["--duplicates", "refuse", "--seed", &seed, "--scenario", &all.join(",")];
        let sim = Sim::start(&[SIM, &own].concat()).await;
        let broker = Broker::connect(place).await;
        let called = Listener::start(place, &sim).await;
        let worker = Worker::start(place, &sim, &[SETTINGS, &called.settings()].concat());
        worker.says("taking jobs").await;
        broker.listen(place).await;
        for number in 0..jobs {
            broker.publish(place, &pair(&format!("mix-{number}"))).await;
        }
        let ends = ends_beside_others(&broker, place, jobs).await;
        let report = sim.report().await;
        let struck: BTreeMap<String, Vec<String>> =
            serde_json::from_value(report.0["struck"].clone()).unwrap();
        let mut strange = Vec::new();
        let mut counts = BTreeMap::<String, usize>::new();
        for (job, copies) in &ends {
            let event = copies[0].json();
            let outcome = outcome(&event);
            let external = event["data"]["external_task_id"].as_str().unwrap();
            let struck = struck.get(external).map(Vec::as_slice).unwrap_or_default();
            if !fits(struck, &outcome) {
                strange.push(format!("{job}: {outcome}, struck by {struck:?}: {}", event["data"]["message"]));
            }
            *counts.entry(outcome).or_default() += 1;
        }
        for (outcome, jobs) in &counts {
            println!("{jobs:>6} jobs: {outcome}");
        }
        let faults = report.0["faults"].as_object().unwrap();
        println!("{} of {} scenarios have struck {jobs} jobs", faults.len(), odds.len());
        assert_eq!(strange, Vec::<String>::new());
        report.nothing_was_paid_for_twice();
        assert!(counts.get(SUCCEEDED).is_some_and(|succeeded| *succeeded > jobs / 3), "{counts:?}");
        // A rare scenario doesn't occur in some runs.
        assert!(faults.len() > odds.len() * 7 / 10, "{:?}", faults.keys().collect::<BTreeSet<_>>());
        broker.ready_is(&place.queue(), 0).await;
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        assert!(!worker.log().contains("panicked"), "{}", worker.log());
        called.stop(&broker).await;
    })
    .await;
}
