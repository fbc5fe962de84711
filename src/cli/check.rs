//! `comet-worker check`: whether a worker could work here, and what to do if not.
//!
//! It changes nothing that stays: it creates and deletes a probe key and a probe object.

mod rabbitmq;
mod redis;
mod storage;

use std::pin::Pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::output::Output;
use super::render::{count, one_line};
use super::{descriptors, parts};
use crate::config::{Config, redacted};
use crate::job::answers::{AccountFault, AccountFaultKind};
use crate::ledger::{RedisLedger, hints};
use crate::metrics::Metrics;
use crate::provider::Provider as _;

/// The time limit of one check.
const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  comet-worker check
  comet-worker check --json | jq -r 'select(.verdict != \"ok\")'
A line for each finding: ok, warning (works, with a weakness), FAIL (a worker would not work).
Nothing is made or changed, except for a local folder that storage.url names.
Exit code: 0 nothing failed, 1 something did, 2 the configuration is wrong.")]
pub(super) struct Arguments {
    /// An object a line: check, verdict, message
    #[arg(long)]
    json: bool,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// A worker works, but something is weaker, or needs a person.
    Warning,
    /// A worker would not work.
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fail => "FAIL",
        }
    }
}

impl Finding {
    fn ok(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, message: message.into() }
    }

    fn warning(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, message: message.into() }
    }

    fn fail(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, message: message.into() }
    }
}

type Look<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let looks: [(&str, &str, Look<'_>); 5] = [
        ("configuration", "", Box::pin(std::future::ready(configuration(config)))),
        ("rabbitmq", "amqp.url", Box::pin(rabbitmq::look(config))),
        ("redis", "redis.url", Box::pin(look_at_redis(config))),
        ("storage", "storage.url", Box::pin(storage::look(config))),
        ("cometapi", "api.base_url", Box::pin(provider(config))),
    ];
    let looks = looks.map(|(check, key, look)| async move {
        let seconds = LIMIT.as_secs();
        let late = |_| {
            let message = format!("no answer within {seconds} s; check {key}, the server and the way to it");
            vec![Finding::fail(message)]
        };
        (check, timeout(LIMIT, look).await.unwrap_or_else(late))
    });
    let number = looks.len();
    // All checks run at once; their results are printed in this order.
    let mut findings = stream::iter(looks).buffered(number);
    let mut output = Output::plain();
    let mut failed = 0;
    while let Some((check, findings)) = findings.next().await {
        for finding in findings {
            failed += usize::from(finding.verdict == Verdict::Fail);
            output.data(&line(check, &finding, arguments.json));
        }
    }
    output.check()?;
    anyhow::ensure!(failed == 0, "{} failed: a worker would not work here", count(failed, "check"));
    Ok(())
}

fn line(check: &str, finding: &Finding, json: bool) -> String {
    let (verdict, message) = (finding.verdict.word(), one_line(&finding.message));
    if json {
        let verdict = verdict.to_lowercase();
        serde_json::json!({ "check": check, "verdict": verdict, "message": message }).to_string()
    } else {
        format!("{verdict:<8} {check:<14} {message}")
    }
}

/// Reports the configuration, which could be read, or this would not run.
fn configuration(config: &Config) -> Vec<Finding> {
    let rules = parts::request_rules(config);
    let route = rules.routes.default_route();
    let (profile, model) = (config.api.edition.profile, &route.default_model);
    let (least, most) = (route.subject_images.start(), route.subject_images.end());
    let mut findings = vec![Finding::ok(format!(
        "read, and nothing in it is wrong: profile {profile}, {least} to {most} subject images, {model} for jobs \
         that name no model"
    ))];
    findings.push(callbacks(config));
    let warnings = config.warnings().into_iter().chain(descriptors::too_few(config));
    findings.extend(warnings.map(Finding::warning));
    findings
}

/// Reports the settings of callbacks. Whether callbacks arrive can only be seen from outside.
fn callbacks(config: &Config) -> Finding {
    let callback = &config.callback;
    let Some(url) = &callback.public_url else {
        return Finding::ok("callbacks are off (callback.public_url is not set): tasks are polled");
    };
    let listens = match callback.listen {
        Some(listen) => format!("this worker listens at {listen}"),
        None => "this worker doesn't listen (callback.listen is \"\")".to_owned(),
    };
    Finding::ok(format!("callbacks are asked for below {}, and {listens}", redacted(url.as_str())))
}

