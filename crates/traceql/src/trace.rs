//! A whole trace: its spans wherever they are kept, its tree, and what is said of it as a whole.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use model::{Scope, TimeRange, TraceId};
use store::{Batch, Column, Field as Stored, IdSet, Meaning, Order, Predicate, Scan, text_at, value_text};

use crate::EvalError;
use crate::ast::Intrinsic;
use crate::fetch::{Fetch, Place};
use crate::marks::{Marked, Marks};
use crate::question::Question;
use crate::spans::{Rows, columns_of};
use crate::tree::Tree;
use crate::value::Static;

/// Bytes that a span takes beside its columns: what is asked of every span, its place in its trace and in the tree.
const SPAN_BYTES: usize = 96;
/// Several traces together may take this part of what there is; one that needs all of it is read alone.
const TOGETHER: usize = 4;
/// A trace that has at least this part of the spans read so far is what makes them too many.
const LARGE: usize = 8;

/// A trace may begin and end so long before and after the spans that are asked for.
const MARGIN_NS: i64 = 3_600_000_000_000;

/// What is said of a trace as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Summary {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    /// Service and name of the root span, once that has arrived.
    pub(crate) root: Option<(String, String)>,
    /// How many spans, and how many of them failed, by service.
    pub(crate) services: BTreeMap<String, (u32, u32)>,
}

/// A trace. What is said of it as a whole is worked out when it is asked for.
pub(crate) struct Trace<'b> {
    loaded: &'b Loaded,
    /// Batch and row of each span, oldest first.
    pub(crate) spans: Vec<(u32, u32)>,
    summary: OnceCell<Summary>,
    tree: OnceCell<Tree>,
}

/// What is asked of every span, by row.
struct Core {
    start: Vec<i64>,
    duration: Vec<i64>,
    failed: Vec<bool>,
    /// Ids as numbers; 0 for none.
    span: Vec<u64>,
    parent: Vec<u64>,
    /// Place of the service among [`Loaded::services`]; empty until that is known.
    service: Vec<u32>,
    marked: Marked,
}

impl Core {
    fn new(all: &Rows, fetch: &Fetch, marks: &Marks) -> Self {
        let batch = &all.batch;
        let rows = batch.rows();
        let int = |field| match batch.field(field).and_then(|a| a.as_primitive_opt::<Int64Type>()) {
            Some(array) => array.values().to_vec(),
            None => (0..rows).map(|row| batch.int(row, field).unwrap_or(0)).collect(),
        };
        let id = |field| -> Vec<u64> {
            let Some(array) = batch.field(field).and_then(|a| a.as_fixed_size_binary_opt()) else { return vec![0; rows] };
            (0..rows).map(|row| if array.is_null(row) { 0 } else { number(array.value(row)) }).collect()
        };
        Self {
            start: int(Stored::Time),
            duration: int(Stored::Duration),
            failed: int(Stored::StatusCode).into_iter().map(|status| status == 2).collect(),
            span: id(Stored::SpanId),
            parent: id(Stored::ParentSpanId),
            service: Vec::new(),
            marked: Marked::new(all, fetch, marks),
        }
    }
}

fn number(id: &[u8]) -> u64 {
    id.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Names of services, each once.
#[derive(Default)]
struct Services {
    names: Vec<String>,
    known: HashMap<String, u32>,
}

impl Services {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.known.get(name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.known.insert(name.to_owned(), place);
        place
    }

    fn column(&mut self, batch: &Batch) -> Vec<u32> {
        let column = service();
        let texts = batch.meaning().iter().enumerate().filter(|(_, m)| is_service(m)).map(|(at, _)| at).collect::<Vec<_>>();
        if let [at] = texts[..]
            && let Some(dictionary) = batch.columns().column(at).as_dictionary_opt::<UInt32Type>()
        {
            // Once for each entry of the dictionary.
            let values = dictionary.values();
            let places: Vec<u32> = (0..values.len()).map(|i| self.place(text_at(values, i).unwrap_or(""))).collect();
            let none = self.place("");
            let place = |key: Option<u32>| key.and_then(|k| places.get(k as usize).copied()).unwrap_or(none);
            return dictionary.keys().iter().map(place).collect();
        }
        let name = |row| batch.attribute(row, &column).map(|v| value_text(&v)).unwrap_or_default();
        (0..batch.rows()).map(|row| self.place(&name(row))).collect()
    }
}

fn is_service(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Attribute(Scope::Resource, key, _) if &**key == "service.name")
}

