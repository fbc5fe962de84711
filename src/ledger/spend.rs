//! What the fleet has spent, in Redis: `{<prefix>}:spend`, `{<prefix>}:spend:<day>` for each day, and
//! `{<prefix>}:spend:recounted`. The ends are counted by `published.lua`, and a day's cap is kept to by `begin.lua`; here is
//! what is read, and what is counted again from the receipts after Redis has lost its data.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{FromRedisValue, Script};

use super::connection::{Connection, evalsha};
use super::{LedgerError, RedisLedger, unavailable};
use crate::fleet::spend::{DaySpend, LabelSpend};
use crate::job::JobId;
use crate::job::event::EndNote;
use crate::job::spend::{SpendDay, SpendNote, SpendRules, SpendToday, Units};

/// What was counted from receipts is remembered for this long at least; as in `published.lua`.
const HOUR: Duration = Duration::from_secs(3600);
/// Ends that are counted from their receipts in one call.
const COUNTED_AT_A_TIME: usize = 100;
/// A worker that counts the receipts shows at least this often that it goes on.
const CLAIM_KEPT: Duration = Duration::from_secs(60);

/// The books of the spend.
#[derive(Debug)]
pub struct RedisSpend {
    connection: Connection,
    prefix: String,
    rules: SpendRules,
    remember: Duration,
    today: Script,
    recount: Script,
}

