//! Which server is used: the one that a URL names, one of several that answers, and a login that changes meanwhile.

use std::time::Duration;

use serde_json::Value;

use crate::private::{PrivateRabbit, free_ports};
use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, redis_url};

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
async fn of_several_urls_one_that_leads_nowhere_holds_up_no_job() {
    Place::run("several", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let [dead] = free_ports();
        let urls = format!("amqp://guest:guest@127.0.0.1:{dead},{}", amqp_url());
        // The dead one is refused at once; the other one may be busy with other tests.
        let patient = ("AMQP__CONNECT_TIMEOUT_S", "60");
        let worker = Worker::start(place, &sim, &[("AMQP__URL", urls.as_str()), patient]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        assert_eq!(outcome(place, &broker).await["type"], "comet.job.succeeded");
        assert!(!worker.log().contains("no connection to RabbitMQ"), "{}", worker.log());
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
