//! Records of which later deletions took rows: they are written anew without these.

use std::sync::Arc;

use store::{Record, Tombstone, deletes};
use wire::otlp::{LogEncoder, MetricEncoder, TraceEncoder};
use wire::{Encoding, Limits, Signal, WireError};

use crate::streams::AsOtlp;

/// The record without what `deleted` took of it. Lines of Loki's doors become OTLP's, with their labels as the resource.
pub(crate) fn without(record: &Record, deleted: &[Arc<Tombstone>], limits: &Limits) -> Result<Record, WireError> {
    let (encoding, payload) = match record.encoding.signal() {
        Signal::Traces => {
            let mut left = TraceEncoder::default();
            deletes::walk_spans(record, deleted, limits, &mut left)?;
            (Encoding::OtlpTraces, left.finish()?)
        }
        Signal::Logs => {
            let streams = matches!(record.encoding, Encoding::LokiPush | Encoding::LokiPushJson);
            let mut left = AsOtlp::new(LogEncoder::default(), streams);
            deletes::walk_logs(record, deleted, limits, &mut left)?;
            (Encoding::OtlpLogs, left.into_inner().finish()?)
        }
        Signal::Metrics if matches!(record.encoding, Encoding::RemoteWrite | Encoding::RemoteWrite2) => {
            let mut left = wire::remote_write::Encoder::new();
            deletes::walk_samples(record, deleted, limits, &mut left)?;
            (Encoding::RemoteWrite, left.finish()?)
        }
        // With their deltas as deltas.
        Signal::Metrics => {
            let mut left = MetricEncoder::default();
            deletes::walk_samples(record, deleted, limits, &mut left)?;
            (Encoding::OtlpMetrics, left.finish())
        }
    };
    Ok(Record { encoding, payload: payload.into(), ..record.clone() })
}