impl RedisSpend {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str, rules: SpendRules, remember: Duration) -> Self {
        let recount = concat!(include_str!("spend_count.lua"), include_str!("spend_recount.lua"));
        let (today, recount) = (today_script(), Script::new(recount));
        Self { connection, prefix: prefix.to_owned(), rules, remember, today, recount }
    }

    #[must_use]
    pub fn rules(&self) -> &SpendRules {
        &self.rules
    }

    /// What is spent on the present day.
    ///
    /// # Errors
    ///
    /// Redis gave no answer, as for every method here.
    pub async fn today(&self) -> Result<SpendToday, LedgerError> {
        today(&self.connection, &self.today, &self.prefix, &self.rules).await
    }

    /// Whether the ends before a loss of Redis, or before the first start, are counted.
    ///
    /// # Errors
    ///
    /// Redis gave no answer, as for every method here.
    pub async fn is_complete(&self) -> Result<bool, LedgerError> {
        let mut get = redis::cmd("HGET");
        get.arg(state_key(&self.prefix)).arg("complete");
        Ok(self.query::<Option<String>>(&get).await?.as_deref() == Some("1"))
    }

    /// Takes or renews the right to count the receipts; false if another worker has it.
    pub async fn claim(&self, worker: &str) -> Result<bool, LedgerError> {
        let key = format!("{}:claim", state_key(&self.prefix));
        let kept_ms = u64::try_from(CLAIM_KEPT.as_millis()).unwrap_or(u64::MAX);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(worker).arg("NX").arg("PX").arg(kept_ms);
        if self.query::<Option<String>>(&set).await?.is_some() {
            return Ok(true);
        }
        if self.query::<Option<String>>(redis::cmd("GET").arg(&key)).await?.as_deref() != Some(worker) {
            return Ok(false);
        }
        self.query::<()>(redis::cmd("PEXPIRE").arg(&key).arg(kept_ms)).await?;
        Ok(true)
    }

    /// Counts ends from their events, on the day of each, unless they are counted already. A job's correction comes
    /// behind the end that it corrects.
    pub async fn recount(&self, day: SpendDay, ends: &[(JobId, EndNote)]) -> Result<(), LedgerError> {
        for some in ends.chunks(COUNTED_AT_A_TIME) {
            let shared = [state_key(&self.prefix), day_key(&self.prefix, day), recounted_key(&self.prefix)];
            let records = some.iter().map(|(job, _)| format!("{{{}}}:job:{job}", self.prefix));
            let keys: Vec<String> = shared.into_iter().chain(records).collect();
            let mut args = vec![self.remember.max(HOUR).as_millis().to_string()];
            for (job, end) in some {
                let label = end.spend.label.clone().unwrap_or_default();
                let corrects = if end.corrects { "1" } else { "0" };
                args.extend([job.to_string(), note(&self.rules, &end.spend), label, corrects.to_owned()]);
            }
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let call = evalsha(&self.recount, &keys, &args);
            self.connection.invoke::<redis::Value>(&self.recount, &call).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Notes that the ends before a loss of Redis are counted.
    pub async fn complete(&self) -> Result<(), LedgerError> {
        let mut set = redis::cmd("HSET");
        set.arg(state_key(&self.prefix)).arg("complete").arg("1");
        self.query::<i64>(&set).await.map(drop)
    }

    /// The last `days` days, the latest first, each with its labels.
    pub async fn days(&self, today: SpendDay, days: u32) -> Result<Vec<DaySpend>, LedgerError> {
        let read = async |ago| {
            let day = today.before(ago);
            let fields: BTreeMap<String, u64> =
                self.query(redis::cmd("HGETALL").arg(day_key(&self.prefix, day))).await?;
            Ok(day_spend(day, &fields))
        };
        try_join_all((0..i64::from(days)).map(read)).await
    }

    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LedgerError> {
        self.connection.query(command).await.map_err(unavailable)
    }
}

pub(super) fn today_script() -> Script {
    Script::new(concat!(include_str!("spend.lua"), include_str!("spend_today.lua")))
}

/// Calls [`today_script`].
pub(super) async fn today(
    connection: &Connection,
    script: &Script,
    prefix: &str,
    rules: &SpendRules,
) -> Result<SpendToday, LedgerError> {
    let (state, day) = (state_key(prefix), day_key(prefix, rules.day(crate::clock::unix_ms())));
    let index = format!("{{{prefix}}}:unfinished");
    let call = evalsha(script, &[&state, &day, &index], &[per_job(rules), runs_ms(rules)]);
    let answer = connection.invoke(script, &call).await.map_err(unavailable)?;
    let (spent, running, each, complete): (u64, u64, Option<u64>, u64) = answer;
    let (spent, per_job) = (Units::from_micro(spent), each.map(Units::from_micro));
    Ok(SpendToday { spent, running, per_job, complete: complete == 1 })
}

impl RedisLedger {
    /// The argument and the keys of `begin.lua`, if a day's spend has a cap.
    pub(super) fn spend_cap(&self) -> Option<(String, Vec<String>)> {
        let cap = self.spend.cap?;
        let words = format!("{} {} {}", cap.micro(), per_job(&self.spend), runs_ms(&self.spend));
        let day = self.spend.day(crate::clock::unix_ms());
        Some((words, vec![state_key(&self.prefix), day_key(&self.prefix, day)]))
    }

    /// The arguments and the keys of `published.lua` for an end that counts.
    pub(super) fn spent(&self, end: &EndNote) -> Option<(String, String, Vec<String>)> {
        if !end.corrects && !end.spend.counts() {
            return None;
        }
        let label = end.spend.label.clone().unwrap_or_default();
        let day = day_key(&self.prefix, self.spend.day(end.spend.at_ms));
        let keys = vec![state_key(&self.prefix), day, recounted_key(&self.prefix)];
        Some((note(&self.spend, &end.spend), label, keys))
    }
}

/// A note of `spend_count.lua`.
fn note(rules: &SpendRules, spend: &SpendNote) -> String {
    let units = spend.units.map_or_else(|| "-".to_owned(), |units| units.micro().to_string());
    let SpendNote { at_ms, charged, failed, .. } = spend;
    let day = rules.day(*at_ms).number();
    format!("{day} {at_ms} {units} {} {failed} {}", charged.as_str(), per_job(rules))
}

/// `-` if it is learned.
fn per_job(rules: &SpendRules) -> String {
    rules.per_job.map_or_else(|| "-".to_owned(), |units| units.micro().to_string())
}

fn runs_ms(rules: &SpendRules) -> String {
    rules.runs_max.as_millis().to_string()
}

fn recounted_key(prefix: &str) -> String {
    format!("{}:recounted", state_key(prefix))
}

fn state_key(prefix: &str) -> String {
    format!("{{{prefix}}}:spend")
}

fn day_key(prefix: &str, day: SpendDay) -> String {
    format!("{{{prefix}}}:spend:{}", day.number())
}

fn day_spend(day: SpendDay, fields: &BTreeMap<String, u64>) -> DaySpend {
    let number = |field: &str| fields.get(field).copied().unwrap_or_default();
    let units = |field: &str| Units::from_micro(number(field));
    let labels = fields.iter().filter_map(|(field, micro)| {
        let label = field.strip_prefix("units:")?;
        let jobs = number(&format!("jobs:{label}"));
        Some((label.to_owned(), LabelSpend { units: Units::from_micro(*micro).to_string(), jobs }))
    });
    DaySpend {
        day: day.to_string(),
        units: units("units").to_string(),
        estimated: units("estimated").to_string(),
        jobs: number("jobs"),
        unsaid: number("unsaid"),
        perhaps: number("perhaps"),
        money: None,
        labels: labels.collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::spend::DAYS_KEPT;

    #[test]
    fn redis_keeps_as_many_days_as_are_shown() {
        let kept_ms = u64::from(DAYS_KEPT) * 86_400_000;
        assert!(include_str!("spend_count.lua").contains(&format!("SPEND_KEPT_MS, LABELS_MAX = {kept_ms},")));
    }
}
