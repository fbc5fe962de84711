//! The ledger in Redis: one script for each move.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::connection::{Connection, evalsha};
use super::scripts::{Scripts, Word};
use super::slots::{Account, Slots};
use super::{JobRef, Ledger, LedgerError, hints, spend, unavailable};
use crate::job::event::{EndNote, Event};
use crate::job::record::{Nonce, Snapshot, Stage};
use crate::job::spend::{SpendRules, SpendToday};
use crate::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use crate::job::{FailedTasks, JobId, TaskId};

/// Receives the notes of the scripts about all workers: a name and a number.
type Noted = Box<dyn Fn(&str, u64) + Send + Sync>;

/// The ledger in Redis. All keys share one hash tag: `{<prefix>}:job:<job_id>` and the channel `{<prefix>}:hints`;
/// `{<prefix>}:slots…` if the account has a cap; and `{<prefix>}:pace` while the provider wants a slower pace.
pub struct RedisLedger {
    pub(super) connection: Connection,
    pub(super) scripts: Scripts,
    pub(super) prefix: String,
    /// The channel of the hints.
    pub(super) channel: String,
    /// The index of the unfinished jobs: see `common.lua`.
    pub(super) index_key: String,
    /// The latest ends: see `published.lua`.
    pub(super) ends_key: String,
    /// The ends of each minute: likewise.
    pub(super) minutes_key: String,
    pub(super) remember: Duration,
    pub(super) account: Option<Account>,
    pub(super) spend: SpendRules,
    pub(super) noted: Noted,
}

impl RedisLedger {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str, remember: Duration) -> Self {
        Self {
            connection,
            scripts: Scripts::new(false, false),
            prefix: prefix.to_owned(),
            channel: Self::hint_channel(prefix),
            index_key: format!("{{{prefix}}}:unfinished"),
            ends_key: format!("{{{prefix}}}:ends"),
            minutes_key: format!("{{{prefix}}}:minutes"),
            remember,
            account: None,
            spend: SpendRules::default(),
            noted: Box::new(|_, _| {}),
        }
    }

    /// Sets `noted`, which is called with what the scripts say of all workers together, by name: `slots_taken`, and
    /// `pace` in submits in 1000 seconds (0 means no limit).
    #[must_use]
    pub fn noting(self, noted: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Self { noted: Box::new(noted), ..self }
    }

    /// Counts the account's slots that the tasks take.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        let scripts = Scripts::new(true, self.spend.cap.is_some());
        Self { account: Some(account), scripts, ..self }
    }

    /// Counts what jobs cost by these rules.
    #[must_use]
    pub fn with_spend(self, spend: SpendRules) -> Self {
        let scripts = Scripts::new(self.account.is_some(), spend.cap.is_some());
        Self { spend, scripts, ..self }
    }

    /// The channel to which the scripts publish hints.
    #[must_use]
    pub fn hint_channel(prefix: &str) -> String {
        format!("{{{prefix}}}:hints")
    }

    /// The key of a job's record.
    #[must_use]
    pub fn key(&self, job: &JobId) -> String {
        format!("{{{}}}:job:{job}", self.prefix)
    }

    fn remember_ms(&self) -> String {
        self.remember.as_millis().max(1).to_string()
    }
}

