//! Asks a service one question, for the scripts beside this file: a fresh Debian has no curl, no redis-cli and no AMQP
//! client. Exit code 0 means yes; with ASK_WHY set, it says why not. No question takes longer than ten seconds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it answers on them")]

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use redis::AsyncCommands as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

const LIMIT: Duration = Duration::from_secs(10);
/// Below the range from which Linux takes ports for outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

#[derive(Parser)]
enum Question {
    /// Does the broker let the URL's user into the URL's virtual host?
    AmqpLogin { url: Url },
    /// Delete these, whether they exist or not: queue:NAME, exchange:NAME
    AmqpDelete {
        url: Url,
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Does Redis let the URL's user in and answer?
    RedisPing { url: Url },
    /// Delete the keys that match, a thousand looked at per step
    RedisDelete { url: Url, pattern: String },
    /// Print the body of a 200
    HttpGet { url: Url },
    /// Print a free port of 127.0.0.1
    FreePort,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match timeout(LIMIT, answer(Question::parse())).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => no(&error.to_string()),
        Err(_) => no("no answer in ten seconds"),
    }
}

fn no(why: &str) -> ExitCode {
    if std::env::var_os("ASK_WHY").is_some() {
        eprintln!("ask: {why}");
    }
    ExitCode::FAILURE
}

async fn answer(question: Question) -> anyhow::Result<()> {
    match question {
        Question::AmqpLogin { url } if is_encrypted(&url) => accepts(&url, 5671).await,
        Question::AmqpLogin { url } => {
            amqp(&url).await?;
            Ok(())
        }
        Question::AmqpDelete { url, what } => {
            let connection = amqp(&url).await?;
            for what in what {
                let channel = connection.create_channel().await?;
                match what.split_once(':') {
                    Some(("queue", name)) => {
                        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
                    }
                    Some(("exchange", name)) => {
                        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await?;
                    }
                    Some(_) | None => bail!("{what} is neither queue:NAME nor exchange:NAME"),
                }
            }
            Ok(())
        }
        Question::RedisPing { url } if is_encrypted(&url) => accepts(&url, 6379).await,
        Question::RedisPing { url } => {
            let mut connection = redis(&url).await?;
            let _: String = connection.ping().await?;
            Ok(())
        }
        Question::RedisDelete { url, pattern } => {
            let mut connection = redis(&url).await?;
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
                let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await?;
                if !keys.is_empty() {
                    let _: u64 = connection.unlink(keys).await?;
                }
                if next == 0 {
                    return Ok(());
                }
                cursor = next;
            }
        }
        Question::HttpGet { url } => {
            let response = reqwest::Client::builder().no_proxy().build()?.get(url).send().await?;
            ensure!(response.status() == reqwest::StatusCode::OK, "{}", response.status());
            print!("{}", response.text().await?);
            Ok(())
        }
        Question::FreePort => {
            println!("{}", free_port()?);
            Ok(())
        }
    }
}

/// The certificates of a test's own server are not known here, so it is enough that its port accepts connections.
fn is_encrypted(url: &Url) -> bool {
    matches!(url.scheme(), "amqps" | "rediss")
}

async fn accepts(url: &Url, default_port: u16) -> anyhow::Result<()> {
    let host = url.host_str().context("a URL with a host")?;
    TcpStream::connect((host.trim_matches(['[', ']']), url.port().unwrap_or(default_port))).await?;
    Ok(())
}

async fn amqp(url: &Url) -> anyhow::Result<Connection> {
    Ok(Connection::connect(url.as_str(), ConnectionProperties::default()).await?)
}

async fn redis(url: &Url) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?)
}

/// Another program may take the port before it is used; callers then try again with another one.
fn free_port() -> anyhow::Result<u16> {
    let start = u16::try_from(std::process::id() % 12_000)?;
    let (first, last) = (PORTS.start, PORTS.end);
    let from_here = (first + start..last).chain(first..first + start);
    let free = |port: &u16| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok();
    from_here.into_iter().find(free).context("no free port")
}
