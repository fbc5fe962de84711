//! `make bench` itself, small: its programs and the parts that take seconds. Tests assert nothing about what it
//! measures.

use std::process::Stdio;

use tokio::process::Command;

use crate::private::PrivateRedis;
use crate::support::amqp_url;
use crate::support::process::program;

#[tokio::test]
async fn the_benchmark_measures_the_worker_and_the_floor() {
    let bench = program("comet-bench");
    // It reads Redis's own counts, so no other test may use this Redis.
    let redis = PrivateRedis::start().await;
    let said = Command::new(&bench)
        .args([
            "throughput",
            "redis",
            "idle",
            "--rounds",
            "1",
            "--jobs",
            "20",
            "--divisor",
            "500",
            "--no-peers",
        ])
        .env("AMQP_URL", amqp_url())
        .env("REDIS_URL", redis.url())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!("{}: {error}; `cargo build --examples` first, or `make test`", bench.display())
        });
    let (tables, words) = (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    assert!(said.status.success(), "{words}");
    for contender in ["floor", "worker, receipts off", "worker, receipts on"] {
        let row = tables.lines().find_map(|line| line.strip_prefix(&format!("| {contender} | 20 | ")));
        let rate: f64 = row.and_then(|row| row.split(' ').next()?.parse().ok()).unwrap_or_default();
        assert!(rate > 0.0, "{contender} has no jobs a second:\n{tables}\n{words}");
    }
    // These are the requirement's bounds for one job, which don't depend on the machine.
    assert!(
        tables.contains("| round trips of a job, its polls not counted | at most 5.00 | 3.00 | yes |"),
        "{tables}"
    );
    assert!(tables.contains("## Idle"), "{tables}");
}
