//! `io.prometheus.write.v2.Request` in a snappy block to samples
//! (<https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>).

use super::walk::Points;
use crate::exemplar;
use crate::protobuf::{Field, Reader, Wire};
use crate::snappy::decompressed;
use crate::{Limits, MetricKind, RawLabels, SampleSink, Summary, WireError};

const NAME: &str = "__name__";
const NO_NAME: &str = "invalid metric name or labels: no metric name";
const EMPTY: &str = "invalid metric name or labels: an empty label name or value";
const DUPLICATE: &str = "invalid labels for series: duplicate label name";
const UNSORTED: &str = "invalid labels for series: label names are not sorted";
const ODD: &str = "invalid labels for series: odd number of label references";
const OUTSIDE: &str = "invalid labels for series: a label reference outside of the symbols table";
const NOTHING: &str = "TimeSeries must contain at least one sample or histogram";
const EXEMPLAR_REFS: &str = "exemplars with label references that cannot be";

/// Calls `sink` for each sample, histogram, exemplar and piece of metadata of the request in `bytes`. Series whose labels or
/// references do not keep to the specification are refused sample by sample, the others are passed on.
pub(crate) fn walk<S: SampleSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    decompressed(bytes, limits.max_uncompressed, |body| walk_body(body, limits, sink))
}

fn walk_body<S: SampleSink + ?Sized>(body: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    let symbols = Symbols::read(body, limits)?;
    let mut walker = Walker {
        symbols,
        limits,
        sink,
        summary: Summary::default(),
        refs: Vec::new(),
        key: Vec::new(),
        points: Points::default(),
        described: String::new(),
    };
    let mut pairs = Vec::new();
    let mut r = Reader::new(body);
    while let Some(f) = r.field("Request")? {
        if f.number == 5 {
            walker.series(f.message()?, &mut pairs)?;
        }
    }
    Ok(walker.summary)
}

/// The texts that references lead to.
struct Symbols<'a>(Vec<&'a str>);

impl<'a> Symbols<'a> {
    fn read(body: &'a [u8], limits: &Limits) -> Result<Self, WireError> {
        let mut symbols = Vec::new();
        let mut r = Reader::new(body);
        while let Some(f) = r.field("Request")? {
            if f.number == 4 {
                if symbols.len() >= limits.max_symbols {
                    return Err(WireError::TooLarge { what: "the number of symbols", limit: limits.max_symbols });
                }
                symbols.push(f.string("Request.symbols")?);
            }
        }
        match symbols.first() {
            Some(&"") | None => Ok(Self(symbols)),
            Some(_) => Err(WireError::Malformed { what: "symbols that do not begin with an empty string", at: 0 }),
        }
    }

    fn get(&self, reference: u64) -> Option<&'a str> {
        self.0.get(usize::try_from(reference).ok()?).copied()
    }

    /// Labels by their references; the error says why they cannot be.
    fn pairs(&self, refs: &[u64], out: &mut Vec<(&'a str, &'a str)>) -> Result<(), &'static str> {
        out.clear();
        let (pairs, []) = refs.as_chunks::<2>() else { return Err(ODD) };
        for [name, value] in pairs {
            out.push((self.get(*name).ok_or(OUTSIDE)?, self.get(*value).ok_or(OUTSIDE)?));
        }
        Ok(())
    }
}

struct Walker<'w, 'a, S: ?Sized> {
    symbols: Symbols<'a>,
    limits: &'w Limits,
    sink: &'w mut S,
    summary: Summary,
    refs: Vec<u64>,
    key: Vec<u8>,
    points: Points,
    /// The family that was described last: its series follow each other.
    described: String,
}

