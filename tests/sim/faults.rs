//! The switches that make the stand-in misbehave: each fault of the provider that a client must survive, by name.
//!
//! A fault strikes by probability, a number of times, or both. Which of them stand before the money and which behind it is
//! the point of the list: a client may repeat the first kind and must never repeat the second.

use std::{collections::BTreeMap, str::FromStr};

use clap::ValueEnum;

use crate::dice::Dice;

/// What can go wrong. The line above each is what `--list-faults` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// submit: 429 with code 1302, requests too frequent; no task
    RateLimited,
    /// submit: 429 with code 1303, too many tasks at once; no task
    Busy,
    /// submit: 429 of the gateway, all channels saturated; no task
    Saturated,
    /// submit: 500 before the task is made
    ServerError,
    /// submit: 502 with HTML before the task is made
    BadGateway,
    /// submit: 400 with code 1301, content policy; no task
    ContentPolicy,
    /// submit: the account is out of money, as --no-money-as says; no task
    NoMoney,
    /// submit: 429 of the gateway, too many requests; no task
    GatewayLimit,
    /// submit: the same with Retry-After; no task
    RetryAfter,
    /// submit: 429 with code 1304, IP whitelist; no task
    IpRefused,
    /// submit: 503 model_not_found; no task
    NoChannel,
    /// submit: 404 with JSON; no task
    NoSuchRoute,
    /// submit: 301 with HTML; no task
    Redirected,
    /// submit: 413; no task
    BodyTooLarge,
    /// submit: 400 with an error object; no task
    InvalidRequest,
    /// submit: 500 with invalid_request; no task
    InvalidRequestAs500,
    /// submit: 400 with code 1201, the model has been discontinued; no task
    Discontinued,
    /// submit: 200 with code 1301; no task
    PolicyAs200,
    /// submit: 400 with code 1201, already exists, which is not so; no task
    ExistsFalsely,
    /// submit: the task is made and charged, the reply is a 500
    ServerErrorAfter,
    /// submit: the task is made and charged, the reply is a 502 with HTML
    BadGatewayAfter,
    /// submit: the task is made and charged, the reply says that it already exists
    ExistsAfter,
    /// submit: the task is made and charged, the reply is a 504
    GatewayTimeoutAfter,
    /// submit: the task is made and charged, the reply has no id
    NoIdAfter,
    /// submit: the task is made and charged, the reply has null for data
    NullDataAfter,
    /// submit: the task is made and charged, the JSON of the reply is cut short
    CutShortAfter,
    /// submit: the task is made and charged, the connection is closed without a reply
    ReplyLost,
    /// submit: the task is made and charged, no reply ever comes
    Hang,
    /// submit: the task is made and charged at once, the reply takes --slow-for
    Slow,
    /// submit: the task is made only after --slow-for, also when the client has gone away meanwhile
    MadeLate,
    /// submit: made, told without request_id
    ReplyA2,
    /// submit: made, told with nulls everywhere
    ReplyA3,
    /// submit: made, told by a wrapper whose data is the id
    ReplyBText,
    /// submit: made, told by a wrapper around the id
    ReplyBObject,
    /// submit: made, told as a video
    ReplyC,
    /// submit: made, told with a number for an id
    ReplyNumberId,
    /// submit and poll: 401, the key is closed
    AccountClosed,
    /// task: ends failed, "Failure to pass the risk control system"; not charged
    Failed,
    /// task: ends failed, "Internal generation error"; not charged
    FailedInternal,
    /// task: stays in processing for ever
    NeverEnds,
    /// poll: the first three polls of the task say task_not_exist
    TaskNotExistAtFirst,
    /// poll: task_not_exist, for ever
    TaskNotExist,
    /// poll: 502 with HTML
    PollHtml,
    /// poll: 429 of the gateway
    PollRateLimited,
    /// poll: a wrapper around the data
    LookWrapper,
    /// poll: a wrapper around the whole reply
    LookWrapperEnvelope,
    /// poll: a wrapper with the URL in fail_reason
    LookUrlInFailReason,
    /// poll: a wrapper that says FAILURE at the end, around a stale processing
    LookSwept,
    /// poll: status and one URL side by side
    LookFlat,
    /// poll: times in seconds
    LookSeconds,
    /// poll: images without an index
    LookNoIndex,
    /// poll: images with texts for indices
    LookTextIndex,
    /// poll: images from the last to the first
    LookOutOfOrder,
    /// poll: each image twice
    LookDuplicates,
    /// poll: succeeded in place of succeed
    LookSucceeded,
    /// poll: statuses in capitals
    LookUppercase,
    /// poll: an empty status until the end
    LookEmptyStatus,
    /// poll: an unknown status until the end
    LookUnknownStatus,
    /// poll: succeed without images twice, and then with them
    LookFilledLate,
    /// poll: succeed with null for a result
    LookNullResult,
    /// poll: succeed without images, processing, and then succeed with them
    LookRegress,
    /// lookup: found by its external id only from the third look on
    LookupLate,
    /// lookup: never found by its external id
    LookupUnsupported,
    /// poll: 500
    PollError,
    /// download: the first two downloads of each image of the task are a 500
    ImageError,
    /// download: 403, whatever the client does
    ImageExpired,
    /// download: 403 until the task was polled again, which gives a fresh URL
    ImageExpiredOnce,
    /// download: the body ends at half of its length
    FileShort,
    /// download: two redirects, and then the file
    FileRedirects,
    /// download: a redirect to 127.0.0.1
    FileRedirectInside,
    /// download: 200 with HTML
    FileHtml,
    /// download: the body takes --slow-for
    FileSlow,
    /// download: 4 GiB
    FileOversize,
    /// callback: none is ever sent
    CallbackLost,
    /// callback: the body is not JSON
    CallbackGarbage,
    /// callback: both ids are another task's
    CallbackWrongId,
    /// callback: the task id is one that the client never saw, the external id is right
    CallbackUpstreamId,
    /// callback: the first comes before the reply to the submit
    CallbackEarly,
    /// callback: each comes twice
    CallbackDuplicate,
    /// callback: the end comes first, and then what was before it
    CallbackOutOfOrder,
}

