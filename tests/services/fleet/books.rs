//! Metrics, status, events and the provider's own books say the same.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use serde_json::Value;

use super::status;
use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// The series of several workers, added up.
struct Sums(BTreeMap<String, f64>);

impl Sums {
    async fn of(workers: &[&Worker]) -> Self {
        let mut sums = BTreeMap::new();
        for worker in workers {
            let (_, text) = worker.admin("/metrics").await;
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                *sums.entry(series.to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap();
            }
        }
        Self(sums)
    }

    /// Of all series of this name whose labels have this text.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let matching = self
            .0
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
        matching.map(|(_, value)| value).sum()
    }
}

#[tokio::test]
async fn after_two_hundred_jobs_with_faults_all_books_agree() {
    Place::run("books", async |place| {
        let sim = Sim::start(&["--durations", "uniform:300ms-1500ms", "--image-px", "64"]).await;
        sim.faults(serde_json::json!({
            "failed": 0.1, "failed-internal": 0.05, "content-policy": 0.05, "poll-error": 0.1, "image-error": 0.05,
            "busy": "2x"
        }))
        .await;
        let workers = [Worker::start(place, &sim, &[]), Worker::start(place, &sim, &[])];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let wrong = 5;
        for number in 0..wrong {
            let body = format!(r#"{{"job_id": "wrong-{number}", "input": {{}}}}"#);
            broker.publish_raw(place, body.as_bytes(), BasicProperties::default()).await;
        }
        broker.publish_raw(place, b"no job at all", BasicProperties::default()).await;
        for job in jobs("b", 200) {
            broker.publish(place, &job).await;
        }
        let mut ends = broker.ends(place, 200 + wrong).await;
        let seen = wait_for("a fleet at rest", async || {
            let seen = status(place, &sim, &[]).await;
            let held: u64 = seen["workers"].as_array()?.iter().filter_map(|worker| worker["in_flight"].as_u64()).sum();
            (held == 0 && seen["queues"]["jobs"] == 0).then_some(seen)
        })
        .await;
        broker.rest(place, &mut ends).await;
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        let sums = Sums::of(&[&workers[0], &workers[1]]).await;
        let events: Vec<Value> = ends.values().map(|copies| copies[0].json()).collect();
        let count = |is: &dyn Fn(&Value) -> bool| f64::from(u32::try_from(events.iter().filter(|event| is(event)).count()).unwrap());

        // How the jobs ended.
        for (outcome, kind) in [("succeeded", "comet.job.succeeded"), ("failed", "comet.job.failed")] {
            let told = count(&|event| event["type"] == kind);
            assert!(told > 0.0, "no job has {outcome}");
            assert_eq!(sums.sum("comet_jobs_finished_total", &format!("outcome=\"{outcome}\"")), told, "{outcome}");
        }
        let reasons: std::collections::BTreeSet<&str> =
            events.iter().filter_map(|event| event["data"]["reason"].as_str()).collect();
        for reason in reasons {
            let told = count(&|event| event["data"]["reason"] == reason);
            assert_eq!(sums.sum("comet_jobs_finished_total", &format!("reason=\"{reason}\"")), told, "{reason}");
        }
        let invalid = count(&|event| event["data"]["reason"] == "invalid_request");
        assert_eq!(invalid, f64::from(u32::try_from(wrong).unwrap()));
        let recent = seen["recent"].as_array().unwrap();
        for end in recent {
            let event = ends[end["job_id"].as_str().unwrap()][0].json();
            assert_eq!(event["type"], format!("comet.job.{}", end["outcome"].as_str().unwrap()));
            assert_eq!((&end["reason"], &end["at"]), (&event["data"]["reason"], &event["time"]));
        }
        let address = workers[0].admin_address().await;
        let hour: Value =
            reqwest::get(format!("http://{address}/api/hour")).await.unwrap().json().await.unwrap();
        for (name, kind) in [("succeeded", "comet.job.succeeded"), ("failed", "comet.job.failed")] {
            let minutes = hour["minutes"].as_array().unwrap().iter();
            let sum: u64 = minutes.filter_map(|minute| minute[name].as_u64()).sum();
            assert_eq!(f64::from(u32::try_from(sum).unwrap()), count(&|event| event["type"] == kind), "{name}");
        }

        // What was asked of the provider, and paid.
        let number = |field: &str| f64::from(u32::try_from(report.number(field)).unwrap());
        assert_eq!(sums.sum("comet_submits_total", "answer=\"accepted\""), number("accepted"));
        assert_eq!(sums.sum("comet_submits_total", ""), number("submits"));
        let polls_refused: u64 =
            report.0["polls_refused"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        let polls = number("polls") + f64::from(u32::try_from(polls_refused).unwrap());
        assert!([number("polls"), polls].contains(&sums.sum("comet_polls_total", "")), "{:?}", report.0);
        let units = |event: &Value| event["data"]["units"].as_str().and_then(|units| units.parse::<f64>().ok());
        let spent: f64 = events.iter().filter_map(units).sum();
        assert!(spent > 0.0);
        assert_eq!(sums.sum("comet_units_total", ""), spent);
        let days: Value =
            reqwest::get(format!("http://{address}/api/spend?days=2")).await.unwrap().json().await.unwrap();
        let of_days = |field: &str| -> f64 {
            let amounts = days["days"].as_array().unwrap().iter().map(|day| &day[field]);
            amounts.filter_map(|amount| amount.as_f64().or_else(|| amount.as_str()?.parse().ok())).sum()
        };
        assert_eq!(of_days("units"), spent, "{days}");
        assert_eq!(of_days("jobs"), count(&|event| units(event).is_some()), "{days}");
        let unsaid = |charged: &str| count(&|event| event["data"]["charged"] == charged && units(event).is_none());
        assert_eq!((of_days("perhaps"), of_days("unsaid")), (unsaid("unknown"), unsaid("yes")), "{days}");
        let in_vain = count(&|event| {
            event["type"] != "comet.job.succeeded" && event["data"]["charged"] != "no"
        });
        assert_eq!(sums.sum("comet_paid_in_vain_total", ""), in_vain);
        let images: usize = events.iter().filter_map(|event| event["data"]["images"].as_array()).map(Vec::len).sum();
        assert_eq!(sums.sum("comet_downloads_total", "arrived"), f64::from(u32::try_from(images).unwrap()));

        // What is left.
        assert_eq!(report.number("running"), 0);
        for (stage, jobs) in seen["jobs"].as_object().unwrap() {
            assert_eq!(jobs, 0, "{stage}: {seen}");
            assert_eq!(sums.sum("comet_jobs_held", stage), 0.0, "{stage}");
        }
        assert_eq!(sums.sum("comet_dead_letters_total", ""), 1.0);
        assert_eq!(seen["queues"], serde_json::json!({"jobs": 0, "dead": 1, "unrouted": 0}));
    })
    .await;
}
