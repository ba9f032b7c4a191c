//! Looks at a data directory without changing anything in it, whether a process holds it or not: what is in the log, what
//! the manifests name, what the segments hold, which deletions are in force and whether rows of them are still there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use model::{Tenant, TimeRange};
use parking_lot::Mutex;
use serde::Serialize;
use wire::Signal;

use crate::columns::{LogTable, SpanTable};
use crate::contract::{Column, DeletionOrder, Field, Language, Order, Predicate, Scan, Table};
use crate::disk::Disk;
use crate::engine::Live;
use crate::log::{Found, Scan as LogScan};
use crate::manifest::Manifest;
use crate::series::{SeriesOptions, SeriesTable};
use crate::{
    Meaning, Record, SegmentFile, SegmentMeta, SegmentSource, Segments, StoreError, Tombstone, Tombstones, deletes, log, manifest,
};

/// What a data directory holds.
#[derive(Debug, Default, Serialize)]
pub struct Inspection {
    /// The manifests, the oldest first.
    pub manifests: Vec<ManifestSeen>,
    /// The files of the log, the oldest first.
    pub log: Vec<LogFileSeen>,
    /// The segments that the newest manifest names.
    pub segments: Vec<SegmentSeen>,
    /// Files below `segments/` that it does not name: on their way in or out.
    pub unnamed: Vec<FileSeen>,
    /// Files in `quarantine/`.
    pub quarantine: Vec<FileSeen>,
    /// The deletions that it knows, and those that only the log does yet.
    pub deletions: Vec<DeletionSeen>,
    /// Places where the text that was looked for stands.
    pub found: Vec<String>,
}

/// A manifest.
#[derive(Debug, Serialize)]
pub struct ManifestSeen {
    /// Its path.
    pub file: String,
    /// Counts the processes that wrote.
    pub epoch: u64,
    /// When it was written, nanoseconds since the Unix epoch.
    pub written: i64,
    /// Up to which sequences segments hold the log, by signal.
    pub covered: [u64; 3],
    /// How many segments it names.
    pub segments: usize,
    /// What is wrong with it; empty for nothing.
    pub damage: String,
}

/// A file of the log.
#[derive(Debug, Default, Serialize)]
pub struct LogFileSeen {
    /// Its path.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
    /// Bytes of payload by tenant and signal.
    pub payload: BTreeMap<String, u64>,
    /// Bytes that are no record.
    pub damaged: u64,
    /// Rows that deletions took and that stand in it.
    pub doomed: u64,
}

/// A segment.
#[derive(Debug, Serialize)]
pub struct SegmentSeen {
    /// What the manifest says of it.
    #[serde(flatten)]
    pub meta: SegmentMeta,
    /// Columns of attributes and fields that have a value; for samples, labels.
    pub columns: Vec<String>,
    /// Series in it, for samples.
    pub series: u64,
    /// Rows that deletions took and that stand in it.
    pub doomed: u64,
    /// What is wrong with it; empty for nothing.
    pub damage: String,
}

/// A file that is only counted.
#[derive(Debug, Serialize)]
pub struct FileSeen {
    /// Its path.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

/// A deletion.
#[derive(Debug, Serialize)]
pub struct DeletionSeen {
    /// What it is.
    #[serde(flatten)]
    pub tombstone: Tombstone,
    /// Rows of it that segments hold.
    pub in_segments: u64,
    /// Rows of it that the log holds.
    pub in_log: u64,
}

/// Segments that can be read, and nothing else.
struct ReadOnly {
    disk: Arc<dyn Disk>,
    damaged: Mutex<BTreeMap<String, String>>,
}

struct Opened {
    file: Arc<dyn crate::disk::DiskFile>,
    path: String,
    size: u64,
}

impl SegmentSource for Opened {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> Result<bytes::Bytes, StoreError> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(StoreError::Corrupt { file: self.path.clone(), reason: "it ends early".into() });
        }
        let mut bytes = vec![0; len];
        self.file.read_at(offset, &mut bytes).map_err(StoreError::io(format!("reading {}", self.path)))?;
        Ok(bytes.into())
    }
}