impl Fault {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// One line on what it does.
    pub(crate) fn words(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Self::from_str(name, false)
            .map_err(|_| format!("«{name}» is no fault; comet-sim --list-faults names them all"))
    }
}

/// How often a fault strikes: of the occasions that it could, and at most how many times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Odds {
    probability: f64,
    times: Option<u64>,
}

impl Odds {
    pub(crate) const ALWAYS: Self = Self { probability: 1.0, times: None };
}

/// Reads `0.2`, `3x` and `0.2,3x`.
impl FromStr for Odds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut odds = Self::ALWAYS;
        for part in text.split(',').map(str::trim) {
            if let Some(times) = part.strip_suffix('x') {
                let times = times.parse();
                odds.times = Some(times.map_err(|_| format!("«{part}» is no count; write it like 3x"))?);
            } else {
                let probability = part.parse().ok();
                odds.probability =
                    probability.filter(|probability| (0.0..=1.0).contains(probability)).ok_or_else(|| {
                        format!("«{part}» is no probability from 0 to 1; for the next three times write 3x")
                    })?;
            }
        }
        Ok(odds)
    }
}

/// Reads `NAME` and `NAME=ODDS`, as on the command line.
pub(crate) fn parse_fault(text: &str) -> Result<(Fault, Odds), String> {
    match text.split_once('=') {
        None => Ok((Fault::named(text)?, Odds::ALWAYS)),
        Some((name, odds)) => Ok((Fault::named(name)?, odds.parse()?)),
    }
}

/// Reads `{"NAME": 0.2, "NAME": "3x"}`, as over HTTP.
pub(crate) fn parse_faults(
    map: &serde_json::Map<String, serde_json::Value>,
) -> Result<Vec<(Fault, Odds)>, String> {
    map.iter()
        .map(|(name, odds)| {
            let odds = odds.as_str().map_or_else(|| odds.to_string(), str::to_owned);
            let odds = odds.parse();
            Ok((Fault::named(name)?, odds.map_err(|e| format!("{name}: {e}"))?))
        })
        .collect()
}

