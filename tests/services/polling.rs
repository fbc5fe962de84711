//! The stand-in counts the polls of a job, once the fleet knows how long tasks take, and once it knows that callbacks
//! come.

use std::collections::BTreeMap;

use tokio::net::TcpListener;

use crate::support::jobs::{external, jobs};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// Frequent polls as long as no duration is known: about seven for a job of three seconds.
const CLOSE: [(&str, &str); 3] =
    [("POLL__FIRST_MS", "200"), ("POLL__MIN_MS", "200"), ("POLL__MAX_MS", "5000")];

/// Runs this many jobs to their ends, and counts the polls of each.
async fn polls(place: &Place, broker: &Broker, sim: &Sim, name: &str, number: usize) -> Vec<u64> {
    let jobs = jobs(name, number);
    for job in &jobs {
        broker.publish(place, job).await;
    }
    let ends = broker.ends(place, number).await;
    let report = sim.report().await;
    report.nothing_was_paid_for_twice();
    let of = |task: &serde_json::Value| {
        (task["external_task_id"].as_str().unwrap().to_owned(), task["polls"].as_u64().unwrap())
    };
    let polls: BTreeMap<String, u64> = report.0["tasks"].as_array().unwrap().iter().map(of).collect();
    let of_job = |(id, letters): (&String, &Vec<crate::support::broker::Letter>)| {
        assert_eq!(letters[0].json()["type"], "comet.job.succeeded", "{id}");
        let job = jobs.iter().find(|job| job["job_id"] == id.as_str()).unwrap();
        polls[&external(&place.images(), job)]
    };
    ends.iter().map(of_job).collect()
}

/// How many jobs' durations the fleet remembers.
async fn remembered(place: &Place) -> usize {
    let client = redis::Client::open(place.redis_url.as_str()).unwrap();
    let mut redis = crate::support::connected(&client).await.unwrap();
    let key = format!("{{{}}}:durations:1:multi_image_to_image:kling-v2", place.prefix);
    redis::cmd("LLEN").arg(key).query_async(&mut redis).await.unwrap()
}

#[tokio::test]
async fn a_second_worker_profits_from_what_the_first_has_learned() {
    Place::run("learning", async |place| {
        let sim = Sim::start(&["--durations", "uniform:2900ms-3300ms"]).await;
        let broker = Broker::connect(place).await;
        let mut first = Worker::start(place, &sim, &CLOSE);
        first.says("taking jobs").await;
        broker.listen(place).await;
        let unlearned = polls(place, &broker, &sim, "before", 40).await;
        assert!(unlearned.iter().all(|polls| *polls >= 5), "{unlearned:?}");
        wait_for("the news in Redis", async || (remembered(place).await == 40).then_some(())).await;
        assert!(first.stop().await.success());

        let mut second = Worker::start(place, &sim, &CLOSE);
        second.says("taking jobs").await;
        let mut learned = polls(place, &broker, &sim, "after", 20).await;
        learned.sort_unstable();
        // On a busy machine some jobs begin before what the first has learned is read.
        assert!(learned[learned.len() / 2] <= 3, "{learned:?}");
        let (_, metrics) = second.admin("/metrics").await;
        assert!(metrics.contains("comet_polls_per_job_count 20"), "{metrics}");
        assert!(metrics.contains("comet_poll_gap_seconds_count 20"), "{metrics}");
        assert!(second.stop().await.success());
    })
    .await;
}

#[tokio::test]
async fn with_callbacks_a_job_takes_hardly_more_than_one_look() {
    Place::run("called", async |place| {
        let sim = Sim::start(&["--durations", "lognormal:2s,0.3"]).await;
        let broker = Broker::connect(place).await;
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let (listen, public_url) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}/hook"));
        let called = [("CALLBACK__LISTEN", listen.as_str()), ("CALLBACK__PUBLIC_URL", public_url.as_str())];
        let mut worker = Worker::start(place, &sim, &[&CLOSE[..], &called].concat());
        worker.says("taking jobs").await;
        broker.listen(place).await;
        for round in 0..3 {
            polls(place, &broker, &sim, &format!("learning-{round}"), 60).await;
            let known = 60 * (round + 1);
            wait_for("the news in Redis", async || (remembered(place).await == known).then_some(())).await;
        }
        let polls = polls(place, &broker, &sim, "learned", 60).await;
        let looks = polls.iter().sum::<u64>();
        assert!(looks <= 90, "{looks} looks at 60 jobs: {polls:?}");
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(metrics.contains("comet_callbacks_total{answer=\"running\"}"), "{metrics}");
        assert!(worker.stop().await.success());
    })
    .await;
}