impl Segments for ReadOnly {
    fn allocate(&self, _: &str, _: Signal, _: i64) -> (u64, String) {
        (0, String::new())
    }

    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        Err(StoreError::Io { what: format!("creating {path}"), source: io::ErrorKind::ReadOnlyFilesystem.into() })
    }

    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        let file = self.disk.open(path).map_err(StoreError::io(format!("opening {path}")))?;
        let size = file.size().map_err(StoreError::io(format!("size of {path}")))?;
        Ok(Arc::new(Opened { file, path: path.to_owned(), size }))
    }

    fn in_service(&self) -> Arc<Live> {
        Arc::default()
    }

    fn quarantine(&self, segment: &SegmentMeta, reason: &str) {
        self.damaged.lock().insert(segment.file.clone(), reason.to_owned());
    }
}

/// Looks at everything. `find` is a text that is looked for in every record and row that is there, deleted or not; `language`
/// reads the words of deletions.
///
/// # Errors
/// IO; damage and files that vanish meanwhile are no errors but part of what is said.
pub fn inspect(disk: &Arc<dyn Disk>, find: Option<&str>, language: Option<&dyn Language>) -> Result<Inspection, StoreError> {
    let mut seen = Inspection::default();
    let mut newest: Option<Manifest> = None;
    for (file, read) in manifest::list(&**disk)? {
        match read {
            Ok(m) => {
                let (epoch, written, covered, segments) = (m.epoch, m.written, m.covered, m.segments.len());
                seen.manifests.push(ManifestSeen { file, epoch, written, covered, segments, damage: String::new() });
                newest = Some(m);
            }
            Err(e) => {
                let damage = e.to_string();
                seen.manifests.push(ManifestSeen { file, epoch: 0, written: 0, covered: [0; 3], segments: 0, damage });
            }
        }
    }
    let newest = newest.unwrap_or_default();
    let mut tombstones = Tombstones::of_manifest(&newest.tombstones, language);
    let mut waiting = Tombstones::of_manifest(&newest.waiting, language);
    let last = newest.covered[Signal::Logs as usize];
    // Twice: a deletion reaches the records before it.
    walk_log(disk, &mut |_, record| {
        match record.encoding.is_deletion().then(|| DeletionOrder::decode(record).ok()).flatten() {
            Some(DeletionOrder::Delete(mut tombstone)) if tombstone.due == 0 => {
                let was_cancelled = tombstone.request > 0 && !waiting.iter().any(|t| t.sequence == tombstone.request);
                if was_cancelled {
                    return;
                }
                // Words that cannot be read show as an error of the segments that the deletion may reach.
                let _ = tombstone.read(language);
                waiting = waiting.but(tombstone.request);
                tombstones = tombstones.with(Arc::new(tombstone));
            }
            // The manifest knows what became of earlier ones.
            Some(DeletionOrder::Delete(request)) if record.sequence > last => waiting = waiting.with(Arc::new(request)),
            Some(DeletionOrder::Cancel(request)) => waiting = waiting.but(request),
            _ => {}
        }
    })?;
    let mut doomed: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let (found, latest) = (&mut seen.found, &tombstones);
    seen.log = walk_log(disk, &mut |file, record| {
        let key = format!("{}/{}", record.tenant, record.encoding.signal().as_str());
        *file.payload.entry(key).or_default() += record.payload.len() as u64;
        for tombstone in latest.on_record(record) {
            let rows = deletes::rows_taken(record, std::slice::from_ref(&tombstone));
            file.doomed += rows;
            doomed.entry(tombstone.sequence).or_default().1 += rows;
        }
        if find.is_some_and(|text| !record.encoding.is_deletion() && holds(record, text)) {
            found.push(format!("{}: record {}", file.file, record.sequence));
        }
    })?;
    let files = Arc::new(ReadOnly { disk: Arc::clone(disk), damaged: Mutex::default() });
    for meta in &newest.segments {
        let mut one = SegmentSeen { meta: meta.clone(), columns: Vec::new(), series: 0, doomed: 0, damage: String::new() };
        if let Err(e) = look(&files, &mut one, &tombstones, find, &mut seen.found, &mut doomed) {
            one.damage = e.to_string();
        }
        if let Some(reason) = files.damaged.lock().get(&meta.file) {
            one.damage.clone_from(reason);
        }
        seen.segments.push(one);
    }
    below(&**disk, "segments", 4, &mut seen.unnamed)?;
    let named: BTreeSet<&str> = newest.segments.iter().map(|s| s.file.as_str()).collect();
    seen.unnamed.retain(|f| !named.contains(f.file.as_str()));
    below(&**disk, log::QUARANTINE, 2, &mut seen.quarantine)?;
    for file in seen.unnamed.iter().chain(&seen.quarantine) {
        if find.is_some_and(|text| raw(&**disk, file, text)) {
            seen.found.push(file.file.clone());
        }
    }
    seen.deletions = tombstones
        .iter()
        .chain(waiting.iter())
        .map(|t| {
            let (in_segments, in_log) = doomed.get(&t.sequence).copied().unwrap_or_default();
            DeletionSeen { tombstone: (**t).clone(), in_segments, in_log }
        })
        .collect();
    Ok(seen)
}

