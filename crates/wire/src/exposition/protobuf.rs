//! Delimited `io.prometheus.client.MetricFamily` messages, after Prometheus' `ProtobufParser`: classic histograms and
//! summaries become the series that the text formats write; native histograms stay whole.

use std::borrow::Cow;

use super::series::{self, Pair};
use super::{Exemplar, Exposed, ExpositionSink, Options, Point, histogram, number};
use crate::protobuf::Reader;
use crate::{Limits, MetricKind, WireError};

/// Reads a whole scrape; returns how many samples it has.
pub(super) fn parse<S: ExpositionSink + ?Sized>(
    bytes: &[u8],
    options: Options,
    limits: &Limits,
    sink: &mut S,
) -> Result<u64, WireError> {
    let mut page =
        Page { options, limits, sink, family: "", kind: MetricKind::Unknown, labels: Vec::new(), key: Vec::new(), samples: 0 };
    let mut rest = Reader::new(bytes);
    while !rest.is_empty() {
        let family = rest.delimited("MetricFamily")?;
        page.family(family)?;
    }
    Ok(page.samples)
}

struct Page<'a, 'p, S: ?Sized> {
    options: Options,
    limits: &'p Limits,
    sink: &'p mut S,
    family: &'a str,
    kind: MetricKind,
    /// Of the metric being read, without its name.
    labels: Vec<Pair<'a>>,
    key: Vec<u8>,
    samples: u64,
}

/// What a metric's samples share.
#[derive(Debug, Clone, Copy, Default)]
struct When {
    time_ms: Option<i64>,
    start_ms: i64,
}

/// One series of a metric: what is added to the family's name, and a bound or quantile.
type Series = (&'static str, Option<(&'static str, f64)>);

/// Messages have no lines: line 0.
fn wrong(reason: String) -> WireError {
    super::fail(0, reason)
}

