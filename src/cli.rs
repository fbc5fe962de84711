//! The command line: one file a command. Data goes to stdout, words to stderr; the exit code is 0
//! when it is done, 1 when it failed, 2 when it was asked wrongly or configured wrongly.

mod parts;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::telemetry;

/// Jobs from RabbitMQ to CometAPI (Kling, multi-image to image), images into your storage, events
/// back: never lost, never paid for twice.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    /// A TOML file over the defaults; the environment (`COMET_WORKER__<SECTION>__<KEY>`) goes over it.
    #[arg(long, short, global = true, value_name = "FILE", env = "COMET_WORKER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until SIGTERM or SIGINT; a second signal ends it at once.
    Run,
}

/// Everything between the arguments and the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref(), config::environment()) {
        Ok(config) => config,
        Err(faults) => return usage(&format!("the configuration is wrong:\n{faults}")),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return usage(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Run => run::run(config).await,
        }
    });
    // What is still under way after the end of a command is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<config::Faults>() => usage(&format!("the configuration is wrong:\n{error}")),
        Err(error) => failed(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the words of the command")]
fn usage(message: &str) -> ExitCode {
    eprintln!("comet-worker: {message}");
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "the words of the command")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("comet-worker: {error:#}");
    ExitCode::from(1)
}
