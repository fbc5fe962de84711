//! Checks what Redis reports about itself against what the ledger needs. Pure.

use std::collections::HashMap;

use super::Finding;
use crate::ledger::LedgerError;
use crate::ledger::rights::{Refused, acl};

/// Reads the text of `INFO`. What a managed Redis leaves out is reported as unknown, not as wrong.
pub(super) fn findings(url: &str, info: &str) -> Vec<Finding> {
    let fields = fields(info);
    let field = |name: &str| fields.get(name).copied();
    let version = field("valkey_version").map(|version| format!("Valkey {version}"));
    let version = version.or_else(|| field("redis_version").map(|version| format!("Redis {version}")));
    let mut findings =
        vec![Finding::ok(format!("{} at {url}", version.unwrap_or_else(|| "Redis".to_owned())))];
    findings.push(eviction(field("maxmemory_policy")));
    findings.push(persistence(field("aof_enabled")));
    if field("role").is_some_and(|role| role != "master") {
        findings.push(Finding::fail(
            "it is a replica, which takes no writes: let redis.url (COMET_WORKER__REDIS__URL) lead to the primary",
        ));
    }
    if field("cluster_enabled") == Some("1") {
        findings.push(Finding::ok("it is part of a cluster: all keys of the worker are in one of its nodes"));
    }
    if field("loading") == Some("1") {
        findings.push(Finding::warning("it is still loading its data: a worker waits until that is done"));
    }
    let broken_writes =
        [("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")];
    for (name, what) in broken_writes {
        if field(name).is_some_and(|status| status != "ok") {
            findings.push(Finding::warning(format!(
                "its last write of the {what} failed: look at its disk and its log"
            )));
        }
    }
    findings
}

/// Reports the right to each command that the ledger needs.
pub(super) fn rights(prefix: &str, tried: Result<Option<Refused>, LedgerError>) -> Vec<Finding> {
    let rule = acl(prefix);
    let refused = match tried {
        Ok(None) => return vec![Finding::ok("scripts, writes and hints are allowed")],
        Ok(Some(refused)) => refused,
        Err(error) => {
            return vec![Finding::fail(format!(
                "scripts can't be run ({error}): allow the user of redis.url eval, evalsha and script; all it needs: {rule}"
            ))];
        }
    };
    let (needed, said) = (refused.needed().join(", "), &refused.said);
    if needed.is_empty() {
        return vec![no_hints(prefix, said)];
    }
    if refused.is_about_rights() {
        vec![Finding::fail(format!(
            "the user of redis.url may not use {needed} ({said}); all it needs: {rule}"
        ))]
    } else {
        vec![Finding::fail(format!("it takes no writes: {said}"))]
    }
}

/// Reports missing hints; jobs go on without them, by their timers.
pub(super) fn no_hints(prefix: &str, said: &str) -> Finding {
    let channel = format!("{{{prefix}}}:hints");
    Finding::warning(format!(
        "workers can't wake each other ({said}), so slots take seconds longer, and a cancellation may come too late: allow the user of redis.url publish, \
         subscribe and the channel {channel}; all it needs: {}",
        acl(prefix)
    ))
}

fn eviction(policy: Option<&str>) -> Finding {
    match policy {
        Some("noeviction") => Finding::ok("maxmemory-policy is noeviction"),
        Some(policy) => Finding::fail(format!(
            "maxmemory-policy is {policy}, by which records of jobs get lost and are paid for again: put \
             \"maxmemory-policy noeviction\" into redis.conf (at once: CONFIG SET maxmemory-policy noeviction)"
        )),
        None => Finding::warning("it doesn't tell its maxmemory-policy: see yourself that it is noeviction"),
    }
}

fn persistence(aof_enabled: Option<&str>) -> Finding {
    match aof_enabled {
        Some("1") => Finding::ok("appendonly is on"),
        Some(_) => Finding::warning(
            "appendonly is off: after a crash of Redis the last jobs are forgotten, and may be paid for again; put \
             \"appendonly yes\" into redis.conf (at once: CONFIG SET appendonly yes)",
        ),
        None => Finding::warning("it doesn't tell whether appendonly is on: see yourself that it is"),
    }
}

/// One `name:value` per line, between comments.
fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const SOUND: &str = "# Server\r\nredis_version:7.0.15\r\nos:Linux 6.1\r\n\r\n# Memory\r\nmaxmemory:0\r\n\
        maxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n\
        aof_last_write_status:ok\r\n# Replication\r\nrole:master\r\n# Cluster\r\ncluster_enabled:0\r\n";

    fn verdicts(info: &str) -> Vec<(Verdict, String)> {
        let findings = findings("redis://cache:6379", info).into_iter();
        findings.map(|finding| (finding.verdict, finding.message)).collect()
    }

    fn has(info: &str, verdict: Verdict, words: &str) -> bool {
        verdicts(info).iter().any(|(is, message)| *is == verdict && message.contains(words))
    }

    #[test]
    fn a_sound_redis_has_nothing_to_tell() {
        let all = verdicts(SOUND);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], (Verdict::Ok, "Redis 7.0.15 at redis://cache:6379".to_owned()));
        assert!(all.iter().all(|(verdict, _)| *verdict == Verdict::Ok), "{all:?}");
        assert!(has(&format!("{SOUND}valkey_version:8.1.0\r\n"), Verdict::Ok, "Valkey 8.1.0 at"));
    }

    #[test]
    fn what_loses_records_fails_and_says_the_line_to_write() {
        let info = SOUND.replace("noeviction", "allkeys-lru");
        assert!(
            has(&info, Verdict::Fail, "is allkeys-lru")
                && has(&info, Verdict::Fail, "maxmemory-policy noeviction")
        );
        assert!(has(&SOUND.replace("role:master", "role:slave"), Verdict::Fail, "replica"));
        assert!(has(&SOUND.replace("cluster_enabled:0", "cluster_enabled:1"), Verdict::Ok, "cluster"));
    }

    #[test]
    fn what_is_weaker_warns() {
        assert!(has(&SOUND.replace("aof_enabled:1", "aof_enabled:0"), Verdict::Warning, "appendonly yes"));
        assert!(has(&SOUND.replace("loading:0", "loading:1"), Verdict::Warning, "loading"));
        let full = SOUND.replace("aof_last_write_status:ok", "aof_last_write_status:err");
        assert!(has(&full, Verdict::Warning, "append-only file"));
        assert!(has("", Verdict::Warning, "doesn't tell its maxmemory-policy"));
    }
}
