//! The Lua scripts, and the parsing of their answers.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use redis::{Script, Value};

use super::LedgerError;
use super::spend::today_script;
use crate::job::record::Snapshot;
use crate::job::spend::{SpendToday, Units};
use crate::job::step::MoveResult;

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) read: Script,
    pub(super) begin: Script,
    pub(super) reopen: Script,
    pub(super) accept: Script,
    pub(super) follow: Script,
    pub(super) restore: Script,
    pub(super) freeze: Script,
    pub(super) published: Script,
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) cancel: Script,
    pub(super) spend_today: Script,
    pub(super) slow: Script,
    pub(super) rights: Script,
}

impl Scripts {
    /// `capped`: the account has a cap, so slots are counted; `spend_capped`: a day's spend has one. Without a cap,
    /// defining the functions of slots.lua would cost every call a fifth of its time for nothing.
    pub(super) fn new(capped: bool, spend_capped: bool) -> Self {
        let script = |body: &str| Script::new(&[include_str!("common.lua"), body].concat());
        let slots = if capped { include_str!("slots.lua") } else { include_str!("no_slots.lua") };
        let spend = if spend_capped { include_str!("spend.lua") } else { "" };
        let slotted = |body: &str| script(&[slots, body].concat());
        Self {
            read: slotted(include_str!("read.lua")),
            begin: slotted(&[spend, include_str!("pace.lua"), include_str!("begin.lua")].concat()),
            reopen: slotted(include_str!("reopen.lua")),
            accept: slotted(include_str!("accept.lua")),
            follow: slotted(include_str!("follow.lua")),
            restore: slotted(include_str!("restore.lua")),
            freeze: slotted(include_str!("freeze.lua")),
            published: slotted(concat!(include_str!("spend_count.lua"), include_str!("published.lua"))),
            enter: slotted(include_str!("enter.lua")),
            leave: script(include_str!("leave.lua")),
            cancel: script(include_str!("cancel.lua")),
            spend_today: today_script(),
            slow: Script::new(concat!(include_str!("pace.lua"), include_str!("slow.lua"))),
            rights: Script::new(include_str!("rights.lua")),
        }
    }
}

/// The first part of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Ok,
    Moved,
    Full,
    Paced,
    Spent,
    Record,
    None,
}

/// The answer of every script: see `common.lua`.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) word: Word,
    pub(super) known: Snapshot,
    /// The notes, by name.
    pub(super) notes: HashMap<String, u64>,
}

impl Reply {
    pub(super) fn parse(answer: Value) -> Result<Self, LedgerError> {
        let odd = |what: &str| LedgerError::Unavailable(format!("a script answered with an odd {what}"));
        if let Value::BulkString(words) = &answer {
            let cancelled = match words.as_slice() {
                b"ok" => false,
                b"ok cancelled" => true,
                _ => return Err(odd("word")),
            };
            let known = Snapshot { record: None, cancelled };
            return Ok(Self { word: Word::Ok, known, notes: HashMap::new() });
        }
        let parts = redis::from_redis_value::<(String, String, Value, HashMap<String, u64>)>(answer);
        let (word, now, fields, notes) = parts.map_err(|_| odd("shape"))?;
        let word = match word.as_str() {
            "ok" => Word::Ok,
            "moved" => Word::Moved,
            "full" => Word::Full,
            "paced" => Word::Paced,
            "spent" => Word::Spent,
            "record" => Word::Record,
            "none" => Word::None,
            _ => return Err(odd("word")),
        };
        let now_ms = now.parse().map_err(|_| odd("time"))?;
        let fields: HashMap<String, Bytes> = redis::from_redis_value::<HashMap<String, Vec<u8>>>(fields)
            .map_err(|_| odd("record"))?
            .into_iter()
            .map(|(name, value)| (name, Bytes::from(value)))
            .collect();
        Ok(Self { word, known: Snapshot::from_fields(&fields, now_ms)?, notes })
    }

    /// What `begin.lua` notes of the spend.
    fn spend(&self) -> SpendToday {
        let note = |name: &str| self.notes.get(name).copied().unwrap_or_default();
        SpendToday {
            spent: Units::from_micro(note("spent")),
            running: note("running"),
            per_job: self.notes.get("per_job").copied().map(Units::from_micro),
            complete: note("complete") == 1,
        }
    }

    pub(super) fn moved(self) -> MoveResult {
        match self.word {
            Word::Ok => MoveResult::Yes { cancelled: self.known.cancelled },
            Word::Full => MoveResult::Full,
            Word::Paced => MoveResult::Paced {
                wait: Duration::from_millis(self.notes.get("wait_ms").copied().unwrap_or(0)),
            },
            Word::Spent => MoveResult::Spent(self.spend()),
            Word::Moved | Word::Record | Word::None => MoveResult::No(self.known),
        }
    }
}
