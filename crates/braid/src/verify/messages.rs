//! Requests of each protocol with one item that can be found again, written by hand: they are what a client sends, not what
//! Braid's own encoders make.

/// What is told apart from what was there before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// The trace's id.
    pub(super) trace: [u8; 16],
    /// The service that speaks.
    pub(super) service: &'a str,
    /// A word that only this run uses.
    pub(super) word: &'a str,
    /// Nanoseconds since the Unix epoch.
    pub(super) now: u64,
}

const SPAN: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A length-delimited field.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn message(number: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(number, &fields.concat())
}

fn int(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    varint(value, &mut out);
    out
}

fn fixed64(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

impl Item<'_> {
    /// The trace's id as text.
    pub(super) fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    fn json_resource(&self) -> serde_json::Value {
        serde_json::json!({"attributes": [{"key": "service.name", "value": {"stringValue": self.service}}]})
    }

    /// `ExportTraceServiceRequest` in JSON.
    pub(super) fn otlp_trace_json(&self) -> Vec<u8> {
        let span = serde_json::json!({
            "traceId": self.trace_id(), "spanId": hex(&SPAN), "name": self.word, "kind": 2,
            "startTimeUnixNano": self.now.to_string(), "endTimeUnixNano": (self.now + 1_000_000).to_string(),
        });
        let request =
            serde_json::json!({"resourceSpans": [{"resource": self.json_resource(), "scopeSpans": [{"spans": [span]}]}]});
        request.to_string().into_bytes()
    }

    /// `ExportLogsServiceRequest` in JSON.
    pub(super) fn otlp_log_json(&self) -> Vec<u8> {
        let record = serde_json::json!({
            "timeUnixNano": self.now.to_string(), "severityText": "INFO", "severityNumber": 9,
            "body": {"stringValue": self.word}, "traceId": self.trace_id(), "spanId": hex(&SPAN),
        });
        let request =
            serde_json::json!({"resourceLogs": [{"resource": self.json_resource(), "scopeLogs": [{"logRecords": [record]}]}]});
        request.to_string().into_bytes()
    }

    /// `ExportMetricsServiceRequest` in JSON: a gauge named by the word.
    pub(super) fn otlp_metric_json(&self) -> Vec<u8> {
        let point = serde_json::json!({"timeUnixNano": self.now.to_string(), "asDouble": 1.0});
        let metric = serde_json::json!({"name": self.word, "gauge": {"dataPoints": [point]}});
        let request =
            serde_json::json!({"resourceMetrics": [{"resource": self.json_resource(), "scopeMetrics": [{"metrics": [metric]}]}]});
        request.to_string().into_bytes()
    }

    /// A gRPC message with an `ExportTraceServiceRequest`.
    pub(super) fn otlp_trace_grpc(&self) -> Vec<u8> {
        let name = message(1, &[bytes(1, b"service.name"), message(2, &[bytes(1, self.service.as_bytes())])]);
        let times = [fixed64(7, self.now), fixed64(8, self.now + 1_000_000)].concat();
        let span = [bytes(1, &self.trace), bytes(2, &SPAN), bytes(5, self.word.as_bytes()), int(6, 2), times];
        framed(&message(1, &[message(1, &[name]), message(2, &[message(2, &span)])]))
    }

    /// A gRPC message with a `PostSpansRequest`.
    pub(super) fn jaeger_grpc(&self) -> Vec<u8> {
        let start = message(6, &[int(1, self.now / 1_000_000_000), int(2, self.now % 1_000_000_000)]);
        let took = message(7, &[int(2, 1_000_000)]);
        let span = message(1, &[bytes(1, &self.trace), bytes(2, &SPAN), bytes(3, self.word.as_bytes()), start, took]);
        framed(&message(1, &[span, message(2, &[bytes(1, self.service.as_bytes())])]))
    }

    /// Jaeger's `Batch` in Thrift's binary protocol.
    pub(super) fn jaeger_thrift(&self) -> Vec<u8> {
        const STOP: u8 = 0;
        const I32: u8 = 8;
        const I64: u8 = 10;
        const STRING: u8 = 11;
        const STRUCT: u8 = 12;
        const LIST: u8 = 15;
        let field = |kind: u8, number: u16| [vec![kind], number.to_be_bytes().to_vec()].concat();
        let text = |number: u16, text: &str| {
            [field(STRING, number), (text.len() as u32).to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
        };
        let long = |number: u16, value: u64| [field(I64, number), value.to_be_bytes().to_vec()].concat();
        let (high, low) = self.trace.split_at(8);
        let half = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let process = [field(STRUCT, 1), text(1, self.service), vec![STOP]].concat();
        let span = [
            long(1, half(low)),
            long(2, half(high)),
            long(3, 1),
            long(4, 0),
            text(5, self.word),
            field(I32, 7),
            1u32.to_be_bytes().to_vec(),
            long(8, self.now / 1000),
            long(9, 1000),
            vec![STOP],
        ];
        let spans = [field(LIST, 2), vec![STRUCT], 1u32.to_be_bytes().to_vec(), span.concat()].concat();
        [process, spans, vec![STOP]].concat()
    }

    /// A list of Zipkin's spans.
    pub(super) fn zipkin(&self) -> Vec<u8> {
        let span = serde_json::json!({
            "traceId": self.trace_id(), "id": hex(&SPAN), "name": self.word, "kind": "SERVER", "timestamp": self.now / 1000,
            "duration": 1000, "localEndpoint": {"serviceName": self.service},
        });
        serde_json::json!([span]).to_string().into_bytes()
    }

    /// A push as Loki has it.
    pub(super) fn loki(&self) -> Vec<u8> {
        let stream = serde_json::json!({"stream": {"service_name": self.service}, "values": [[self.now.to_string(), self.word]]});
        serde_json::json!({"streams": [stream]}).to_string().into_bytes()
    }

    /// Records as the correlation engine has them.
    pub(super) fn records(&self) -> Vec<u8> {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.now)).map(|t| t.to_string()).unwrap_or_default();
        let record =
            serde_json::json!({"timestamp": time, "severity": "INFO", "message": self.word, "trace_id": self.trace_id()});
        serde_json::json!({"resource": {"service": self.service}, "records": [record]}).to_string().into_bytes()
    }

    /// A `WriteRequest` of remote write 1.0, in a snappy block that compresses nothing.
    pub(super) fn remote_write(&self) -> Vec<u8> {
        let label = |name: &str, value: &str| message(1, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())]);
        let sample = message(2, &[fixed64(1, 1f64.to_bits()), int(2, self.now / 1_000_000)]);
        let request = message(1, &[label("__name__", self.word), label("job", self.service), sample]);
        let mut block = Vec::new();
        varint(request.len() as u64, &mut block);
        // A literal of up to 65,536 bytes: its length less one in two bytes.
        block.push(61 << 2);
        block.extend_from_slice(&(request.len() as u16 - 1).to_le_bytes());
        block.extend_from_slice(&request);
        block
    }
}

/// gRPC's prefix: not compressed, and how long it is.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}
