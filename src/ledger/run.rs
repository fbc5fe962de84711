//! How scripts are called: their keys, their arguments, and their notes about all workers.
//!
//! A call is built before anything is awaited; otherwise each `async` function between a life and the connection
//! would hold the whole call and copy it.

use redis::{Cmd, Script};

use super::connection::evalsha;
use super::scripts::Reply;
use super::slots::Slots;
use super::{LedgerError, RedisLedger, unavailable};
use crate::job::JobId;
use crate::job::event::may_run_on;

impl RedisLedger {
    pub(super) fn run(
        &self,
        script: &Script,
        job: &JobId,
        args: &[&[u8]],
    ) -> impl Future<Output = Result<Reply, LedgerError>> {
        self.answer(script, self.call(script, job, &[], args, None), false)
    }

    /// Runs a script that changes or checks the account's slots.
    pub(super) fn run_slotted(
        &self,
        script: &Script,
        job: &JobId,
        slots: Slots,
        args: &[&[u8]],
    ) -> impl Future<Output = Result<Reply, LedgerError>> {
        self.run_shared(script, job, slots, &[], args)
    }

    /// Runs a script that has more keys of all jobs, as its last ones.
    pub(super) fn run_shared(
        &self,
        script: &Script,
        job: &JobId,
        slots: Slots,
        last_keys: &[&str],
        args: &[&[u8]],
    ) -> impl Future<Output = Result<Reply, LedgerError>> {
        let account_of_job = self.account.as_ref().map(|account| account.of_job(slots));
        let slots_keys = self.account.is_some().then(|| self.slots_keys());
        let slots_keys = slots_keys.iter().flatten().map(String::as_str);
        let keys: Vec<&str> = slots_keys.chain(last_keys.iter().copied()).collect();
        let call = self.call(script, job, &keys, args, account_of_job.as_deref());
        let paced = last_keys.last().is_some_and(|key| key.ends_with(":pace"));
        self.answer(script, call, paced)
    }

    /// Whether the task may still run after this event, for the scripts that free slots.
    pub(super) fn runs_on(&self, event: &[u8]) -> &'static [u8] {
        if self.account.is_some() && may_run_on(event) { b"1" } else { b"0" }
    }

    pub(super) fn pace_key(&self) -> String {
        format!("{{{}}}:pace", self.prefix)
    }

    /// In the order of `slots.lua`.
    fn slots_keys(&self) -> [String; 4] {
        ["", ":until", ":count", ":line"].map(|part| format!("{{{}}}:slots{part}", self.prefix))
    }

    pub(super) fn slots_count_key(&self) -> String {
        format!("{{{}}}:slots:count", self.prefix)
    }

    /// Puts the keys and arguments that all scripts have before `more` and `args`, and `last` after them.
    fn call(&self, script: &Script, job: &JobId, more: &[&str], args: &[&[u8]], last: Option<&str>) -> Cmd {
        let key = self.key(job);
        let keys: Vec<&str> =
            [key.as_str(), &self.index_key].into_iter().chain(more.iter().copied()).collect();
        let first = [self.channel.as_bytes(), job.as_str().as_bytes()];
        let args: Vec<&[u8]> =
            first.into_iter().chain(args.iter().copied()).chain(last.map(str::as_bytes)).collect();
        evalsha(script, &keys, &args)
    }

    async fn answer(&self, script: &Script, call: Cmd, paced: bool) -> Result<Reply, LedgerError> {
        let reply = Reply::parse(self.connection.invoke(script, &call).await.map_err(unavailable)?)?;
        for (name, value) in &reply.notes {
            (self.noted)(name, *value);
        }
        if paced && !reply.notes.contains_key("pace") {
            (self.noted)("pace", 0);
        }
        Ok(reply)
    }
}
