//! No message stops a worker. Whatever bytes a producer gets RabbitMQ to accept, the other jobs go on, and this
//! message becomes a job anyway, or a dead letter with its reason.

mod large;

use std::collections::BTreeMap;

use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::proxy::Proxy;
use crate::support::raw::{Properties, Raw, header, long, nested, text_header};
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// The end of a message.
enum End {
    /// It runs like any other job.
    Runs,
    Dead(&'static str),
}

struct Case {
    name: &'static str,
    properties: Properties,
    end: End,
}

fn case(name: &'static str, end: End, properties: Properties) -> Case {
    Case { name, properties, end }
}

fn none() -> Properties {
    Properties::default()
}

/// Each is published with a valid job of its own.
fn odd_properties() -> Vec<Case> {
    let odd: &[u8] = &[0xff, 0xfe, 0x9f];
    let unprintable = "line\nline\u{1b}[31m\u{202e}".as_bytes();
    let many: Vec<u8> = (0..9_000).flat_map(|n| text_header(n.to_string().as_bytes(), b"v")).collect();
    // The frame is exactly as long as the broker accepts.
    let longest = |rest: Properties| {
        let room = 131_072 - rest.clone().frame() - (4 + 1 + 1 + 1 + 4);
        text_header(b"x", &vec![b'x'; room])
    };
    let every_type = [
        header(b"t", b't', &[1]),
        header(b"b", b'b', &[255]),
        header(b"s", b's', &[255, 255]),
        header(b"I", b'I', &[255; 4]),
        header(b"l", b'l', &[255; 8]),
        header(b"f", b'f', &[0x3f, 0x80, 0, 0]),
        header(b"d", b'd', &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        header(b"D", b'D', &[255, 255, 255, 255, 255]),
        header(b"T", b'T', &[255; 8]),
        header(b"V", b'V', &[]),
        header(b"x", b'x', &long(&[0, 255])),
        header(b"A", b'A', &long(&[b'V', b't', 0, b'F', 0, 0, 0, 0])),
        header(b"", b'S', &long(b"no name")),
        text_header(b"twice", b"one"),
        text_header(b"twice", b"two"),
    ]
    .concat();
    vec![
        case("a-header-of-20-kb", End::Runs, none().headers(&text_header(b"stack", &[b'x'; 20_480]))),
        case("the-longest-header", End::Runs, none().headers(&longest(none()))),
        case("many-headers", End::Runs, none().headers(&many)),
        case("correlation", End::Dead("invalid_properties"), none().correlation_id(odd)),
        case("reply-to", End::Dead("invalid_properties"), none().reply_to(odd)),
        case("message-id", End::Runs, none().message_id(odd)),
        case("content-type", End::Runs, none().content_type(odd)),
        case("type", End::Runs, none().kind(&[0x9f; 255])),
        case("app-id", End::Runs, none().app_id(odd).cluster_id(odd)),
        case("header-name", End::Runs, none().headers(&text_header(odd, b"value"))),
        case("deep-table", End::Runs, none().headers(&nested(b'F', 1_000))),
        case("deep-array", End::Runs, none().headers(&nested(b'A', 10_000))),
        case("every-type", End::Runs, none().headers(&every_type)),
        case("far-future", End::Runs, none().priority(255).timestamp(u64::MAX)),
        case("long-ago", End::Runs, none().delivery_mode(1).priority(0).expiration(b"3600000").timestamp(0)),
        case("guest", End::Runs, none().user_id(b"guest").app_id(odd)),
        case("unprintable", End::Runs, none().correlation_id(unprintable).reply_to(unprintable)),
        case("own-queue", End::Runs, none().reply_to(b"amq.rabbitmq.reply-to.%%%.%%%")),
        case("forged", End::Runs, none().headers(&forged())),
    ]
}

fn forged() -> Vec<u8> {
    [
        header(b"x-comet-unreadable", b'F', &long(&text_header(b"correlation_id", b"is odd"))),
        header(b"x-comet-appended-properties", b'l', &9_i64.to_be_bytes()),
        text_header(b"x-comet-handed-on", b"many"),
        text_header(b"x-delivery-count", b"many"),
    ]
    .concat()
}

/// Publishes them all, with good jobs before, between and after them, and waits for the end of every one.
async fn no_message_stops_the_others(place: &Place) {
    let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
    let mut worker = Worker::start(place, &sim, &[]);
    let broker = Broker::connect(place).await;
    broker.listen(place).await;
    let mut raw = Raw::connect(&place.amqp_url).await;
    let cases = odd_properties();
    let mut good = 0;
    for case in &cases {
        let id = case.name;
        let body = job(id).to_string();
        raw.publish(&place.queue(), &case.properties, body.as_bytes()).await.expect(id);
        good += 1;
        broker.publish(place, &job(&format!("good-{good}"))).await;
    }
    let runs = cases.iter().filter(|case| matches!(case.end, End::Runs)).count();
    let ends = broker.ends(place, good + runs).await;
    assert!(ends.values().flatten().all(|event| event.json()["type"] == "comet.job.succeeded"), "{ends:?}");
    let mut letters = BTreeMap::new();
    for _ in runs..cases.len() {
        let letter = broker.next(&place.dead_queue()).await;
        letters.insert(letter.body.clone(), letter.header("x-comet-reason"));
    }
    for case in &cases {
        match case.end {
            End::Runs => assert!(ends.contains_key(case.name), "{} did not run: {}", case.name, worker.log()),
            End::Dead(reason) => {
                let found = letters.get(job(case.name).to_string().as_bytes());
                let found = found.unwrap_or_else(|| panic!("no dead letter has the body of {}", case.name));
                assert_eq!(found.as_deref(), Some(reason));
            }
        }
    }
    broker.ready_is(&place.queue(), 0).await;
    assert_eq!(broker.ready(&place.dead_queue()).await, 0);
    assert!(worker.runs());
    let (_, metrics) = worker.admin("/metrics").await;
    assert!(
        metrics.contains("comet_reconnects_total{service=\"rabbitmq\"} 0"),
        "a session died: {}",
        worker.log()
    );
}

#[tokio::test]
async fn whatever_a_producer_writes_into_properties_the_others_go_on() {
    Place::run("poison", no_message_stops_the_others).await;
}

#[tokio::test]
async fn every_type_of_header_that_the_broker_passes_on_is_taken() {
    Place::run("types", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut passed = String::new();
        for kind in (b'A'..=b'Z').chain(b'a'..=b'z') {
            for length in [0, 1, 2, 4, 5, 8] {
                // RabbitMQ refuses most of them, because the rest of the value is not a header.
                let table = [header(b"odd", kind, &vec![0; length]), text_header(b"after", b"one")].concat();
                let mut raw = Raw::connect(&place.amqp_url).await;
                let id = format!("{}-{length}", char::from(kind));
                let (properties, body) = (none().headers(&table), job(&id).to_string());
                if raw.publish(&place.queue(), &properties, body.as_bytes()).await.is_ok() {
                    passed.push(char::from(kind));
                }
            }
        }
        println!("this broker passes on: {passed}");
        assert!(passed.len() > 12, "{passed}");
        let ends = broker.ends(place, passed.len()).await;
        assert!(
            ends.values().flatten().all(|event| event.json()["type"] == "comet.job.succeeded"),
            "{}",
            worker.log()
        );
    })
    .await;
}

#[tokio::test]
async fn sessions_that_die_with_the_same_message_at_their_head_say_so() {
    let port = crate::support::amqp_url().parse::<url::Url>().unwrap().port().unwrap_or(5672);
    let proxy = Proxy::to(port).await;
    Place::run("suspect", async |place| {
        let sim = Sim::start(&["--durations", "fixed:600s"]).await;
        let through = proxy.through(&place.amqp_url);
        let worker = Worker::start(place, &sim, &[("AMQP__URL", &through)]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("at-the-head")).await;
        wait_for("the task", async || (sim.report().await.number("accepted") == 1).then_some(())).await;
        for sessions in 1..=3 {
            wait_for("a session that holds the job", async || {
                let (_, metrics) = worker.admin("/metrics").await;
                let taken = worker.log().matches("taking jobs").count() >= sessions;
                (taken && metrics.contains("comet_jobs_held{stage=\"generating\"} 1")).then_some(())
            })
            .await;
            proxy.cut();
            worker.says("trying again").await;
            wait_for("the end of the session", async || {
                (worker.log().matches("no session with RabbitMQ").count() >= sessions).then_some(())
            })
            .await;
            if sessions < 3 {
                proxy.open();
            }
        }
        worker.says("3 sessions with RabbitMQ in a row have ended with the same message at their head").await;
        assert!(worker.log().contains("job_id at-the-head"), "{}", worker.log());
        let (status, words) = worker.admin("/readyz").await;
        assert!(status == 503 && words.contains("at-the-head"), "{words}");
        let (_, metrics) = worker.admin("/metrics").await;
        assert!(metrics.contains("comet_standstill{what=\"message\"} 1"), "{metrics}");
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_routes_nowhere_else() {
    Place::run("routing", async |place| {
        let sim = Sim::start(&[]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut raw = Raw::connect(&place.amqp_url).await;
        let queue = [b"S".to_vec(), long(place.queue().as_bytes())].concat();
        for name in [b"CC".as_slice(), b"BCC"] {
            let routing = header(name, b'A', &long(&queue));
            // RabbitMQ routes this message to the queue twice, and dead-letters one copy of each.
            raw.publish(&place.queue(), &none().headers(&routing), b"no JSON").await.unwrap();
            let letter = broker.next(&place.dead_queue()).await;
            assert_eq!(letter.header("CC"), None, "{letter:?}");
            assert_eq!(letter.header("BCC"), None);
            assert_eq!(letter.header("x-comet-reason").as_deref(), Some("not_json"));
        }
        broker.ready_is(&place.queue(), 0).await;
        assert_eq!(broker.ready(&place.dead_queue()).await, 0, "one dead letter for each message");
    })
    .await;
}

#[tokio::test]
async fn what_we_add_to_a_message_never_makes_it_too_long_for_the_broker() {
    Place::run("bounds", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut raw = Raw::connect(&place.amqp_url).await;
        let state = text_header(b"tracestate", &[b'a'; 16_310]);
        raw.publish(&place.queue(), &none().headers(&state), job("traced").to_string().as_bytes())
            .await
            .unwrap();
        let empty = text_header(b"x", b"");
        let room = 131_072 - none().headers(&empty).frame();
        let fits = none().headers(&text_header(b"x", &vec![b'x'; room]));
        assert_eq!(fits.frame(), 131_072);
        raw.publish(&place.queue(), &fits, b"no JSON").await.unwrap();
        broker.publish(place, &job("good")).await;
        let ends = broker.ends(place, 2).await;
        assert_eq!(ends["traced"][0].header("tracestate"), None);
        let letter = broker.next(&place.dead_queue()).await;
        assert_eq!(letter.body, b"no JSON");
        assert_eq!(letter.header("x-comet-reason").as_deref(), Some("not_json"));
        let detail = letter.header("x-comet-detail").unwrap();
        assert!(detail.contains("dropped") && detail.contains("x ("), "{detail}");
        broker.ready_is(&place.queue(), 0).await;
        assert!(worker.log().contains("dropped"), "{}", worker.log());
        assert!(worker.log().contains("its tracestate is longer than 2048 characters"), "{}", worker.log());
    })
    .await;
}

#[tokio::test]
async fn dead_letters_with_odd_properties_stop_no_tool_that_looks_through_them() {
    Place::run("tools", async |place| {
        let fault = ["--durations", "fixed:1s", "--duplicates", "accept", "--fault", "bad-gateway"];
        let sim = Sim::start(&fault).await;
        let _worker = Worker::start(place, &sim, &[("GENERATION__QUIET_S", "3")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut raw = Raw::connect(&place.amqp_url).await;
        let stack = text_header(b"stack", &[b'x'; 100_000]);
        for odd in [none().headers(&nested(b'F', 1_000)), none().headers(&stack), none().app_id(&[0xff])] {
            raw.publish(&place.dead_queue(), &odd, b"buried by hand").await.unwrap();
        }
        broker.publish(place, &job("unknown")).await;
        let first = broker.ends(place, 1).await["unknown"][0].json();
        assert_eq!(first["data"]["reason"], "outcome_unknown");
        broker.ready_is(&place.dead_queue(), 4).await;
        sim.faults(serde_json::json!({})).await;
        // The copy that it looks for is the last one.
        let said = tool(&environment(place, &sim.url), &["resolve", "unknown", "--give-up"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        broker.ready_is(&place.dead_queue(), 3).await;
    })
    .await;
}

#[tokio::test]
async fn a_name_in_a_message_id_that_can_not_be_read_is_no_name() {
    Place::run("nameless", async |place| {
        let sim = Sim::start(&[]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut raw = Raw::connect(&place.amqp_url).await;
        let mut nameless = job("x");
        nameless.as_object_mut().unwrap().remove("job_id");
        raw.publish(&place.queue(), &none().message_id(&[0xff]), nameless.to_string().as_bytes())
            .await
            .unwrap();
        let letter = broker.next(&place.dead_queue()).await;
        assert_eq!(letter.header("x-comet-reason").as_deref(), Some("invalid_properties"));
        assert!(letter.header("x-comet-detail").unwrap().contains("message_id is not UTF-8 (bytes ff)"));
        assert_eq!(letter.json(), nameless);
    })
    .await;
}

#[tokio::test]
async fn half_a_character_fails_a_job_with_its_place_and_not_in_silence() {
    Place::run("half", async |place| {
        let sim = Sim::start(&[]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let body = job("half").to_string().replace("at a sunlit", r"\ud83d at a sunlit");
        broker.publish_raw(place, body.as_bytes(), lapin::BasicProperties::default()).await;
        let event = broker.ends(place, 1).await["half"][0].json();
        assert_eq!(event["data"]["reason"], "invalid_request");
        assert_eq!(event["data"]["faults"][0]["path"], "/input/prompt");
        assert_eq!(broker.ready(&place.dead_queue()).await, 0);
    })
    .await;
}
