//! Records to Loki's push API: few labels, everything else in the line.

use model::{Group, Log};
use store::Record;
use wire::{Limits, LogSink, PushEncoder};

use crate::batch::{Encode, Encoded};
use crate::line;
use crate::settings::LokiLabel;
use crate::streams::{environment, ids, service};

/// Bytes of a request before compression: half of what Loki takes by default.
const LARGEST: usize = 2 << 20;
/// A label's value may have so many bytes in Loki.
const LONGEST_LABEL: usize = 2048;

/// Makes push requests.
pub(crate) struct LokiEncoder {
    limits: Limits,
    labels: Vec<LokiLabel>,
    largest: usize,
}

impl LokiEncoder {
    pub(crate) fn new(limits: Limits, labels: Vec<LokiLabel>) -> Self {
        Self { limits, labels, largest: LARGEST }
    }
}

struct Lines<'e> {
    labels: &'e [LokiLabel],
    largest: usize,
    push: PushEncoder,
    count: u64,
    service: String,
    env: String,
    tail: String,
    line: String,
    out: &'e mut Encoded,
}

impl Lines<'_> {
    fn close(&mut self) {
        let items = std::mem::take(&mut self.count);
        if items == 0 {
            return;
        }
        match self.push.finish() {
            Ok(body) => self.out.push(body, items),
            Err(_) => self.out.unencodable += items,
        }
    }
}

impl LogSink for Lines<'_> {
    fn group(&mut self, group: &Group<'_>) {
        let label = |text: &str| text.get(..text.floor_char_boundary(LONGEST_LABEL)).unwrap_or_default().to_owned();
        self.service = label(service(group));
        self.env = label(environment(group));
        self.tail = line::tail(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        let has = |label| self.labels.contains(&label);
        let (trace, _) = ids(log);
        let id = if has(LokiLabel::TraceId) && !trace.is_none() { trace.to_string() } else { String::new() };
        self.line.clear();
        line::write(&mut self.line, log, &self.tail, id.is_empty());
        let env = if has(LokiLabel::Env) { self.env.as_str() } else { "" };
        // A stream has at least one label.
        let service = if has(LokiLabel::Service) || (env.is_empty() && id.is_empty()) { self.service.as_str() } else { "" };
        let all = [("env", env), ("service", service), ("trace_id", id.as_str())];
        self.push.line(all.into_iter().filter(|(_, value)| !value.is_empty()), log.time, &self.line);
        self.count += 1;
        if self.push.size() >= self.largest {
            self.close();
        }
    }
}

impl Encode for LokiEncoder {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let mut lines = Lines {
            labels: &self.labels,
            largest: self.largest,
            push: PushEncoder::default(),
            count: 0,
            service: String::new(),
            env: String::new(),
            tail: String::new(),
            line: String::new(),
            out,
        };
        for record in records {
            if let Err(why) = wire::walk_logs(record.encoding, &record.payload, &self.limits, record.received, &mut lines) {
                lines.out.unreadable(record, &why);
            }
        }
        lines.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Tenant;
    use wire::Encoding;

    struct Seen(Vec<String>);

    impl LogSink for Seen {
        fn group(&mut self, group: &Group<'_>) {
            self.0.push(group.labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","));
        }
        fn log(&mut self, log: &Log<'_>) {
            self.0.push(format!("{} {}", log.time, wire::otlp::as_text(&log.body)));
        }
    }

    fn sent(labels: &[LokiLabel], encoding: Encoding, payload: &str) -> Vec<String> {
        let record = Record { sequence: 1, tenant: Tenant::default(), encoding, received: 9, payload: payload.to_owned().into() };
        let mut out = Encoded::default();
        LokiEncoder::new(Limits::default(), labels.to_vec()).encode(&[record], &mut out);
        let mut seen = Seen(Vec::new());
        let limits = Limits { discover_service_name: false, ..Limits::default() };
        wire::walk_logs(Encoding::LokiPush, &out.parcels[0].body, &limits, 0, &mut seen).expect("readable");
        seen.0
    }

    #[test]
    fn labels_are_three_and_the_rest_stands_in_the_line() {
        let otlp = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"beorn"}},
            {"key":"deployment.environment","value":{"stringValue":"dev"}}]},"scopeLogs":[{"scope":{"name":"lib"},"logRecords":[
            {"timeUnixNano":"7","severityText":"WARN","severityNumber":13,"body":{"stringValue":"hi \"you\""},"traceId":"0af7651916cd43dd8448eb211c80319c",
             "attributes":[{"key":"circuit_id","value":{"stringValue":"C-1"}},{"key":"n","value":{"intValue":"3"}},{"key":"message","value":{"boolValue":true}}]}]}]}]}"#;
        let line = r#"{"message":"hi \"you\"","severity":"WARN","severity_number":13,"circuit_id":"C-1","n":3,"attributes.message":true,"resource":{"service.name":"beorn","deployment.environment":"dev"},"scope":"lib"}"#;
        assert_eq!(
            sent(&LokiLabel::ALL, Encoding::OtlpLogsJson, otlp),
            ["env=dev,service=beorn,trace_id=0af7651916cd43dd8448eb211c80319c".to_owned(), format!("7 {line}")]
        );
        let few = sent(&[LokiLabel::Service], Encoding::OtlpLogsJson, otlp);
        assert_eq!(few[0], "service=beorn");
        assert!(few[1].contains(r#""trace_id":"0af7651916cd43dd8448eb211c80319c""#), "{few:?}");
    }

    #[test]
    fn lines_of_lokis_doors_keep_their_labels_in_the_line() {
        let push = r#"{"streams":[{"stream":{"app":"shop","env":"prod"},"values":[["7","plain",{"k":"v"}]]}]}"#;
        assert_eq!(
            sent(&LokiLabel::ALL, Encoding::LokiPushJson, push),
            [
                "env=prod,service=shop".to_owned(),
                r#"7 {"message":"plain","k":"v","labels":{"app":"shop","env":"prod","service_name":"shop"}}"#.to_owned()
            ]
        );
    }
}