async fn look_at_redis(config: &Config) -> Vec<Finding> {
    let url = redacted(&config.redis.url.now());
    let unreachable = |error: &dyn std::fmt::Display| {
        vec![Finding::fail(format!(
            "no answer from Redis at {url}: {error}; check redis.url (COMET_WORKER__REDIS__URL) and the server"
        ))]
    };
    let metrics = Metrics::default();
    let ledger = match parts::redis_ledger(config, &metrics) {
        Ok(ledger) => ledger,
        Err(error) => return vec![Finding::fail(format!("{error:#}"))],
    };
    let connection = match parts::redis_connection(config, &metrics) {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::fail(format!("{error:#}"))],
    };
    if let Err(error) = connection.query::<String>(&::redis::cmd("PING")).await {
        return unreachable(&error);
    }
    let mut findings = match connection.query::<String>(&::redis::cmd("INFO")).await {
        Ok(info) => redis::findings(&url, &info),
        Err(error) => vec![
            Finding::ok(format!("reached at {url}")),
            Finding::warning(format!(
                "INFO was refused ({error}): see yourself that maxmemory-policy is noeviction and appendonly yes"
            )),
        ],
    };
    // A fault of the server says more than the write that fails because of it.
    let is_sound = findings.iter().all(|finding| finding.verdict != Verdict::Fail);
    if is_sound {
        let rights = redis::rights(&config.redis.prefix, ledger.rights().await);
        let are_complete = rights.iter().all(|finding| finding.verdict == Verdict::Ok);
        findings.extend(rights);
        if are_complete && let Err(error) = redis_hints(config).await {
            findings.push(redis::no_hints(&config.redis.prefix, &error));
        }
    }
    findings
}

async fn redis_hints(config: &Config) -> Result<(), String> {
    let endpoint = parts::redis_endpoint(config).map_err(|error| format!("{error:#}"))?;
    hints::try_to_listen(&endpoint, &RedisLedger::hint_channel(&config.redis.prefix)).await
}

async fn provider(config: &Config) -> Vec<Finding> {
    if let Err(faults) = config.require_key() {
        let faults = faults.as_slice().iter().map(|fault| Finding::fail(fault.message.clone()));
        return faults.collect();
    }
    let provider = match parts::provider(config) {
        Ok(provider) => provider,
        Err(error) => return vec![Finding::fail(format!("{error:#}"))],
    };
    let url = redacted(config.api.base_url.as_str());
    vec![match provider.probe().await {
        Ok(()) => {
            Finding::ok(format!("{url}: reached, and it takes the key (its money shows only with a job)"))
        }
        Err(fault) => provider_fault(&url, &fault),
    }]
}

fn provider_fault(url: &str, fault: &AccountFault) -> Finding {
    let advice = match fault.kind {
        AccountFaultKind::Key => {
            "the key is not taken: check api.key (COMET_WORKER__API__KEY) or api.key_file, and that the key is enabled"
        }
        AccountFaultKind::Money => "no money or no quota: top the account up, or raise the key's limit",
        AccountFaultKind::Configuration => {
            "this is not the API: check api.base_url (COMET_WORKER__API__BASE_URL) and api.query_path"
        }
        AccountFaultKind::Forbidden => {
            "the key may not do this: check its models, its group and the IP addresses it is good for"
        }
        AccountFaultKind::Unreachable => {
            "not to be reached: check api.base_url (COMET_WORKER__API__BASE_URL), the name resolution and the firewall; \
             or it is down"
        }
    };
    Finding::fail(format!("{url}: {advice} ({})", fault.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_or_an_object() {
        let finding = Finding::fail("no\nanswer");
        assert_eq!(line("redis", &finding, false), "FAIL     redis          no answer");
        assert_eq!(
            line("redis", &finding, true),
            r#"{"check":"redis","message":"no answer","verdict":"fail"}"#
        );
        assert_eq!(line("cometapi", &Finding::ok("x"), false), "ok       cometapi       x");
    }
}