/// All switches, and how often each fault has struck.
#[derive(Debug, Clone)]
pub(crate) struct Switches {
    on: BTreeMap<Fault, Odds>,
    struck: BTreeMap<Fault, u64>,
    dice: Dice,
    setting: u64,
}

impl Switches {
    pub(crate) fn new(seed: u64, on: &[(Fault, Odds)]) -> Self {
        Self {
            on: on.iter().copied().collect(),
            struck: BTreeMap::new(),
            dice: Dice::new(seed, "faults"),
            setting: 0,
        }
    }

    /// Replaces all switches. What has struck stays counted.
    pub(crate) fn set(&mut self, on: &[(Fault, Odds)]) {
        self.on = on.iter().copied().collect();
        self.setting += 1;
    }

    /// Does it strike on this occasion? A yes uses up one of its times and is counted.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let Some(odds) = self.on.get_mut(&fault) else {
            return false;
        };
        if odds.times == Some(0) || !self.dice.says_yes(odds.probability) {
            return false;
        }
        odds.times = odds.times.map(|times| times - 1);
        *self.struck.entry(fault).or_default() += 1;
        true
    }

    /// Does it strike this thing? Drawn once and kept, until the switches are set anew.
    pub(crate) fn strikes_kept(&mut self, fault: Fault, kept: &mut Kept) -> bool {
        if !self.on.contains_key(&fault) {
            return false;
        }
        match *kept {
            Some((setting, strikes)) if setting == self.setting => strikes,
            Some(_) | None => {
                let strikes = self.strikes(fault);
                *kept = Some((self.setting, strikes));
                strikes
            }
        }
    }

    /// The first of a table that strikes.
    pub(crate) fn first_of<T>(&mut self, table: &[(Fault, T)]) -> Option<Fault> {
        table.iter().map(|(fault, _)| *fault).find(|fault| self.strikes(*fault))
    }

    pub(crate) fn struck(&self) -> BTreeMap<String, u64> {
        let named = |(fault, times): (&Fault, &u64)| (fault.name(), *times);
        self.struck.iter().map(named).collect()
    }
}

/// A draw that was made once: under which setting of the switches, and what it said.
pub(crate) type Kept = Option<(u64, bool)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_and_a_line() {
        for fault in Fault::value_variants() {
            assert!(!fault.words().is_empty(), "{fault:?}");
            assert_eq!(parse_fault(&fault.name()), Ok((*fault, Odds::ALWAYS)));
        }
    }

    #[test]
    fn odds_are_a_probability_a_count_or_both() {
        let odds = |probability, times| Ok(Odds { probability, times });
        assert_eq!("0.2".parse::<Odds>(), odds(0.2, None));
        assert_eq!("3x".parse::<Odds>(), odds(1.0, Some(3)));
        assert_eq!("0.2,3x".parse::<Odds>(), odds(0.2, Some(3)));
        for text in ["", "2", "-1", "x", "NaN"] {
            assert!(text.parse::<Odds>().is_err(), "{text}");
        }
        assert!(parse_fault("no-such=1").is_err());
    }

    #[test]
    fn a_counted_fault_strikes_that_often() {
        let mut switches = Switches::new(1, &[parse_fault("busy=2x").unwrap()]);
        let strikes: Vec<bool> = (0..4).map(|_| switches.strikes(Fault::Busy)).collect();
        assert_eq!(strikes, [true, true, false, false]);
        assert_eq!(switches.struck(), BTreeMap::from([("busy".to_owned(), 2)]));
    }

    #[test]
    fn a_kept_draw_holds_until_the_switches_are_set_anew() {
        let mut switches = Switches::new(1, &[parse_fault("image-expired=1x").unwrap()]);
        let (mut one, mut two) = (None, None);
        assert!(switches.strikes_kept(Fault::ImageExpired, &mut one));
        assert!(!switches.strikes_kept(Fault::ImageExpired, &mut two));
        assert!(switches.strikes_kept(Fault::ImageExpired, &mut one));
        switches.set(&[]);
        assert!(!switches.strikes_kept(Fault::ImageExpired, &mut one));
    }
}