/// The files of the log; `each` sees every record with its file.
fn walk_log(disk: &Arc<dyn Disk>, each: &mut dyn FnMut(&mut LogFileSeen, &Record)) -> Result<Vec<LogFileSeen>, StoreError> {
    let mut out = Vec::new();
    for entry in disk.list(log::FOLDER).map_err(StoreError::io("listing log/"))? {
        let path = format!("{}/{}", log::FOLDER, entry.name);
        let mut file = LogFileSeen { file: path.clone(), bytes: entry.bytes, ..LogFileSeen::default() };
        match LogScan::open(&**disk, &path) {
            Ok(mut scan) => loop {
                match scan.advance() {
                    Ok(Some(Found::Record(record, _))) => {
                        if file.records == 0 {
                            file.first = record.sequence;
                        }
                        file.last = record.sequence;
                        file.records += 1;
                        each(&mut file, &record);
                    }
                    Ok(Some(Found::Unknown { .. } | Found::Other { .. })) => file.records += 1,
                    Ok(Some(Found::Damage(damage))) => file.damaged += damage.to - damage.from,
                    Ok(None) => break,
                    Err(_) => {
                        file.damaged = file.bytes;
                        break;
                    }
                }
            },
            // Cut meanwhile, or damaged from the first byte on.
            Err(_) => file.damaged = file.bytes,
        }
        out.push(file);
    }
    Ok(out)
}

/// Whether a text stands in a record, as it is or behind snappy.
fn holds(record: &Record, text: &str) -> bool {
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    has(&record.payload) || wire::snappy_block(&record.payload, 1 << 30).is_some_and(|plain| has(&plain))
}

/// Whether a text stands in a file's bytes.
fn raw(disk: &dyn Disk, file: &FileSeen, text: &str) -> bool {
    const PIECE: u64 = 1 << 20;
    let Ok(open) = disk.open(&file.file) else { return false };
    let mut at = 0;
    while at < file.bytes {
        // Pieces overlap, so that a text on their border is found.
        let len = (PIECE + text.len() as u64).min(file.bytes - at);
        let mut bytes = vec![0; len as usize];
        if open.read_at(at, &mut bytes).is_err() {
            return false;
        }
        if memchr::memmem::find(&bytes, text.as_bytes()).is_some() {
            return true;
        }
        at += PIECE;
    }
    false
}

/// Files below a folder.
fn below(disk: &dyn Disk, folder: &str, depth: u32, out: &mut Vec<FileSeen>) -> Result<(), StoreError> {
    for entry in disk.list(folder).map_err(StoreError::io(format!("listing {folder}")))? {
        let file = format!("{folder}/{}", entry.name);
        match entry.folder {
            true if depth > 0 => below(disk, &file, depth - 1, out)?,
            true => {}
            false => out.push(FileSeen { file, bytes: entry.bytes }),
        }
    }
    Ok(())
}

fn look(
    files: &Arc<ReadOnly>,
    one: &mut SegmentSeen,
    tombstones: &Tombstones,
    find: Option<&str>,
    found: &mut Vec<String>,
    doomed: &mut BTreeMap<u64, (u64, u64)>,
) -> Result<(), StoreError> {
    let meta = one.meta.clone();
    let tenants = match (meta.is_shared(), meta.signal == Signal::Metrics.as_str()) {
        (false, _) => vec![meta.tenant.clone()],
        (true, true) => crate::series::tenants(&**files, &meta)?,
        (true, false) => crate::columns::tenants(&**files, &meta)?,
    };
    let mut columns = BTreeSet::new();
    let mut hit = false;
    for tenant in tenants.iter().filter_map(|name| Tenant::new(name).ok()) {
        look_as(&tenant, files, one, &tombstones.of_tenant(&meta, tenant.as_str()), find, &mut columns, &mut hit, doomed)?;
    }
    one.columns = columns.into_iter().collect();
    if hit {
        found.push(meta.file);
    }
    Ok(())
}

