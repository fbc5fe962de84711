//! `comet-worker watch`: prints events as they come.

use std::pin::{Pin, pin};
use std::time::Duration;

use super::output::Output;
use super::{fleet, parts, render};
use crate::config::Config;
use crate::job::JobId;
use crate::job::event::EventView;
use crate::job::pace::{Backoff, Seed};
use crate::queue::Address;
use crate::queue::listen::{ListenError, Listener};
use crate::shutdown::Signals;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker watch
  comet-worker watch --job order-1 --job order-2
  comet-worker watch --json | jq -r 'select(.type == \"comet.job.failed\") | .data.message'
Shows what is published from now on: no queue keeps events for a watch that isn't there. Says on
stderr when the whole fleet stands still, and why.
Copies of an event are shown as they come; they have the same id.
Ends with Ctrl-C and exit code 0.")]
pub(super) struct Arguments {
    /// Only this job's events; may be given several times
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<JobId>,
    /// The events' own JSON, one a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let address = parts::address(config)?;
    let exchange = &config.amqp.exchange;
    // If the first try fails, it is more useful to report that and end.
    let mut listener = Listener::events(&address, exchange).await.map_err(|error| match error {
        ListenError::Connect(error) => parts::no_rabbitmq(config, &error),
        ListenError::NoExchange(exchange) => anyhow::anyhow!(
            "RabbitMQ has no exchange {exchange}: a worker makes it (comet-worker run); or check amqp.exchange \
             (COMET_WORKER__AMQP__EXCHANGE) and the vhost in amqp.url"
        ),
        ListenError::Broken(message) => anyhow::anyhow!("can't listen to the events: {message}"),
    })?;
    let mut output = Output::plain();
    output.words(&format!("watching {exchange}, end with Ctrl-C"));
    let mut signals = Signals::catch()?;
    let mut interrupted = pin!(signals.next());
    let mut news = fleet::news(config);
    loop {
        tokio::select! {
            Some(words) = news.recv() => output.words(&words),
            event = listener.next() => match event {
                Ok(event) => show(&event, arguments, &mut output),
                Err(error) => {
                    output.words(&format!("{error}; connecting again"));
                    match again(&address, exchange, &output, interrupted.as_mut()).await {
                        Some(renewed) => listener = renewed,
                        None => break,
                    }
                    output.words("connected again; events may have been missed meanwhile");
                }
            },
            () = &mut interrupted => break,
        }
        if output.is_closed() {
            // `watch | head -1` has what it wanted.
            break;
        }
    }
    output.check()
}

/// Tries until it is connected or asked to end. A broker that returns empty gets its exchange again when a worker
/// connects.
async fn again(
    address: &Address,
    exchange: &str,
    output: &Output,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Option<Listener> {
    let mut retries = Backoff::new(FIRST_RETRY, LAST_RETRY, Seed::from_text("watch"));
    let mut told = String::new();
    loop {
        let error = tokio::select! {
            listener = Listener::events(address, exchange) => match listener {
                Ok(listener) => return Some(listener),
                Err(error) => error.to_string(),
            },
            () = interrupted.as_mut() => return None,
        };
        if error != told {
            output.words(&format!("{error}; trying on"));
            told = error;
        }
        tokio::select! {
            () = tokio::time::sleep(retries.failed()) => {}
            () = interrupted.as_mut() => return None,
        }
    }
}

fn show(event: &[u8], arguments: &Arguments, output: &mut Output) {
    let view = match EventView::parse(event) {
        Ok(view) => view,
        Err(error) => return output.words(&format!("unreadable: {error}")),
    };
    if !arguments.jobs.is_empty() && !arguments.jobs.iter().any(|job| job.as_str() == view.job_id) {
        return;
    }
    let line = if arguments.json { render::json(event) } else { render::event_with_time(&view) };
    output.data(&line);
}
