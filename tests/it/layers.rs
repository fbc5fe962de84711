//! The dependencies between the modules: `job` is pure, and no module knows one above it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules that each module may use, besides the tools. `worker` and `cli` may use all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("job", &[]),
    ("fleet", &["job"]),
    // It reads and writes what the fleet's state is made of.
    ("ledger", &["job", "fleet"]),
    ("provider", &["job"]),
    ("queue", &["job"]),
    ("images", &["job"]),
    ("storage", &["job"]),
    // Receipts are objects in the store.
    ("receipts", &["job", "storage", "fleet"]),
    ("config", &["job"]),
    ("metrics", &["job", "fleet"]),
    // A callback becomes a hint, and its words are read like those of a reply.
    ("callback", &["job", "ledger", "provider"]),
    ("admin", &["job", "fleet"]),
    ("telemetry", &["config"]),
    ("traces", &["job"]),
    ("limits", &[]),
    ("net", &[]),
    ("redact", &["job"]),
];

/// Tools that any module except `job` may use, because they know nothing about jobs.
const TOOLS: &[&str] =
    &["bounded_listener", "clock", "heartbeat", "limits", "metrics", "net", "redact", "secret", "shutdown"];

/// What a decision doesn't use, because it depends only on its arguments.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "lapin",
    "redis::",
    "object_store",
    "tracing",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "Instant::now",
    "SystemTime",
    "fastrand",
    "uuid::Uuid::new",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of a module that are not tests, without their comments and the tests at their end.
fn files(module: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![source().join(module)];
    let mut paths = vec![source().join(format!("{module}.rs"))];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = name == "tests"
            || name.ends_with("_tests")
            || path.components().any(|part| part.as_os_str() == "tests");
        if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: Vec<_> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
            found.insert(path, code.join("\n"));
        }
    }
    assert!(!found.is_empty(), "there is no module {module}");
    found
}

fn known(code: &str) -> BTreeSet<String> {
    let mentions = code.split("crate::").skip(1);
    let names = mentions
        .map(|behind| behind.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_'));
    names.map(Iterator::collect::<String>).filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_module_knows_one_above_it() {
    let mut wrong = Vec::new();
    for (module, may_know) in MAY_KNOW {
        for (path, code) in files(module) {
            let tools: &[&str] = if *module == "job" { &[] } else { TOOLS };
            let allowed = |name: &str| name == *module || may_know.contains(&name) || tools.contains(&name);
            let above = known(&code).into_iter().filter(|name| !allowed(name));
            wrong.extend(above.map(|name| format!("{}: crate::{name}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "arrows that go back:\n{}", wrong.join("\n"));
}

#[test]
fn what_the_job_module_decides_is_pure() {
    let mut wrong = Vec::new();
    for (path, code) in files("job") {
        let impure = IMPURE.iter().filter(|word| code.contains(**word));
        wrong.extend(impure.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A check that finds nothing must be able to find something.
#[test]
fn an_arrow_back_is_seen() {
    assert_eq!(
        known("use crate::worker::life;\nlet a = crate::job::JobId::new();"),
        ["job", "worker"].map(str::to_owned).into()
    );
}
