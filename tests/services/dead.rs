//! `comet-worker dead`: looking at dead letters costs nothing, and a replay neither loses nor doubles one.

use std::time::Duration;

use comet_worker::ledger::connection::Connection;
use comet_worker::ledger::replays::{RedisReplays, ReplayNote};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::raw::{Properties, Raw, text_header};
use crate::support::tool::{Said, tool};
use crate::support::{Broker, Place, Sim, Worker, connected, wait_for};

struct Bench {
    place: &'static Place,
    broker: Broker,
    environment: Vec<(String, String)>,
}

impl Bench {
    /// With the topology that a worker has made; no worker runs.
    async fn new(place: &'static Place, sim: &Sim) -> Self {
        let mut maker = Worker::start(place, sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        maker.says("taking jobs").await;
        assert!(maker.stop().await.success());
        Self { place, broker, environment: environment(place, &sim.url) }
    }

    async fn dead(&self, arguments: &[&str]) -> Said {
        tool(&self.environment, &[&["dead"], arguments].concat()).await
    }

    async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.dead(&[&["list", "--json"], arguments].concat()).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn key_of(&self, job: &str) -> String {
        let found = self.list(&["--job", job]).await;
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]["key"].as_str().unwrap().to_owned()
    }

    /// Puts a message among the dead letters.
    async fn put(&self, body: &[u8], headers: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(table);
        let queue = self.place.dead_queue();
        let sent = self.broker.channel.basic_publish(
            "".into(),
            queue.as_str().into(),
            BasicPublishOptions { mandatory: true, ..Default::default() },
            body,
            properties,
        );
        assert_eq!(sent.await.unwrap().await.unwrap(), lapin::Confirmation::Ack(None), "not queued");
    }

    async fn put_job(&self, id: &str, reason: &str) {
        self.put(job(id).to_string().as_bytes(), &[("x-comet-reason", text(reason))]).await;
    }

