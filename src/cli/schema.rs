//! `comet-worker schema`: prints the contracts, as they are built in.

use clap::ValueEnum;

use super::output::Output;
use crate::config::DEFAULT_TOML;
use crate::job::schema;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker schema job > job.schema.json
  comet-worker schema config > comet-worker.toml    (then change it, and run with --config)")]
pub(super) struct Arguments {
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// JSON Schema (2020-12) of a job's message
    Job,
    /// JSON Schema (2020-12) of the events
    Event,
    /// Every setting with its default and its reason, as TOML
    Config,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let pretty = |schema: &serde_json::Value| format!("{schema:#}");
    let text = match arguments.what {
        What::Job => pretty(&schema::job()),
        What::Event => pretty(&schema::event()),
        What::Config => DEFAULT_TOML.trim_end().to_owned(),
    };
    let mut output = Output::plain();
    output.data(&text);
    output.check()
}
