//! A realistic world, for minutes: poison messages, and a provider, a network, a Redis and a consumer's queue that
//! fail in turn, under a steady stream of good jobs. Each good job ends well, nothing is paid for twice, each poison
//! message becomes a dead letter, and each standstill has a log line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::chance::stream;
use crate::private::{PrivateRabbit, PrivateRedis};
use crate::seed::{number, seed};
use crate::standstills::a_full_queue;
use crate::support::jobs::job;
use crate::support::proxy::Proxy;
use crate::support::raw::{Properties, Raw, header, long, nested, text_header};
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const SETTINGS: &[(&str, &str)] = &[
    ("GENERATION__ON_UNKNOWN_SUBMIT", "trust_lookup"),
    ("GENERATION__GATE_S", "1"),
    ("GENERATION__QUIET_S", "6"),
    ("GENERATION__TIMEOUT_S", "120"),
    ("API__SUBMIT_TIMEOUT_S", "2"),
    ("API__QUERY_TIMEOUT_S", "2"),
    ("DOWNLOAD__TIMEOUT_S", "3"),
    ("WORKER__MAX_IN_FLIGHT", "40"),
    ("REDIS__RESPONSE_TIMEOUT_MS", "1000"),
    ("AMQP__HEARTBEAT_S", "2"),
];

/// The faults of the provider and the network, by the stand-in's names: each hits everything for a while.
const PROVIDER: &[&str] = &[
    "bad-gateway",
    "bad-gateway-after",
    "server-error",
    "busy",
    "retry-after",
    "no-channel",
    "no-money",
    "reply-lost",
    "hangs-up",
    "poll-html",
    "look-flat",
    "image-expired-once",
    "file-half",
    "file-half-chunked",
    "file-hangs-up",
    "file-html",
    "file-missing-at-first",
    "file-refuses-agent",
    "file-redirect-inside",
];

/// What happens next.
#[derive(Debug)]
enum Happening {
    Provider(&'static str),
    RedisIsCut,
    QueueIsFull,
    Poison(usize),
}

impl Happening {
    fn draw(dice: &mut Rng) -> Self {
        match dice.u32(0..20) {
            0..10 => Self::Provider(PROVIDER[dice.usize(0..PROVIDER.len())]),
            10..13 => Self::RedisIsCut,
            13..15 => Self::QueueIsFull,
            _ => Self::Poison(dice.usize(0..POISONS)),
        }
    }
}

const POISONS: usize = 5;

/// A message that no worker can run, and the bytes that its dead letter must have.
fn poison(number: usize) -> (Properties, Vec<u8>) {
    let body = b"no job at all".to_vec();
    let properties = Properties::default();
    match number {
        0 => (properties.headers(&nested(b'F', 1000)), body),
        1 => (properties.headers(&text_header(b"x-exception", &vec![b'x'; 20_000])), body),
        2 => (properties.correlation_id(b"\xff\xfe\x9f"), body),
        3 => {
            let elsewhere = [b"S".to_vec(), long(b"anywhere")].concat();
            (properties.headers(&header(b"CC", b'A', &long(&elsewhere))), body)
        }
        _ => (properties, br#"{"job_id":"#.to_vec()),
    }
}

#[tokio::test]
async fn whatever_the_world_does_good_jobs_end_well_and_nothing_is_paid_for_twice() {
    let length = Duration::from_secs(number("COMET_WORLD_S").unwrap_or(300));
    let jobs = number("COMET_WORLD_JOBS").unwrap_or(1000);
    let (rabbit, redis) = (PrivateRabbit::start().await, PrivateRedis::start().await);
    let way = Proxy::to(redis.url().parse::<url::Url>().unwrap().port().unwrap()).await;
    Place::run_on("world", rabbit.url(), way.through(&redis.url()), async |place| {
        let mut dice = stream(seed(), "world");
        println!("world: {jobs} jobs in {length:?}, COMET_SEED={}", seed());
        let sim = Sim::start(&[
            "--lookup",
            "--duplicates",
            "accept",
            "--durations",
            "uniform:500ms-4s",
            "--image-px",
            "64",
            "--slow-for",
            "3s",
        ])
        .await;
        let mut workers = [Worker::start(place, &sim, SETTINGS), Worker::start(place, &sim, SETTINGS)];
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut raw = Raw::connect(&rabbit.url()).await;
        let mut happened = BTreeMap::<String, usize>::new();
        let mut poisons = 0;
        let begun = Instant::now();
        let mut published = 0;
        while begun.elapsed() < length {
            let due = (jobs as f64 * begun.elapsed().as_secs_f64() / length.as_secs_f64()) as u64;
            while published < due {
                broker.publish(place, &job(&format!("w-{published}"))).await;
                published += 1;
            }
            let happening = Happening::draw(&mut dice);
            let while_it_lasts = Duration::from_millis(dice.u64(500..6_000));
            match &happening {
                Happening::Provider(fault) => {
                    sim.faults(json!({*fault: 1.0})).await;
                    tokio::time::sleep(while_it_lasts).await;
                    sim.faults(json!({})).await;
                }
                Happening::RedisIsCut => {
                    way.cut();
                    tokio::time::sleep(while_it_lasts).await;
                    way.open();
                }
                Happening::QueueIsFull => {
                    let full = a_full_queue(&broker.channel, place).await;
                    tokio::time::sleep(while_it_lasts).await;
                    broker.delete_queue(&full).await;
                }
                Happening::Poison(number) => {
                    let (properties, body) = poison(*number);
                    raw.publish(&place.queue(), &properties, &body).await.unwrap();
                    poisons += 1;
                }
            }
            *happened.entry(format!("{happening:?}")).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(dice.u64(200..1_500))).await;
        }
        while published < jobs {
            broker.publish(place, &job(&format!("w-{published}"))).await;
            published += 1;
        }

        let ends = broker.ends(place, usize::try_from(jobs).unwrap()).await;
        for (job, copies) in &ends {
            let event: Value = copies[0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{job}: {event}");
            assert!(copies.iter().all(|copy| copy.body == copies[0].body), "{job}: copies differ");
        }
        broker.ready_is(&place.queue(), 0).await;
        broker.ready_is(&place.dead_queue(), poisons).await;
        let report = sim.report().await;
        report.nothing_was_paid_for_twice();
        for worker in &mut workers {
            wait_for("readiness", async || (worker.admin("/readyz").await.0 == 200).then_some(())).await;
            let log = worker.log();
            let count = |words: &str| log.matches(words).count();
            assert_eq!(count("taking no jobs"), count("that is over: taking jobs again"), "{log}");
            assert_eq!(count("standstill since"), count("the standstill is over"), "{log}");
            assert!(!log.contains("panicked"), "{log}");
            assert!(worker.stop().await.success(), "{}", worker.log());
        }
        for (what, times) in happened {
            println!("{times:>6} x {what}");
        }
        println!("{jobs} jobs ended well, {poisons} dead letters, {} POSTs", report.number("submits"));
    })
    .await;
}
