//! The stand-in's report: what was requested, made and charged, and how often each task was polled.
//!
//! A client's test asserts on it: `charged_twice` is empty, `charged_total` is what the jobs are worth, `leaked_keys`
//! is zero.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Serialize;

use crate::{model::Model, task::Task};

/// Names of ignored fields that are told apart; a client can send any number.
const IGNORED_NAMES_MAX: usize = 100;

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) submits: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Images charged and not given back.
    pub(crate) charged: u64,
    pub(crate) polls: u64,
    pub(crate) polls_refused: BTreeMap<&'static str, u64>,
    pub(crate) downloads: u64,
    pub(crate) callbacks: BTreeMap<&'static str, u64>,
    pub(crate) leaked_keys: u64,
    ignored: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn add(counts: &mut BTreeMap<&'static str, u64>, reason: &'static str) {
        *counts.entry(reason).or_default() += 1;
    }

    /// Fields of an accepted body that had no effect.
    pub(crate) fn ignore(&mut self, names: &[String]) {
        for name in names {
            if let Some(times) = self.ignored.get_mut(name) {
                *times += 1;
            } else if self.ignored.len() < IGNORED_NAMES_MAX {
                self.ignored.insert(name.clone(), 1);
            }
        }
    }
}

/// How often each job was accepted and charged, over all accounts.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    times: HashMap<Arc<str>, Times>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Times {
    accepted: u64,
    charged: u64,
}

impl Jobs {
    pub(crate) fn charged(&mut self, job: &Arc<str>) {
        let times = self.times.entry(Arc::clone(job)).or_default();
        times.accepted += 1;
        times.charged += 1;
    }

    pub(crate) fn refunded(&mut self, job: &Arc<str>) {
        if let Some(times) = self.times.get_mut(job) {
            times.charged = times.charged.saturating_sub(1);
        }
    }

    fn more_than_once(&self, times_of: impl Fn(&Times) -> u64) -> Vec<Arc<str>> {
        let twice = self.times.iter().filter(|(_, times)| times_of(times) > 1);
        let mut jobs: Vec<_> = twice.map(|(job, _)| Arc::clone(job)).collect();
        jobs.sort_unstable();
        jobs
    }
}

/// The answer to `GET /sim/report`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// POSTs that arrived.
    submits: u64,
    accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    /// Images charged and not given back.
    pub(crate) charged_total: u64,
    /// Jobs charged more than once: the external id or, without one, `sha256:…` of prompt and images.
    pub(crate) charged_twice: Vec<String>,
    /// Jobs accepted more than once, also where a failure gave the first price back.
    pub(crate) accepted_twice: Vec<String>,
    balance: Option<u64>,
    running: u64,
    running_max: u64,
    polls: u64,
    polls_refused: BTreeMap<&'static str, u64>,
    downloads: u64,
    callbacks: BTreeMap<&'static str, u64>,
    leaked_keys: u64,
    ignored_fields: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    /// What has struck each job, by its external id.
    #[serde(skip_serializing_if = "Option::is_none")]
    struck: Option<BTreeMap<String, Vec<String>>>,
    connections: u64,
    connections_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<TaskReport>>,
}

#[derive(Debug, Serialize)]
struct TaskReport {
    task_id: String,
    external_task_id: Option<String>,
    account: usize,
    n: u8,
    status: &'static str,
    charged: u8,
    polls: u64,
    downloads: u64,
    body_sha256: String,
    submitted_at: u64,
    updated_at: u64,
}

impl Model {
    /// What has happened up to now; the balance is the first account's.
    pub(crate) fn report(&mut self, with_tasks: bool, now_ms: u64) -> Report {
        self.settle(now_ms);
        let counts = &self.counts;
        let owned = |jobs: Vec<Arc<str>>| jobs.iter().map(ToString::to_string).collect();
        Report {
            submits: counts.submits,
            accepted: counts.accepted,
            refused: counts.refused.clone(),
            charged_total: counts.charged,
            charged_twice: owned(self.jobs.more_than_once(|times| times.charged)),
            accepted_twice: owned(self.jobs.more_than_once(|times| times.accepted)),
            balance: self.accounts.first().and_then(|account| account.balance),
            running: self.accounts.iter().map(|account| account.running).sum(),
            running_max: self.accounts.iter().map(|account| account.running_max).max().unwrap_or(0),
            polls: counts.polls,
            polls_refused: counts.polls_refused.clone(),
            downloads: counts.downloads,
            callbacks: counts.callbacks.clone(),
            leaked_keys: counts.leaked_keys,
            ignored_fields: counts.ignored.clone(),
            faults: self.faults.struck(),
            struck: with_tasks.then(|| self.faults.struck_jobs()),
            connections: 0,
            connections_max: 0,
            tasks: with_tasks.then(|| self.tasks.iter().map(|task| TaskReport::of(task, now_ms)).collect()),
        }
    }
}

impl Report {
    pub(crate) fn with_connections(self, connections: u64, connections_max: u64) -> Self {
        Self { connections, connections_max, ..self }
    }
}

impl TaskReport {
    fn of(task: &Task, now_ms: u64) -> Self {
        Self {
            task_id: task.task_id.to_string(),
            external_task_id: task.external_task_id.as_deref().map(str::to_owned),
            account: task.account,
            n: task.n,
            status: task.status(now_ms).name(),
            charged: task.charged,
            polls: task.polls,
            downloads: task.downloads,
            body_sha256: task.body_sha256.to_string(),
            submitted_at: task.submitted_ms,
            updated_at: task.updated_ms(now_ms),
        }
    }
}
