//! How the scripts are called: their keys, their arguments, and what they note of all workers.

use std::iter;

use super::scripts::Reply;
use super::slots::Slots;
use super::{LedgerError, RedisLedger, unavailable};
use crate::job::JobId;
use crate::job::event::may_run_on;

impl RedisLedger {
    pub(super) async fn run(
        &self,
        script: &redis::Script,
        job: &JobId,
        args: &[&[u8]],
    ) -> Result<Reply, LedgerError> {
        self.invoke(script, job, [None, None], args, None).await
    }

    /// Runs a script that has a part in the account's slots.
    pub(super) async fn run_slotted(
        &self,
        script: &redis::Script,
        job: &JobId,
        slots: Slots,
        args: &[&[u8]],
    ) -> Result<Reply, LedgerError> {
        self.run_shared(script, job, slots, None, args).await
    }

    /// Runs a script that keeps to the pace, too.
    pub(super) async fn run_shared(
        &self,
        script: &redis::Script,
        job: &JobId,
        slots: Slots,
        pace_key: Option<String>,
        args: &[&[u8]],
    ) -> Result<Reply, LedgerError> {
        let account_of_job = self.account.as_ref().map(|account| account.of_job(slots));
        let slots_key = self.account.is_some().then(|| self.slots_key());
        let keys = [slots_key.as_deref(), pace_key.as_deref()];
        let reply = self.invoke(script, job, keys, args, account_of_job.as_deref()).await?;
        for (name, value) in &reply.notes {
            (self.noted)(name, *value);
        }
        if pace_key.is_some() && !reply.notes.contains_key("pace") {
            (self.noted)("pace", 0);
        }
        Ok(reply)
    }

    /// For the scripts that free slots: whether the task may run on behind this event.
    pub(super) fn runs_on(&self, event: &[u8]) -> &'static [u8] {
        if self.account.is_some() && may_run_on(event) { b"1" } else { b"0" }
    }

    pub(super) fn pace_key(&self) -> String {
        format!("{{{}}}:pace", self.prefix)
    }

    pub(super) fn slots_key(&self) -> String {
        format!("{{{}}}:slots", self.prefix)
    }

    /// What all scripts have stands before `more` and `args`; `last` is behind them.
    async fn invoke(
        &self,
        script: &redis::Script,
        job: &JobId,
        more: [Option<&str>; 2],
        args: &[&[u8]],
        last: Option<&str>,
    ) -> Result<Reply, LedgerError> {
        let key = self.key(job);
        let keys: Vec<&str> = iter::once(key.as_str()).chain(more.into_iter().flatten()).collect();
        let first = [self.channel.as_bytes(), job.as_str().as_bytes()];
        let args: Vec<&[u8]> =
            first.into_iter().chain(args.iter().copied()).chain(last.map(str::as_bytes)).collect();
        Reply::parse(self.connection.invoke(script, &keys, &args).await.map_err(unavailable)?)
    }
}
