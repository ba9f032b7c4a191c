//! Log lines: one JSON object each with the fields of the seed (`asctime`, `name`, `levelname`, `message`, `trace_id`,
//! `span_id`), then the event's own fields. The same line goes to stdout and, as the body of a log record, out over OTLP:
//! so the seed's link from a trace to its logs, which searches lines for the trace id, finds them.

use std::fmt::Debug;
use std::io::Write;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::logs::SdkLogger;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer;

/// Writes every event to stdout and to the SDK's logger. A closed stdout is no reason to stop serving, so its errors are
/// ignored; the SDK's queue is bounded.
#[derive(Debug)]
pub(crate) struct JsonLog {
    logger: SdkLogger,
    /// Entries of the current context's baggage that each line repeats.
    keys: &'static [&'static str],
}

impl JsonLog {
    pub(crate) fn new(logger: SdkLogger, keys: &'static [&'static str]) -> Self {
        Self { logger, keys }
    }
}

impl<S: Subscriber> Layer<S> for JsonLog {
    fn on_event(&self, event: &Event<'_>, _context: layer::Context<'_, S>) {
        let now = Timestamp::now();
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.add_baggage(self.keys);
        let line = render(event, &fields, now);
        let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());

        let level = *event.metadata().level();
        // The record's trace and span id are the current context's; the SDK takes them itself.
        let mut record = self.logger.create_log_record();
        let since_epoch = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
        record.set_timestamp(SystemTime::UNIX_EPOCH + since_epoch);
        record.set_severity_number(severity(level));
        record.set_severity_text(level_name(level));
        record.set_body(AnyValue::from(line));
        for (name, value) in fields.rest {
            record.add_attribute(name, any_value(value));
        }
        self.logger.emit(record);
    }
}

fn render(event: &Event<'_>, fields: &Fields, now: Timestamp) -> String {
    let (trace_id, span_id) = Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        if span.is_valid() { (span.trace_id().to_string(), span.span_id().to_string()) } else { Default::default() }
    });
    // Python's %(asctime)s, in UTC.
    let asctime = now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
    let mut line = Line::default();
    line.field("asctime", &asctime.into());
    line.field("name", &event.metadata().target().replace("::", ".").into());
    line.field("levelname", &level_name(*event.metadata().level()).into());
    line.field("message", &fields.message.as_str().into());
    line.field("trace_id", &trace_id.into());
    line.field("span_id", &span_id.into());
    for (name, value) in &fields.rest {
        line.field(name, value);
    }
    line.text + "}"
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        _ => Severity::Debug,
    }
}

fn any_value(value: Value) -> AnyValue {
    match value {
        Value::String(text) => AnyValue::from(text),
        Value::Bool(truth) => AnyValue::Boolean(truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => AnyValue::Int(whole),
            None => AnyValue::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        other => AnyValue::from(other.to_string()),
    }
}

/// A JSON object in the order in which its fields come; the first of a name wins.
#[derive(Default)]
struct Line {
    text: String,
    names: Vec<&'static str>,
}

impl Line {
    fn field(&mut self, name: &'static str, value: &Value) {
        if !self.names.contains(&name) {
            self.names.push(name);
            self.text.push(if self.text.is_empty() { '{' } else { ',' });
            self.text.push_str(&format!("{}:{value}", Value::from(name)));
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// The event's own fields win over the baggage's entries.
    fn add_baggage(&mut self, keys: &'static [&'static str]) {
        Context::map_current(|context| {
            for key in keys {
                let known = self.rest.iter().any(|(name, _)| name == key);
                if let Some(value) = context.baggage().get(key).filter(|_| !known) {
                    self.rest.push((key, value.as_str().into()));
                }
            }
        });
    }

    fn push(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use opentelemetry::KeyValue;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use tracing_subscriber::prelude::*;

    use super::*;

    struct Capture(Arc<Mutex<Vec<Value>>>);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _context: layer::Context<'_, S>) {
            let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
            let mut fields = Fields::default();
            event.record(&mut fields);
            fields.add_baggage(&["circuit_id", "absent", "ok"]);
            self.0.lock().unwrap().push(serde_json::from_str(&render(event, &fields, now)).unwrap());
        }
    }

    #[test]
    fn a_line_has_the_seeds_fields_and_the_current_span() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(lines.clone()));
        let parent = SpanContext::new(
            TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            SpanId::from_hex("00f067aa0ba902b7").unwrap(),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "a::b", status_code = 404_u16, path = %"/x", "Gone \"for good\"");
            let baggage = [KeyValue::new("circuit_id", "c-1"), KeyValue::new("other", "x"), KeyValue::new("ok", "no")];
            let _guard = Context::new().with_remote_span_context(parent).with_baggage(baggage).attach();
            tracing::info!(ok = true, "Here");
        });
        let lines = lines.lock().unwrap();
        assert_eq!(lines[0]["asctime"], "2023-11-14 22:13:20,123");
        assert_eq!(lines[0]["name"], "a.b");
        assert_eq!(lines[0]["levelname"], "WARNING");
        assert_eq!(lines[0]["message"], "Gone \"for good\"");
        assert_eq!(lines[0]["trace_id"], "");
        assert_eq!(lines[0]["status_code"], 404);
        assert_eq!(lines[0]["path"], "/x");
        assert_eq!(lines[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(lines[1]["span_id"], "00f067aa0ba902b7");
        assert_eq!(lines[1]["ok"], true);
        assert_eq!(lines[1]["circuit_id"], "c-1");
        assert!(lines[0].get("circuit_id").is_none() && lines[1].get("other").is_none() && lines[1].get("absent").is_none());
    }
}
