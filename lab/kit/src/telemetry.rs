//! The OpenTelemetry SDK of one process: traces, logs and metrics as OTLP/HTTP protobuf, log lines as JSON on stdout.

use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanProcessor};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::delivery::Delivery;
use crate::json_log::JsonLog;

/// Where OTLP goes unless `OTEL_EXPORTER_OTLP_ENDPOINT` names another place.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4318";

/// A graceful stop may take two seconds in all; this is the part of it that belongs to the last flush.
const FLUSH: Duration = Duration::from_millis(800);
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// The three providers of a process. Built once in a subcommand and handed to what needs it; [`Telemetry::stop`] flushes.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
    stopping: watch::Sender<bool>,
}

impl Telemetry {
    /// Starts the SDK, with OTLP going to `endpoint`, for `service` (unless `OTEL_SERVICE_NAME` names it otherwise) and installs the
    /// process's log subscriber. Every span and every log line carries what the baggage of its context says about `keys`.
    ///
    /// Must be called on the runtime that will carry the exports. Fails when the endpoint is not a URL or a subscriber is set already.
    pub fn start(service: &'static str, endpoint: &str, keys: &'static [&'static str]) -> anyhow::Result<Self> {
        let endpoint = endpoint.trim_end_matches('/');
        anyhow::ensure!(endpoint.starts_with("http://"), "the OTLP endpoint must be an http:// URL, not {endpoint:?}");
        let resource = resource(service);
        let (stopping, stopped) = watch::channel(false);
        let delivery = Delivery::new(Handle::current(), stopped);
        let at = |path: &str| format!("{endpoint}/v1/{path}");

        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(delivery.clone())
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(at("traces"))
            .build()
            .context("span exporter")?;
        // A database smoke test alone makes hundreds of spans in a few milliseconds.
        let batches = trace::BatchConfigBuilder::default()
            .with_max_queue_size(16_384)
            .with_max_export_batch_size(2_048)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let traces = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(BaggageAttributes(keys))
            .with_span_processor(BatchSpanProcessor::builder(spans).with_batch_config(batches).build())
            .build();

        let records = LogExporter::builder()
            .with_http()
            .with_http_client(delivery.clone())
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(at("logs"))
            .build()
            .context("log exporter")?;
        let batches = logs::BatchConfigBuilder::default()
            .with_max_queue_size(8_192)
            .with_max_export_batch_size(1_024)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(BatchLogProcessor::builder(records).with_batch_config(batches).build())
            .build();

        let points = MetricExporter::builder()
            .with_http()
            .with_http_client(delivery)
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(at("metrics"))
            .build()
            .context("metric exporter")?;
        let metrics = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(PeriodicReader::builder(points).with_interval(METRICS_INTERVAL).build())
            .build();

        tracing_subscriber::registry()
            .with(JsonLog::new(logs.logger("braid-lab"), keys).with_filter(own_events()))
            .try_init()
            .context("log subscriber")?;
        Ok(Self { traces, logs, metrics, stopping })
    }

    /// The tracer for the spans of this process.
    pub fn tracer(&self) -> SdkTracer {
        self.traces.tracer("braid-lab")
    }

    /// The meter for the metrics that leave over OTLP.
    pub fn meter(&self) -> Meter {
        self.metrics.meter("braid-lab")
    }

    /// Sends what is still queued, for at most 800 ms in all; what the collector does not take by then is lost.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        let Self { traces, logs, metrics, .. } = self;
        let flushes: [Box<dyn FnOnce() + Send>; 3] = [
            Box::new(move || drop(traces.shutdown_with_timeout(FLUSH))),
            Box::new(move || drop(logs.shutdown_with_timeout(FLUSH))),
            Box::new(move || drop(metrics.shutdown_with_timeout(FLUSH))),
        ];
        let all: Vec<_> = flushes.into_iter().map(tokio::task::spawn_blocking).collect();
        let joined = async {
            for flush in all {
                let _ = flush.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH, joined).await;
    }
}

/// Copies entries of the baggage to the spans that start below it.
#[derive(Debug)]
struct BaggageAttributes(&'static [&'static str]);

impl SpanProcessor for BaggageAttributes {
    fn on_start(&self, span: &mut trace::Span, context: &Context) {
        for key in self.0 {
            if let Some(value) = context.baggage().get(key) {
                span.set_attribute(KeyValue::new(*key, value.clone()));
            }
        }
    }

    fn on_end(&self, _span: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Our own events; the SDK's diagnostics would come back as a flood while the collector is away ([`Delivery`] says it once).
fn own_events() -> Targets {
    Targets::new().with_target("braid_lab", LevelFilter::INFO)
}

/// `service.name`, `service.version` and `deployment.environment` as in the seed; `OTEL_RESOURCE_ATTRIBUTES` and
/// `OTEL_SERVICE_NAME` win over them.
fn resource(service: &'static str) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let given = EnvResourceDetector::new().detect();
    let mut builder = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", "1.0.0"),
            KeyValue::new("deployment.environment", "lab"),
            KeyValue::new("service.instance.id", format!("{}:{}", host.trim(), std::process::id())),
            KeyValue::new("host.name", host.trim().to_owned()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .with_attributes(given.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
    if let Some(name) = name {
        builder = builder.with_service_name(name);
    }
    builder.build()
}

/// Starts a span below `parent` and returns the context that holds it. The span ends with [`end`], or when its last context is dropped.
pub fn span(
    tracer: &SdkTracer,
    parent: &Context,
    kind: SpanKind,
    name: impl Into<std::borrow::Cow<'static, str>>,
    attributes: impl IntoIterator<Item = KeyValue>,
) -> Context {
    let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
    parent.with_span(builder.start_with_context(tracer, parent))
}

/// Sets one attribute on the span of `context`.
pub fn set(context: &Context, key: &'static str, value: impl Into<opentelemetry::Value>) {
    context.span().set_attribute(KeyValue::new(key, value));
}

/// Sets the status code of an HTTP answer, in both generations of the conventions.
pub fn set_status_code(context: &Context, status: StatusCode) {
    set(context, "http.response.status_code", i64::from(status.as_u16()));
    set(context, "http.status_code", i64::from(status.as_u16()));
}

/// Records `error` as an exception event and gives the span of `context` the status ERROR.
pub fn fail(context: &Context, kind: &'static str, error: &dyn std::error::Error) {
    let text = error.to_string();
    let event = vec![KeyValue::new("exception.type", kind), KeyValue::new("exception.message", text.clone())];
    context.span().add_event("exception", event);
    context.span().set_status(Status::error(text));
}

/// Ends the span of `context` now, even while log lines or tasks still hold the context.
pub fn end(context: &Context) {
    context.span().end();
}

/// Ids of the span of `context`, as 32 and 16 hexadecimal digits.
pub fn ids(context: &Context) -> (String, String) {
    let span = context.span();
    let span = span.span_context();
    (span.trace_id().to_string(), span.span_id().to_string())
}
