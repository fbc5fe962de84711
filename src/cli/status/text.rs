//! The fleet and its jobs as text for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::render::{count, one_line};
use crate::cli::spend::words as spend_words;
use crate::fleet::job::{JobView, Moment};
use crate::fleet::{Fleet, UnfinishedJob, WorkerState};
use crate::job::Reason;
use crate::job::event::JobEnd;
use crate::job::stage::JobStage;

/// Several lines, without the last line's end.
pub(super) fn fleet(fleet: &Fleet) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text += words.trim_end();
        text.push('\n');
    };
    line(heading(fleet));
    let standstills = fleet.standstills();
    if !standstills.is_empty() {
        line(String::new());
        line("STANDS STILL".to_owned());
    }
    for (standstill, workers) in standstills {
        let (what, since) = (&standstill.what, ago(&standstill.since, &fleet.time));
        let of = fleet.workers.len();
        line(format!(
            "  {what}  for {since}, {workers} of {}: {}",
            count(of, "worker"),
            one_line(&standstill.detail)
        ));
        line(format!("    → {}", one_line(&standstill.r#do)));
    }
    line(String::new());
    let stages = JobStage::ALL.map(|stage| {
        let number = fleet.jobs.get(&stage).copied().unwrap_or_default();
        format!("{} {number}", stage.as_str())
    });
    line(format!("JOBS     {}", stages.join("   ")));
    if let Some(oldest) = &fleet.oldest {
        line(format!(
            "         longest at one stage: {}, {} for {}",
            one_line(&oldest.job_id),
            oldest.stage.as_str(),
            ago(&oldest.since, &fleet.time)
        ));
    }
    line(format!("QUEUES   {}", queues(fleet)));
    if fleet.slots.max > 0 {
        line(format!("SLOTS    {} of {} taken", fleet.slots.taken, fleet.slots.max));
    }
    if let Some(spend) = &fleet.spend {
        line(format!("SPEND    today {}", spend_words(spend)));
    }
    if let Some(pace) = fleet.pace_per_s {
        line(format!("PACE     {pace:.1} submits a second, since the provider has asked for less"));
    }
    if !fleet.workers.is_empty() {
        line(String::new());
        line("WORKERS  ID            HOST                  PID      VERSION   UP FOR    JOBS".to_owned());
    }
    for worker in &fleet.workers {
        line(worker_line(worker, &fleet.time));
    }
    if !fleet.recent.is_empty() {
        line(String::new());
        line("LATEST ENDS".to_owned());
    }
    for end in &fleet.recent {
        line(end_line(end, &fleet.time));
    }
    text.truncate(text.trim_end().len());
    text
}

fn heading(fleet: &Fleet) -> String {
    let workers = match fleet.workers.len() {
        0 => "no worker runs".to_owned(),
        number => format!("{} run", count(number, "worker")).replace("1 worker run", "1 worker runs"),
    };
    let unfinished = usize::try_from(fleet.unfinished()).unwrap_or(usize::MAX);
    format!("{}   {workers}, {} unfinished", fleet.time, count(unfinished, "job"))
}

fn queues(fleet: &Fleet) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let queues = &fleet.queues;
    let (dead, unrouted) = (number(queues.dead), number(queues.unrouted));
    let look = if queues.dead.unwrap_or_default() > 0 { " (comet-worker dead list)" } else { "" };
    format!("jobs {} ready   dead letters {dead}{look}   unrouted events {unrouted}", number(queues.jobs))
}

fn worker_line(worker: &WorkerState, now: &str) -> String {
    let WorkerState { id, host, pid, version, started, in_flight, .. } = worker;
    let up = ago(started, now);
    format!("         {id:<13} {:<21} {pid:<8} {version:<9} {up:<9} {in_flight}", one_line(host))
}

fn end_line(end: &JobEnd, now: &str) -> String {
    let words = match (&end.reason, &end.message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => end.image.clone().unwrap_or_default(),
    };
    let corrects = if end.supersedes.is_some() { " (a correction)" } else { "" };
    let remedy = remedy(end).map(|remedy| format!(" → {remedy}")).unwrap_or_default();
    let when = format!("{} ago", ago(&end.at, now));
    one_line(&format!("  {when:<14} {}  {}{corrects}  {words}{remedy}", end.job_id, end.outcome))
}

/// The command by which a person can still change this end.
fn remedy(end: &JobEnd) -> Option<String> {
    let (job, reason) = (&end.job_id, end.reason.as_deref()?);
    if reason == Reason::OutcomeUnknown.as_str() {
        return Some(format!("comet-worker resolve {job}"));
    }
    let has_images =
        end.task_id.is_some() && Reason::UNSTORED.iter().any(|unstored| unstored.as_str() == reason);
    has_images.then(|| format!("comet-worker resolve {job} --fetch"))
}

/// `order-1  generating  since 2026-11-28T07:00:00.000Z`
pub(super) fn unfinished(job: &UnfinishedJob) -> String {
    one_line(&format!("{}  {}  since {}", job.job_id, job.stage.as_str(), job.since))
}

/// The life of one job.
pub(super) fn job(view: &JobView) -> String {
    let mut text = String::new();
    let state = match (view.stage, &view.outcome) {
        (Some(stage), _) => stage.as_str().to_owned(),
        (None, Some(outcome)) => outcome.clone(),
        (None, None) if view.cancelled => "cancelled before a worker has seen it".to_owned(),
        (None, None) => "not unfinished, and no outcome is known".to_owned(),
    };
    let since = view.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    let cancelled = if view.cancelled && view.stage.is_some() { ", cancelled by its user" } else { "" };
    // Writing into a String can't fail.
    let _ = writeln!(text, "{}  {state}{since}{cancelled}", one_line(&view.job_id));
    let facts = [
        ("reason", &view.reason),
        ("message", &view.message),
        ("task id", &view.task_id),
        ("external id", &view.external_task_id),
        ("charged", &view.charged),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<12} {}", one_line(value));
        }
    }
    for (word, files) in [("image", &view.images), ("video", &view.videos), ("sound", &view.audios)] {
        for file in files {
            let _ = writeln!(text, "  {word:<12} {}", one_line(&file.location));
        }
    }
    for moment in &view.history {
        let _ = writeln!(text, "  {}  {}", moment.at, one_line(&words(moment)));
    }
    text.truncate(text.trim_end().len());
    text
}

fn words(moment: &Moment) -> String {
    let mut words = moment.what.replace('_', " ");
    for (name, value) in &moment.details {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        words += &format!("  {}: {value}", name.replace('_', " "));
    }
    words
}

/// `3 min`, from two times in RFC 3339; `?` if one of them is none.
fn ago(time: &str, now: &str) -> String {
    let (Ok(time), Ok(now)) = (time.parse::<Timestamp>(), now.parse::<Timestamp>()) else {
        return "?".to_owned();
    };
    // Two clocks may differ by some.
    let seconds = now.duration_since(time).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
