//! Writes a segment of samples, series by series.

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{
    BinaryBuilder, Float64Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMillisecondBuilder, UInt8Builder,
    UInt32Builder,
};
use hashbrown::HashMap;
use model::Labels;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use wire::Signal;
use xxhash_rust::xxh3::xxh3_128;

use super::chunk::{Scratch, Stats, encode_run, encode_times};
use super::exemplars::encode_exemplars;
use super::format::{Kind, METADATA_KEY, SHARED_VERSION, TENANTS_KEY, VERSION, VERSION_KEY, column, schema};
use super::histograms::{cells, encode_histogram_run};
use super::merge::Gathered;
use crate::{Exemplar, HistogramSample, SegmentFile, SegmentMeta, Segments, StoreError};

/// The longest run that is written: 480 samples cost 2.03 bytes each, 240 cost 2.10, 120 cost 2.19.
pub(super) const RUN: usize = 480;
/// Buckets and other numbers of the histograms of one run, at most.
const RUN_CELLS: usize = 1 << 14;
/// Rows that are handed to Parquet together.
const BATCH_ROWS: usize = 1024;
/// A row group ends when it has so many bytes: it is held in memory until then.
const GROUP_BYTES: usize = 8 << 20;

fn properties() -> Result<WriterProperties, StoreError> {
    let zstd = ZstdLevel::try_new(3).map_err(StoreError::columns("zstd"))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None)
        .set_created_by("braid".to_owned());
    for name in [column::TIMES, column::VALUES] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_compression(path.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::PLAIN)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    for name in ["min", "max", "sum", "first_value", "last_value", column::VALUES_BYTES] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    // Numbers that go up by one.
    let series = ColumnPath::from(column::SERIES);
    properties = properties
        .set_column_dictionary_enabled(series.clone(), false)
        .set_column_encoding(series, Encoding::DELTA_BINARY_PACKED);
    for part in ["key", "value"] {
        let path = ColumnPath::from(vec![column::LABELS.to_owned(), "entries".to_owned(), part.to_owned()]);
        properties = properties.set_column_dictionary_enabled(path, false);
    }
    Ok(properties.build())
}

/// So many different times are remembered; where more differ, series do not share them anyway.
const KNOWN_TIMES: usize = 1 << 18;

type LabelsBuilder = MapBuilder<StringBuilder, StringBuilder>;

/// Rows on their way into the file.
struct Rows {
    labels: LabelsBuilder,
    series: UInt32Builder,
    first: TimestampMillisecondBuilder,
    last: TimestampMillisecondBuilder,
    count: UInt32Builder,
    kind: UInt8Builder,
    times_row: UInt32Builder,
    times_bytes: UInt32Builder,
    values_bytes: UInt32Builder,
    floats: [Float64Builder; 5],
    resets: UInt32Builder,
    stale: UInt32Builder,
    times: BinaryBuilder,
    values: BinaryBuilder,
}

impl Rows {
    fn new() -> Self {
        let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
        let value_field = arrow_schema::Field::new("value", arrow_schema::DataType::Utf8, false);
        Self {
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()).with_values_field(value_field),
            series: UInt32Builder::new(),
            first: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            last: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            count: UInt32Builder::new(),
            kind: UInt8Builder::new(),
            times_row: UInt32Builder::new(),
            times_bytes: UInt32Builder::new(),
            values_bytes: UInt32Builder::new(),
            floats: Default::default(),
            resets: UInt32Builder::new(),
            stale: UInt32Builder::new(),
            times: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
        }
    }

    fn finish(&mut self) -> Result<RecordBatch, StoreError> {
        let [min, max, sum, first_value, last_value] = &mut self.floats;
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(self.labels.finish()),
                Arc::new(self.series.finish()),
                Arc::new(self.first.finish()),
                Arc::new(self.last.finish()),
                Arc::new(self.count.finish()),
                Arc::new(self.kind.finish()),
                Arc::new(self.times_row.finish()),
                Arc::new(self.times_bytes.finish()),
                Arc::new(self.values_bytes.finish()),
                Arc::new(min.finish()),
                Arc::new(max.finish()),
                Arc::new(sum.finish()),
                Arc::new(first_value.finish()),
                Arc::new(last_value.finish()),
                Arc::new(self.resets.finish()),
                Arc::new(self.stale.finish()),
                Arc::new(self.times.finish()),
                Arc::new(self.values.finish()),
            ],
        )
        .map_err(StoreError::columns("samples"))
    }
}

/// What a query can know of histograms: how many observations they count.
pub(super) fn histogram_stats(run: &[HistogramSample]) -> Stats {
    let stale = f64::from_bits(model::STALE_NAN_BITS);
    let count = |h: &HistogramSample| if model::is_stale(h.histogram.sum) { stale } else { h.histogram.count };
    Stats::of(&run.iter().map(count).collect::<Vec<_>>())
}

