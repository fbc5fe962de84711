//! `comet-worker routes`: which routes of the provider there are.

use serde_json::{Value, json};

use super::output::Output;
use crate::config::Config;
use crate::job::route::{Check, Route, RouteData};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker routes
  comet-worker routes --json | jq -r 'select(.name == \"omni_image\").fields[].name'
A job names its route as `operation`; without one it is the first. SURE says how sure it is that
CometAPI takes a job of that route as it is sent: seen (others have seen it work), page (CometAPI
has a page about it), guessed (its path is guessed from Kling's own), configured (it is yours).
The fields with their limits
are in comet-worker schema job.")]
pub(super) struct Arguments {
    /// JSON: one object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let routes = config.api.routes();
    let mut output = Output::plain();
    if arguments.json {
        for route in routes.iter() {
            output.data(&json(route).to_string());
        }
    } else {
        output.data(&format!("{:<22} {:<16} {:<10} {}", "ROUTE", "MAKES", "SURE", "POSTS TO"));
        for route in routes.iter() {
            let (makes, sure) = (made(route.data).join(", "), route.data.certainty.as_str());
            output.data(&format!("{:<22} {makes:<16} {sure:<10} {}", route.data.name, route.submit_path));
            output.data(&format!("    {} Needs {}.", route.data.about, needs(route)));
        }
    }
    output.check()
}

/// The kinds of files, as the events have them.
fn made(data: &RouteData) -> Vec<&'static str> {
    data.makes.iter().map(|kind| kind.plural()).collect()
}

/// The fields that a job must have.
fn needs(route: &Route) -> String {
    let required = route.data.fields.iter().filter(|field| field.required).map(|field| field.name);
    required.collect::<Vec<_>>().join(", ")
}

fn json(route: &Route) -> Value {
    let data = route.data;
    let fields = data.fields.iter().map(|field| {
        let is_image = matches!(field.check, Check::Picture | Check::Scene | Check::Pictures { .. });
        json!({"name": field.name, "required": field.required, "image": is_image, "about": field.about})
    });
    json!({
        "name": data.name,
        "about": data.about,
        "makes": made(data),
        "sure": data.certainty.as_str(),
        "submit_path": route.submit_path,
        "query_path": route.query_path,
        "models": route.models,
        "default_model": route.default_model,
        "fields": fields.collect::<Vec<_>>(),
    })
}
