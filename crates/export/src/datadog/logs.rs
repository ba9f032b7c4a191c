//! Lines as `HTTPLog`: an array of objects whose members are texts.

use model::{Group, Log};
use store::Record;
use wire::otlp::as_text;
use wire::{Limits, LogSink};

use crate::batch::{Encode, Encoded};
use crate::line::string;
use crate::settings::Compression;
use crate::streams::{environment, ids, resource_text, service};

/// Lines of a request, and its bytes before compression (5 MB are taken).
const LINES: u64 = 1000;
const LARGEST: usize = 4_000_000;
/// A line is cut there by Datadog.
const LONGEST: usize = 1_000_000;
/// Members that an attribute does not get to be.
const OWN: [&str; 9] =
    ["ddsource", "ddtags", "hostname", "message", "service", "status", "timestamp", "dd.trace_id", "dd.span_id"];

pub(super) struct Logs {
    pub(super) limits: Limits,
    pub(super) compression: Compression,
    pub(super) hostname: String,
}

struct Lines<'e> {
    to: &'e Logs,
    /// What the lines of a group have in common: its members, each with a comma in front.
    common: String,
    body: String,
    count: u64,
    out: &'e mut Encoded,
}

impl Lines<'_> {
    fn close(&mut self) {
        let items = std::mem::take(&mut self.count);
        if items > 0 {
            self.body.push(']');
            super::push(self.out, self.to.compression, std::mem::take(&mut self.body).into_bytes(), items);
        }
    }
}

fn member(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push(',');
        string(out, name);
        out.push(':');
        string(out, value);
    }
}

impl LogSink for Lines<'_> {
    fn group(&mut self, group: &Group<'_>) {
        let out = &mut self.common;
        out.clear();
        member(out, "service", service(group));
        let host = resource_text(group, "host.name").unwrap_or(&self.to.hostname);
        member(out, "hostname", host);
        let mut tags = Vec::new();
        for (tag, value) in [
            ("env", environment(group)),
            ("version", resource_text(group, "service.version").unwrap_or_default()),
            ("otel_source", "braid"),
        ] {
            if !value.is_empty() {
                tags.push(format!("{tag}:{}", value.replace(',', "_")));
            }
        }
        member(out, "ddtags", &tags.join(","));
        let attributes = group.resource.iter().map(|a| (a.key, as_text(&a.value)));
        let labels = group.labels.iter().filter(|_| group.resource.is_empty()).map(|(n, v)| (*n, (*v).into()));
        for (key, value) in attributes.chain(labels) {
            if !OWN.contains(&key) {
                member(out, key, &value);
            }
        }
    }

    fn log(&mut self, log: &Log<'_>) {
        self.body.push(if self.count == 0 { '[' } else { ',' });
        let from = self.body.len();
        let out = &mut self.body;
        out.push_str("{\"message\":");
        let message = as_text(&log.body);
        string(out, &message[..message.floor_char_boundary(LONGEST / 2)]);
        out.push_str(",\"ddsource\":\"otlp\"");
        let time = jiff::Timestamp::from_nanosecond(log.time.into()).unwrap_or_default();
        member(out, "timestamp", &format!("{time:.3}"));
        member(out, "status", status(log));
        let (trace, span) = ids(log);
        if !trace.is_none() {
            member(out, "dd.trace_id", &trace.to_string());
            member(out, "otel.trace_id", &trace.to_string());
        }
        if !span.is_none() {
            member(out, "dd.span_id", &u64::from_be_bytes(span.0).to_string());
            member(out, "otel.span_id", &span.to_string());
        }
        for a in log.attributes {
            if !OWN.contains(&a.key) {
                member(out, a.key, &as_text(&a.value));
            }
            if out.len() - from > LONGEST {
                break;
            }
        }
        out.push_str(&self.common);
        out.push('}');
        self.count += 1;
        if self.count >= LINES || self.body.len() >= LARGEST {
            self.close();
        }
    }
}

/// Datadog's word for a severity.
fn status<'l>(log: &'l Log<'_>) -> &'l str {
    match log.severity_number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "critical",
        _ => log.severity_text,
    }
}

impl Encode for Logs {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let mut lines = Lines { to: self, common: String::new(), body: String::new(), count: 0, out };
        for record in records {
            if let Err(why) = wire::walk_logs(record.encoding, &record.payload, &self.limits, record.received, &mut lines) {
                lines.out.unreadable(record, &why);
            }
        }
        lines.close();
    }
}
