//! Traces by OpenTelemetry. Each life of a job is a span in its producer's trace, with the spans of its acts in it:
//! waiting for the right to post, the POST, the generation (its polls are events of that span), downloading and storing,
//! and the publish, which is the parent that the event's own `traceparent` names.
//!
//! They are exported by OTLP over HTTP where the usual variables `OTEL_…` say so. Without them nothing here costs more
//! than a look at an empty option.

mod collector;
mod life;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use self::collector::Collector;
pub use self::life::LifeTrace;

/// The last spans are sent within this time at the end of the process, or are lost.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Those that end together at a stop.
const SPANS_OF_A_JOB: usize = 4;
/// The SDK's own default.
const QUEUE_LEAST: usize = 2048;

/// Where the spans of this process go. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Exporting>);

#[derive(Debug, Clone)]
struct Exporting {
    tracer: SdkTracer,
    provider: Arc<Provider>,
}

#[derive(Debug)]
struct Provider(SdkTracerProvider);

impl Drop for Provider {
    /// The provider's own end would wait for seconds, also at an exit that should be at once.
    fn drop(&mut self) {
        let _ = self.0.shutdown_with_timeout(Duration::ZERO);
    }
}

impl Traces {
    /// Without traces.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// As the environment says: on if `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, unless
    /// `OTEL_SDK_DISABLED` is `true` or `OTEL_TRACES_EXPORTER` is `none`. A stop ends the spans of all `max_in_flight` jobs
    /// at once, so there is room for them, unless `OTEL_BSP_MAX_QUEUE_SIZE` says how much. Must be called in a runtime of
    /// tokio.
    ///
    /// # Errors
    ///
    /// What the variables ask for and this program doesn't do, for people.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        max_in_flight: usize,
    ) -> Result<Self, String> {
        if !asks_for_traces(&variable)? {
            return Ok(Self::off());
        }
        let timeout = timeout(&variable)?;
        let collector = Collector::new(timeout).map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let named = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
        let resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = if named { resource } else { resource.with_service_name("comet-worker") };
        let batches = BatchConfigBuilder::default();
        let batches = match variable("OTEL_BSP_MAX_QUEUE_SIZE") {
            Some(_) => batches,
            None => batches.with_max_queue_size((SPANS_OF_A_JOB * max_in_flight).max(QUEUE_LEAST)),
        };
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let provider =
            SdkTracerProvider::builder().with_span_processor(batches).with_resource(resource.build()).build();
        let tracer = provider.tracer("comet-worker");
        Ok(Self(Some(Exporting { tracer, provider: Arc::new(Provider(provider)) })))
    }

    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what is not sent yet, within about a second.
    pub async fn flush(self) {
        let Some(Exporting { provider, .. }) = self.0 else { return };
        let flushing = tokio::task::spawn_blocking(move || provider.0.shutdown_with_timeout(FLUSH_MAX));
        match flushing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the last spans were not sent: {error}"),
            Err(error) => tracing::debug!("the last spans were not sent: {error}"),
        }
    }
}

fn asks_for_traces(variable: &impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, set(name)?)));
    let has_endpoint = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]).is_some();
    let is_disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !has_endpoint || is_disabled {
        return Ok(false);
    }
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => return Ok(false),
        Some("otlp") | None => {}
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER is {other:?}; it can be otlp or none")),
    }
    match first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]) {
        Some((name, value)) if value != "http/protobuf" => Err(format!(
            "{name} is {value:?}; traces go out as http/protobuf alone: set it so, and the endpoint to the collector's \
             port for HTTP (4318 by default)"
        )),
        Some(_) | None => Ok(true),
    }
}

/// How long one export may take.
fn timeout(variable: &impl Fn(&str) -> Option<String>) -> Result<Duration, String> {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"] {
        if let Some(text) = variable(name).filter(|value| !value.trim().is_empty()) {
            let milliseconds = text
                .trim()
                .parse()
                .map_err(|_| format!("{name} is {text:?}; it is a number of milliseconds"));
            return milliseconds.map(Duration::from_millis);
        }
    }
    Ok(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> Result<bool, String> {
        asks_for_traces(&|name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_on_where_an_endpoint_is_named_and_nothing_switches_them_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(asked(&[]), Ok(false));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(asked(&[endpoint]), Ok(true));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")]), Ok(true));
        assert_eq!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        assert_eq!(asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(asked(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), Ok(true));
    }

    #[test]
    fn what_it_does_not_do_is_said_with_the_variable() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let grpc = asked(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(grpc.contains("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\"") && grpc.contains("4318"), "{grpc}");
        let zipkin = asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(zipkin.contains("otlp or none"), "{zipkin}");
        let slow = timeout(&|name: &str| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| "10s".to_owned()));
        assert!(slow.unwrap_err().contains("milliseconds"));
    }
}
