//! `comet-sim`: a stand-in for CometAPI's Kling routes, for tests, demos and benchmarks, ours and those of
//! users.
//!
//! A fake that only answers can't tell whether a client paid twice. This one is a model with state: it makes tasks,
//! charges for them, refuses what the real provider refuses, loses replies when told to, and reports the result at
//! `/sim/report`.
//!
//! | file | holds |
//! |---|---|
//! | `model.rs`, `account.rs`, `task.rs` | the provider as a pure model; the time is a parameter |
//! | `rules.rs` | what a request may be |
//! | `shape.rs`, `refusal.rs` | how the provider accepts and refuses |
//! | `said.rs`, `dress.rs`, `files.rs` | the same in other words, other shapes, and broken files |
//! | `callback.rs` | the calls to a `callback_url` |
//! | `faults.rs`, `scenarios.rs`, `switches.rs` | what can go wrong, by name, and how often |
//! | `duration.rs` | how long things take |
//! | `picture.rs`, `media.rs` | real PNG and JPEG files, videos and sounds |
//! | `report.rs`, `steering.rs` | what was charged and polled; `/sim/` |
//! | `http.rs`, `wire.rs`, `options.rs` | the real paths, the connections, the command line |

mod account;
mod callback;
#[path = "../shared/chance.rs"]
mod chance;
mod dress;
mod duration;
mod faults;
mod files;
mod http;
mod media;
mod model;
mod options;
mod picture;
mod refusal;
mod report;
mod rules;
mod said;
mod scenarios;
mod shape;
mod steering;
mod switches;
mod task;
mod wire;

use std::{io::Write, net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    http::{Clock, Pace, Sim},
    model::Model,
    options::Options,
    picture::Pictures,
    wire::{Connections, Scissors, Wires},
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.list_faults {
        print(&options::fault_list())
    } else if options.list_scenarios {
        print(&scenarios::list())
    } else {
        serve(&options).await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this fails too, the message can't be shown anywhere.
            let _ = writeln!(std::io::stderr(), "comet-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!("can't listen on {}; give another --listen, or port 0 to have one picked", options.listen)
    })?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let connections = Arc::new(Connections::default());
    let sim = Arc::new(sim(options, address, Arc::clone(&connections)));
    let service = http::router(sim).into_make_service_with_connect_info::<Scissors>();
    print(&format!("comet-sim listening on http://{address}\n"))?;
    tokio::select! {
        served = axum::serve(Wires { listener, connections }, service) => served.context("serving"),
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for ctrl-c"),
    }
}

fn sim(options: &Options, address: SocketAddr, connections: Arc<Connections>) -> Sim {
    let public_base = match &options.public_base {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{address}"),
    };
    Sim {
        model: Model::new(options.settings()).into(),
        clock: Clock::start(),
        rules: options.rules(),
        pictures: Pictures::new(options.image_px),
        video_bytes: options.video_bytes,
        pace: Pace { submit: options.submit_latency, poll: options.poll_latency, slow: options.slow_for },
        public_base,
        connections,
        http: reqwest::Client::new(),
    }
}

/// A reader of the first line waits for it, so it is flushed.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
