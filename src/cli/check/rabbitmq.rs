//! Checks RabbitMQ: whether it accepts the login, and which queues and exchange exist.

use std::time::Duration;

use tokio::time::timeout;

use super::super::parts;
use super::super::render::count;
use super::Finding;
use crate::config::{Config, redacted};
use crate::queue::rights::{self, MissingRight};
use crate::queue::topology::{self, Presence, Seen};

const CLOSING: Duration = Duration::from_secs(1);

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let address = match parts::address(config) {
        Ok(address) => address,
        Err(error) => return vec![Finding::fail(format!("{error:#}"))],
    };
    let connection = match address.connect("check").await {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::fail(parts::no_rabbitmq(config, &error).to_string())],
    };
    let url = redacted(&config.amqp.url.now());
    let mut findings = vec![Finding::ok(format!("connected to {url}"))];
    match topology::look(&connection, &parts::names(config)).await {
        Ok(all) => findings.extend(all.into_iter().map(|seen| finding(config, seen))),
        Err(error) => findings.push(Finding::fail(format!(
            "{error}; the user of amqp.url needs configure, write and read rights on it"
        ))),
    }
    match rights::missing(&connection, &parts::names(config)).await {
        Ok(missing) => findings.extend(missing.into_iter().map(right)),
        Err(error) => findings.push(Finding::warning(format!(
            "whether the user of amqp.url may publish and consume could not be tried: {error}"
        ))),
    }
    let _ = timeout(CLOSING, connection.close(200, "checked".into())).await;
    findings
}

fn finding(config: &Config, seen: Seen) -> Finding {
    let Seen { what, name, presence } = seen;
    let declare = config.amqp.declare;
    match presence {
        Presence::Missing if declare => Finding::ok(format!("{what} isn't there yet; `run` makes it")),
        Presence::Missing => Finding::fail(format!(
            "{what} isn't there, and amqp.declare is false: make it, or set amqp.declare = true"
        )),
        Presence::NotOurs { refusal, .. } if declare => Finding::fail(format!(
            "{what} is there, but may not be declared: give the user of amqp.url the configure right on it, or set \
             amqp.declare = false ({refusal})"
        )),
        Presence::There { difference: Some(difference), .. } => Finding::warning(format!(
            "{what} exists with other arguments and is used as it is; {}: {}",
            difference.consequence, difference.difference
        )),
        Presence::There { messages, consumers, difference: None }
        | Presence::NotOurs { messages, consumers, .. } => held(config, &what, &name, messages, consumers),
    }
}

fn right(missing: MissingRight) -> Finding {
    let MissingRight { right, resource, consequence } = missing;
    Finding::fail(format!(
        "the user of amqp.url has no right to {right} on {resource}: {consequence}; give it that right (rabbitmqctl \
         set_permissions)"
    ))
}

fn held(config: &Config, what: &str, name: &str, messages: u32, consumers: u32) -> Finding {
    let amqp = &config.amqp;
    if name == amqp.exchange && what.starts_with("exchange") {
        return Finding::ok(format!("{what} is there"));
    }
    let number = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let waiting = format!("{what}: {} waiting", count(number(messages), "message"));
    if messages > 0 && name == amqp.dead_queue {
        Finding::warning(format!("{waiting}: jobs for a person to look at, the reason is in x-comet-reason"))
    } else if messages > 0 && name == amqp.unrouted_queue {
        Finding::warning(format!("{waiting}: ends of jobs that no queue took; bind one to {}", amqp.exchange))
    } else {
        Finding::ok(format!("{waiting}, {}", count(number(consumers), "consumer")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::queue::topology::Difference;

    fn of(declare: &str, name: &str, presence: Presence) -> Finding {
        let env = [("COMET_WORKER__AMQP__DECLARE".to_owned(), declare.to_owned())];
        let config = Config::load(None, env).unwrap();
        finding(&config, Seen { what: format!("queue {name}"), name: name.to_owned(), presence })
    }

    fn there(messages: u32) -> Presence {
        Presence::There { messages, consumers: 1, difference: None }
    }

    #[test]
    fn what_is_missing_is_made_by_run_or_by_the_operator() {
        let ours = of("true", "comet.jobs", Presence::Missing);
        assert_eq!(ours, Finding::ok("queue comet.jobs isn't there yet; `run` makes it"));
        assert_eq!(of("false", "comet.jobs", Presence::Missing).verdict, Verdict::Fail);
    }

    #[test]
    fn what_waits_is_counted_and_dead_letters_warn() {
        assert_eq!(
            of("true", "comet.jobs", there(2)).message,
            "queue comet.jobs: 2 messages waiting, 1 consumer"
        );
        assert_eq!(of("true", "comet.jobs.dead", there(0)).verdict, Verdict::Ok);
        assert_eq!(of("true", "comet.jobs.dead", there(1)).verdict, Verdict::Warning);
        assert_eq!(of("true", "comet.events.unrouted", there(1)).verdict, Verdict::Warning);
    }

    #[test]
    fn other_arguments_warn_and_a_missing_right_fails_where_it_is_needed() {
        let difference = Difference {
            what: "q".to_owned(),
            difference: "inequivalent arg".to_owned(),
            consequence: "weak",
        };
        let other = Presence::There { messages: 0, consumers: 0, difference: Some(difference) };
        assert_eq!(of("true", "comet.jobs", other).verdict, Verdict::Warning);
        let refused = Presence::NotOurs { messages: 0, consumers: 0, refusal: "ACCESS_REFUSED".to_owned() };
        assert_eq!(of("true", "comet.jobs", refused.clone()).verdict, Verdict::Fail);
        assert_eq!(of("false", "comet.jobs", refused).verdict, Verdict::Ok);
    }
}