/// Looks at what one tenant has in a segment.
#[expect(clippy::too_many_arguments, reason = "what was seen so far, for one caller")]
fn look_as(
    tenant: &Tenant,
    files: &Arc<ReadOnly>,
    one: &mut SegmentSeen,
    on: &[Arc<Tombstone>],
    find: Option<&str>,
    columns: &mut BTreeSet<String>,
    hit: &mut bool,
    doomed: &mut BTreeMap<u64, (u64, u64)>,
) -> Result<(), StoreError> {
    let meta = one.meta.clone();
    if meta.signal == Signal::Metrics.as_str() {
        let table = SeriesTable::new(Arc::clone(files) as Arc<dyn Segments>, SeriesOptions::default());
        let view = table.view(Arc::new(vec![Arc::new(meta)]));
        for series in view.samples(tenant, &[], i64::MIN, i64::MAX)? {
            let series = series?;
            one.series += 1;
            for (name, value) in series.labels.iter() {
                if !columns.contains(name) {
                    columns.insert(name.to_owned());
                }
                *hit |= find.is_some_and(|text| name.contains(text) || value.contains(text));
            }
            for tombstone in on.iter().filter(|t| t.dooms(&series.labels)) {
                let gone = tombstone.millis();
                let times = series.times.iter().chain(series.histograms.iter().map(|h| &h.time));
                let rows = times.filter(|t| gone.contains(t)).count() as u64;
                one.doomed += rows;
                doomed.entry(tombstone.sequence).or_default().0 += rows;
            }
        }
    } else {
        let table = if meta.signal == Signal::Traces.as_str() { Table::Spans } else { Table::Logs };
        let view = match table {
            Table::Spans => SpanTable::new(Arc::clone(files) as Arc<dyn Segments>).view(),
            Table::Logs => LogTable::new(Arc::clone(files) as Arc<dyn Segments>).view(),
        };
        let scan = |predicate: Predicate, projection: Vec<Column>| Scan {
            tenant: tenant.clone(),
            table,
            range: TimeRange::ALL,
            predicate,
            projection,
            order: Order::Any,
            limit: None,
        };
        for tombstone in on {
            let Some(rows) = tombstone.rows() else { continue };
            for batch in view.scan(&scan(rows, vec![Column::Field(Field::Time)]), std::slice::from_ref(&meta), &**files)? {
                let rows = batch?.rows() as u64;
                one.doomed += rows;
                doomed.entry(tombstone.sequence).or_default().0 += rows;
            }
        }
        let everything = vec![
            Column::Attributes(None),
            Column::Field(Field::Body),
            Column::Field(Field::Name),
            Column::Field(Field::Events),
            Column::Field(Field::Links),
            Column::Field(Field::StatusMessage),
            Column::Field(Field::SeverityText),
            Column::Field(Field::ScopeName),
            Column::Field(Field::TraceId),
            Column::Field(Field::Time),
        ];
        for batch in view.scan(&scan(Predicate::True, everything), std::slice::from_ref(&meta), &**files)? {
            let batch = batch?;
            for (at, meaning) in batch.meaning().iter().enumerate() {
                columns.insert(match meaning {
                    Meaning::Field(field) => format!("{field:?}"),
                    Meaning::Attribute(scope, key, kind) => format!("{scope:?}.{key} ({kind:?})"),
                });
                if let Some(text) = find.filter(|_| !*hit) {
                    let array = batch.columns().column(at);
                    *hit = (0..batch.rows()).any(|row| match meaning {
                        Meaning::Field(Field::Events | Field::Links) => {
                            use arrow_array::Array;
                            use arrow_array::cast::AsArray;
                            let Some(items) = array.as_list_opt::<i32>().filter(|a| !a.is_null(row)) else { return false };
                            let items = items.value(row);
                            let columns = items.as_struct().columns().to_vec();
                            columns.iter().any(|c| (0..c.len()).any(|i| crate::text_at(c, i).is_some_and(|t| t.contains(text))))
                        }
                        Meaning::Field(Field::TraceId) => {
                            batch.id(row, Field::TraceId).iter().map(|b| format!("{b:02x}")).collect::<String>() == text
                        }
                        _ => crate::text_at(array, row).is_some_and(|t| t.contains(text)),
                    });
                }
            }
        }
    }
    Ok(())
}
