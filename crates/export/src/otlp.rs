//! Records to OTLP requests. What came as OTLP goes out with the bytes that it came with: requests one after the other are one request.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use model::{Group, Log};
use store::Record;
use wire::otlp::{LogEncoder, MetricEncoder, TraceEncoder};
use wire::{Encoding, Limits, LogSink, Signal, WireError};

use crate::batch::{Encode, Encoded, compress};
use crate::peer::Parcel;
use crate::settings::Compression;
use crate::streams::AsOtlp;

/// Bytes of a request before compression: gRPC servers refuse more than 4 MiB unless told otherwise.
const LARGEST: usize = 4_000_000;

/// Makes OTLP requests of one signal.
pub(crate) struct OtlpEncoder {
    signal: Signal,
    limits: Limits,
    compression: Compression,
    grpc: bool,
    metrics: MetricEncoder,
    largest: usize,
}

impl OtlpEncoder {
    pub(crate) fn new(signal: Signal, limits: Limits, compression: Compression, grpc: bool) -> Self {
        Self { signal, limits, compression, grpc, metrics: MetricEncoder::default(), largest: LARGEST }
    }

    fn close(&self, body: &mut Vec<u8>, items: &mut u64, out: &mut Encoded) {
        if body.is_empty() {
            return;
        }
        let body = compress(self.compression, std::mem::take(body));
        let body = if self.grpc { framed(&body, self.compression != Compression::None) } else { body };
        out.parcels.push(Parcel { body, items: std::mem::take(items), tenant: None });
    }

    /// A record as a request, and how many items are in it.
    fn request<'r>(&mut self, record: &'r Record) -> Result<(Cow<'r, [u8]>, u64), WireError> {
        match record.encoding.signal() {
            Signal::Traces => self.spans(record),
            Signal::Logs => self.lines(record),
            Signal::Metrics => self.points(record),
        }
    }

    fn spans<'r>(&self, record: &'r Record) -> Result<(Cow<'r, [u8]>, u64), WireError> {
        let bytes = wire::otlp::protobuf(record.encoding, &record.payload, &self.limits)?;
        let summary = wire::check(Encoding::OtlpTraces, &bytes, &self.limits)?;
        if summary.refused.total() == 0 {
            return Ok((bytes, summary.accepted));
        }
        // What was refused at the door is not passed on.
        let mut encoder = TraceEncoder::default();
        wire::walk_spans(Encoding::OtlpTraces, &bytes, &self.limits, &mut encoder)?;
        Ok((encoder.finish()?.into(), summary.accepted))
    }

    fn lines<'r>(&self, record: &'r Record) -> Result<(Cow<'r, [u8]>, u64), WireError> {
        let streams = matches!(record.encoding, Encoding::LokiPush | Encoding::LokiPushJson);
        if !streams {
            let bytes = wire::otlp::protobuf(record.encoding, &record.payload, &self.limits)?;
            let mut timed = Timed { received: record.received, untimed: false };
            let summary = wire::walk_logs(Encoding::OtlpLogs, &bytes, &self.limits, record.received, &mut timed)?;
            // A line without any time has the one that it was received at: the other side would give it another.
            if summary.refused.total() == 0 && !timed.untimed {
                return Ok((bytes, summary.accepted));
            }
        }
        let mut sink = AsOtlp::new(LogEncoder::default(), streams);
        let summary = wire::walk_logs(record.encoding, &record.payload, &self.limits, record.received, &mut sink)?;
        Ok((sink.into_inner().finish()?.into(), summary.accepted))
    }

    fn points<'r>(&mut self, record: &'r Record) -> Result<(Cow<'r, [u8]>, u64), WireError> {
        if matches!(record.encoding, Encoding::RemoteWrite | Encoding::RemoteWrite2) {
            wire::walk_samples(record.encoding, &record.payload, &self.limits, &mut self.metrics)?;
            let points = self.metrics.points();
            return Ok((self.metrics.finish().into(), points));
        }
        let bytes = wire::otlp::protobuf(record.encoding, &record.payload, &self.limits)?;
        let points = wire::otlp::data_points(&bytes)?;
        Ok((bytes, points))
    }

    fn count(&self, request: &[u8]) -> Result<u64, WireError> {
        let encoding = match self.signal {
            Signal::Traces => Encoding::OtlpTraces,
            Signal::Logs => Encoding::OtlpLogs,
            Signal::Metrics => return wire::otlp::data_points(request),
        };
        Ok(wire::check(encoding, request, &self.limits)?.accepted)
    }
}

/// Finds out whether a record without a time is among others.
struct Timed {
    received: i64,
    untimed: bool,
}

