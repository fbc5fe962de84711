//! Whether the user of `redis.url` has the rights that the ledger needs.

use redis::{RedisError, ServerErrorKind};

use super::{LedgerError, RedisLedger, unavailable};
use crate::ledger::connection::evalsha;

/// The needed commands that were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The names of the commands.
    pub commands: Vec<String>,
    /// What Redis answered to the first of them.
    pub said: String,
}

impl RedisLedger {
    /// Tries each command that the ledger needs, on a key that is deleted afterwards.
    ///
    /// # Errors
    ///
    /// Scripts can't be run at all, or Redis gives no answer.
    pub async fn rights(&self) -> Result<Option<Refused>, LedgerError> {
        let call = evalsha(&self.scripts.rights, &[&self.probe_key()], &[&self.channel]);
        let answer: Vec<String> =
            self.connection.invoke(&self.scripts.rights, &call).await.map_err(unavailable)?;
        let mut words = answer.into_iter();
        let said = words.next().unwrap_or_default();
        let commands: Vec<String> = words.collect();
        Ok((!commands.is_empty()).then_some(Refused { commands, said }))
    }

    pub(super) fn probe_key(&self) -> String {
        format!("{{{}}}:probe", self.prefix)
    }
}

impl Refused {
    /// The commands without which a worker can't work; if hints can't be published, it is only slower.
    #[must_use]
    pub fn needed(&self) -> Vec<&str> {
        self.commands.iter().map(String::as_str).filter(|command| *command != "PUBLISH").collect()
    }

    /// Whether the user lacks a right, as opposed to a server that can't run the command.
    #[must_use]
    pub fn is_about_rights(&self) -> bool {
        let states = ["OOM", "READONLY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "NOREPLICAS"];
        !states.iter().any(|state| self.said.trim_start_matches("ERR ").starts_with(state))
    }
}

/// The rule for a user with all needed rights, to be copied.
#[must_use]
pub fn acl(prefix: &str) -> String {
    format!(
        "ACL SETUSER NAME on >PASSWORD ~{{{prefix}}}:* &{{{prefix}}}:hints +@read +@write +@connection +@scripting +@pubsub +time \
         -@dangerous +info +role"
    )
}

/// What an error means for the user's rights, if it is about them.
pub(super) fn advice(error: &RedisError) -> &'static str {
    if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoPerm) {
        "; the user of redis.url lacks a right: comet-worker check says which, and the rule to copy"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    /// If a script used a command that this check doesn't try, it could be refused in the middle of a job.
    #[test]
    fn every_command_of_every_script_is_tried() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ledger");
        let rights = include_str!("rights.lua");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "lua") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in text.split("call('").skip(1) {
                let command = call.split('\'').next().unwrap();
                assert!(rights.contains(&format!("try('{command}'")), "{}: {command}", path.display());
                seen += 1;
            }
            assert!(!text.contains("KEYS[2] .."), "{}: a key that isn't declared", path.display());
            assert!(!text.contains("redis.call('PUBLISH'"), "{}: a hint that fails a script", path.display());
        }
        assert!(seen > 40, "{seen}");
    }
}
