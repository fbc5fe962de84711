//! The interface of the admin port.

use lapin::BasicProperties;
use serde_json::Value;

use super::status;
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

#[tokio::test]
async fn the_admin_port_answers_for_the_whole_fleet_and_acts_with_the_token_alone() {
    Place::run("api", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let token = "0123456789abcdef";
        let worker = Worker::start(place, &sim, &[("ADMIN__TOKEN", token)]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in jobs("p", 3) {
            broker.publish(place, &job).await;
        }
        wait_for("three generations", async || (sim.report().await.number("running") == 3).then_some(()))
            .await;
        let (address, client) = (worker.admin_address().await, reqwest::Client::new());
        let url = |path: &str| format!("http://{address}/api/{path}");
        let get =
            async |path: &str| client.get(url(path)).send().await.unwrap().json::<Value>().await.unwrap();
        let post = async |path: &str, token: Option<&str>| {
            let request = client.post(url(path));
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let reply = request.send().await.unwrap();
            (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
        };
        let seen = wait_for("a fleet of one", async || {
            let seen = get("fleet").await;
            (seen["workers"][0]["in_flight"] == 3 && seen["jobs"]["generating"] == 3).then_some(seen)
        })
        .await;
        let by_command = status(place, &sim, &[]).await;
        for member in ["workers", "jobs", "queues", "slots", "pace_per_s", "oldest", "recent", "time"] {
            assert_eq!(seen[member].is_null(), by_command[member].is_null(), "{member}: {seen}");
        }
        assert_eq!(get("jobs?stage=generating&limit=2").await["jobs"].as_array().unwrap().len(), 2);
        assert_eq!(get("jobs/p-0").await, status(place, &sim, &["p-0"]).await);

        let mut live = client.get(url("live")).send().await.unwrap();
        let first = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(first.starts_with("event: fleet\ndata: {"), "{first}");

        assert_eq!(post("jobs/p-0/cancel", None).await.0, 401);
        let (code, said) = post("jobs/p-0/cancel", Some(token)).await;
        assert_eq!((code, &said["state"]), (200, &"generating".into()), "{said}");
        broker.ends(place, 1).await;
        wait_for("its end", async || (get("jobs/p-0").await["outcome"] == "cancelled").then_some(())).await;
        assert_eq!(post("jobs/p-0/cancel", Some(token)).await.0, 409);
        let (code, said) = post("jobs/p-0/resolve", Some(token)).await;
        assert_eq!(code, 400, "{said}");

        broker.publish_raw(place, b"no job at all", BasicProperties::default()).await;
        broker.ready_is(&place.dead_queue(), 1).await;
        let letters = get("dead").await;
        let key = letters["letters"][0]["key"].as_str().unwrap();
        assert_eq!(letters["letters"][0]["reason"], "not_json", "{letters}");
        let (code, said) = post(&format!("dead/{key}/replay"), Some(token)).await;
        assert_eq!((code, &said["done"]), (200, &true.into()), "{said}");
        assert_eq!(post("dead/0000000000000000/replay", Some(token)).await.0, 404);
        // It is no job, so it comes back, and says how often it was replayed.
        wait_for("the letter again", async || {
            (get("dead").await["letters"][0]["replays"] == 1).then_some(())
        })
        .await;
        assert!(!worker.log().contains(token), "{}", worker.log());
        // Three were published, and one has ended.
        wait_for("the backlog", async || {
            let (_, metrics) = worker.admin("/metrics").await;
            let dead = "comet_queue_messages{queue=\"dead\"} 1\n";
            (metrics.contains("comet_backlog_jobs{} 2\n") && metrics.contains(dead)).then_some(())
        })
        .await;
        let other = Worker::start(place, &sim, &[]);
        wait_for("two workers", async || {
            (get("fleet").await["workers"].as_array()?.len() == 2).then_some(())
        })
        .await;
        wait_for("one that shows the backlog", async || {
            let (one, two) = (worker.admin("/metrics").await.1, other.admin("/metrics").await.1);
            let shows = |text: &str| text.contains("comet_backlog_jobs{} ");
            (shows(&one) != shows(&two)).then_some(())
        })
        .await;
    })
    .await;
}
