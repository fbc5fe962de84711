//! What the user of Redis may do, and what Redis reports and does before it was ever used.

use std::time::Duration;

use comet_worker::ledger::rights::acl;
use serde_json::Value;

use crate::private::PrivateRedis;
use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::tool::{Said, tool};
use crate::support::{Broker, Place, Sim, Worker, amqp_url, wait_for};

/// The environment of a place with another login at Redis.
fn as_user(place: &Place, sim: &Sim) -> Vec<(String, String)> {
    let mut environment = environment(place, &sim.url);
    for (key, value) in &mut environment {
        if key == "COMET_WORKER__REDIS__URL" {
            *value = url_of_user(place);
        }
    }
    environment
}

fn url_of_user(place: &Place) -> String {
    place.redis_url.replace("redis://", "redis://narrow:pw@")
}

/// Makes the user with a rule as `check` prints it.
async fn make_user(redis: &PrivateRedis, rule: &str) {
    let rule = rule.replace("NAME", "narrow").replace("PASSWORD", "pw");
    let _: () = redis.query(&["ACL", "DELUSER", "narrow"]).await;
    let _: () = redis.query(&rule.split(' ').collect::<Vec<_>>()).await;
}

fn line<'a>(said: &'a Said, words: &str) -> &'a str {
    said.data.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?}: {said:?}"))
}

async fn outcome(place: &Place, broker: &Broker) -> Value {
    let event = broker.next(&format!("{}.told", place.prefix)).await;
    serde_json::from_slice(&event.body).unwrap()
}

#[tokio::test]
async fn the_rule_that_check_gives_is_enough_for_all_that_a_worker_does() {
    let redis = PrivateRedis::start().await;
    Place::run_on("rule", amqp_url(), redis.url(), async |place| {
        make_user(&redis, &acl(&place.prefix)).await;
        let sim = Sim::start(&["--durations", "fixed:500ms"]).await;
        let url = url_of_user(place);
        let settings = [("REDIS__URL", url.as_str()), ("GENERATION__MAX_RUNNING", "2")];
        let worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        assert_eq!(outcome(place, &broker).await["type"], "comet.job.succeeded");
        let said = tool(&as_user(place, &sim), &["check"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(line(&said, "scripts, writes and hints").starts_with("ok"), "{said:?}");
        assert!(!worker.log().contains("no hints"), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn a_user_without_scripts_or_without_a_command_is_found_by_check_and_starts_nothing() {
    let redis = PrivateRedis::start().await;
    Place::run_on("scripts", amqp_url(), redis.url(), async |place| {
        let sim = Sim::start(&[]).await;
        let url = url_of_user(place);
        for (missing, says) in [("-@scripting", "scripts can't be run"), ("-zadd -hincrby", "ZADD")] {
            make_user(&redis, &format!("{} {missing}", acl(&place.prefix))).await;
            let said = tool(&as_user(place, &sim), &["check"]).await;
            assert_eq!(said.code, Some(1), "{missing}: {said:?}");
            let line = line(&said, says);
            assert!(line.starts_with("FAIL") && line.contains("ACL SETUSER"), "{line}");
            let worker = Worker::start(place, &sim, &[("REDIS__URL", url.as_str())]);
            let text = wait_for("the reason in /readyz", async || {
                let (status, text) = worker.admin("/readyz").await;
                (status == 503 && text.contains("redis.url")).then_some(text)
            })
            .await;
            assert!(text.contains("comet-worker check"), "{text}");
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(worker.log().matches("taking no jobs").count(), 1, "{}", worker.log());
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_channel_jobs_and_cancellations_go_on_and_it_is_said() {
    let redis = PrivateRedis::start().await;
    Place::run_on("channel", amqp_url(), redis.url(), async |place| {
        for missing in ["resetchannels", "-publish -subscribe"] {
            make_user(&redis, &format!("{} {missing}", acl(&place.prefix))).await;
            let sim = Sim::start(&["--durations", "fixed:60s"]).await;
            let said = tool(&as_user(place, &sim), &["check"]).await;
            assert_eq!(said.code, Some(0), "{missing}: {said:?}");
            assert!(line(&said, "can't wake each other").starts_with("warning"), "{said:?}");
            let url = url_of_user(place);
            let settings = [("REDIS__URL", url.as_str()), ("GENERATION__MAX_RUNNING", "2")];
            let worker = Worker::start(place, &sim, &settings);
            let broker = Broker::connect(place).await;
            broker.listen(place).await;
            let id = if missing.starts_with('r') { "a" } else { "b" };
            broker.publish(place, &job(id)).await;
            wait_for("the POST", async || (sim.report().await.number("submits") == 1).then_some(())).await;
            let said = tool(&as_user(place, &sim), &["cancel", id]).await;
            assert_eq!(said.code, Some(0), "{said:?}");
            assert!(!said.words.contains("perhaps"), "{said:?}");
            assert_eq!(outcome(place, &broker).await["type"], "comet.job.cancelled");
            worker.says("no hints from Redis").await;
            assert_eq!(worker.log().matches("no hints from Redis").count(), 1, "{}", worker.log());
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_closes_what_is_idle_costs_no_pause() {
    let redis = PrivateRedis::start_as(&["--appendonly", "yes", "--timeout", "1"]).await;
    Place::run_on("idle", amqp_url(), redis.url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:4s"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for id in ["a", "b"] {
            broker.publish(place, &job(id)).await;
            assert_eq!(outcome(place, &broker).await["type"], "comet.job.succeeded");
        }
        let (_, metrics) = worker.admin("/metrics").await;
        let closed =
            metrics.lines().find(|line| line.starts_with("comet_reconnects_total{service=\"redis\"}"));
        assert!(closed.is_some_and(|line| !line.ends_with(" 0")), "nothing was closed: {closed:?}");
        assert!(!worker.log().contains("taking no jobs"), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn what_a_server_says_before_it_closes_is_what_is_said() {
    let redis = PrivateRedis::start_as(&["--maxclients", "1"]).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let _only = crate::support::connected(&client).await.unwrap();
    Place::run_on("full-redis", amqp_url(), redis.url(), async |place| {
        let sim = Sim::start(&[]).await;
        let said = tool(&environment(place, &sim.url), &["check"]).await;
        let line = line(&said, "max number of clients");
        assert!(line.starts_with("FAIL"), "{line}");
    })
    .await;
}
