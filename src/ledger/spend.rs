//! What the fleet has spent, in Redis: `{<prefix>}:spend`, and `{<prefix>}:spend:<day>` for each day. The ends are counted
//! by `published.lua`, and a day's cap is kept to by `begin.lua`; here is what is read, and what is counted again from
//! the receipts after Redis has lost its data.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{FromRedisValue, Script};

use super::connection::{Connection, evalsha};
use super::{LedgerError, RedisLedger, unavailable};
use crate::fleet::spend::{DaySpend, LabelSpend};
use crate::job::Charged;
use crate::job::spend::{SpendDay, SpendNote, SpendRules, SpendToday, Units};

/// A day is kept for this long after its last end; as in `published.lua`.
const KEPT: Duration = Duration::from_secs(40 * 86_400);
/// A worker that counts the receipts shows at least this often that it goes on.
const CLAIM_KEPT: Duration = Duration::from_secs(60);

/// The books of the spend.
#[derive(Debug)]
pub struct RedisSpend {
    connection: Connection,
    prefix: String,
    rules: SpendRules,
    today: Script,
    counted: Script,
}

impl RedisSpend {
    #[must_use]
    pub fn new(connection: Connection, prefix: &str, rules: SpendRules) -> Self {
        let (today, counted) = (today_script(), Script::new(include_str!("spend_counted.lua")));
        Self { connection, prefix: prefix.to_owned(), rules, today, counted }
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

    /// Ends whose event is older than this, in Unix milliseconds, are counted from their receipts; all others when they
    /// are published. `now_ms` unless it was set before.
    pub async fn from_ms(&self, now_ms: i64) -> Result<i64, LedgerError> {
        let key = state_key(&self.prefix);
        let mut set = redis::cmd("HSETNX");
        set.arg(&key).arg("from_ms").arg(now_ms);
        self.query::<i64>(&set).await?;
        let from: Option<i64> = self.query(redis::cmd("HGET").arg(&key).arg("from_ms")).await?;
        from.ok_or_else(|| LedgerError::Unavailable("what was just written is lost".to_owned()))
    }

    /// Adds what the receipts say, once; what is counted after [`Self::is_complete`] is ignored.
    pub async fn complete(&self, day: SpendDay, counted: &Counted) -> Result<(), LedgerError> {
        let keys = [state_key(&self.prefix), day_key(&self.prefix, day)];
        let typical = counted.typical.map_or_else(|| "-".to_owned(), |typical| typical.micro().to_string());
        let mut args = vec![KEPT.as_millis().to_string(), typical];
        for (field, number) in &counted.fields {
            args.extend([field.clone(), number.to_string()]);
        }
        let call = evalsha(&self.counted, &keys.each_ref().map(String::as_str), &args);
        self.connection.invoke::<i64>(&self.counted, &call).await.map(drop).map_err(unavailable)
    }

    /// The last `days` days, the latest first, each with its labels.
    pub async fn days(&self, today: SpendDay, days: u32) -> Result<Vec<DaySpend>, LedgerError> {
        let mut found = Vec::new();
        for ago in 0..i64::from(days) {
            let day = today.before(ago);
            let fields: BTreeMap<String, u64> =
                self.query(redis::cmd("HGETALL").arg(day_key(&self.prefix, day))).await?;
            found.push(day_spend(day, &fields));
        }
        Ok(found)
    }

    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LedgerError> {
        self.connection.query(command).await.map_err(unavailable)
    }
}

/// What was counted from the receipts, as the fields of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    fields: BTreeMap<String, u64>,
    typical: Option<Units>,
    charged_unsaid: u64,
}

impl Counted {
    /// Counts one end, as `published.lua` does.
    pub fn add(&mut self, note: &SpendNote) {
        if !note.counts() {
            return;
        }
        let mut add = |field: String, number: u64| *self.fields.entry(field).or_default() += number;
        let units = note.units.unwrap_or_default();
        match (note.units, note.charged) {
            (Some(_), _) => {
                add("units".to_owned(), units.micro());
                add("jobs".to_owned(), 1);
                self.typical = Some(Units::learn(self.typical, units));
            }
            (None, Charged::Yes) => {
                add("unsaid".to_owned(), 1);
                self.charged_unsaid += 1;
            }
            (None, Charged::Unknown | Charged::No) => add("perhaps".to_owned(), 1),
        }
        if let Some(label) = &note.label {
            *self.fields.entry(format!("units:{label}")).or_default() += units.micro();
            *self.fields.entry(format!("jobs:{label}")).or_default() += 1;
        }
    }

    /// Estimates the ends whose units the provider didn't say, once all are counted.
    pub fn estimate(&mut self, rules: &SpendRules) {
        let each = rules.per_job.or(self.typical).unwrap_or_default();
        if self.charged_unsaid > 0 {
            self.fields.insert("estimated".to_owned(), each.times(self.charged_unsaid).micro());
        }
    }
}

pub(super) fn today_script() -> Script {
    Script::new(include_str!("spend_today.lua"))
}

/// Calls [`today_script`].
pub(super) async fn today(
    connection: &Connection,
    script: &Script,
    prefix: &str,
    rules: &SpendRules,
) -> Result<SpendToday, LedgerError> {
    let (state, day) = (state_key(prefix), day_key(prefix, rules.day(crate::clock::unix_ms())));
    let call = evalsha(script, &[&state, &day, &format!("{{{prefix}}}:unfinished")], &[per_job(rules)]);
    let answer = connection.invoke(script, &call).await.map_err(unavailable)?;
    let (spent, running, each, complete): (u64, u64, u64, u64) = answer;
    let (spent, per_job) = (Units::from_micro(spent), Units::from_micro(each));
    Ok(SpendToday { spent, running, per_job, complete: complete == 1 })
}

impl RedisLedger {
    /// The argument and the keys of `begin.lua`, if a day's spend has a cap.
    pub(super) fn spend_cap(&self) -> Option<(String, Vec<String>)> {
        let cap = self.spend.cap?;
        let words = format!("{} {}", cap.micro(), per_job(&self.spend));
        Some((words, self.spend_keys(crate::clock::unix_ms()).into()))
    }

    /// The arguments and the keys of `published.lua` for an end that counts.
    pub(super) fn spent(&self, note: &SpendNote) -> Option<(String, String, Vec<String>)> {
        if !note.counts() {
            return None;
        }
        let units = note.units.map_or_else(|| "-".to_owned(), |units| units.micro().to_string());
        let cost = format!("{} {units} {} {}", note.at_ms, note.charged.as_str(), per_job(&self.spend));
        let label = note.label.clone().unwrap_or_default();
        Some((cost, label, self.spend_keys(note.at_ms).into()))
    }

    pub(super) fn spend_keys(&self, at_ms: i64) -> [String; 2] {
        [state_key(&self.prefix), day_key(&self.prefix, self.spend.day(at_ms))]
    }
}

/// `-` if it is learned.
fn per_job(rules: &SpendRules) -> String {
    rules.per_job.map_or_else(|| "-".to_owned(), |units| units.micro().to_string())
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