impl<'a, S: SampleSink + ?Sized> Walker<'_, 'a, S> {
    fn series(&mut self, whole: Reader<'a>, pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), WireError> {
        let (mut rows, mut exemplars, mut start, mut metadata) = (0, 0, 0, None);
        self.refs.clear();
        let mut r = whole;
        while let Some(f) = r.field("TimeSeries")? {
            match f.number {
                1 => references(&f, &mut self.refs)?,
                2 | 3 => rows += 1,
                4 => exemplars += 1,
                5 => metadata = Some(f.message()?),
                // `created_timestamp` of the specification's drafts; later each sample has its own.
                6 => start = f.varint()? as i64,
                _ => {}
            }
            if self.refs.len() / 2 > self.limits.max_labels {
                return Err(WireError::TooLarge { what: "the number of a series' labels", limit: self.limits.max_labels });
            }
        }
        let labels = self.symbols.pairs(&self.refs, pairs).and_then(|()| check_labels(pairs));
        let refused = match labels {
            Err(reason) => Some(reason),
            Ok(()) if rows == 0 => Some(NOTHING),
            Ok(()) => None,
        };
        if let Some(reason) = refused {
            self.summary.refused.add_many(reason, rows.max(1));
            self.summary.skipped.add_many(reason, exemplars);
            return Ok(());
        }
        if let Some(metadata) = metadata {
            self.metadata(metadata, pairs)?;
        }
        self.key.clear();
        for (name, value) in &*pairs {
            self.key.extend_from_slice(name.as_bytes());
            // In no UTF-8, so that equal keys mean equal labels.
            self.key.push(0xff);
            self.key.extend_from_slice(value.as_bytes());
            self.key.push(0xff);
        }
        self.sink.series(RawLabels::from_pairs(&self.key, pairs));
        let mut r = whole;
        while let Some(f) = r.field("TimeSeries")? {
            match f.number {
                2 => self.points.sample(f.message()?, start, &mut self.summary, self.sink)?,
                3 => self.points.histogram(f.message()?, start, self.limits, &mut self.summary, self.sink)?,
                4 => self.exemplar(f.message()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn exemplar(&mut self, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut value, mut time) = (0.0, 0);
        self.refs.clear();
        while let Some(f) = r.field("Exemplar")? {
            match f.number {
                1 => references(&f, &mut self.refs)?,
                2 => value = f.double()?,
                3 => time = f.varint()? as i64,
                _ => {}
            }
        }
        let mut labels = Vec::new();
        match self.symbols.pairs(&self.refs, &mut labels) {
            Ok(()) => exemplar::pass(&mut labels, time, value, &mut self.summary, self.sink),
            Err(_) => self.summary.skipped.add(EXEMPLAR_REFS),
        }
        Ok(())
    }

    fn metadata(&mut self, mut r: Reader<'a>, pairs: &[(&'a str, &'a str)]) -> Result<(), WireError> {
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        while let Some(f) = r.field("Metadata")? {
            match f.number {
                1 => kind = f.u32()?,
                3 => help = f.varint()?,
                4 => unit = f.varint()?,
                _ => {}
            }
        }
        let text = |reference| self.symbols.get(reference).unwrap_or_default();
        let (kind, help, unit) = (MetricKind::from_number(kind), text(help), text(unit));
        if (kind, help, unit) == (MetricKind::Unknown, "", "") {
            return Ok(());
        }
        let name = pairs.iter().find(|(name, _)| *name == NAME).map_or("", |(_, value)| value);
        let family = family(name, kind);
        if self.described != family {
            self.described.clear();
            self.described.push_str(family);
            self.sink.metadata(family, kind, help, unit);
        }
        Ok(())
    }
}

/// The family that a series of this name and kind belongs to.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count", "_gsum", "_gcount"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|s| name.strip_suffix(s)).filter(|f| !f.is_empty()).unwrap_or(name)
}

fn check_labels(pairs: &[(&str, &str)]) -> Result<(), &'static str> {
    for pair in pairs.windows(2) {
        match pair[0].0.cmp(pair[1].0) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(DUPLICATE),
            std::cmp::Ordering::Greater => return Err(UNSORTED),
        }
    }
    if pairs.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
        return Err(EMPTY);
    }
    if pairs.iter().any(|(name, _)| *name == NAME) { Ok(()) } else { Err(NO_NAME) }
}

/// `repeated uint32`, packed or not.
fn references(f: &Field<'_>, out: &mut Vec<u64>) -> Result<(), WireError> {
    match f.wire {
        Wire::Bytes(mut r) => {
            while !r.is_empty() {
                out.push(r.varint("labels_refs")?);
            }
        }
        _ => out.push(f.varint()?),
    }
    Ok(())
}
