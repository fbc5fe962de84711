//! What real workers spend: counted, bounded by a day's cap, and counted again after a flush.

use std::sync::LazyLock;

use comet_worker::clock;
use serde_json::{Value, json};

use crate::private::PrivateRedis;
use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, amqp_url, connected, redis_url, wait_for};

/// The settings of a place, with a day that doesn't end while a test runs.
pub fn with(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    static STARTS: LazyLock<String> =
        LazyLock::new(|| format!("{:02}:00", (clock::unix_ms() / 3_600_000 + 12) % 24));
    settings.iter().copied().chain([("SPEND__DAY_STARTS", STARTS.as_str())]).collect()
}

/// Jobs of two customers.
fn of_customers(prefix: &str, number: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut job = job(&format!("{prefix}-{n}"));
        job["metadata"] = json!({"customer": if n.is_multiple_of(2) { "even" } else { "odd" }});
        job
    };
    (0..number).map(one).collect()
}

fn environment_of(place: &Place, sim: &Sim, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), (*value).to_owned()));
    environment(place, &sim.url).into_iter().chain(own).collect()
}

async fn spend(place: &Place, sim: &Sim, settings: &[(&str, &str)]) -> Value {
    let said = tool(&environment_of(place, sim, settings), &["spend", "--json"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    said.json()
}

async fn redis(url: &str) -> redis::aio::MultiplexedConnection {
    connected(&redis::Client::open(url).unwrap()).await.unwrap()
}

/// The keys of this place that begin so, of which there are few.
async fn keys(url: &str, place: &Place, beginning: &str) -> Vec<String> {
    let pattern = format!("{{{}}}:{beginning}*", place.prefix);
    redis::cmd("KEYS").arg(pattern).query_async(&mut redis(url).await).await.unwrap()
}

#[tokio::test]
async fn jobs_beyond_the_cap_wait_until_the_day_ends() {
    Place::run("spendcap", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let settings = with(&[
            ("SPEND__MAX_UNITS_PER_DAY", "50"),
            ("SPEND__UNITS_PER_JOB", "8"),
            ("SPEND__LABEL", "customer"),
        ]);
        let worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in of_customers("capped", 10) {
            broker.publish(place, &job).await;
        }
        // 48 units are spent, and another job would be the 56th.
        broker.ends(place, 6).await;
        wait_for("the standstill in /readyz", async || {
            let (status, text) = worker.admin("/readyz").await;
            (status == 503 && text.contains("spend: 48 units are spent today")).then_some(())
        })
        .await;
        let seen = spend(place, &sim, &settings).await;
        assert_eq!(seen["today"]["units"], "48", "{seen}");
        assert_eq!(seen["today"]["max"], "50", "{seen}");
        assert_eq!(seen["days"][0]["jobs"], 6, "{seen}");
        let of = |label: &str| seen["days"][0]["labels"][label]["jobs"].as_u64().unwrap();
        assert_eq!(of("even") + of("odd"), 6, "{seen}");
        assert_eq!(sim.report().await.number("charged_total"), 6, "more was paid than the cap allows");

        // The next day: what was spent today was spent on another.
        for key in keys(&redis_url(), place, "spend").await {
            if let Some((name, day)) = key.rsplit_once(":spend:")
                && let Ok(day) = day.parse::<i64>()
            {
                let yesterday = format!("{name}:spend:{}", day - 1);
                let mut redis = redis(&redis_url()).await;
                redis::cmd("RENAME").arg(&key).arg(yesterday).query_async::<()>(&mut redis).await.unwrap();
            }
        }
        broker.ends(place, 4).await;
        wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
        let seen = spend(place, &sim, &settings).await;
        assert_eq!((&seen["days"][0]["units"], &seen["days"][1]["units"]), (&"32".into(), &"48".into()));
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn after_a_flush_today_is_counted_again_from_the_receipts_and_each_end_once() {
    let private = PrivateRedis::start().await;
    Place::run_on("spendflush", amqp_url(), private.url(), async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let settings = with(&[
            ("SPEND__MAX_UNITS_PER_DAY", "100"),
            ("SPEND__LABEL", "customer"),
            ("SPEND__UNIT_PRICE", "0.5 USD"),
        ]);
        let mut worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in of_customers("before", 6) {
            broker.publish(place, &job).await;
        }
        broker.ends(place, 6).await;
        wait_for("48 units", async || {
            (spend(place, &sim, &settings).await["today"]["units"] == "48").then_some(())
        })
        .await;

        let mut flushing = redis(&place.redis_url).await;
        redis::cmd("FLUSHALL").query_async::<()>(&mut flushing).await.unwrap();
        for job in of_customers("after", 12) {
            broker.publish(place, &job).await;
        }
        // 100 units are 12 jobs and a half.
        broker.ends(place, 6).await;
        let seen = wait_for("96 units", async || {
            let seen = spend(place, &sim, &settings).await;
            (seen["today"]["units"] == "96" && seen["today"]["complete"] == true).then_some(seen)
        })
        .await;
        assert_eq!(seen["days"][0]["money"], json!({"amount": 48.0, "currency": "USD"}), "{seen}");
        let of = |label: &str| seen["days"][0]["labels"][label]["jobs"].as_u64().unwrap();
        assert_eq!(of("even") + of("odd"), 12, "{seen}");
        worker.says("spend.max_units_per_day is 100").await;
        assert_eq!(sim.report().await.number("charged_total"), 12);

        // A restart finds the books as they were.
        assert!(worker.stop().await.success());
        let worker = Worker::start(place, &sim, &settings);
        worker.says("96 units are spent today").await;
        assert_eq!(sim.report().await.number("charged_total"), 12);
        assert_eq!(spend(place, &sim, &settings).await["today"]["units"], "96");
    })
    .await;
}

#[tokio::test]
async fn jobs_that_reserve_all_of_the_cap_go_on_after_a_crash() {
    Place::run("spendcrash", async |place| {
        let sim = Sim::start(&["--durations", "fixed:4s"]).await;
        let settings = with(&[
            ("SPEND__MAX_UNITS_PER_DAY", "24"),
            ("SPEND__UNITS_PER_JOB", "8"),
            ("WORKER__MAX_IN_FLIGHT", "5"),
        ]);
        let mut worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in of_customers("crash", 5) {
            broker.publish(place, &job).await;
        }
        wait_for("three task ids in Redis", async || {
            let said = tool(&environment_of(place, &sim, &settings), &["status", "--json"]).await;
            (said.json()["jobs"]["generating"] == 3).then_some(())
        })
        .await;
        worker.kill().await;
        let _next = Worker::start(place, &sim, &settings);
        broker.ends(place, 3).await;
        wait_for("all of the cap", async || {
            let today = spend(place, &sim, &settings).await["today"].clone();
            (today["units"] == "24" && today["running"] == 0).then_some(())
        })
        .await;
        assert_eq!(sim.report().await.number("charged_total"), 3);
    })
    .await;
}

#[tokio::test]
async fn without_receipts_an_end_counts_once_as_well() {
    Place::run("spendbare", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let settings = with(&[("GENERATION__RECEIPTS", "false")]);
        let _worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let jobs = of_customers("bare", 3);
        for job in jobs.iter().chain(&jobs) {
            broker.publish(place, job).await;
        }
        broker.ends(place, 3).await;
        broker.ready_is(&place.queue(), 0).await;
        let seen = wait_for("24 units", async || {
            let seen = spend(place, &sim, &settings).await;
            (seen["today"]["units"] == "24" && seen["today"]["running"] == 0).then_some(seen)
        })
        .await;
        assert_eq!((&seen["days"][0]["jobs"], &seen["today"]["complete"]), (&3.into(), &true.into()));
    })
    .await;
}

#[tokio::test]
async fn of_many_workers_one_counts_the_receipts() {
    Place::run("spendonce", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let settings = with(&[]);
        let mut first = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for job in of_customers("once", 5) {
            broker.publish(place, &job).await;
        }
        broker.ends(place, 5).await;
        wait_for("40 units", async || {
            (spend(place, &sim, &settings).await["today"]["units"] == "40").then_some(())
        })
        .await;
        assert!(first.stop().await.success());
        for key in keys(&redis_url(), place, "").await {
            redis::cmd("DEL").arg(key).query_async::<()>(&mut redis(&redis_url()).await).await.unwrap();
        }
        let workers = [(); 3].map(|()| Worker::start(place, &sim, &settings));
        let seen = wait_for("the books", async || {
            let seen = spend(place, &sim, &settings).await;
            (seen["today"]["complete"] == true).then_some(seen)
        })
        .await;
        assert_eq!(seen["today"]["units"], "40", "{seen}");
        drop(workers);
    })
    .await;
}
