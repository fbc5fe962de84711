//! What can be asked of the model without a charge: the state of a task, and its images.

use super::Model;
use crate::{
    duration::millis,
    faults::Fault,
    files::FILES,
    picture::{AspectRatio, Format},
    refusal::Refusal,
    report::Counts,
    rules::Family,
    said::POLLS,
    task::{Status, Task, TaskView},
};

/// Downloads of an image that `image-error` spoils.
const IMAGE_ERRORS: u8 = 2;

/// How long `file-missing-at-first` hides an image.
const MISSING_MS: u64 = 6000;

/// A result image that may be downloaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) aspect_ratio: AspectRatio,
    pub(crate) format: Format,
    /// What is wrong with the file.
    pub(crate) oddity: Option<Fault>,
}

/// Why a result image may not be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    NotFound,
    Expired,
    Error,
}

impl Model {
    /// As [`Self::poll`], at the path of a family: a task of another one isn't found there.
    pub(crate) fn poll_at(
        &mut self,
        family: Family,
        key: &str,
        id: &str,
        now_ms: u64,
    ) -> Result<TaskView, Refusal> {
        let task = self.account_of(key).ok().and_then(|account| self.find(account, id, now_ms));
        let is_other = task.and_then(|place| self.tasks.get(place)).is_some_and(|task| task.family != family);
        if is_other {
            self.counts.polls += 1;
            Counts::add(&mut self.counts.polls_refused, Refusal::TaskNotExist.reason());
            return Err(Refusal::TaskNotExist);
        }
        self.poll(key, id, now_ms)
    }

    /// A GET arrives for a task id or, where lookup is on, an external id.
    pub(crate) fn poll(&mut self, key: &str, id: &str, now_ms: u64) -> Result<TaskView, Refusal> {
        self.counts.polls += 1;
        let task = self.account_of(key).ok().and_then(|account| self.find(account, id, now_ms));
        let job = task.and_then(|place| self.tasks.get(place)?.external_task_id.clone());
        self.faults.at(now_ms, job);
        let polled = self.try_poll(key, id, now_ms);
        if let Err(refusal) = &polled {
            Counts::add(&mut self.counts.polls_refused, refusal.reason());
        }
        polled
    }

    /// Whether the reply to a poll comes byte by byte.
    pub(crate) fn poll_drips(&mut self) -> bool {
        self.faults.strikes(Fault::PollDrips)
    }

    /// Whether a poll on the page's path is answered that there is no such path.
    pub(crate) fn path_is_gone(&mut self, now_ms: u64) -> bool {
        self.faults.at(now_ms, None);
        let gone = self.faults.strikes(Fault::QueryPathGone);
        self.counts.polls += u64::from(gone);
        gone
    }

    /// A GET arrives for a result image, with the key of its URL.
    pub(crate) fn download(
        &mut self,
        task_id: u64,
        index: u8,
        key: u64,
        now_ms: u64,
    ) -> Result<Picture, Withheld> {
        self.counts.downloads += 1;
        let place = *self.places.get(&task_id).ok_or(Withheld::NotFound)?;
        let task = self.tasks.get_mut(place).ok_or(Withheld::NotFound)?;
        self.faults.at(now_ms, task.external_task_id.clone());
        task.downloads += 1;
        let format = task.file(self.settings.issuer.formats, index).ok_or(Withheld::NotFound)?;
        if !task.opens(&self.settings.issuer, index, key, now_ms) {
            return Err(Withheld::Expired);
        }
        let drawn = &mut task.image_faults;
        if self.faults.strikes_kept(Fault::ImageExpired, &mut drawn.expired) {
            return Err(Withheld::Expired);
        }
        if let Some(errors) = drawn.errors.get_mut(usize::from(index))
            && *errors < IMAGE_ERRORS
            && self.faults.strikes_kept(Fault::ImageError, &mut drawn.error)
        {
            *errors += 1;
            return Err(Withheld::Error);
        }
        if self.faults.strikes_kept(Fault::ImageExpiredOnce, &mut drawn.expired_once)
            && task.spoil_first_links()
        {
            return Err(Withheld::Expired);
        }
        let oddity = self.faults.first_kept(FILES, &mut task.image_faults.file);
        let first = task.image_faults.first_ms.get_mut(usize::from(index));
        let first_ms = first.map_or(now_ms, |first| *first.get_or_insert(now_ms));
        if oddity == Some(Fault::FileMissingAtFirst) && now_ms < first_ms + MISSING_MS {
            return Err(Withheld::NotFound);
        }
        Ok(Picture { aspect_ratio: task.aspect_ratio, format, oddity })
    }

    fn try_poll(&mut self, key: &str, id: &str, now_ms: u64) -> Result<TaskView, Refusal> {
        let account = self.open_account(key)?;
        self.strike_said(POLLS)?;
        self.strike(Fault::PollError, Refusal::PollError)?;
        let place = self.find(account, id, now_ms).ok_or(Refusal::TaskNotExist)?;
        let task = self.tasks.get_mut(place).ok_or(Refusal::TaskNotExist)?;
        task.polls += 1;
        if let Some(fewer) = task.polls_missed.checked_sub(1) {
            task.polls_missed = fewer;
            return Err(Refusal::TaskNotExist);
        }
        if id.parse() != Ok(task.task_id) {
            if task.oddities.never_found {
                return Err(Refusal::TaskNotExist);
            }
            if let Some(fewer) = task.oddities.lookups_missed.checked_sub(1) {
                task.oddities.lookups_missed = fewer;
                return Err(Refusal::TaskNotExist);
            }
        }
        if task.status(now_ms) == Status::Succeed {
            task.looks += 1;
        }
        let mut view = task.view(self.settings.units_per_image, now_ms);
        if view.status == Status::Succeed {
            view.links = task.issue_links(&self.settings.issuer, now_ms);
        }
        Ok(view)
    }

    pub(crate) fn task(&self, task_id: u64) -> Option<&Task> {
        self.tasks.get(*self.places.get(&task_id)?)
    }

    /// The task as a callback reports it, without a request.
    pub(crate) fn told_of(&mut self, task_id: u64, now_ms: u64) -> Option<TaskView> {
        let task = self.tasks.get_mut(*self.places.get(&task_id)?)?;
        let mut view = task.view(self.settings.units_per_image, now_ms);
        if view.status == Status::Succeed {
            view.links = task.issue_links(&self.settings.issuer, now_ms);
        }
        Some(view)
    }

    fn find(&self, account: usize, id: &str, now_ms: u64) -> Option<usize> {
        let by_task_id = id.parse().ok().and_then(|id: u64| self.places.get(&id)).copied();
        let by_external_id = || {
            let lag_ms = millis(self.settings.lookup_after?);
            let place = self.accounts.get(account)?.place_of(id)?;
            (now_ms >= self.tasks.get(place)?.submitted_ms + lag_ms).then_some(place)
        };
        let place = by_task_id.or_else(by_external_id)?;
        (self.tasks.get(place)?.account == account).then_some(place)
    }
}
