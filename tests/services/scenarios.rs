//! Every scenario that the stand-in can play: each alone, and all that cost no job together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::jobs::job;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// Stand-ins beside each other.
const ABREAST: usize = 6;
const SUCCEEDED: &str = "succeeded";
/// The jobs wait while the scenario is played, and succeed after it.
const HELD: &str = "held";

/// What becomes of a job: the scenario, those that must be played with it to be seen, and the outcome.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("rate-limited", "", HELD),
    ("busy", "", HELD),
    ("saturated", "", HELD),
    ("server-error", "", HELD),
    ("bad-gateway", "", HELD),
    ("content-policy", "", "content_policy"),
    ("no-money", "", HELD),
    ("gateway-limit", "", HELD),
    ("retry-after", "", HELD),
    ("ip-refused", "", HELD),
    ("no-channel", "", HELD),
    ("no-such-route", "", HELD),
    ("redirected", "", HELD),
    ("body-too-large", "", "rejected"),
    ("invalid-request", "", "rejected"),
    ("invalid-request-as500", "", "rejected"),
    ("discontinued", "", "rejected"),
    ("policy-as200", "", "content_policy"),
    ("exists-falsely", "", "outcome_unknown"),
    ("do-request-failed-after", "", SUCCEEDED),
    ("bad-gateway-after", "", SUCCEEDED),
    ("exists-after", "", SUCCEEDED),
    ("gateway-timeout-after", "", SUCCEEDED),
    ("no-id-after", "", SUCCEEDED),
    ("null-data-after", "", SUCCEEDED),
    ("cut-short-after", "", SUCCEEDED),
    ("lost-reply", "", SUCCEEDED),
    ("hang-after", "", SUCCEEDED),
    ("slow-reply", "", SUCCEEDED),
    ("arrives-late", "", SUCCEEDED),
    ("reply-a2", "", SUCCEEDED),
    ("reply-a3", "", SUCCEEDED),
    ("reply-b-text", "", SUCCEEDED),
    ("reply-b-object", "", SUCCEEDED),
    ("reply-c", "", SUCCEEDED),
    ("reply-number-id", "", SUCCEEDED),
    ("wrong-key", "", HELD),
    ("failed", "", "content_policy"),
    ("failed-internal", "", "generation_failed"),
    ("never-finishes", "", "timed_out"),
    ("task-not-exist-at-first", "", SUCCEEDED),
    ("task-not-exist", "", "timed_out"),
    ("poll-html", "", HELD),
    ("poll-rate-limited", "", HELD),
    ("look-wrapper", "", SUCCEEDED),
    ("look-wrapper-envelope", "", SUCCEEDED),
    ("look-url-in-fail-reason", "", SUCCEEDED),
    ("look-swept", "", "generation_failed"),
    ("look-flat", "", SUCCEEDED),
    ("look-seconds", "", SUCCEEDED),
    ("look-no-index", "", SUCCEEDED),
    ("look-text-index", "", SUCCEEDED),
    ("look-out-of-order", "", SUCCEEDED),
    ("look-duplicates", "", SUCCEEDED),
    ("look-succeeded", "", SUCCEEDED),
    ("look-uppercase", "", SUCCEEDED),
    ("look-empty-status", "", SUCCEEDED),
    ("look-unknown-status", "", SUCCEEDED),
    ("look-filled-late", "", SUCCEEDED),
    ("look-null-result", "", "result_invalid"),
    ("look-regress", "", SUCCEEDED),
    ("lookup-late", "lost-reply", SUCCEEDED),
    ("lookup-unsupported", "lost-reply", "outcome_unknown"),
    ("poll-error", "", HELD),
    ("file-500-twice", "", SUCCEEDED),
    ("file-403", "", "result_expired"),
    ("file-403-then-fresh", "", SUCCEEDED),
    ("file-short", "", "result_expired"),
    ("file-redirects", "", SUCCEEDED),
    ("file-redirect-inside", "", "result_expired"),
    ("file-html", "", "result_invalid"),
    ("file-slow", "", SUCCEEDED),
    ("file-oversize", "", "result_invalid"),
    // Who gives no callback_url is told nothing, rightly or wrongly.
    ("callback-lost", "", SUCCEEDED),
    ("callback-garbage", "", SUCCEEDED),
    ("callback-wrong-id", "", SUCCEEDED),
    ("callback-upstream-id", "", SUCCEEDED),
    ("callback-early", "", SUCCEEDED),
    ("callback-duplicate", "", SUCCEEDED),
    ("callback-out-of-order", "", SUCCEEDED),
];

