//! The provider as a model with state: accounts, tasks, charges. It has no HTTP, clock or threads; the time is a
//! parameter.
//!
//! The checks in `submit` have the order of the real provider: the gateway, the body, the account, and then the task
//! and its price. A task that is made is charged, whatever happens to the reply. Clients are tested on this gap.

pub(crate) mod read;

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    account::Account,
    callback::Plan,
    chance::stream,
    dress::{LOOKS, SUBMITS},
    duration::Distribution,
    faults::Fault,
    refusal::{NoMoneyAs, Refusal},
    report::{Counts, Jobs},
    rules::GenerationRequest,
    said::{AFTER, BEFORE, Said},
    switches::{Odds, Switches},
    task::{Fate, Issuer, Making, Oddities, Task, TaskView},
};

/// Polls of a task that `task-not-exist-at-first` spoils.
const POLLS_MISSED: u64 = 3;
/// Looks by external id that `lookup-late` spoils.
const LOOKUPS_MISSED: u64 = 2;

/// What is fixed for the life of the process.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// One account each.
    pub(crate) keys: Vec<String>,
    pub(crate) balance: Option<u64>,
    pub(crate) no_money_as: NoMoneyAs,
    pub(crate) refuse_duplicates: bool,
    /// How long after its making a task is found by its external id; `None`: never.
    pub(crate) lookup_after: Option<Duration>,
    pub(crate) running_max: Option<u64>,
    pub(crate) units_per_image: u64,
    pub(crate) durations: Distribution,
    pub(crate) faults: Vec<(Fault, Odds)>,
    pub(crate) issuer: Issuer,
}

/// A POST as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// The bearer token.
    pub(crate) key: String,
    pub(crate) body_sha256: Arc<str>,
    pub(crate) request: Result<GenerationRequest, Refusal>,
}

/// What becomes of a POST.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused(Refusal),
    /// The task exists and is charged.
    Made(TaskView, Reply),
    /// The task is to be made later, by `submit_late`, unless there was a reset by then.
    Later {
        life: u64,
    },
}

/// What becomes of the reply about a task that was made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Sent,
    /// In another shape.
    Dressed(Fault),
    Slow,
    /// Byte by byte.
    Dripped(Drip),
    /// The connection is closed without it.
    Lost,
    /// The connection stays open without it.
    Never,
    /// The client reads this instead.
    Replaced(Refusal),
}