/// Some traces as they were read.
pub(crate) struct Loaded {
    rows: Vec<Rows>,
    cores: Vec<Core>,
    services: Services,
    /// Where the spans of each trace stand: those that follow each other together.
    by_trace: HashMap<[u8; 16], Vec<Run>>,
    /// What the rows take, roughly.
    pub(crate) bytes: usize,
}

/// Rows of a batch that follow each other.
#[derive(Debug, Clone, Copy)]
struct Run {
    batch: u32,
    first: u32,
    rows: u32,
}

/// What reading some traces came to.
enum Read {
    Whole(Box<Loaded>),
    /// They take more memory than they may; these are the large ones among them.
    TooMuch(Vec<TraceId>),
}

/// What is read of traces: for a query, and maybe more.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) fetch: &'w Fetch,
    pub(crate) marks: &'w Marks,
    pub(crate) more: &'w [Column],
}

/// Reads the traces `ids`, whole, and hands them to `each` in their order: all at once, or in as many parts as memory asks for.
/// Gives those that take more than there is by themselves, and were left out.
///
/// # Errors
/// Storage errors, cancellation, what `each` gives.
pub(crate) fn read_in_parts(
    question: &Question<'_>,
    wanted: Wanted<'_>,
    ids: &[TraceId],
    each: &mut dyn FnMut(&Loaded, &[TraceId]) -> Result<(), EvalError>,
) -> Result<Vec<TraceId>, EvalError> {
    let mut left_out = Vec::new();
    // The next part last.
    let mut parts = vec![ids];
    while let Some(ids) = parts.pop() {
        let large = match Loaded::read(question, wanted, ids)? {
            Read::Whole(loaded) => {
                each(&loaded, ids)?;
                continue;
            }
            Read::TooMuch(_) if ids.len() <= 1 => {
                left_out.extend(ids);
                continue;
            }
            Read::TooMuch(large) => large,
        };
        let mut split: Vec<&[TraceId]> = Vec::new();
        if large.is_empty() {
            split.extend(ids.chunks(ids.len().div_ceil(2)));
        } else {
            // Each of the large ones by itself, those between them together.
            for part in ids.chunk_by(|a, b| !large.contains(a) && !large.contains(b)) {
                split.push(part);
            }
        }
        parts.extend(split.into_iter().rev());
    }
    Ok(left_out)
}

/// What some rows take, roughly: texts of dictionaries by their mean length.
fn bytes(batch: &Batch) -> usize {
    let rows = batch.rows();
    let of = |array: &dyn Array| match array.as_any_dictionary_opt() {
        Some(dictionary) => {
            let values = dictionary.values();
            let mean = values.get_buffer_memory_size() / values.len().max(1);
            rows * 4 + mean * values.len().min(rows)
        }
        None => array.get_buffer_memory_size(),
    };
    rows * SPAN_BYTES + batch.columns().columns().iter().map(|array| of(array)).sum::<usize>()
}

