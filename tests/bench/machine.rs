//! Where and when something was measured.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::stand::Stand;

const FRAME_MAX: usize = 100_000;

/// A paragraph: day, machine, load, versions.
pub async fn when(stand: &Stand) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism()?;
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let commit = said("git", &["rev-parse", "--short=10", "HEAD"]).await;
    let rust = said("rustc", &["--version"]).await;
    let rust = rust.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    Ok(format!(
        "Measured {day} at commit {commit} on {cores} cores of {model}, {} GiB, Linux {}, load {load} at the start; RabbitMQ {}, Redis {}, \
         Rust {rust}, release build. Images and receipts in {}. Broker, Redis and stand-in share the machine with what is measured.",
        memory.unwrap_or_default() / 1024 / 1024,
        read("/proc/sys/kernel/osrelease").trim(),
        rabbit(stand).await?,
        redis(stand).await?,
        stand.folder.display(),
    ))
}

async fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output().await {
        Ok(said) if said.status.success() => String::from_utf8_lossy(&said.stdout).trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// A broker sends its version first, before any login; lapin doesn't return it.
async fn rabbit(stand: &Stand) -> Result<String> {
    let uri: lapin::uri::AMQPUri = stand.amqp_url.parse().map_err(anyhow::Error::msg)?;
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let [_, _, _, length @ ..] = head;
    let mut start = vec![0; usize::try_from(u32::from_be_bytes(length))?.min(FRAME_MAX)];
    stream.read_exact(&mut start).await?;
    // A field of the table: its name, the letter S, the length in four bytes, the text.
    let name = b"\x07versionS";
    let at = start.windows(name.len()).position(|window| window == name).map(|at| at + name.len());
    let length = at.and_then(|at| Some(usize::from(*start.get(at + 3)?)));
    let version = at.zip(length).and_then(|(at, length)| start.get(at + 4..at + 4 + length));
    Ok(version.map_or("of an unknown version".to_owned(), |text| String::from_utf8_lossy(text).into_owned()))
}

async fn redis(stand: &Stand) -> Result<String> {
    let mut redis = redis::Client::open(stand.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.context("Redis has no version")?.to_owned())
}