/// Appends the CRC-32C of what stands in `bytes`.
fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// A segment on its way to the disk. Dropped before [`SegmentWriter::finish`], it leaves nothing behind.
pub(super) struct SegmentWriter {
    writer: ArrowWriter<Box<dyn SegmentFile>>,
    rows: Rows,
    pending: usize,
    row: u32,
    /// Series that have runs, and whether the next run is of another one.
    series: u32,
    next: bool,
    /// Where each tenant's rows begin, and what is known of its families; empty where they are one tenant's.
    tenants: Vec<(String, u32, String)>,
    /// Hash of times -> the row that has them.
    known_times: HashMap<u128, u32>,
    scratch: Scratch,
    buffer: Vec<u8>,
    raw_times: Vec<u8>,
    meta: SegmentMeta,
    first_ms: i64,
    last_ms: i64,
}

impl SegmentWriter {
    /// Begins a segment of `tenant` (see [`SegmentMeta::tenant`]) whose partition starts at `hour`.
    ///
    /// # Errors
    /// IO.
    pub(super) fn create(segments: &dyn Segments, tenant: &str, hour: i64, level: u8) -> Result<Self, StoreError> {
        let (id, file) = segments.allocate(tenant, Signal::Metrics, hour);
        let writer = ArrowWriter::try_new(segments.create(&file)?, schema(), Some(properties()?))
            .map_err(StoreError::columns(file.as_str()))?;
        Ok(Self {
            writer,
            rows: Rows::new(),
            pending: 0,
            row: 0,
            series: 0,
            next: true,
            tenants: Vec::new(),
            known_times: HashMap::new(),
            scratch: Scratch::default(),
            buffer: Vec::new(),
            raw_times: Vec::new(),
            meta: SegmentMeta {
                id,
                tenant: tenant.to_owned(),
                signal: Signal::Metrics.as_str().to_owned(),
                hour,
                file,
                format: if tenant == SegmentMeta::SHARED { SHARED_VERSION } else { VERSION },
                first: 0,
                last: 0,
                rows: 0,
                bytes: 0,
                level,
                first_sequence: 0,
                last_sequence: 0,
                deleted_to: 0,
                apart: false,
            },
            first_ms: i64::MAX,
            last_ms: i64::MIN,
        })
    }

    /// The series that follow are this tenant's, in a segment that several share. Tenants come in the order of their names;
    /// `metadata` as [`Families::to_json`](super::metadata::Families::to_json) gives it.
    pub(super) fn next_tenant(&mut self, tenant: &str, metadata: String) {
        self.tenants.push((tenant.to_owned(), self.row, metadata));
        // What a tenant's rows name are its own rows.
        self.known_times.clear();
        self.next_series();
    }

    /// The runs that follow belong to the next series. Series come in the order of their labels; one without runs has no
    /// number.
    pub(super) fn next_series(&mut self) {
        self.next = true;
    }

    /// Writes samples of the current series (settled) as runs of equal length.
    ///
    /// # Errors
    /// IO.
    pub(super) fn samples(&mut self, labels: &Labels, samples: &Gathered) -> Result<(), StoreError> {
        let (times, values) = (&samples.times, &samples.values);
        if !times.is_empty() {
            let len = times.len().div_ceil(times.len().div_ceil(RUN));
            for (at, (times, values)) in times.chunks(len).zip(values.chunks(len)).enumerate() {
                let starts = samples.starts.get(at * len..at * len + times.len()).unwrap_or_default();
                self.coded(labels, Kind::Floats, times, Stats::of(values), |scratch, out| {
                    encode_run(values, starts, scratch, out);
                })?;
            }
        }
        let mut rest = &samples.histograms[..];
        while !rest.is_empty() {
            let mut in_run = 0;
            let mut fits = |h: &HistogramSample| {
                in_run += cells(&h.histogram);
                in_run <= RUN_CELLS
            };
            // One that is larger than a run may be goes alone.
            let len = rest.iter().take(RUN).take_while(|h| fits(h)).count().max(1);
            let (run, later) = rest.split_at(len);
            rest = later;
            let times: Vec<i64> = run.iter().map(|h| h.time).collect();
            let stats = histogram_stats(run);
            self.coded(labels, Kind::Histograms, &times, stats, |scratch, out| encode_histogram_run(run, scratch, out))?;
        }
        Ok(())
    }

    /// Writes exemplars of the current series, ascending by time.
    ///
    /// # Errors
    /// IO.
    pub(super) fn exemplars(&mut self, labels: &Labels, exemplars: &[Exemplar]) -> Result<(), StoreError> {
        let mut times: Vec<i64> = exemplars.iter().map(|e| e.time).collect();
        times.dedup();
        self.coded(labels, Kind::Exemplars, &times, Stats::of(&[]), |_, out| encode_exemplars(exemplars, out))
    }