    async fn note_replay(&self, key: &str, note: &str) {
        let client = redis::Client::open(self.place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let name = format!("{{{}}}:replay:{key}", self.place.prefix);
        let set = redis::cmd("SET").arg(name).arg(note).query_async::<String>(&mut redis).await;
        assert_eq!(set.unwrap(), "OK");
    }

    async fn is_replay_noted(&self, key: &str) -> bool {
        let client = redis::Client::open(self.place.redis_url.as_str()).unwrap();
        let mut redis = connected(&client).await.unwrap();
        let name = format!("{{{}}}:replay:{key}", self.place.prefix);
        redis::cmd("EXISTS").arg(name).query_async(&mut redis).await.unwrap()
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn keys(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn thirty_looks_leave_every_dead_letter_where_it_was() {
    Place::run("looks", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let bench = Bench::new(place, &sim).await;
        // RabbitMQ itself makes this one a dead letter.
        let soon = BasicProperties::default().with_expiration("1".into());
        bench.broker.publish_raw(place, job("late").to_string().as_bytes(), soon).await;
        bench.broker.ready_is(&place.dead_queue(), 1).await;
        let mut worker = Worker::start(place, &sim, &[("AMQP__MAX_MESSAGE_BYTES", "1000000")]);
        for number in 0..3 {
            let body = format!("no job {number}");
            bench.broker.publish_raw(place, body.as_bytes(), BasicProperties::default()).await;
            bench.broker.ready_is(&place.dead_queue(), 2 + number).await;
        }
        // As much as RabbitMQ 4 accepts by default.
        bench.broker.publish_raw(place, &vec![b'x'; 16_000_000], BasicProperties::default()).await;
        bench.broker.ready_is(&place.dead_queue(), 5).await;
        let odd = [text_header(b"x", &[0xff, 0xfe, 0x9f]), text_header("line\n\u{1b}[31m".as_bytes(), b"v")];
        let odd = Properties::default().headers(&odd.concat());
        Raw::connect(&place.amqp_url).await.publish(&place.queue(), &odd, b"odd").await.unwrap();
        bench.broker.ready_is(&place.dead_queue(), 6).await;
        assert!(worker.stop().await.success());

        let first = bench.list(&[]).await;
        let reasons: Vec<&str> = first.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["expired", "not_json", "not_json", "not_json", "too_large", "not_json"]);
        assert_eq!((&first[0]["job_id"], &first[4]["bytes"]), (&"late".into(), &16_000_000.into()));
        for letter in &first {
            assert!(letter["at"].as_str().is_some_and(|at| at.starts_with("20")), "{letter}");
        }
        for _ in 0..30 {
            assert_eq!(keys(&bench.list(&[]).await), keys(&first), "each is at its place");
        }
        let said = bench.dead(&["list"]).await;
        assert!(!said.data.contains('\u{1b}'), "{said:?}");
        assert_eq!(said.data.lines().count(), 6, "{said:?}");
        for letter in &first {
            let found = bench.broker.next(&place.dead_queue()).await;
            assert_eq!(u64::try_from(found.body.len()).unwrap(), letter["bytes"].as_u64().unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_replayed_letter_is_the_same_job_again_and_counts() {
    Place::run("replay", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let bench = Bench::new(place, &sim).await;
        for id in ["a", "b", "c"] {
            bench.put_job(id, "quarantined").await;
        }
        let (a, b) = (bench.key_of("a").await, bench.key_of("b").await);
        let dry = bench.dead(&["replay", &a, "--dry-run"]).await;
        assert!(dry.data.starts_with("would be replayed") && dry.code == Some(0), "{dry:?}");
        assert_eq!(bench.list(&[]).await.len(), 3, "a dry run changes nothing");

        let said = bench.dead(&["replay", &a, &b, "--json"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(said.data.lines().filter(|line| line.contains("\"done\":true")).count(), 2, "{said:?}");
        assert_eq!(bench.broker.ready(&place.queue()).await, 2);
        assert_eq!(bench.list(&[]).await.len(), 1, "the other stays");
        assert!(!bench.is_replay_noted(&a).await, "a note that nothing needs");
        let letter = bench.broker.next(&place.queue()).await;
        assert!(letter.header("x-comet-replays").is_some_and(|count| count.contains('1')), "{letter:?}");
        assert_eq!(letter.header("x-comet-reason"), None);
        bench.broker.publish_raw(place, &letter.body, letter.properties.clone()).await;

        let _worker = Worker::start(place, &sim, &[]);
        let ends = bench.broker.ends(place, 2).await;
        for id in ["a", "b"] {
            assert_eq!(ends[id][0].json()["type"], "comet.job.succeeded");
        }
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_replay_that_was_cut_off_loses_nothing_and_sends_nothing_twice() {
    Place::run("cutoff", async |place| {
        let sim = Sim::start(&[]).await;
        let bench = Bench::new(place, &sim).await;
        for id in ["sent", "begun", "whole"] {
            bench.put_job(id, "quarantined").await;
        }
        let (sent, begun) = (bench.key_of("sent").await, bench.key_of("begun").await);
        bench.note_replay(&sent, "sent").await;
        bench.note_replay(&begun, "begun").await;
        let said = bench.dead(&["replay", "--all"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.data.contains("was sent before") && said.data.contains("was cut off"), "{said:?}");
        assert!(said.words.contains("1 letter left alone; --force"), "{said:?}");
        assert_eq!(keys(&bench.list(&[]).await), [begun.as_str()]);
        assert_eq!(bench.broker.ready(&place.queue()).await, 1, "the whole one alone was sent");
        assert_eq!(bench.broker.next(&place.queue()).await.json()["job_id"], "whole");
        let forced = bench.dead(&["replay", &begun, "--force"]).await;
        assert_eq!(forced.code, Some(0), "{forced:?}");
        assert_eq!(bench.broker.next(&place.queue()).await.json()["job_id"], "begun");
        assert_eq!(bench.list(&[]).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_replay_is_known_from_its_beginning_until_it_is_forgotten() {
    Place::run("notes", async |place| {
        let url = place.redis_url.as_str();
        let connection = Connection::new(url, Duration::from_secs(30), || {}).unwrap();
        let notes = RedisReplays::new(connection, &place.prefix);
        assert_eq!(notes.begin("k").await.unwrap(), ReplayNote::New);
        assert_eq!(notes.begin("k").await.unwrap(), ReplayNote::Begun);
        notes.sent("k").await.unwrap();
        assert_eq!(notes.begin("k").await.unwrap(), ReplayNote::Sent);
        assert_eq!(notes.begin("other").await.unwrap(), ReplayNote::New);
        notes.forget("k").await.unwrap();
        assert_eq!(notes.begin("k").await.unwrap(), ReplayNote::New);
    })
    .await;
}

#[tokio::test]
async fn what_needs_a_person_is_left_alone_without_force() {
    Place::run("leftalone", async |place| {
        let sim = Sim::start(&[]).await;
        let bench = Bench::new(place, &sim).await;
        bench.put_job("unknown", "outcome_unknown").await;
        let body = job("often").to_string();
        let often = [("x-comet-reason", text("quarantined")), ("x-comet-replays", AMQPValue::LongLongInt(3))];
        bench.put(body.as_bytes(), &often).await;
        let said = bench.dead(&["replay", "--all"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.data.contains("comet-worker resolve"), "{said:?}");
        assert!(said.data.contains("replayed three times before"), "{said:?}");
        assert_eq!(bench.broker.ready(&place.queue()).await, 0);
        let forced = bench.dead(&["replay", "--job", "often", "--force"]).await;
        assert_eq!(forced.code, Some(0), "{forced:?}");
        let letter = bench.broker.next(&place.queue()).await;
        assert!(letter.header("x-comet-replays").is_some_and(|count| count.contains('4')), "{letter:?}");
    })
    .await;
}

#[tokio::test]
async fn a_replay_without_a_jobs_queue_leaves_the_letter_and_no_note() {
    Place::run("nojobs", async |place| {
        let sim = Sim::start(&[]).await;
        let bench = Bench::new(place, &sim).await;
        bench.put_job("a", "quarantined").await;
        bench.broker.delete_queue(&place.queue()).await;
        let key = bench.key_of("a").await;
        let said = bench.dead(&["replay", &key]).await;
        assert!(said.code == Some(1) && said.words.contains("start a worker first"), "{said:?}");
        assert_eq!(bench.list(&[]).await.len(), 1);
        assert!(!bench.is_replay_noted(&key).await);
    })
    .await;
}

#[tokio::test]
async fn letters_are_shown_filtered_and_dropped() {
    Place::run("drop", async |place| {
        let sim = Sim::start(&[]).await;
        let bench = Bench::new(place, &sim).await;
        let old = ("x-comet-at", text("2020-01-01T00:00:00.000Z"));
        bench.put(b"old", &[("x-comet-reason", text("not_json")), old]).await;
        let detail = ("x-comet-detail", text("what is wrong"));
        bench.put(b"line\nline\x1b[31m", &[("x-comet-reason", text("not_json")), detail]).await;
        bench.put(&[0xff, 0x00], &[]).await;
        bench.put_job("a", "conflict").await;
        assert_eq!(bench.list(&["--reason", "not_json"]).await.len(), 2);
        assert_eq!(bench.list(&["--reason", "not_json", "--reason", "conflict"]).await.len(), 3);
        assert_eq!(bench.list(&["--older-than", "30d"]).await.len(), 1);
        let said = bench.dead(&["list", "--limit", "1"]).await;
        assert!(said.data.lines().count() == 1 && said.words.contains("and 3 more"), "{said:?}");

        let all = bench.list(&[]).await;
        let shown = bench.dead(&["show", all[1]["key"].as_str().unwrap()]).await;
        assert!(
            shown.data.contains("x-comet-detail: what is wrong") && shown.data.contains("line\nline"),
            "{shown:?}"
        );
        assert!(!shown.data.contains('\u{1b}'), "{shown:?}");
        let shown = bench.dead(&["show", "--json", all[1]["key"].as_str().unwrap()]).await.json();
        assert_eq!(shown["body"], "line\nline\u{1b}[31m");
        let shown = bench.dead(&["show", "--json", all[2]["key"].as_str().unwrap()]).await.json();
        assert_eq!((&shown["body_base64"], &shown["reason"]), (&"/wA=".into(), &Value::Null));

        let dry = bench.dead(&["drop", "--reason", "not_json", "--dry-run"]).await;
        assert_eq!((dry.code, dry.data.lines().count()), (Some(0), 2), "{dry:?}");
        let said = bench.dead(&["drop", "--older-than", "30d"]).await;
        assert!(said.code == Some(0) && said.data.starts_with("dropped"), "{said:?}");
        let said = bench.dead(&["drop", all[0]["key"].as_str().unwrap()]).await;
        assert!(said.code == Some(1) && said.words.contains("no dead letter has the key"), "{said:?}");
        assert_eq!(bench.dead(&["drop", "--all"]).await.code, Some(0));
        bench.broker.ready_is(&place.dead_queue(), 0).await;
        let empty = bench.dead(&["list"]).await;
        assert!(empty.code == Some(0) && empty.words.contains("no such letter"), "{empty:?}");
        for wrong in [&["drop"][..], &["replay"], &["drop", "--all", "0123"], &["list", "--older-than", "x"]]
        {
            let said = bench.dead(wrong).await;
            assert_eq!(said.code, Some(2), "{wrong:?}: {said:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn letters_that_arrive_while_one_looks_and_a_queue_of_others_making_lose_nothing() {
    Place::run("others", async |place| {
        let sim = Sim::start(&[]).await;
        let bench = Bench::new(place, &sim).await;
        // A quorum queue without our limit, as an older worker made it: on RabbitMQ 4 it drops at the 21st return.
        bench.broker.delete_queue(&place.dead_queue()).await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        let durable = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
        let name = place.dead_queue();
        bench.broker.channel.queue_declare(name.as_str().into(), durable, arguments).await.unwrap();
        for number in 0..4 {
            bench.put(format!("no job {number}").as_bytes(), &[("x-comet-reason", text("not_json"))]).await;
        }
        let mut first: Vec<String> = keys(&bench.list(&[]).await).iter().map(ToString::to_string).collect();
        first.sort();
        for _ in 0..30 {
            let seen = bench.list(&[]).await;
            let mut seen: Vec<String> = keys(&seen).iter().map(ToString::to_string).collect();
            seen.sort();
            assert_eq!(seen, first);
        }
        wait_for("all of them", async || (bench.broker.ready(&name).await == 4).then_some(())).await;
    })
    .await;
}