impl std::fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLedger").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError> {
        Ok(self.run_slotted(&self.scripts.read, job, slots, &[]).await?.known)
    }

    async fn begin(
        &self,
        entry: JobRef<'_>,
        attempt: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError> {
        let (round, attempt) = (entry.round.to_string(), attempt.to_string());
        let basis = match basis {
            BeginPrecondition::Read => "",
            BeginPrecondition::Unread => "unread",
            BeginPrecondition::NeverAsked(nonce) => nonce.as_str(),
        };
        let under = entry.under();
        let (digest, route) = (entry.digest.as_str(), entry.route.as_str());
        // A caller that takes no slots won't post, so it needs no right to.
        let posts = entry.slots.count > 0;
        let spend = if posts { self.spend_cap() } else { None };
        let (cap, spend_keys) = spend.unwrap_or_default();
        let args = [digest, &round, &attempt, nonce.as_str(), basis, &under, route, &cap].map(str::as_bytes);
        let pace_key = posts.then(|| self.pace_key());
        let keys: Vec<&str> = spend_keys.iter().chain(&pace_key).map(String::as_str).collect();
        let JobRef { job, slots, .. } = entry;
        let asking = self.run_shared(&self.scripts.begin, job, slots, &keys, &args);
        Ok(asking.await?.moved())
    }

    async fn reopen(
        &self,
        job: &JobId,
        attempt: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError> {
        let attempt = attempt.to_string();
        let args = [attempt.as_str(), nonce.map(Nonce::as_str).unwrap_or_default()].map(str::as_bytes);
        Ok(self.run_slotted(&self.scripts.reopen, job, Slots::NONE, &args).await?.moved())
    }

    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError> {
        let (word, attempt, nonce, task, event) = match stage {
            Stage::New { attempt } => ("new", *attempt, "", "", &b""[..]),
            Stage::Submitting { attempt, nonce } => ("submitting", *attempt, nonce.as_str(), "", &b""[..]),
            Stage::Generating { attempt, task, .. } => ("generating", *attempt, "", task.as_str(), &b""[..]),
            Stage::Done { event, .. } => ("done", 0, "", "", event.as_ref()),
            Stage::Published { .. } => {
                let message = "receipts never say that a job's event was published".to_owned();
                return Err(LedgerError::Unavailable(message));
            }
        };
        let (round, attempt) = (entry.round.to_string(), attempt.to_string());
        let over = match over {
            RestorePrecondition::Nothing => String::new(),
            RestorePrecondition::Open(attempt) => attempt.to_string(),
            RestorePrecondition::Ended => "ended".to_owned(),
        };
        let texts = [entry.digest.as_str(), &round, &over, word, &attempt, nonce, task].map(str::as_bytes);
        let corrects = corrects.map(AsRef::as_ref).unwrap_or_default();
        let failed = entry.failed.to_words();
        let charged = entry.failed.charged().as_str();
        let under = entry.under();
        let last = [
            event,
            corrects,
            self.runs_on(event),
            failed.as_bytes(),
            charged.as_bytes(),
            under.as_bytes(),
            entry.route.as_str().as_bytes(),
        ];
        let args: Vec<&[u8]> = texts.into_iter().chain(last).collect();
        Ok(self.run_slotted(&self.scripts.restore, entry.job, entry.slots, &args).await?.known)
    }

    async fn accept(&self, entry: JobRef<'_>, attempt: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        let (round, number) = (entry.round.to_string(), attempt.to_string());
        let (failed, charged) = (entry.failed.to_words(), entry.failed.charged().as_str());
        let under = entry.under();
        let (digest, route) = (entry.digest.as_str(), entry.route.as_str());
        let args =
            [digest, &round, &number, task.as_str(), &failed, charged, &under, route].map(str::as_bytes);
        let reply = self.run_slotted(&self.scripts.accept, entry.job, entry.slots, &args).await?;
        match (reply.word, reply.known.record) {
            (_, Some(record)) => Ok(record.stage),
            (Word::Ok, None) => Ok(Stage::Generating { attempt, task: task.clone(), age: Duration::ZERO }),
            (Word::Moved | Word::Full | Word::Paced | Word::Spent | Word::Record | Word::None, None) => {
                Err(LedgerError::Unavailable("accept.lua answered without a record".to_owned()))
            }
        }
    }

    async fn follow(
        &self,
        job: &JobId,
        attempt: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError> {
        let Some(task) = failed.tasks().last() else {
            return Err(LedgerError::Unavailable("no task has failed".to_owned()));
        };
        let (attempt, words, charged) = (attempt.to_string(), failed.to_words(), failed.charged().as_str());
        let args = [attempt.as_str(), task.as_str(), &words, charged].map(str::as_bytes);
        Ok(self.run_slotted(&self.scripts.follow, job, Slots::NONE, &args).await?.moved())
    }

    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError> {
        let (word, compared) = match expect {
            FreezePrecondition::Unposted => ("unposted", &b""[..]),
            FreezePrecondition::Submitting { nonce } => ("submitting", nonce.as_str().as_bytes()),
            FreezePrecondition::Unfinished => ("unfinished", &b""[..]),
            FreezePrecondition::Correcting { first } => ("correcting", first.as_ref()),
        };
        let round = entry.round.to_string();
        let replaceable = if replaceable { "1" } else { "0" };
        let args = [
            entry.digest.as_str().as_bytes(),
            round.as_bytes(),
            word.as_bytes(),
            compared,
            &event,
            replaceable.as_bytes(),
            self.runs_on(&event),
        ];
        let reply = self.run_slotted(&self.scripts.freeze, entry.job, entry.slots, &args).await?;
        match (reply.word, reply.known) {
            (Word::Ok, Snapshot { record: None, .. }) => Ok(FreezeResult::Event(event)),
            (Word::Ok, Snapshot { record: Some(record), cancelled }) => match record.stage {
                Stage::Done { event, .. } => Ok(FreezeResult::Event(event)),
                Stage::New { .. }
                | Stage::Submitting { .. }
                | Stage::Generating { .. }
                | Stage::Published { .. } => {
                    Ok(FreezeResult::Changed(Snapshot { record: Some(record), cancelled }))
                }
            },
            (Word::Moved | Word::Full | Word::Paced | Word::Spent | Word::Record | Word::None, known) => {
                Ok(FreezeResult::Changed(known))
            }
        }
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError> {
        Ok(self.run_slotted(&self.scripts.enter, job, Slots::NONE, &[life.as_bytes()]).await?.known)
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        let tried = tried.map(|tried| tried.as_millis().to_string()).unwrap_or_default();
        self.run(&self.scripts.leave, job, &[life.as_bytes(), tried.as_bytes()]).await?;
        Ok(())
    }

    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError> {
        Ok(self.run(&self.scripts.cancel, job, &[self.remember_ms().as_bytes()]).await?.known)
    }

    async fn mark_published(
        &self,
        entry: JobRef<'_>,
        event: &Bytes,
        sealed: bool,
    ) -> Result<(), LedgerError> {
        let (round, remember) = (entry.round.to_string(), self.remember_ms());
        let sealed = sealed.then_some(event);
        let event_id = sealed.cloned().and_then(Event::from_stored).map(|event| event.id).unwrap_or_default();
        let runs_on = sealed.map_or(&b"0"[..], |event| self.runs_on(event));
        let note = EndNote::of(event, &self.spend.label);
        let spend = note.as_ref().and_then(|note| self.spent(note));
        let (cost, label, spend_keys) = spend.unwrap_or_default();
        let (end, word, queued, corrects) = match &note {
            Some(EndNote { json, kind, corrects, queued_ms, .. }) => {
                let queued = queued_ms.map(|queued| queued.to_string()).unwrap_or_default();
                (json.as_str(), kind.word(), queued, if *corrects { "1" } else { "0" })
            }
            None => ("", "", String::new(), "0"),
        };
        let texts = [entry.digest.as_str(), &round, &remember, &event_id].map(str::as_bytes);
        let [digest, round, remember, event_id] = texts;
        let [end, word, queued, corrects] = [end, word, &queued, corrects].map(str::as_bytes);
        let (cost, label) = (cost.as_bytes(), label.as_bytes());
        let args = [digest, round, remember, event_id, runs_on, end, word, queued, corrects, cost, label];
        let JobRef { job, slots, .. } = entry;
        let own = [&self.ends_key, &self.minutes_key];
        let keys: Vec<&str> = spend_keys.iter().chain(own).map(String::as_str).collect();
        self.run_shared(&self.scripts.published, job, slots, &keys, &args).await?;
        Ok(())
    }

    async fn hint_poll(&self, job: &JobId) -> Result<(), LedgerError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(Self::hint_channel(&self.prefix)).arg(hints::to_poll(job));
        self.connection.query::<redis::Value>(&publish).await.map(drop).map_err(unavailable)
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        let key = format!("{{{}}}:store-id", self.prefix);
        let set = redis::cmd("SET").arg(&key).arg(id).arg("NX").to_owned();
        self.connection.query::<redis::Value>(&set).await.map_err(unavailable)?;
        let get = redis::cmd("GET").arg(&key).to_owned();
        let noted: Option<String> = self.connection.query(&get).await.map_err(unavailable)?;
        noted.ok_or_else(|| LedgerError::Unavailable("the store's id was lost at once".to_owned()))
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).to_string();
        let call = evalsha(&self.scripts.slow, &[&self.pace_key()], &[pause_ms, rate.to_string()]);
        self.connection.invoke::<redis::Value>(&self.scripts.slow, &call).await.map(drop).map_err(unavailable)
    }

    async fn spend_today(&self) -> Result<SpendToday, LedgerError> {
        spend::today(&self.connection, &self.scripts.spend_today, &self.prefix, &self.spend).await
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        let mut set = redis::cmd("HSETNX");
        set.arg(self.slots_count_key()).arg("trusted_ms").arg("0");
        self.connection.query::<redis::Value>(&set).await.map(drop).map_err(unavailable)
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        let mut set = redis::cmd("SET");
        set.arg(self.probe_key()).arg("1").arg("PX").arg(10_000);
        self.connection.query::<()>(&set).await.map_err(unavailable)?;
        let Some(refused) = self.rights().await? else { return Ok(()) };
        let needed = refused.needed();
        if needed.is_empty() {
            return Ok(());
        }
        let (needed, said) = (needed.join(", "), &refused.said);
        if !refused.is_about_rights() {
            return Err(LedgerError::Unavailable(said.clone()));
        }
        Err(LedgerError::Unavailable(format!(
            "the user of redis.url may not use {needed} ({said}): comet-worker check has the rule to copy"
        )))
    }
}