const SIM: &[&str] = &["--lookup", "--durations", "fixed:500ms", "--slow-for", "800ms", "--image-px", "64"];

const SETTINGS: &[(&str, &str)] = &[
    ("GENERATION__TIMEOUT_S", "15"),
    ("GENERATION__QUIET_S", "3"),
    ("GENERATION__ON_UNKNOWN_SUBMIT", "trust_lookup"),
    ("API__SUBMIT_TIMEOUT_S", "2"),
    ("DOWNLOAD__TIMEOUT_S", "5"),
    ("DOWNLOAD__ATTEMPTS", "3"),
];

fn pair(id: &str) -> Value {
    let mut job = job(id);
    job["input"]["n"] = json!(2);
    job
}

fn outcome(event: &Value) -> String {
    event["data"]["reason"].as_str().unwrap_or(SUCCEEDED).to_owned()
}

/// How often each outcome came.
async fn outcomes(broker: &Broker, place: &Place, jobs: usize) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for copies in broker.ends(place, jobs).await.into_values() {
        *outcomes.entry(outcome(&copies[0].json())).or_default() += 1;
    }
    outcomes
}

/// Plays a scenario alone and tells what became of its jobs.
async fn play(name: &str, with: &str, expected: &str) -> BTreeMap<String, usize> {
    let seen = RefCell::new(BTreeMap::new());
    Place::run("scene", async |place| {
        let mut arguments = vec!["--scenario", name];
        if !with.is_empty() {
            arguments.extend(["--scenario", with]);
        }
        let sim = Sim::start(&[SIM, &arguments].concat()).await;
        let _worker = Worker::start(place, &sim, SETTINGS);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..3 {
            broker.publish(place, &pair(&format!("{name}-{number}"))).await;
        }
        if expected == HELD {
            let struck = async || sim.report().await.0["faults"].as_object().map(serde_json::Map::len);
            wait_for(name, async || (struck().await? > 0).then_some(())).await;
            sim.faults(json!({})).await;
        }
        let ending = outcomes(&broker, place, 3);
        // A scenario that ends no job is told by its name and not by a panic that knows none.
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(100), ending).await {
            *seen.borrow_mut() = ended;
        }
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
    seen.into_inner()
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
    let playing = EXPECTED.iter().map(|&(name, with, expected)| async move {
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

/// Not mixed. What stops the account or the route stops every job, and some ends cost nothing but time. `lookup-unsupported`
/// breaks the promise that `trust_lookup` rests on.
const MIXED_OUT: &[&str] = &[
    "never-finishes",
    "task-not-exist",
    "hang-after",
    "no-channel",
    "no-such-route",
    "redirected",
    "ip-refused",
    "no-money",
    "wrong-key",
    "file-oversize",
    "lookup-unsupported",
];

#[tokio::test]
async fn all_scenarios_at_once_cost_no_job_and_nothing_twice() {
    const JOBS: usize = 500;
    Place::run("mix", async |place| {
        let mixed = |name: &&str| !MIXED_OUT.contains(name);
        let names = EXPECTED.iter().map(|(name, _, _)| *name).filter(mixed);
        let mix: Vec<String> = names.map(|name| format!("{name}=0.01")).collect();
        let mix = mix.join(",");
        let sim =
            Sim::start(&[SIM, &["--duplicates", "refuse", "--seed", "7", "--scenario", &mix]].concat()).await;
        let worker = Worker::start(place, &sim, SETTINGS);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for number in 0..JOBS {
            broker.publish(place, &pair(&format!("mix-{number}"))).await;
        }
        let outcomes = outcomes(&broker, place, JOBS).await;
        let report = sim.report().await;
        for (scenario, times) in report.0["faults"].as_object().unwrap() {
            println!("{times:>6} {scenario}");
        }
        for (outcome, jobs) in &outcomes {
            println!("{jobs:>6} jobs: {outcome}");
        }
        report.nothing_was_paid_for_twice();
        let allowed = |outcome: &str| {
            let named = EXPECTED.iter().any(|(name, _, expected)| mixed(name) && *expected == outcome);
            named || outcome == SUCCEEDED
        };
        let strange: Vec<&String> = outcomes.keys().filter(|outcome| !allowed(outcome)).collect();
        assert_eq!(strange, Vec::<&String>::new());
        assert_eq!(outcomes.values().sum::<usize>(), JOBS);
        assert!(outcomes.get(SUCCEEDED).is_some_and(|jobs| *jobs > JOBS / 2), "{outcomes:?}");
        broker.ready_is(&place.queue(), 0).await;
        assert!(!worker.log().contains("panicked"), "{}", worker.log());
    })
    .await;
}