impl Loaded {
    /// Reads the traces `ids`, whole; what the marks say of their spans is worked out at once.
    ///
    /// # Errors
    /// Storage errors, cancellation.
    fn read(question: &Question<'_>, Wanted { fetch, marks, more }: Wanted<'_>, ids: &[TraceId]) -> Result<Read, EvalError> {
        let range = question.range;
        let most = if ids.len() > 1 { question.memory / TOGETHER } else { question.memory };
        let wide = TimeRange::new(range.start.saturating_sub(MARGIN_NS), range.end.saturating_add(MARGIN_NS));
        let mut projection: Vec<Column> = [
            Stored::TraceId,
            Stored::SpanId,
            Stored::ParentSpanId,
            Stored::Time,
            Stored::Duration,
            Stored::StatusCode,
            Stored::Name,
        ]
        .map(Column::Field)
        .into();
        projection.push(service());
        projection.extend(fetch.fields.iter().flat_map(|f| columns_of(&f.place)).chain(more.iter().cloned()));
        let set = IdSet::new(ids.iter().map(|id| id.0.to_vec()).collect());
        let predicate = Predicate::OneOf { field: Stored::TraceId, ids: set.into() };
        // Rows that are there twice are found where a trace is put together.
        let scan = Scan { range: wide, order: Order::AnyTwice, ..question.scan(predicate, projection) };
        let mut loaded = Self {
            rows: Vec::new(),
            cores: Vec::new(),
            services: Services::default(),
            by_trace: HashMap::with_capacity(ids.len()),
            bytes: 0,
        };
        for batch in question.reader.scan(&scan)? {
            question.alive()?;
            let batch = batch?;
            let at = loaded.rows.len() as u32;
            let ids = batch.field(Stored::TraceId).and_then(|a| a.as_fixed_size_binary_opt());
            let id = |row: u32| ids.map_or(&[][..], |ids| ids.value(row as usize));
            let rows = ids.map_or(0, |ids| ids.len() as u32);
            let mut first = 0;
            while first < rows {
                let own = id(first);
                let mut end = first + 1;
                while end < rows && id(end) == own {
                    end += 1;
                }
                if let Ok(own) = <[u8; 16]>::try_from(own) {
                    loaded.by_trace.entry(own).or_default().push(Run { batch: at, first, rows: end - first });
                }
                first = end;
            }
            loaded.bytes += bytes(&batch);
            loaded.rows.push(Rows::new(batch, fetch));
            if loaded.bytes > most {
                return Ok(Read::TooMuch(loaded.large()));
            }
        }
        loaded.cores = store::in_parallel(&loaded.rows, |rows| Core::new(rows, fetch, marks));
        for (core, rows) in loaded.cores.iter_mut().zip(&loaded.rows) {
            core.service = loaded.services.column(&rows.batch);
        }
        Ok(Read::Whole(Box::new(loaded)))
    }

    /// The traces that have a good part of the spans.
    fn large(&self) -> Vec<TraceId> {
        let spans = |runs: &[Run]| runs.iter().map(|run| run.rows as usize).sum::<usize>();
        let all: usize = self.by_trace.values().map(|runs| spans(runs)).sum();
        self.by_trace.iter().filter(|(_, runs)| spans(runs) * LARGE >= all).map(|(id, _)| TraceId(*id)).collect()
    }

    /// One of them.
    pub(crate) fn trace(&self, id: TraceId) -> Option<Trace<'_>> {
        let runs = self.by_trace.get(&id.0)?;
        let mut spans: Vec<(u32, u32)> = Vec::with_capacity(runs.iter().map(|r| r.rows as usize).sum());
        runs.iter().for_each(|r| spans.extend((r.first..r.first + r.rows).map(|row| (r.batch, row))));
        let key = |&(batch, row): &(u32, u32)| {
            let core = &self.cores[batch as usize];
            (core.start[row as usize], core.span[row as usize])
        };
        spans.sort_by_key(key);
        // A span that is kept twice (not merged yet) is one.
        spans.dedup_by_key(|s| key(s));
        Some(Trace { loaded: self, spans, summary: OnceCell::new(), tree: OnceCell::new() })
    }
}

fn service() -> Column {
    Column::attribute(Scope::Resource, "service.name")
}

impl<'b> Trace<'b> {
    fn at(&self, span: u32) -> (&'b Rows, usize) {
        let (batch, row) = self.spans[span as usize];
        (&self.loaded.rows[batch as usize], row as usize)
    }

    fn core(&self, span: u32) -> (&'b Core, usize) {
        let (batch, row) = self.spans[span as usize];
        (&self.loaded.cores[batch as usize], row as usize)
    }

    /// When a span starts, nanoseconds since the Unix epoch.
    pub(crate) fn start(&self, span: u32) -> i64 {
        let (core, row) = self.core(span);
        core.start[row]
    }

    /// How long a span takes, nanoseconds.
    pub(crate) fn duration(&self, span: u32) -> i64 {
        let (core, row) = self.core(span);
        core.duration[row]
    }

