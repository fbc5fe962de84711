//! `comet-worker health`: requests the worker's own `/livez` or `/readyz`, for an orchestrator that runs commands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::Usage;
use super::output::Output;
use crate::config::{self, Admin};
use crate::redact;

/// More than a page of the admin port ever has.
const PAGE_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker health                in a container: HEALTHCHECK CMD [\"comet-worker\", \"health\"]
  comet-worker health --ready        does it take jobs now, and if not, what is in the way
It asks the worker at admin.listen, by the same configuration as `run`, and reads no secrets. Restart a
worker that isn't alive, and never one that isn't ready: it waits for RabbitMQ, Redis, the storage or the
account by itself, and what it holds would have to be taken up again.
Exit code: 0 yes, 1 no or no answer, 2 wrong usage or configuration.")]
pub(super) struct Arguments {
    /// Ask whether it takes jobs (/readyz), not whether it lives (/livez)
    #[arg(long)]
    ready: bool,
    /// How long an answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<()> {
    let address = address(Admin::load(file, config::environment())?.listen)?;
    let page = if arguments.ready { "readyz" } else { "livez" };
    let url = format!("http://{address}/{page}");
    let limit = Duration::from_secs(arguments.timeout);
    let asked = tokio::time::timeout(limit, ask(&url)).await;
    let (good, text) = asked
        .map_err(|_| {
            anyhow::anyhow!(
                "the worker at {address} (admin.listen) did not answer within {} s: it hangs, or has too little processor \
                 time",
                limit.as_secs()
            )
        })?
        .with_context(|| format!("no worker answers at {address} (admin.listen)"))?;
    anyhow::ensure!(good, "{}", text.trim_end());
    let mut output = Output::plain();
    for line in text.lines() {
        output.data(&redact::spaced(line));
    }
    output.check()
}

/// The address at which the worker's own machine reaches it.
fn address(listen: Option<SocketAddr>) -> Result<SocketAddr, Usage> {
    let Some(mut address) = listen else {
        let message = "admin.listen is \"\": this worker has no port that could be asked; set one, such as 127.0.0.1:9464";
        return Err(Usage(message.to_owned()));
    };
    if address.port() == 0 {
        let message = "admin.listen has port 0: the worker takes any free one, and says which in its log; set one, such as 9464";
        return Err(Usage(message.to_owned()));
    }
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}

/// Returns whether the answer was 200, and the page.
async fn ask(url: &str) -> reqwest::Result<(bool, String)> {
    // A container runs this every few seconds, so no certificates are read for a port without TLS.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let mut answer = client.get(url).send().await?;
    let good = answer.status() == reqwest::StatusCode::OK;
    let mut page = Vec::new();
    while let Some(part) = answer.chunk().await? {
        page.extend_from_slice(&part);
        if page.len() > PAGE_BYTES_MAX {
            break;
        }
    }
    Ok((good, String::from_utf8_lossy(&page).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_listens_everywhere_is_asked_at_loopback() {
        for (listen, asked) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(address(listen.parse().ok()).unwrap(), asked.parse().unwrap(), "{listen}");
        }
    }

    #[test]
    fn what_cannot_be_asked_names_the_setting() {
        for listen in [None, "127.0.0.1:0".parse().ok()] {
            let why = address(listen).unwrap_err().to_string();
            assert!(why.contains("admin.listen"), "{why}");
        }
    }
}
