//! Records of the log to bodies of requests.

use std::io::Write;

use bytes::Bytes;
use model::Tenant;
use store::Record;
use wire::Signal;

use crate::datadog;
use crate::loki::LokiEncoder;
use crate::otlp::OtlpEncoder;
use crate::peer::Parcel;
use crate::remote_write::RemoteWriteEncoder;
use crate::settings::{Compression, Peer, Settings};

/// Makes bodies of records; one for each exporter and signal, so that it may remember what came before.
pub(crate) trait Encode: Send {
    /// Bodies of all of `records`, which are of the encoder's signal and come in the order of the log.
    fn encode(&mut self, records: &[Record], out: &mut Encoded);
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// In the order in which they are to be sent.
    pub(crate) parcels: Vec<Parcel>,
    /// Items, or whole records, that cannot be written in the other side's form.
    pub(crate) unencodable: u64,
}

impl Encoded {
    /// Adds a body.
    pub(crate) fn push(&mut self, body: Vec<u8>, items: u64) {
        self.parcels.push(Parcel { body: body.into(), items, tenant: None });
    }

    /// Says whose the bodies from `from` on are.
    pub(crate) fn belongs_to(&mut self, from: usize, tenant: &Tenant) {
        for parcel in &mut self.parcels[from..] {
            parcel.tenant = Some(tenant.clone());
        }
    }

    /// Counts a record that cannot be read.
    pub(crate) fn unreadable(&mut self, record: &Record, why: &dyn std::fmt::Display) {
        self.unencodable += 1;
        tracing::debug!(sequence = record.sequence, "a record cannot be exported: {why}");
    }
}

/// The encoder that `settings` ask for.
pub(crate) fn encoder(settings: &Settings, signal: Signal) -> Box<dyn Encode> {
    let (limits, compression) = (settings.limits.clone(), settings.http.compression);
    match &settings.peer {
        Peer::OtlpGrpc => Box::new(OtlpEncoder::new(signal, limits, compression, true)),
        Peer::OtlpHttp(_) => Box::new(OtlpEncoder::new(signal, limits, compression, false)),
        Peer::Loki { labels } => Box::new(LokiEncoder::new(limits, labels.clone())),
        Peer::RemoteWrite { external_labels, max_bytes, metadata } => {
            Box::new(RemoteWriteEncoder::new(limits, external_labels.clone(), *max_bytes, *metadata))
        }
        Peer::Datadog { hostname, .. } => datadog::encoder(signal, limits, compression, hostname),
    }
}

/// Compresses a body; fast rather than small.
pub(crate) fn compress(compression: Compression, body: Vec<u8>) -> Bytes {
    match compression {
        Compression::None => body.into(),
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 3), flate2::Compression::fast());
            // Writing to memory does not fail.
            let _ = gzip.write_all(&body);
            gzip.finish().unwrap_or_default().into()
        }
        Compression::Zstd => zstd::bulk::compress(&body, 1).unwrap_or_default().into(),
    }
}