impl<'a, S: ExpositionSink + ?Sized> Page<'a, '_, S> {
    fn family(&mut self, family: Reader<'a>) -> Result<(), WireError> {
        let (mut name, mut help, mut unit, mut kind) = ("", "", "", 0);
        let mut fields = family;
        while let Some(f) = fields.field("MetricFamily")? {
            match f.number {
                1 => name = f.string("MetricFamily.name")?,
                2 => help = f.string("MetricFamily.help")?,
                3 => kind = f.u32()?,
                5 => unit = f.string("MetricFamily.unit")?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(wrong(format!("invalid metric name: {name}")));
        }
        self.family = name;
        self.kind = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Summary,
            3 => MetricKind::Unknown,
            4 => MetricKind::Histogram,
            5 => MetricKind::GaugeHistogram,
            other => return Err(wrong(format!("unknown metric type for metric {name:?}: {other}"))),
        };
        if !unit.is_empty() {
            let counted = if self.kind == MetricKind::Counter { name.strip_suffix("_total") } else { None };
            let (stem, what) = counted.map_or((name, "metric"), |stem| (stem, "counter"));
            if !stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
                return Err(wrong(format!("unit {unit:?} not a suffix of {what} {name:?}")));
            }
            self.sink.unit(name, unit);
        }
        self.sink.help(name, help);
        self.sink.kind(name, self.kind);
        let mut fields = family;
        while let Some(f) = fields.field("MetricFamily")? {
            if f.number == 4 {
                self.metric(f.message()?)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, metric: Reader<'a>) -> Result<(), WireError> {
        self.labels.clear();
        let mut when = When::default();
        let mut point = None;
        let mut fields = metric;
        while let Some(f) = fields.field("Metric")? {
            match f.number {
                1 => {
                    if self.labels.len() >= self.limits.max_labels {
                        return Err(WireError::TooLarge { what: "labels of a metric", limit: self.limits.max_labels });
                    }
                    self.labels.push(pair(f.message()?)?);
                }
                6 => when.time_ms = Some(f.varint()? as i64).filter(|t| *t != 0),
                2 | 3 | 4 | 5 | 7 => point = Some((f.number, f.message()?)),
                _ => {}
            }
        }
        match point {
            Some((4, summary)) if self.kind == MetricKind::Summary => self.summary(summary, when),
            Some((7, histogram)) if matches!(self.kind, MetricKind::Histogram | MetricKind::GaugeHistogram) => {
                self.histogram(histogram, when)
            }
            Some((number, one))
                if matches!(
                    (number, self.kind),
                    (2, MetricKind::Gauge) | (3, MetricKind::Counter) | (5, MetricKind::Unknown)
                ) =>
            {
                let (mut value, mut exemplars) = (0.0, Vec::new());
                let mut fields = one;
                while let Some(f) = fields.field("Counter")? {
                    match f.number {
                        1 => value = f.double()?,
                        2 if number == 3 => exemplars.push(exemplar(f.message()?)?),
                        3 if number == 3 => when.start_ms = timestamp(f.message()?)?,
                        _ => {}
                    }
                }
                self.float(("", None), value, when, &exemplars)
            }
            _ => Err(wrong(format!("a metric of family {:?} has no value of the type {}", self.family, self.kind.as_str()))),
        }
    }

    fn summary(&mut self, summary: Reader<'a>, mut when: When) -> Result<(), WireError> {
        let (mut count, mut sum) = (0u64, 0.0);
        let mut fields = summary;
        while let Some(f) = fields.field("Summary")? {
            match f.number {
                1 => count = f.varint()?,
                2 => sum = f.double()?,
                4 => when.start_ms = timestamp(f.message()?)?,
                _ => {}
            }
        }
        self.float(("_count", None), count as f64, when, &[])?;
        self.float(("_sum", None), sum, when, &[])?;
        let mut fields = summary;
        while let Some(f) = fields.field("Summary")? {
            if f.number != 3 {
                continue;
            }
            let (mut quantile, mut value) = (0.0, 0.0);
            let mut fields = f.message()?;
            while let Some(f) = fields.field("Quantile")? {
                match f.number {
                    1 => quantile = f.double()?,
                    2 => value = f.double()?,
                    _ => {}
                }
            }
            self.float(("", Some(("quantile", quantile))), value, when, &[])?;
        }
        Ok(())
    }

    fn histogram(&mut self, message: Reader<'a>, mut when: When) -> Result<(), WireError> {
        let read = histogram::read(message, self.kind == MetricKind::GaugeHistogram).map_err(|e| match e {
            histogram::Wrong::Wire(e) => e,
            histogram::Wrong::Value(why) => wrong(format!("histogram {:?}: {why}", self.family)),
        })?;
        let mut exemplars = Vec::new();
        let mut buckets = Vec::new();
        let mut fields = message;
        while let Some(f) = fields.field("Histogram")? {
            match f.number {
                3 => buckets.push(bucket(f.message()?)?),
                15 => when.start_ms = timestamp(f.message()?)?,
                16 => exemplars.push(exemplar(f.message()?)?),
                _ => {}
            }
        }
        let native = self.options.native_histograms && read.native;
        if native {
            if exemplars.is_empty() {
                exemplars.extend(buckets.iter().filter_map(|b| b.exemplar.clone()));
            }
            // Those of native histograms need a time of their own to be told apart.
            exemplars.retain(|e| e.time_ms.is_some());
            self.emit(("", None), Point::Histogram(&read.histogram), when, &exemplars)?;
            if !self.options.classic_too {
                return Ok(());
            }
        }
        self.float(("_count", None), read.histogram.count, when, &[])?;
        self.float(("_sum", None), read.histogram.sum, when, &[])?;
        if buckets.last().is_none_or(|b| b.bound != f64::INFINITY) {
            buckets.push(Bucket { bound: f64::INFINITY, count: read.histogram.count, exemplar: None });
        }
        for bucket in &buckets {
            self.float(("_bucket", Some(("le", bucket.bound))), bucket.count, when, bucket.exemplar.as_slice())?;
        }
        Ok(())
    }

    fn float(&mut self, series: Series, value: f64, when: When, exemplars: &[Exemplar<'a>]) -> Result<(), WireError> {
        self.emit(series, Point::Float(number::normal(value)), when, exemplars)
    }

    fn emit(&mut self, series: Series, point: Point<'_>, when: When, exemplars: &[Exemplar<'a>]) -> Result<(), WireError> {
        let (suffix, number) = series;
        self.key.clear();
        for part in [self.family, suffix].into_iter().chain(self.labels.iter().flat_map(|(n, v)| [&**n, &**v])) {
            // 0xff occurs in no UTF-8.
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(0xff);
        }
        if let Some((_, number)) = number {
            self.key.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        let mut labels = Vec::new();
        if !self.sink.knows(&self.key) {
            labels.push(("__name__".into(), Cow::Owned([self.family, suffix].concat())));
            labels.extend(self.labels.iter().cloned());
            if let Some((name, number)) = number {
                labels.push((name.into(), Cow::Owned(number::canonical(number))));
            }
            series::finish(&mut labels, MetricKind::Unknown, self.limits).map_err(wrong)?;
        }
        self.samples += 1;
        let When { time_ms, start_ms } = when;
        self.sink.sample(&Exposed { text: &self.key, labels: &labels, point, time_ms, start_ms, exemplars });
        Ok(())
    }
}

fn pair<'a>(mut r: Reader<'a>) -> Result<Pair<'a>, WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(f) = r.field("LabelPair")? {
        match f.number {
            1 => name = f.string("LabelPair.name")?,
            2 => value = f.string("LabelPair.value")?,
            _ => {}
        }
    }
    match name {
        "" => Err(wrong("a label without a name".to_owned())),
        _ => Ok((name.into(), value.into())),
    }
}

#[derive(Debug)]
struct Bucket<'a> {
    bound: f64,
    count: f64,
    exemplar: Option<Exemplar<'a>>,
}

fn bucket<'a>(mut r: Reader<'a>) -> Result<Bucket<'a>, WireError> {
    let (mut bound, mut whole, mut float, mut of) = (0.0, 0u64, 0.0, None);
    while let Some(f) = r.field("Bucket")? {
        match f.number {
            1 => whole = f.varint()?,
            2 => bound = f.double()?,
            3 => of = Some(exemplar(f.message()?)?),
            4 => float = f.double()?,
            _ => {}
        }
    }
    Ok(Bucket { bound, count: if float > 0.0 { float } else { whole as f64 }, exemplar: of })
}

fn exemplar<'a>(mut r: Reader<'a>) -> Result<Exemplar<'a>, WireError> {
    let mut exemplar = Exemplar::default();
    while let Some(f) = r.field("Exemplar")? {
        match f.number {
            1 => exemplar.labels.push(pair(f.message()?)?),
            2 => exemplar.value = f.double()?,
            3 => exemplar.time_ms = Some(timestamp(f.message()?)?),
            _ => {}
        }
    }
    series::sort(&mut exemplar.labels).map_err(wrong)?;
    Ok(exemplar)
}

/// `google.protobuf.Timestamp` in milliseconds.
fn timestamp(mut r: Reader<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(f) = r.field("Timestamp")? {
        match f.number {
            1 => seconds = f.varint()? as i64,
            2 => nanos = i64::from(f.u32()? as i32),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}
