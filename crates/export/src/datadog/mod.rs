//! Records to Datadog's intakes: traces as its agents send them, logs and metrics by the public API
//! (<https://docs.datadoghq.com/api/latest/logs/send-logs/>, <https://docs.datadoghq.com/api/latest/metrics/submit-metrics/>).

mod logs;
mod metrics;

use model::{Group, Span};
use store::Record;
use wire::datadog::AgentPayloadEncoder;
use wire::{Limits, Signal, SpanSink};

use crate::batch::{Encode, Encoded, compress};
use crate::peer::Parcel;
use crate::settings::Compression;

/// Bytes of a payload of spans before compression; the intake takes 3.2 MB.
const LARGEST: usize = 3_000_000;

/// The encoder of a signal.
pub(crate) fn encoder(signal: Signal, limits: Limits, compression: Compression, hostname: &str) -> Box<dyn Encode> {
    let hostname = hostname.to_owned();
    match signal {
        Signal::Traces => Box::new(Traces { limits, compression, hostname }),
        Signal::Logs => Box::new(logs::Logs { limits, compression, hostname }),
        Signal::Metrics => Box::new(metrics::Metrics::new(limits, compression, hostname)),
    }
}

fn push(out: &mut Encoded, compression: Compression, body: Vec<u8>, items: u64) {
    out.parcels.push(Parcel { body: compress(compression, body), items, tenant: None });
}

struct Traces {
    limits: Limits,
    compression: Compression,
    hostname: String,
}

struct Spans<'e> {
    payload: AgentPayloadEncoder,
    compression: Compression,
    out: &'e mut Encoded,
}

impl Spans<'_> {
    fn close(&mut self) {
        let items = self.payload.spans();
        if items > 0 {
            push(self.out, self.compression, self.payload.finish(), items);
        }
    }
}

impl SpanSink for Spans<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.payload.group(group);
    }

    fn span(&mut self, span: &Span<'_>) {
        self.payload.span(span);
        if self.payload.size() >= LARGEST {
            self.close();
        }
    }
}

impl Encode for Traces {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let mut spans = Spans { payload: AgentPayloadEncoder::new(&self.hostname), compression: self.compression, out };
        for record in records {
            if let Err(why) = wire::walk_spans(record.encoding, &record.payload, &self.limits, &mut spans) {
                spans.out.unreadable(record, &why);
            }
        }
        spans.close();
    }
}
