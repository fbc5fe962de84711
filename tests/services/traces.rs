//! Traces of real workers, as a collector gets them: decoded by the definitions of OpenTelemetry itself.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use crate::support::jobs::job;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

/// A server that takes spans.
struct Collector {
    url: String,
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    async fn start() -> Self {
        let got: Arc<Mutex<Vec<ExportTraceServiceRequest>>> = Arc::default();
        let taking = Arc::clone(&got);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["x-tenant"], "studio");
            taking.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, got }
    }

    /// What a worker's environment says.
    fn variables(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=studio"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ];
        let all = own.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let scopes =
            got.iter().flat_map(|request| &request.resource_spans).flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The attributes of the process.
    fn resource(&self) -> Vec<KeyValue> {
        let got = self.got.lock().unwrap();
        got[0].resource_spans[0].resource.clone().unwrap().attributes
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    if let AnyValue::StringValue(text) = value { Some(text) } else { None }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Publishes the job in the producer's trace.
async fn publish(broker: &Broker, place: &Place, id: &str, flags: &str) {
    let mut headers = FieldTable::default();
    let traceparent = format!("00-{TRACE}-{PRODUCER}-{flags}");
    headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.into()));
    let properties = BasicProperties::default().with_headers(headers);
    broker.publish_raw(place, job(id).to_string().as_bytes(), properties).await;
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans
        .iter()
        .find(|span| span.name.starts_with(name))
        .unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

#[tokio::test]
async fn one_trace_goes_from_the_producer_through_the_life_to_the_event() {
    Place::run("traces", async |place| {
        let (sim, collector) = (Sim::start(&["--durations", "fixed:1500ms"]).await, Collector::start().await);
        let settings = [("POLL__FIRST_MS", "300"), ("POLL__MIN_MS", "300"), ("POLL__MAX_MS", "300")];
        let worker = Worker::start_with(place, &sim, &settings, &collector.variables(&[]));
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        publish(&broker, place, "a", "01").await;
        let event = broker.next(&format!("{}.told", place.prefix)).await;
        let spans = wait_for("the life's span", async || {
            let spans = collector.spans();
            spans.iter().any(|span| span.name.starts_with("process ")).then_some(spans)
        })
        .await;

        let life = named(&spans, "process ");
        assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
        assert_eq!((hex(&life.parent_span_id).as_str(), life.kind()), (PRODUCER, SpanKind::Consumer));
        assert_eq!(life.name, format!("process {}", place.queue()));
        for (key, value) in [
            ("messaging.system", "rabbitmq"),
            ("comet.job_id", "a"),
            ("comet.outcome", "succeeded"),
            ("comet.units", "8"),
        ] {
            assert_eq!(text(&life.attributes, key).as_deref(), Some(value), "{life:#?}");
        }
        for (name, kind) in [
            ("wait to submit", SpanKind::Internal),
            ("submit", SpanKind::Client),
            ("generate", SpanKind::Internal),
            ("store", SpanKind::Client),
            ("publish", SpanKind::Producer),
        ] {
            let span = named(&spans, name);
            assert_eq!((&span.parent_span_id, span.kind()), (&life.span_id, kind), "{span:#?}");
            let within = life.start_time_unix_nano <= span.start_time_unix_nano
                && span.start_time_unix_nano <= span.end_time_unix_nano
                && span.end_time_unix_nano <= life.end_time_unix_nano;
            assert!(within, "{name} is not within its life");
        }
        let generate = named(&spans, "generate");
        assert!(generate.events.len() >= 2, "{generate:#?}");
        assert!(generate.events.iter().all(|event| event.name == "poll"), "{generate:#?}");
        let last = generate.events.last().unwrap();
        assert_eq!(text(&last.attributes, "comet.status").as_deref(), Some("succeeded"));
        assert_eq!(text(&named(&spans, "submit").attributes, "comet.answer").as_deref(), Some("accepted"));

        let publish = named(&spans, "publish");
        let expected = format!("00-{TRACE}-{}-01", hex(&publish.span_id));
        assert_eq!(event.header("traceparent"), Some(expected));
        let resource = collector.resource();
        assert_eq!(text(&resource, "service.name").as_deref(), Some("comet-worker"));
        worker.says("traces go out").await;
    })
    .await;
}

#[tokio::test]
async fn a_life_that_goes_on_elsewhere_is_in_the_same_trace() {
    Place::run("traceson", async |place| {
        let (sim, collector) = (Sim::start(&["--durations", "fixed:3s"]).await, Collector::start().await);
        let variables = collector.variables(&[("OTEL_SERVICE_NAME", "pictures")]);
        let mut first = Worker::start_with(place, &sim, &[], &variables);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        publish(&broker, place, "a", "01").await;
        wait_for("a generation", async || (sim.report().await.number("running") == 1).then_some(())).await;
        assert!(first.stop().await.success());
        let _second = Worker::start_with(place, &sim, &[], &variables);
        broker.ends(place, 1).await;
        let spans = wait_for("two lives", async || {
            let spans = collector.spans();
            let lives = spans.iter().filter(|span| span.name.starts_with("process ")).count();
            (lives == 2).then_some(spans)
        })
        .await;
        let lives: Vec<&Span> = spans.iter().filter(|span| span.name.starts_with("process ")).collect();
        assert!(lives.iter().all(|life| hex(&life.parent_span_id) == PRODUCER), "{lives:#?}");
        assert_eq!(text(&lives[0].attributes, "comet.requeued").as_deref(), Some("stopping"), "{lives:#?}");
        assert_eq!(text(&lives[1].attributes, "comet.outcome").as_deref(), Some("succeeded"), "{lives:#?}");
        assert_eq!(spans.iter().filter(|span| span.name == "submit").count(), 1, "{spans:#?}");
        assert_eq!(text(&collector.resource(), "service.name").as_deref(), Some("pictures"));
    })
    .await;
}

#[tokio::test]
async fn what_is_not_sampled_goes_on_as_the_producer_sent_it() {
    Place::run("tracesoff", async |place| {
        let (sim, collector) = (Sim::start(&["--durations", "fixed:300ms"]).await, Collector::start().await);
        let mut worker = Worker::start_with(place, &sim, &[], &collector.variables(&[]));
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        publish(&broker, place, "a", "00").await;
        let event = broker.next(&format!("{}.told", place.prefix)).await;
        assert_eq!(event.header("traceparent"), Some(format!("00-{TRACE}-{PRODUCER}-00")));
        assert!(worker.stop().await.success());
        assert!(collector.spans().is_empty(), "{:#?}", collector.spans());
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_is_away_is_said_once_and_holds_nothing_up() {
    Place::run("tracesaway", async |place| {
        let sim = Sim::start(&["--durations", "fixed:300ms"]).await;
        let nowhere = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://someone:secret@127.0.0.1:1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        let nowhere = nowhere.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut worker = Worker::start_with(place, &sim, &[], &nowhere);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for n in 0..3 {
            publish(&broker, place, &format!("a{n}"), "01").await;
        }
        broker.ends(place, 3).await;
        worker.says("takes no spans").await;
        assert!(worker.stop().await.success());
        let log = worker.log();
        assert_eq!(log.matches("takes no spans").count(), 1, "{log}");
        assert!(log.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && !log.contains("secret"), "{log}");

        let grpc =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let grpc = grpc.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let worker = Worker::start_with(place, &sim, &[], &grpc);
        worker.says("traces go out as http/protobuf alone").await;
        publish(&broker, place, "b", "01").await;
        broker.ends(place, 1).await;
    })
    .await;
}
