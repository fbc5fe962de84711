//! The images of a task that has succeeded, until they are stored or the job ends without them.

use std::time::Duration;

use super::machine::Machine;
use super::patience::Tried;
use super::timing::milliseconds;
use super::{Action, FreezePrecondition, Generation, Stored, outcome};
use crate::job::answers::ResultFile;
use crate::job::record::{Snapshot, Stage};
use crate::job::{Outcome, Success, TaskId};

/// The life with this number doesn't store the images but ends the job, since the lives before it died while storing.
const ENTRIES_MAX: u32 = 5;

/// The images of a task that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Storing {
    pub(super) generation: Generation,
    pub(super) files: Vec<ResultFile>,
    /// What the provider says that the generation cost.
    pub(super) units: Option<String>,
}

impl Storing {
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.generation.task
    }

    #[must_use]
    pub fn files(&self) -> &[ResultFile] {
        &self.files
    }

    /// Whether earlier lives seem to have died while they stored these images.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.generation.entries.is_some_and(|entries| entries > 1)
    }

    pub(super) fn next(self) -> Action {
        match self.generation.entries {
            Some(_) => Action::CountEntry(Box::new(self)),
            None => Action::Store(Box::new(self)),
        }
    }
}

impl Machine {
    /// This life is counted among the lives that have begun to store the images.
    pub(super) fn entered(&mut self, mut storing: Box<Storing>, known: Snapshot, now: Duration) -> Action {
        match &known.record {
            // The record is lost, but the images are still valid.
            None => {}
            Some(record) if !matches!(record.stage, Stage::Generating { .. }) => {
                return self.read(known, None, now);
            }
            Some(record) if record.entries >= ENTRIES_MAX => {
                let Storing { generation, units, .. } = *storing;
                let quarantined = outcome::quarantined(generation.task.clone(), record.entries - 1, units);
                return self.end_badly(generation, quarantined, None);
            }
            Some(_) => {}
        }
        (storing.generation.entered, storing.generation.entries) = (true, None);
        self.cancels(&known, storing.task()).unwrap_or(Action::Store(storing))
    }

    pub(super) fn stored(
        &mut self,
        storing: Storing,
        stored: Stored,
        took: Duration,
        now: Duration,
    ) -> Action {
        let Storing { generation, units, .. } = storing;
        let why = match stored {
            Stored::All(made) => {
                self.timings.store = Some(milliseconds(took));
                let success = Success { task_id: generation.task, made, units };
                return self.end(Outcome::Succeeded(success), FreezePrecondition::Unfinished);
            }
            Stored::Not(why) => why,
        };
        let mut tried = generation.tried.unwrap_or_else(|| Tried::new(Duration::ZERO));
        if tried.fail(&why, self.rules.patience, now) {
            let ended = if why.is_no_image { outcome::invalid_result } else { outcome::expired };
            let ended = ended(generation.task.clone(), why.message, units);
            return self.end_badly(generation, ended, None);
        }
        // The first time, a fresh URL is asked for at once instead of the one that gives nothing any more.
        let wait = if why.needs_fresh_url && tried.rounds == 1 {
            Duration::ZERO
        } else {
            self.rules.pace.wait_after_failure(tried.rounds, self.seed)
        };
        // The life that submitted the job is counted with its next try. That also frees the job's slots, since the
        // task has ended. Other lives were counted before and got through the storing, so if they die now, the image
        // is not the cause.
        let entries = if generation.entered { generation.entries } else { Some(0) };
        self.wait_for_images(Generation { entries, ..generation }, tried, wait, now)
    }

    /// The provider reported a success before, and now reports something else.
    pub(super) fn taken_back(&mut self, generation: Generation, now: Duration) -> Action {
        let mut tried = generation.tried.unwrap_or_else(|| Tried::new(Duration::ZERO));
        if tried.take_back(self.rules.patience, now) {
            let message = "the provider called it a success, and then took that back".to_owned();
            let expired = outcome::expired(generation.task.clone(), message, None);
            return self.end_badly(generation, expired, None);
        }
        let wait = self.rules.pace.wait_after_failure(tried.rounds, self.seed);
        self.wait_for_images(generation, tried, wait, now)
    }

    fn wait_for_images(
        &self,
        mut generation: Generation,
        tried: Tried,
        wait: Duration,
        now: Duration,
    ) -> Action {
        generation.tried = Some(tried);
        generation.not_before(now + wait);
        self.wait_for(generation, now)
    }
}
