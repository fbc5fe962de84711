//! Which server is talked to: what a URL names, the nodes of a cluster, and a login that changes meanwhile.

use std::time::Duration;

use serde_json::Value;

use crate::private::PrivateRabbit;
use crate::support::jobs::{job, jobs};
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, redis_url, wait_for};

async fn outcome(place: &Place, broker: &Broker) -> Value {
    let event = broker.next(&format!("{}.told", place.prefix)).await;
    serde_json::from_slice(&event.body).unwrap()
}

/// 2001:db8::/32 is for documentation, and leads nowhere.
#[tokio::test]
async fn an_ipv6_address_is_not_taken_for_this_machine() {
    Place::run("ipv6", async |place| {
        let sim = Sim::start(&[]).await;
        let port = amqp_url().rsplit_once(':').map(|(_, rest)| rest.split('/').next().unwrap().to_owned());
        let elsewhere = format!("amqp://guest:guest@[2001:db8::dead]:{}", port.unwrap());
        let mut with_url = environment(place, &sim.url);
        with_url.extend(
            [
                ("AMQP__URL", elsewhere.as_str()),
                ("AMQP__ALLOW_PLAIN_TEXT", "true"),
                ("AMQP__CONNECT_TIMEOUT_S", "2"),
            ]
            .map(|(key, value)| (format!("COMET_WORKER__{key}"), value.to_owned())),
        );
        let said = tool(&with_url, &["check"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let line = said.data.lines().find(|line| line.contains("rabbitmq")).unwrap();
        assert!(line.starts_with("FAIL") && line.contains("2001:db8::dead"), "{line}");
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_loses_a_node_costs_a_reconnect_and_no_job() {
    let mut first = PrivateRabbit::start().await;
    let second = first.start_beside().await;
    let third = first.start_beside().await;
    let urls = [&first, &second, &third].map(PrivateRabbit::url).join(",");
    Place::run_on("rabbits", second.url(), redis_url(), async |place| {
        let sim = Sim::start(&["--durations", "uniform:1s-4s"]).await;
        let worker = Worker::start(place, &sim, &[("AMQP__URL", urls.as_str())]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("a", 20) {
            broker.publish(place, &job).await;
        }
        wait_for("some jobs", async || (sim.report().await.number("submits") >= 10).then_some(())).await;
        // Each connection begins at another node, so one of the two is at this one.
        first.kill().await;
        for _ in 0..20 {
            assert_eq!(outcome(place, &broker).await["type"], "comet.job.succeeded");
        }
        sim.report().await.nothing_was_paid_for_twice();
        assert_eq!(sim.report().await.number("submits"), 20);
    })
    .await;
}

#[tokio::test]
async fn a_password_that_was_changed_in_its_file_counts_from_the_next_connection_on() {
    let rabbit = PrivateRabbit::start().await;
    Place::run_on("password", rabbit.url(), redis_url(), async |place| {
        rabbit.ctl(&["add_user", "changing", "before"]).await;
        rabbit.ctl(&["set_permissions", "changing", ".*", ".*", ".*"]).await;
        let file = place.folder.path().join("amqp-url");
        let url = |password: &str| format!("amqp://changing:{password}@127.0.0.1:{}/%2f\n", rabbit.port());
        std::fs::write(&file, url("before")).unwrap();
        let sim = Sim::start(&["--durations", "fixed:500ms"]).await;
        let settings = [("AMQP__URL", ""), ("AMQP__URL_FILE", file.to_str().unwrap())];
        let worker = Worker::start(place, &sim, &settings);
        worker.says("taking jobs").await;
        rabbit.ctl(&["change_password", "changing", "after"]).await;
        rabbit.ctl(&["close_all_connections", "the password was changed"]).await;
        worker.says("ACCESS_REFUSED").await;
        std::fs::write(&file, url("after")).unwrap();
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        assert_eq!(outcome(place, &broker).await["type"], "comet.job.succeeded");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!worker.log().contains("changing:before"), "{}", worker.log());
    })
    .await;
}