impl LogSink for Timed {
    fn group(&mut self, _: &Group<'_>) {}
    fn log(&mut self, log: &Log<'_>) {
        self.untimed |= log.time == self.received && log.observed == 0;
    }
}

/// A gRPC message: flag, length, bytes.
fn framed(message: &[u8], compressed: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(compressed.into());
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

impl Encode for OtlpEncoder {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let (mut body, mut items) = (Vec::new(), 0);
        for record in records {
            let (request, n) = match self.request(record) {
                Ok((_, 0)) => continue,
                Ok(made) => made,
                Err(why) => {
                    out.unreadable(record, &why);
                    continue;
                }
            };
            if body.len() + request.len() > self.largest {
                self.close(&mut body, &mut items, out);
            }
            if request.len() <= self.largest {
                body.extend_from_slice(&request);
                items += n;
                continue;
            }
            match wire::otlp::split(&request, self.largest) {
                Ok(parts) => {
                    for mut part in parts {
                        let mut n = self.count(&part).unwrap_or_default();
                        self.close(&mut part, &mut n, out);
                    }
                }
                Err(why) => out.unreadable(record, &why),
            }
        }
        self.close(&mut body, &mut items, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Tenant;

    fn record(encoding: Encoding, payload: &[u8]) -> Record {
        Record {
            sequence: 1,
            tenant: Tenant::default(),
            encoding,
            received: 1_700_000_000_000_000_000,
            payload: payload.to_vec().into(),
        }
    }

    fn encoded(signal: Signal, largest: usize, records: &[Record]) -> Encoded {
        let mut encoder = OtlpEncoder::new(signal, Limits::default(), Compression::None, false);
        encoder.largest = largest;
        let mut out = Encoded::default();
        encoder.encode(records, &mut out);
        out
    }

    fn spans(n: usize) -> Vec<u8> {
        let span = |i: usize| {
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"op","startTimeUnixNano":"1","endTimeUnixNano":"2"}}"#,
                7,
                i + 1
            )
        };
        let spans: Vec<String> = (0..n).map(span).collect();
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"a"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
            spans.join(",")
        )
        .into_bytes()
    }

    #[test]
    fn requests_are_put_together_and_large_ones_cut_and_nothing_is_lost() {
        let records = [record(Encoding::OtlpTracesJson, &spans(3)), record(Encoding::OtlpTracesJson, &spans(200))];
        let whole = encoded(Signal::Traces, LARGEST, &records);
        assert_eq!(whole.parcels.iter().map(|p| p.items).collect::<Vec<_>>(), [203]);
        let cut = encoded(Signal::Traces, 2_000, &records);
        assert!(cut.parcels.len() > 3 && cut.parcels.iter().all(|p| p.body.len() <= 2_000), "{}", cut.parcels.len());
        assert_eq!(cut.parcels.iter().map(|p| p.items).sum::<u64>(), 203);
        let one = wire::check(Encoding::OtlpTraces, &whole.parcels[0].body, &Limits::default()).expect("readable");
        assert_eq!(one.accepted, 203);
    }

    #[test]
    fn what_was_refused_at_the_door_stays_there_and_garbage_is_counted() {
        let mixed = String::from_utf8(spans(2)).expect("text").replacen(&format!("{:032x}", 7), &"0".repeat(32), 1);
        let out = encoded(
            Signal::Traces,
            LARGEST,
            &[record(Encoding::OtlpTracesJson, mixed.as_bytes()), record(Encoding::OtlpTraces, b"\xff")],
        );
        assert_eq!((out.parcels.len(), out.parcels[0].items, out.unencodable), (1, 1, 1));
        assert_eq!(
            wire::check(Encoding::OtlpTraces, &out.parcels[0].body, &Limits::default()).expect("readable").refused.total(),
            0
        );
    }

    #[test]
    fn a_line_without_a_time_keeps_the_one_that_it_was_received_at_and_streams_become_resources() {
        struct Seen(Vec<String>);
        impl LogSink for Seen {
            fn group(&mut self, group: &Group<'_>) {
                self.0.extend(group.resource.iter().map(|a| format!("{}={}", a.key, wire::otlp::as_text(&a.value))));
            }
            fn log(&mut self, log: &Log<'_>) {
                self.0.push(format!("{} {} {}", log.time, wire::otlp::as_text(&log.body), log.trace_id));
            }
        }
        let read = |out: &Encoded| {
            let mut seen = Seen(Vec::new());
            wire::walk_logs(Encoding::OtlpLogs, &out.parcels[0].body, &Limits::default(), 5, &mut seen).expect("readable");
            seen.0
        };
        let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
        let out = encoded(Signal::Logs, LARGEST, &[record(Encoding::OtlpLogsJson, json)]);
        assert_eq!(read(&out), [format!("1700000000000000000 x {}", "0".repeat(32))]);
        let push = br#"{"streams":[{"stream":{"app":"shop","service_name":"cart"},"values":[["7","y",{"trace_id":"0af7651916cd43dd8448eb211c80319c"}]]}]}"#;
        let out = encoded(Signal::Logs, LARGEST, &[record(Encoding::LokiPushJson, push)]);
        assert_eq!(read(&out), ["app=shop", "service.name=cart", "7 y 0af7651916cd43dd8448eb211c80319c"]);
    }
}
