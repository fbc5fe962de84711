//! Checks what was published, charged and told against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::canceller::Cancelled;
use super::producer::Published;
use super::scene::{Scene, Told};
use crate::support::broker::Letter;
use crate::support::jobs::{external, job};

/// How many offenders of each kind are named, with their log lines.
const NAMED: usize = 5;

pub(super) struct Verdict {
    facts: Vec<(&'static str, usize)>,
    /// Each list must be empty: the promise, and the jobs that break it.
    breaches: Vec<(&'static str, Vec<String>)>,
}

impl Verdict {
    pub(super) async fn of(scene: &Scene, published: &Published, cancelled: &Cancelled, told: Told) -> Self {
        let events = by_job(&told.events);
        let report = scene.sim.report().await;
        let tasks = report.tasks();
        let external = |id: &str| external(&scene.store(), &job(id));
        let charges = |job: &str| tasks.get(&external(job)).map_or(0, Vec::len);
        let jobs = |wanted: &dyn Fn(&String) -> bool| -> Vec<String> {
            published.jobs.iter().filter(|job| wanted(job)).cloned().collect()
        };
        let told_of = |job: &str| events.get(job).map(Vec::as_slice).unwrap_or_default();
        let any =
            |job: &str, test: &dyn Fn(&Value) -> bool| told_of(job).iter().any(|told| test(&told.event));
        let is_unknown = |event: &Value| event["data"]["reason"] == "outcome_unknown";
        let is_cancelled = |event: &Value| event["type"] == "comet.job.cancelled";
        let cancelled_as = |charged: &str| {
            jobs(&|job| any(job, &|event| is_cancelled(event) && event["data"]["charged"] == charged))
        };
        let [unpaid, paid, perhaps_paid] = ["no", "yes", "unknown"].map(cancelled_as);
        let was_cancelled = |job: &String| any(job, &is_cancelled);

        let accepted: BTreeSet<&String> = tasks.values().flatten().collect();
        let told_tasks: BTreeSet<&str> =
            events.values().flatten().filter_map(|told| told.event["data"]["task_id"].as_str()).collect();
        let of_task: BTreeMap<String, &String> =
            published.jobs.iter().map(|job| (external(job), job)).collect();
        let untold_tasks = tasks.iter().flat_map(|(external, tasks)| {
            let job = of_task.get(external).map_or(external.as_str(), |job| job.as_str());
            // The cancelled event of this job said that it may be charged, so the user knows.
            let given_up = perhaps_paid.iter().any(|given_up| given_up == job);
            let untold = tasks.iter().filter(move |_| !given_up);
            let untold = untold.filter(|task| !told_tasks.contains(task.as_str()));
            untold.map(move |task| format!("{job} task {task}"))
        });
        let queued = vec![format!("ready, unacknowledged: {:?}", told.queued); told.queued.0 + told.queued.1];

        let breaches = vec![
            ("charged twice", jobs(&|job| charges(job) > 1)),
            ("never charged", jobs(&|job| charges(job) == 0 && !was_cancelled(job))),
            ("cancelled as unpaid and charged", {
                unpaid.iter().filter(|job| charges(job) > 0).cloned().collect()
            }),
            ("cancelled as charged and not charged", {
                paid.iter().filter(|job| charges(job) == 0).cloned().collect()
            }),
            ("cancelled without a wish", {
                jobs(&|job| was_cancelled(job) && !cancelled.asked.contains(job))
            }),
            ("charged for a job that was not published", {
                tasks.keys().filter(|external| !of_task.contains_key(*external)).cloned().collect()
            }),
            ("lost", jobs(&|job| told_of(job).is_empty())),
            ("differing copies", jobs(&|job| copies_differ(told_of(job)))),
            ("two outcomes, but for a correction", jobs(&|job| outcomes(told_of(job)) > 1)),
            ("parked as unknown", jobs(&|job| any(job, &is_unknown))),
            ("ended otherwise than succeeded or cancelled", {
                let failed = |event: &Value| {
                    event["type"] != "comet.job.succeeded" && !is_unknown(event) && !is_cancelled(event)
                };
                jobs(&|job| any(job, &failed))
            }),
            (
                "quarantined bystanders",
                jobs(&|job| any(job, &|event| event["data"]["reason"] == "quarantined")),
            ),
            ("still queued or unacknowledged", queued),
            ("unexpected dead letters", told.dead.iter().map(describe).collect()),
            ("events that no queue took", told.unrouted.iter().map(describe).collect()),
            ("accepted tasks not told", untold_tasks.collect()),
            (
                "told images that aren't in the store",
                jobs(&|job| any(job, &|event| !images_are_there(event))),
            ),
            ("workers that ended by themselves", scene.tally.borrow().ended_by_themselves.clone()),
            ("keys sent to file servers", vec![String::new(); count(report.number("leaked_keys"))]),
        ];
        let tally = scene.tally.borrow();
        let corrected = |job: &String| told_of(job).iter().any(|told| is_correction(&told.event));
        let facts = vec![
            ("acts of the nemesis", tally.acts),
            (
                "milliseconds from SIGTERM to the exit, at most",
                usize::try_from(tally.slowest_stop.as_millis()).expect("a short time"),
            ),
            ("jobs published and confirmed", published.jobs.len()),
            ("published again on purpose", published.again),
            ("publishes without a confirm, repeated", published.unconfirmed),
            ("jobs that were to be cancelled", cancelled.asked.len()),
            ("cancels that were taken", cancelled.taken),
            ("cancelled as unpaid", unpaid.len()),
            ("cancelled as charged", paid.len()),
            ("cancelled as charged perhaps", perhaps_paid.len()),
            ("POSTs that reached the provider", count(report.number("submits"))),
            ("tasks that it accepted", accepted.len()),
            ("events told, copies included", told.events.len()),
            ("corrections", jobs(&corrected).len()),
            ("charged once", jobs(&|job| charges(job) == 1).len()),
        ];
        Self { facts, breaches }
    }

    pub(super) fn holds(&self) -> bool {
        self.breaches.iter().all(|(_, offenders)| offenders.is_empty())
    }

    /// The jobs that broke a promise, with the workers' log lines about them in the order of time.
    pub(super) fn evidence(&self, folder: &Path) -> String {
        let mut text = String::from("the evidence:\n");
        for (promise, offenders) in self.breaches.iter().filter(|(_, offenders)| !offenders.is_empty()) {
            for offender in offenders.iter().take(NAMED) {
                let job = offender.split(' ').next().unwrap_or_default();
                writeln!(text, "\n{promise}: {offender}\n{}", log_lines(folder, job)).unwrap();
            }
        }
        text
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.facts {
            writeln!(f, "{count:>8}  {what}")?;
        }
        for (what, offenders) in &self.breaches {
            let mark = if offenders.is_empty() { "" } else { "   <-- must be 0" };
            writeln!(f, "{:>8}  {what}{mark}", offenders.len())?;
        }
        Ok(())
    }
}

struct Copy<'a> {
    body: &'a [u8],
    event: Value,
}

fn by_job(letters: &[Letter]) -> BTreeMap<String, Vec<Copy<'_>>> {
    let mut events: BTreeMap<String, Vec<Copy<'_>>> = BTreeMap::new();
    for letter in letters {
        let event = letter.json();
        let job = event["data"]["job_id"].as_str().expect("an event names its job").to_owned();
        events.entry(job).or_default().push(Copy { body: &letter.body, event });
    }
    events
}