    /// The bytes of an id.
    pub(crate) fn bytes(&self, span: u32, field: Stored) -> &'b [u8] {
        let (rows, row) = self.at(span);
        rows.batch.id(row, field)
    }

    /// The batch and row of a span.
    pub(crate) fn row(&self, span: u32) -> (&'b Rows, usize) {
        self.at(span)
    }

    fn summed_up(&self) -> Summary {
        let mut summary = Summary { start: i64::MAX, ..Summary::default() };
        let mut end = i64::MIN;
        let mut services: Vec<(u32, (u32, u32))> = Vec::new();
        let name = |service: u32| self.loaded.services.names[service as usize].clone();
        for span in 0..self.spans.len() as u32 {
            let (core, row) = self.core(span);
            let (start, duration, service) = (core.start[row], core.duration[row], core.service[row]);
            summary.start = summary.start.min(start);
            end = end.max(start.saturating_add(duration));
            // Spans are oldest first: so is the root.
            if summary.root.is_none() && core.parent[row] == 0 {
                let (rows, row) = self.at(span);
                summary.root = Some((name(service), rows.batch.text(row, Stored::Name).to_owned()));
            }
            let at = services.iter().position(|(s, _)| *s == service).unwrap_or_else(|| {
                services.push((service, (0, 0)));
                services.len() - 1
            });
            services[at].1.0 += 1;
            services[at].1.1 += u32::from(core.failed[row]);
        }
        summary.services = services.into_iter().map(|(service, counts)| (name(service), counts)).collect();
        summary.duration = end.saturating_sub(summary.start).max(0);
        summary
    }

    /// What is said of the trace as a whole.
    pub(crate) fn summary(&self) -> &Summary {
        self.summary.get_or_init(|| self.summed_up())
    }

    /// The same, for whoever needs nothing else any more.
    pub(crate) fn into_summary(self) -> Summary {
        match self.summary.into_inner() {
            Some(summary) => summary,
            None => Trace { loaded: self.loaded, spans: self.spans, summary: OnceCell::new(), tree: OnceCell::new() }.summed_up(),
        }
    }

    /// The spans numbered.
    pub(crate) fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| {
            let pick = |of: fn(&Core) -> &Vec<u64>| {
                self.spans.iter().map(|(batch, row)| of(&self.loaded.cores[*batch as usize])[*row as usize]).collect::<Vec<u64>>()
            };
            Tree::new(&pick(|c| &c.span), &pick(|c| &c.parent))
        })
    }

    /// Calls `visit` with each value of a field of a span: see [`Rows::each`].
    pub(crate) fn each<'t>(&'t self, fetch: &Fetch, field: usize, span: u32, visit: &mut dyn FnMut(Option<Static<'t>>)) {
        let place = &fetch.fields[field].place;
        if let Place::Intrinsic(intrinsic) = place
            && intrinsic.needs_trace()
        {
            return visit(Some(self.of_trace(*intrinsic, span)));
        }
        let (rows, row) = self.at(span);
        rows.each(field, place, row, visit);
    }

    /// An intrinsic that only the trace knows.
    pub(crate) fn of_trace(&self, intrinsic: Intrinsic, span: u32) -> Static<'_> {
        let number = |of: &[i64]| Static::Int(of.get(span as usize).copied().unwrap_or(0));
        let root =
            |pick: fn(&(String, String)) -> &String| Static::text(self.summary().root.as_ref().map_or("", |r| pick(r).as_str()));
        match intrinsic {
            Intrinsic::TraceDuration => Static::Duration(self.summary().duration),
            Intrinsic::RootName => root(|r| &r.1),
            Intrinsic::RootService => root(|r| &r.0),
            Intrinsic::ChildCount => number(&self.tree().children),
            Intrinsic::NestedSetLeft => number(&self.tree().left),
            Intrinsic::NestedSetRight => number(&self.tree().right),
            _ => number(&self.tree().parent),
        }
    }

    /// What a query sees of a numbered attribute.
    pub(crate) fn slot<'t>(&'t self, fetch: &Fetch, slot: usize, span: u32) -> Static<'t> {
        for &field in fetch.slot_fields(slot) {
            let mut found = None;
            self.each(fetch, field, span, &mut |value| {
                if found.is_none() {
                    found = fetch.fields[field].seen(value);
                }
            });
            if let Some(value) = found {
                return value;
            }
        }
        Static::Nil
    }

    /// Whether a filter is true of a span, by the filter's number; `None` where that must be evaluated.
    pub(crate) fn holds(&self, filter: usize, span: u32) -> Option<bool> {
        let (core, row) = self.core(span);
        core.marked.holds(filter, row)
    }

    /// Whether a query gets to see the span at all.
    pub(crate) fn is_seen(&self, fetch: &Fetch, span: u32) -> bool {
        let (core, row) = self.core(span);
        core.marked.is_seen(row).unwrap_or_else(|| {
            fetch.admits(|condition| {
                let condition = &fetch.conditions[condition];
                condition.fields.iter().any(|&field| {
                    let mut met = false;
                    self.each(fetch, field, span, &mut |value| met |= condition.met(value.as_ref()));
                    met
                })
            })
        })
    }
}
