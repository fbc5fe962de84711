//! The command line, one file per command. Data goes to stdout, messages to stderr. The exit code is 0 for success, 1
//! for a failure, and 2 for wrong usage or a wrong configuration.

mod batch;
mod cancel;
mod check;
mod dead;
mod descriptors;
mod fleet;
mod health;
mod orphans;
mod output;
mod parts;
mod render;
mod resolve;
mod routes;
mod run;
mod schema;
mod spend;
mod status;
mod submit;
mod sweep;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Log, LogFormat};
use crate::telemetry;

/// What the tools log unless asked for more. They report what they meet in messages of their own.
const QUIET: &str = "error,comet_worker=warn,lapin=off,async_rs=off";

const QUIETER: &str = "error,comet_worker::worker::life::store=info,lapin=off,async_rs=off";

/// Threads for blocking work: the files of a folder, and name lookups. A burst starts as many as allowed, and each
/// costs memory for as long as the process lives.
const BLOCKING_THREADS_MAX: usize = 128;

/// Jobs from RabbitMQ (or a file) to CometAPI's Kling routes, images, videos and sounds into your
/// storage, events back: never lost, never paid for twice.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  comet-worker schema config > comet-worker.toml
  comet-worker check --config comet-worker.toml
  COMET_WORKER__API__KEY=sk-… comet-worker run
  comet-worker submit --wait order.json
  comet-worker batch prompts.csv --out pictures
Exit code: 0 done, 1 failed, 2 wrong usage or configuration."
)]
struct Arguments {
    /// A TOML file over the defaults; the environment (`COMET_WORKER__<SECTION>__<KEY>`) goes over it
    #[arg(long, short, global = true, value_name = "FILE", env = "COMET_WORKER_CONFIG")]
    config: Option<PathBuf>,
    /// Log as log.filter says, to stderr; `run` always does, the others else log only warnings
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until SIGTERM or SIGINT; a second signal ends it at once
    Run,
    /// Send jobs to the workers, and on demand wait for their images
    Submit(submit::Arguments),
    /// Generate a file of jobs here, without RabbitMQ and Redis, into a folder
    Batch(batch::Arguments),
    /// Show events as they come
    Watch(watch::Arguments),
    /// Show what the fleet does and what stands still, or the life of one job
    Status(status::Arguments),
    /// Show what the fleet has spent, by day and by label
    Spend(spend::Arguments),
    /// Cancel jobs that are not wanted any more
    Cancel(cancel::Arguments),
    /// Clear up a job that ended as outcome_unknown, or fetch the images of a task that ended late
    Resolve(resolve::Arguments),
    /// List, show, replay or drop dead letters
    Dead(dead::Arguments),
    /// Show which routes of the provider there are
    Routes(routes::Arguments),
    /// See whether a worker could work here: configuration, RabbitMQ, Redis, storage, CometAPI
    Check(check::Arguments),
    /// Ask the worker of this configuration whether it lives, or takes jobs
    Health(health::Arguments),
    /// Find paid attempts that no job owns any more
    Orphans(orphans::Arguments),
    /// Remove the receipts of jobs that ended long ago
    Sweep(sweep::Arguments),
    /// Print the JSON schema of jobs or events, or all settings with their defaults
    Schema(schema::Arguments),
}

/// Wrong usage: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Everything between the arguments and the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { config, verbose, command } = Arguments::parse();
    match command_line(config, verbose, &command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<config::Faults>() => {
            ended(2, &format!("the configuration is wrong:\n{error}"))
        }
        Err(error) if error.is::<Usage>() => ended(2, &error.to_string()),
        Err(error) => ended(1, &format!("{error:#}")),
    }
}

fn command_line(file: Option<PathBuf>, verbose: bool, command: &Command) -> anyhow::Result<()> {
    // This needs no configuration, because users write their configuration from its output.
    if let Command::Schema(arguments) = command {
        return schema::run(arguments);
    }
    // This needs one section of the configuration and no secrets, and is called every few seconds.
    if let Command::Health(arguments) = command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(health::run(file.as_deref(), arguments));
    }
    let config = Config::load(file.as_deref(), config::environment())?;
    let log = if matches!(command, Command::Run) {
        config.log.clone()
    } else {
        // A batch shows itself what stands still.
        let quiet = if matches!(command, Command::Batch(_)) { QUIETER } else { QUIET };
        tool_log(&config.log, verbose, quiet)
    };
    telemetry::init(&log).map_err(|error| Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Run => Box::pin(run::run(config)).await,
            Command::Submit(arguments) => Box::pin(submit::run(&config, arguments)).await,
            Command::Batch(arguments) => Box::pin(batch::run(config, arguments)).await,
            Command::Watch(arguments) => Box::pin(watch::run(&config, arguments)).await,
            Command::Status(arguments) => Box::pin(status::run(&config, arguments)).await,
            Command::Spend(arguments) => Box::pin(spend::run(&config, arguments)).await,
            Command::Cancel(arguments) => Box::pin(cancel::run(&config, arguments)).await,
            Command::Resolve(arguments) => Box::pin(resolve::run(&config, arguments)).await,
            Command::Dead(arguments) => Box::pin(dead::run(&config, arguments)).await,
            Command::Routes(arguments) => routes::run(&config, arguments),
            Command::Check(arguments) => Box::pin(check::run(&config, arguments)).await,
            Command::Orphans(arguments) => Box::pin(orphans::run(&config, arguments)).await,
            Command::Sweep(arguments) => Box::pin(sweep::run(&config, arguments)).await,
            Command::Health(arguments) => health::run(file.as_deref(), arguments).await,
            Command::Schema(arguments) => schema::run(arguments),
        }
    });
    // Work that is still under way after the end of a command is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

/// People read this log, so it is text, unless JSON was asked for.
fn tool_log(log: &Log, verbose: bool, quiet: &str) -> Log {
    let format = match log.format {
        LogFormat::Auto | LogFormat::Text => LogFormat::Text,
        LogFormat::Json => LogFormat::Json,
    };
    Log { filter: if verbose { log.filter.clone() } else { quiet.to_owned() }, format }
}

fn ended(code: u8, message: &str) -> ExitCode {
    output::words(&format!("comet-worker: {message}"));
    ExitCode::from(code)
}