fn is_correction(event: &Value) -> bool {
    event["supersedes"].is_string() || event["data"]["supersedes"].is_string()
}

fn copies_differ(copies: &[Copy<'_>]) -> bool {
    let mut words: BTreeMap<&str, &[u8]> = BTreeMap::new();
    copies.iter().any(|copy| {
        let id = copy.event["id"].as_str().expect("an event has an id");
        *words.entry(id).or_insert(copy.body) != copy.body
    })
}

fn outcomes(copies: &[Copy<'_>]) -> usize {
    let first = copies.iter().filter(|copy| !is_correction(&copy.event));
    first.filter_map(|copy| copy.event["id"].as_str()).collect::<BTreeSet<_>>().len()
}

fn images_are_there(event: &Value) -> bool {
    let images = event["data"]["images"].as_array().map(Vec::as_slice).unwrap_or_default();
    images.iter().all(|image| {
        let location: url::Url = image["location"].as_str().unwrap().parse().unwrap();
        let file = location.to_file_path().expect("the store is a folder");
        fs::metadata(file).is_ok_and(|file| Some(file.len()) == image["bytes"].as_u64())
    })
}

fn describe(letter: &Letter) -> String {
    let body = String::from_utf8_lossy(&letter.body);
    let value: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
    let job = value["job_id"].as_str().or(value["data"]["job_id"].as_str()).unwrap_or("?");
    let reason = letter.header("x-comet-reason").unwrap_or_default();
    format!("{job} {reason} {}", body.chars().take(200).collect::<String>())
}

fn log_lines(folder: &Path, job: &str) -> String {
    let named = [format!("job_id={job}}}"), format!("job_id={job}:"), format!("job_id={job} ")];
    let mut lines = Vec::new();
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file: &PathBuf| file.extension().is_some_and(|end| end == "log")) {
        let log = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let of_job = log.lines().filter(|line| named.iter().any(|named| line.contains(named)));
        // The time comes first in each line.
        lines.extend(of_job.map(|line| format!("{line}   [{name}]")));
    }
    lines.sort();
    lines.join("\n")
}

fn count(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}
