//! What a batch shows: a bar on a terminal, a line for each job that ends, and a table at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Deserialize;

use super::feed::Work;
use super::folder::EVENTS;
use super::results::RESULTS;
use crate::cli::output::Output;
use crate::cli::render::{self, count};
use crate::job::Reason;
use crate::job::event::{EventKind, EventView};
use crate::job::spend::Units;
use crate::worker::standstills::CurrentStandstill;

/// How many had ended before this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) succeeded: usize,
    pub(super) failed: usize,
}

pub(super) struct Show {
    output: Output,
    json: bool,
    folder: PathBuf,
    all: usize,
    before: Before,
    began: Instant,
    units: Option<Units>,
    /// Why each job that has ended has failed; `None` if it hasn't.
    ended: BTreeMap<String, Option<String>>,
    /// The standstill that was said last.
    said: Option<String>,
    /// What was said last of the folder.
    trouble: Option<String>,
}

impl Show {
    pub(super) fn new(work: &[Work], before: Before, folder: &Path, json: bool) -> Self {
        let output = Output::with_progress(work.len());
        let ended = before.succeeded + before.failed;
        if ended > 0 {
            output.words(&format!("{ended} of {} have ended before", ended + work.len()));
        }
        if !work.is_empty() {
            output.words(&format!("{} to be done", count(work.len(), "job")));
        }
        Self {
            output,
            json,
            folder: folder.to_owned(),
            all: work.len(),
            before,
            began: Instant::now(),
            units: None,
            ended: BTreeMap::new(),
            said: None,
            trouble: None,
        }
    }

    fn number_failed(&self) -> usize {
        self.ended.values().flatten().count()
    }

    /// `running` jobs live; `stands` is what keeps them from it.
    pub(super) fn progress(&mut self, running: usize, stands: Option<&CurrentStandstill>) {
        let failed = self.number_failed();
        let left = self.left().map(|left| format!(", {left} left")).unwrap_or_default();
        self.output.progress_of(self.ended.len(), format!("{running} in hand, {failed} failed{left}"));
        let said = stands.map(ToString::to_string);
        if said != self.said {
            match &said {
                Some(words) => self.output.words(words),
                None => self.output.words("it goes on"),
            }
            self.said = said;
        }
    }

    /// How long the rest takes at this pace, once there is one.
    fn left(&self) -> Option<String> {
        let done = u32::try_from(self.ended.len()).ok().filter(|done| *done > 0)?;
        let rest = u32::try_from(self.all.saturating_sub(self.ended.len())).ok()?;
        let seconds = (self.began.elapsed() / done * rest).as_secs();
        Some(if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) })
    }

    /// Says once what stands in the way of the folder.
    pub(super) fn trouble(&mut self, words: String) {
        if self.trouble.as_ref() != Some(&words) {
            self.output.words(&words);
            self.trouble = Some(words);
        }
    }

    /// A job has ended.
    pub(super) fn ended(&mut self, view: &EventView, event: &str) {
        let failed = match view.kind() {
            Some(EventKind::Succeeded) => None,
            Some(EventKind::Cancelled) => Some("cancelled".to_owned()),
            Some(EventKind::Failed) => Some(view.reason.clone().unwrap_or_else(|| "unknown".to_owned())),
            Some(EventKind::Submitted) | None => return,
        };
        self.ended.insert(view.job_id.clone(), failed);
        if let Some(units) = view.units.as_deref().and_then(|units| units.parse().ok()) {
            self.units = Some(self.units.map_or(units, |sum: Units| sum.plus(units)));
        }
        let line = if self.json { render::json(event.as_bytes()) } else { render::event(view) };
        self.output.data(&line);
    }

    /// A job can't end by itself, or can't be said more of than its event says.
    pub(super) fn dead(&mut self, body: &str, reason: &str, detail: &str) {
        #[derive(Deserialize)]
        struct Named {
            job_id: String,
        }
        // The event that follows says the rest.
        if reason == Reason::OutcomeUnknown.as_str() {
            return;
        }
        let job = serde_json::from_str::<Named>(body).map(|named| named.job_id).unwrap_or_default();
        if !self.ended.contains_key(&job) {
            self.output.words(&format!("{job}  {reason}: {detail}"));
            self.ended.insert(job, Some(reason.to_owned()));
        }
    }

    pub(super) fn stopping(&self) {
        self.output.words(
            "stopping, once the requests under way have an answer (a second signal ends it at once); what the provider \
             has accepted goes on there, and is fetched the next time",
        );
    }

    /// # Errors
    ///
    /// Not all jobs have succeeded.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.output.hide();
        let failed = self.number_failed();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.ended.values().flatten() {
            *reasons.entry(reason).or_default() += 1;
        }
        let succeeded = self.ended.len() - failed;
        let unknown = reasons.get(Reason::OutcomeUnknown.as_str()).copied().unwrap_or_default();
        let units = self.units.map(|units| format!("   {units} units")).unwrap_or_default();
        self.output.words(&format!("succeeded  {succeeded:>6}{units}"));
        if failed > 0 {
            self.output.words(&format!("failed     {failed:>6}"));
            for (reason, number) in reasons {
                self.output.words(&format!("  {reason:<20} {number:>4}"));
            }
        }
        if unknown > 0 {
            let jobs = count(unknown, "job");
            self.output.words(&format!(
                "{jobs} may have been accepted and charged: look for their external ids at CometAPI; --pay-again \
                 submits them again"
            ));
        }
        let Before { succeeded: before, failed: failed_before } = self.before;
        if before + failed_before > 0 {
            self.output.words(&format!("before     {before:>6}   and {failed_before} failed"));
        }
        let open = self.all.saturating_sub(self.ended.len());
        if open > 0 {
            self.output.words(&format!("not ended  {open:>6}"));
        }
        self.output.words(&format!("files, {RESULTS} and {EVENTS} are in {}", self.folder.display()));
        let Self { output, .. } = self;
        output.check()?;
        if open > 0 {
            anyhow::bail!("stopped with {} open: the same command goes on from here", count(open, "job"));
        }
        let failed = failed + failed_before;
        anyhow::ensure!(
            failed == 0,
            "{} did not succeed; --retry-failed tries them again",
            count(failed, "job")
        );
        Ok(())
    }
}