    /// Codes a run with a checksum and writes it.
    fn coded(
        &mut self,
        labels: &Labels,
        kind: Kind,
        times: &[i64],
        stats: Stats,
        encode: impl FnOnce(&mut Scratch, &mut Vec<u8>),
    ) -> Result<(), StoreError> {
        let mut coded = std::mem::take(&mut self.buffer);
        coded.clear();
        encode(&mut self.scratch, &mut coded);
        seal(&mut coded);
        let done = self.run(labels, kind, times, &coded, &stats);
        self.buffer = coded;
        done
    }

    /// Writes one run of the current series that is coded already, with its checksum.
    ///
    /// # Errors
    /// IO.
    pub(super) fn run(
        &mut self,
        labels: &Labels,
        kind: Kind,
        times: &[i64],
        values: &[u8],
        stats: &Stats,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return Ok(()) };
        self.series += u32::from(std::mem::take(&mut self.next));
        self.first_ms = self.first_ms.min(*first);
        self.last_ms = self.last_ms.max(*last);
        self.meta.rows += if kind == Kind::Exemplars { 0 } else { times.len() as u64 };

        let rows = &mut self.rows;
        for (name, value) in labels.iter() {
            rows.labels.keys().append_value(name);
            rows.labels.values().append_value(value);
        }
        rows.labels.append(true).map_err(StoreError::columns("labels"))?;
        rows.series.append_value(self.series.saturating_sub(1));
        rows.first.append_value(*first);
        rows.last.append_value(*last);
        rows.count.append_value(times.len() as u32);
        rows.kind.append_value(kind as u8);

        self.raw_times.clear();
        times.iter().for_each(|t| self.raw_times.extend_from_slice(&t.to_le_bytes()));
        if self.known_times.len() >= KNOWN_TIMES {
            self.known_times.clear();
        }
        let next = self.row;
        let times_row = *self.known_times.entry(xxh3_128(&self.raw_times)).or_insert(next);
        rows.times_row.append_value(times_row);
        if times_row == next {
            self.raw_times.clear();
            encode_times(times, &mut self.raw_times);
            seal(&mut self.raw_times);
            rows.times_bytes.append_value(self.raw_times.len() as u32);
            rows.times.append_value(&self.raw_times);
        } else {
            rows.times_bytes.append_value(0);
            rows.times.append_null();
        }

        let floats = [stats.min, stats.max, stats.sum, stats.first, stats.last];
        rows.floats.iter_mut().zip(floats).for_each(|(builder, value)| builder.append_value(value));
        rows.resets.append_value(stats.resets);
        rows.stale.append_value(stats.stale);
        rows.values_bytes.append_value(values.len() as u32);
        rows.values.append_value(values);

        self.row += 1;
        self.pending += 1;
        if self.pending >= BATCH_ROWS {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        if self.pending > 0 {
            self.pending = 0;
            let batch = self.rows.finish()?;
            self.writer.write(&batch).map_err(StoreError::columns(self.meta.file.as_str()))?;
            if self.writer.in_progress_size() >= GROUP_BYTES {
                self.writer.flush().map_err(StoreError::columns(self.meta.file.as_str()))?;
            }
        }
        Ok(())
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.row == 0
    }

    /// Makes the file durable and says what it is; sequences are left to the caller. `metadata` is of the one tenant.
    ///
    /// # Errors
    /// IO.
    pub(super) fn finish(mut self, metadata: String) -> Result<SegmentMeta, StoreError> {
        self.hand_over()?;
        self.writer.append_key_value_metadata(KeyValue::new(VERSION_KEY.to_owned(), self.meta.format.to_string()));
        self.writer.append_key_value_metadata(KeyValue::new(METADATA_KEY.to_owned(), metadata));
        if self.meta.is_shared() {
            let ends = self.tenants.iter().skip(1).map(|(_, start, _)| *start).chain([self.row]);
            let tenants = self.tenants.iter().zip(ends).map(|((name, start, metadata), end)| (name, end - start, metadata));
            let tenants: Vec<_> = tenants.filter(|(_, rows, _)| *rows > 0).collect();
            let json = serde_json::json!(tenants).to_string();
            self.writer.append_key_value_metadata(KeyValue::new(TENANTS_KEY.to_owned(), json));
        }
        let mut meta = self.meta;
        let mut file = self.writer.into_inner().map_err(StoreError::columns(meta.file.as_str()))?;
        file.flush().map_err(StoreError::io(meta.file.as_str()))?;
        meta.bytes = file.finish()?;
        meta.first = self.first_ms.saturating_mul(1_000_000);
        meta.last = self.last_ms.saturating_mul(1_000_000);
        Ok(meta)
    }
}