/// How slowly the bytes of a reply come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drip {
    /// All of them over `--slow-for`.
    Through,
    /// For longer than anyone waits.
    On,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) jobs: Jobs,
    pub(crate) counts: Counts,
    pub(crate) faults: Switches,
    pub(crate) durations: Distribution,
    places: HashMap<u64, usize>,
    dice: fastrand::Rng,
    issued_id: u64,
    /// How many resets there have been.
    life: u64,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        let account = |key: &String| Account::new(key, settings.balance);
        Self {
            accounts: settings.keys.iter().map(account).collect(),
            tasks: Vec::new(),
            jobs: Jobs::default(),
            counts: Counts::default(),
            faults: Switches::new(settings.seed, &settings.faults),
            durations: settings.durations,
            places: HashMap::new(),
            dice: stream(settings.seed, "durations"),
            issued_id: 0,
            life: 0,
            settings,
        }
    }

    /// Back to the state at the start.
    pub(crate) fn reset(&mut self) {
        *self = Self { issued_id: self.issued_id, life: self.life + 1, ..Self::new(self.settings.clone()) };
    }

    /// A POST arrives.
    pub(crate) fn submit(&mut self, submission: &Submission, now_ms: u64) -> Answer {
        self.counts.submits += 1;
        let job = submission.request.as_ref().ok().and_then(|request| request.external_task_id.clone());
        self.faults.at(now_ms, job);
        let answer = self.try_submit(submission, now_ms);
        self.counted(answer)
    }

    /// Is the connection of a POST closed before its body is read?
    pub(crate) fn hangs_up(&mut self, now_ms: u64) -> bool {
        self.faults.at(now_ms, None);
        let hangs_up = self.faults.strikes(Fault::HangsUp);
        self.counts.submits += u64::from(hangs_up);
        hangs_up
    }

    /// The time has come for a POST that `submit` put off.
    pub(crate) fn submit_late(&mut self, submission: &Submission, life: u64, now_ms: u64) -> Answer {
        if life != self.life {
            return Answer::Refused(Refusal::ServerError);
        }
        let job = submission.request.as_ref().ok().and_then(|request| request.external_task_id.clone());
        self.faults.at(now_ms, job);
        let answer = self.try_submit_late(submission, now_ms);
        self.counted(answer)
    }

    /// Ends every task whose time has come: frees its slots, gives the price of a failure back.
    pub(crate) fn settle(&mut self, now_ms: u64) {
        for account in &mut self.accounts {
            while let Some(place) = account.next_ended(now_ms) {
                let Some(task) = self.tasks.get_mut(place) else {
                    continue;
                };
                account.end(task.n, task.fails());
                if task.fails() {
                    self.counts.charged -= u64::from(task.charged);
                    self.jobs.refunded(&task.job);
                    task.charged = 0;
                }
            }
        }
    }

    fn try_submit(&mut self, submission: &Submission, now_ms: u64) -> Result<Answer, Refusal> {
        let account = self.open_account(&submission.key)?;
        self.strike(Fault::RateLimited, Refusal::RateLimited)?;
        self.strike(Fault::Saturated, Refusal::Saturated)?;
        self.strike(Fault::ServerError, Refusal::ServerError)?;
        self.strike(Fault::BadGateway, Refusal::BadGateway)?;
        let request = submission.request.as_ref().map_err(Refusal::clone)?;
        self.strike(Fault::ContentPolicy, Refusal::ContentPolicy)?;
        self.strike(Fault::NoMoney, Refusal::NoMoney(self.settings.no_money_as))?;
        self.strike(Fault::Busy, Refusal::Busy)?;
        self.strike_said(BEFORE)?;
        self.check_account(account, request, now_ms)?;
        if self.faults.strikes(Fault::MadeLate) {
            return Ok(Answer::Later { life: self.life });
        }
        let task = self.make(account, request, submission, now_ms);
        Ok(Answer::Made(task, self.draw_reply()))
    }

    fn try_submit_late(&mut self, submission: &Submission, now_ms: u64) -> Result<Answer, Refusal> {
        let account = self.account_of(&submission.key)?;
        let request = submission.request.as_ref().map_err(Refusal::clone)?;
        self.check_account(account, request, now_ms)?;
        let task = self.make(account, request, submission, now_ms);
        Ok(Answer::Made(task, Reply::Sent))
    }

    fn strike(&mut self, fault: Fault, refusal: Refusal) -> Result<(), Refusal> {
        if self.faults.strikes(fault) { Err(refusal) } else { Ok(()) }
    }

    /// The first of a table that strikes is what is said.
    fn strike_said(&mut self, table: &'static [Said]) -> Result<(), Refusal> {
        table.iter().try_for_each(|said| self.strike(said.fault, Refusal::Said(said)))
    }

    fn account_of(&self, key: &str) -> Result<usize, Refusal> {
        let place = self.accounts.iter().position(|account| account.key == key);
        place.ok_or(Refusal::WrongKey)
    }

    fn open_account(&mut self, key: &str) -> Result<usize, Refusal> {
        let account = self.account_of(key)?;
        self.strike(Fault::AccountClosed, Refusal::AccountClosed)?;
        Ok(account)
    }

    /// Is the external id new, the price there, a slot free?
    fn check_account(
        &mut self,
        account: usize,
        request: &GenerationRequest,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.settle(now_ms);
        let account = self.accounts.get(account).ok_or(Refusal::WrongKey)?;
        if let Some(id) = &request.external_task_id
            && self.settings.refuse_duplicates
            && account.place_of(id).is_some()
        {
            return Err(Refusal::AlreadyExists(id.to_string()));
        }
        if !account.can_pay(request.n) {
            return Err(Refusal::NoMoney(self.settings.no_money_as));
        }
        if !account.has_room(request.n, self.settings.running_max) {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    /// Makes the task and charges for it. From here on there is no way back.
    fn make(
        &mut self,
        account: usize,
        request: &GenerationRequest,
        submission: &Submission,
        now_ms: u64,
    ) -> TaskView {
        let url = request.callback_url.as_ref();
        let making = Making {
            task_id: self.new_task_id(now_ms),
            account,
            body_sha256: Arc::clone(&submission.body_sha256),
            fate: self.draw_fate(),
            duration: self.durations.draw(&mut self.dice),
            polls_missed: self.draw_polls_missed(),
            callbacks: url.and_then(|url| Plan::draw(url, &mut self.faults)),
            now_ms,
        };
        let mut task = Task::new(request, making);
        task.oddities = self.draw_oddities();
        let place = self.tasks.len();
        if let Some(account) = self.accounts.get_mut(account) {
            account.begin(&task, place);
        }
        self.counts.accepted += 1;
        self.counts.charged += u64::from(task.charged);
        self.counts.ignore(&request.ignored);
        self.jobs.charged(&task.job);
        self.places.insert(task.task_id, place);
        let view = task.view(self.settings.units_per_image, now_ms);
        self.tasks.push(task);
        view
    }

    fn draw_fate(&mut self) -> Fate {
        if self.faults.strikes(Fault::Failed) {
            Fate::Fails(Some("Failure to pass the risk control system"))
        } else if self.faults.strikes(Fault::FailedInternal) {
            Fate::Fails(Some("Internal generation error"))
        } else if self.faults.strikes(Fault::FailedPolicyZh) {
            Fate::Fails(Some("内容安全审核未通过"))
        } else if self.faults.strikes(Fault::FailedSensitiveWords) {
            Fate::Fails(Some("The prompt contains sensitive words"))
        } else if self.faults.strikes(Fault::FailedForeignWords) {
            Fate::Fails(Some("E1234"))
        } else if self.faults.strikes(Fault::FailedNullMessage) {
            Fate::Fails(None)
        } else if self.faults.strikes(Fault::FailedEmptyMessage) {
            Fate::Fails(Some(""))
        } else if self.faults.strikes(Fault::NeverEnds) {
            Fate::NeverEnds
        } else {
            Fate::Succeeds
        }
    }

    fn draw_polls_missed(&mut self) -> u64 {
        if self.faults.strikes(Fault::TaskNotExist) {
            u64::MAX
        } else if self.faults.strikes(Fault::TaskNotExistAtFirst) {
            POLLS_MISSED
        } else {
            0
        }
    }

    fn draw_oddities(&mut self) -> Oddities {
        Oddities {
            look: self.faults.first_of(LOOKS),
            lookups_missed: if self.faults.strikes(Fault::LookupLate) { LOOKUPS_MISSED } else { 0 },
            never_found: self.faults.strikes(Fault::LookupUnsupported),
        }
    }

    fn draw_reply(&mut self) -> Reply {
        if let Err(said) = self.strike_said(AFTER) {
            Reply::Replaced(said)
        } else if let Some(dress) = self.faults.first_of(SUBMITS) {
            Reply::Dressed(dress)
        } else if self.faults.strikes(Fault::ServerErrorAfter) {
            Reply::Replaced(Refusal::ServerErrorAfter)
        } else if self.faults.strikes(Fault::BadGatewayAfter) {
            Reply::Replaced(Refusal::BadGateway)
        } else if self.faults.strikes(Fault::ReplyLost) {
            Reply::Lost
        } else if self.faults.strikes(Fault::Hang) {
            Reply::Never
        } else if self.faults.strikes(Fault::DripsOnAfter) {
            Reply::Dripped(Drip::On)
        } else if self.faults.strikes(Fault::ReplyDrips) {
            Reply::Dripped(Drip::Through)
        } else if self.faults.strikes(Fault::Slow) {
            Reply::Slow
        } else {
            Reply::Sent
        }
    }

    /// 18 digits, made of the time and a place in it: unlike a seeded number, it never comes again after a restart.
    fn new_task_id(&mut self, now_ms: u64) -> u64 {
        self.issued_id = (now_ms % 10_000_000_000_000 * 100_000).max(self.issued_id + 1);
        self.issued_id
    }

    fn counted(&mut self, answer: Result<Answer, Refusal>) -> Answer {
        answer.unwrap_or_else(|refusal| {
            Counts::add(&mut self.counts.refused, refusal.reason());
            Answer::Refused(refusal)
        })
    }
}

#[cfg(test)]
mod tests;
