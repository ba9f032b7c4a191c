//! `ExportMetricsServiceRequest` (`opentelemetry/proto/metrics/v1/metrics.proto`) to Prometheus' series and samples
//! (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; API.md, "OTLP metrics").

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram};

use super::exemplars::PointExemplar;
use super::exponential::Exponential;
use super::group::{Resource, Scope};
use super::names::metric_name;
use super::series::{Sample, Series};
use crate::protobuf::{Field, Reader};
use crate::{Limits, MetricKind, SampleSink, Summary, WireError, native};

const TEMPORALITY: &str = "data points of unspecified temporality";
const NAMELESS: &str = "data points of a metric whose name has no letter or digit";
const NO_DATA: &str = "metrics without data points";
const MANY_BUCKETS: &str = "histograms with too many buckets";
const BAD_BUCKETS: &str = "histograms whose buckets do not fit their bounds";

/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: u32 = 1;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u32 = 2;
/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u32 = 1;

/// Calls `sink` for each sample that Prometheus makes of the request in `bytes`: one of a gauge's or sum's data point,
/// `_bucket`, `_sum` and `_count` of a histogram's, a native histogram of an exponential one's, quantiles, `_sum` and
/// `_count` of a summary's; and for each resource with attributes beyond its identity the samples of `target_info`. Points
/// of delta temporality are passed on as such ([`SampleSink::delta`]). Refusals count data points.
pub(crate) fn walk<S: SampleSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    let mut summary = Summary::default();
    let mut resource = Resource::default();
    let mut scope = Scope::default();
    let mut r = Reader::new(bytes);
    while let Some(f) = r.field("ExportMetricsServiceRequest")? {
        if f.number != 1 {
            continue;
        }
        let resource_metrics = f.message()?;
        resource.read(resource_metrics, limits)?;
        let mut walker =
            Walker { limits, summary: &mut summary, series: Series::new(&resource.attributes.list), sink, exemplars: Vec::new() };
        let mut r = resource_metrics;
        while let Some(f) = r.field("ResourceMetrics")? {
            if f.number == 2 {
                let scope_metrics = f.message()?;
                scope.read(scope_metrics, limits)?;
                let mut r = scope_metrics;
                while let Some(f) = r.field("ScopeMetrics")? {
                    if f.number == 2 {
                        walker.metric(f.message()?)?;
                    }
                }
            }
        }
        summary.accepted += walker.series.target_info(walker.sink);
    }
    Ok(summary)
}

struct Walker<'w, 'a, S: ?Sized> {
    limits: &'w Limits,
    summary: &'w mut Summary,
    series: Series<'a>,
    sink: &'w mut S,
    /// Of the current point.
    exemplars: Vec<PointExemplar>,
}

/// What all data points of a metric share.
struct Metric<'m> {
    name: &'m str,
    kind: MetricKind,
}

impl<'a, S: SampleSink + ?Sized> Walker<'_, 'a, S> {
    fn metric(&mut self, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut name, mut help, mut unit) = ("", "", "");
        let mut data: Option<Field<'a>> = None;
        while let Some(f) = r.field("Metric")? {
            match f.number {
                1 => name = f.string("Metric.name")?,
                2 => help = f.string("Metric.description")?,
                3 => unit = f.string("Metric.unit")?,
                5 | 7 | 9 | 10 | 11 => data = Some(f),
                _ => {}
            }
        }
        let Some(data) = data else {
            self.summary.refused.add(NO_DATA);
            return Ok(());
        };
        let points = data.message()?;
        let (mut temporality, mut monotonic) = (CUMULATIVE, false);
        if matches!(data.number, 7 | 9 | 10) {
            temporality = 0;
            let mut r = points;
            while let Some(f) = r.field("Sum or histogram")? {
                match f.number {
                    2 => temporality = f.u32()?,
                    3 if data.number == 7 => monotonic = f.varint()? != 0,
                    _ => {}
                }
            }
        }
        let kind = match data.number {
            5 => MetricKind::Gauge,
            7 if monotonic => MetricKind::Counter,
            7 => MetricKind::Gauge,
            11 => MetricKind::Summary,
            _ => MetricKind::Histogram,
        };
        // A sum that goes up and down has no suffix of its own: only real gauges are ratios.
        let named_as = if data.number == 7 && !monotonic { MetricKind::Unknown } else { kind };
        let full_name = metric_name(name, unit, named_as);
        let refused = match &full_name {
            None => Some(NAMELESS),
            Some(_) if !matches!(temporality, CUMULATIVE | DELTA) => Some(TEMPORALITY),
            Some(_) => None,
        };
        let metric = Metric { name: full_name.as_deref().unwrap_or_default(), kind };
        self.series.delta = temporality == DELTA;
        let mut described = false;
        let mut r = points;
        while let Some(f) = r.field("data points")? {
            if f.number != 1 {
                continue;
            }
            let point = f.message()?;
            if let Some(reason) = refused {
                self.summary.refused.add(reason);
                continue;
            }
            if !described {
                self.sink.metadata(metric.name, kind, help, unit);
                described = true;
            }
            self.series.next_point();
            self.exemplars.clear();
            match metric.kind {
                MetricKind::Histogram if data.number == 10 => self.exponential(&metric, point)?,
                MetricKind::Histogram => self.histogram(&metric, point)?,
                MetricKind::Summary => self.summary_point(&metric, point)?,
                _ => self.number(&metric, point)?,
            }
        }
        Ok(())
    }

    /// One sample of the current point's attributes.
    fn sample(&mut self, name: &str, extra: Option<(&str, &str)>, value: f64) {
        self.series.sample(name, extra, Sample::Float(value), self.sink);
        self.summary.accepted += 1;
    }

    /// Passes the current point's exemplars between these values on as exemplars of the series of its last sample.
    fn pass_exemplars(&mut self, above: f64, up_to: f64) {
        for exemplar in &self.exemplars {
            let low = exemplar.value <= above;
            if !low && (exemplar.value <= up_to || up_to == f64::INFINITY) {
                exemplar.pass(self.summary, self.sink);
            }
        }
    }

    fn number(&mut self, metric: &Metric<'_>, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut value, mut flags) = (0.0, 0);
        while let Some(f) = r.field("NumberDataPoint")? {
            match f.number {
                // What goes up and down has no beginning.
                2 if metric.kind == MetricKind::Counter => self.series.start_ns = f.fixed64()?,
                3 => self.series.time_ns = f.fixed64()?,
                4 => value = f.double()?,
                5 => self.exemplars.push(PointExemplar::read(f.message()?, self.limits)?),
                6 => value = f.fixed64()? as i64 as f64,
                7 => self.series.attribute(f.message()?, self.limits)?,
                8 => flags = f.u32()?,
                _ => {}
            }
        }
        self.sample(metric.name, None, recorded(value, flags));
        self.pass_exemplars(f64::NAN, f64::INFINITY);
        Ok(())
    }

    fn exponential(&mut self, metric: &Metric<'_>, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut point, mut flags) = (Exponential::default(), 0);
        while let Some(f) = r.field("ExponentialHistogramDataPoint")? {
            match f.number {
                1 => self.series.attribute(f.message()?, self.limits)?,
                2 => self.series.start_ns = f.fixed64()?,
                3 => self.series.time_ns = f.fixed64()?,
                10 => flags = f.u32()?,
                11 => self.exemplars.push(PointExemplar::read(f.message()?, self.limits)?),
                _ => point.field(&f, self.limits)?,
            }
        }
        let histogram = if flags & NO_RECORDED_VALUE != 0 {
            Ok(Histogram { sum: f64::from_bits(model::STALE_NAN_BITS), ..Histogram::default() })
        } else {
            point.histogram()
        };
        self.native(metric.name, histogram);
        Ok(())
    }

    /// One native histogram of the current point's attributes, or why there is none.
    fn native(&mut self, name: &str, histogram: Result<Histogram, native::Flaw>) {
        match histogram {
            Ok(histogram) => {
                self.series.sample(name, None, Sample::Histogram(&histogram), self.sink);
                self.summary.accepted += 1;
                self.summary.histograms += 1;
                self.pass_exemplars(f64::NAN, f64::INFINITY);
            }
            Err(flaw) => self.summary.refused.add(flaw),
        }
    }

    fn histogram(&mut self, metric: &Metric<'_>, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut count, mut sum, mut flags) = (0u64, None, 0);
        let (mut counts, mut bounds) = (Vec::new(), Vec::new());
        while let Some(f) = r.field("HistogramDataPoint")? {
            match f.number {
                2 => self.series.start_ns = f.fixed64()?,
                3 => self.series.time_ns = f.fixed64()?,
                4 => count = f.fixed64()?,
                5 => sum = Some(f.double()?),
                6 => f.repeated_fixed64(&mut counts)?,
                7 => f.repeated_fixed64(&mut bounds)?,
                8 => self.exemplars.push(PointExemplar::read(f.message()?, self.limits)?),
                9 => self.series.attribute(f.message()?, self.limits)?,
                10 => flags = f.u32()?,
                _ => {}
            }
        }
        if bounds.len() > self.limits.max_buckets {
            self.summary.refused.add(MANY_BUCKETS);
            return Ok(());
        }
        // Either no buckets at all, or one more than there are bounds.
        if counts.len() != bounds.len() + 1 && !(counts.is_empty() && bounds.is_empty()) {
            self.summary.refused.add(BAD_BUCKETS);
            return Ok(());
        }
        if self.limits.custom_buckets {
            let bounds = bounds.into_iter().map(f64::from_bits);
            self.native(metric.name, custom(count, sum, &counts, bounds, flags));
            return Ok(());
        }
        if let Some(sum) = sum {
            self.sample(&format!("{}_sum", metric.name), None, recorded(sum, flags));
        }
        self.sample(&format!("{}_count", metric.name), None, recorded(count as f64, flags));
        let bucket = format!("{}_bucket", metric.name);
        let (mut cumulative, mut below) = (0u64, f64::NAN);
        for (bound, count) in bounds.iter().zip(&counts) {
            cumulative = cumulative.saturating_add(*count);
            let bound = f64::from_bits(*bound);
            if bound != f64::INFINITY {
                self.sample(&bucket, Some(("le", &bound.to_string())), recorded(cumulative as f64, flags));
                self.pass_exemplars(below, bound);
                below = bound;
            }
        }
        self.sample(&bucket, Some(("le", "+Inf")), recorded(count as f64, flags));
        self.pass_exemplars(below, f64::INFINITY);
        Ok(())
    }

    fn summary_point(&mut self, metric: &Metric<'_>, mut r: Reader<'a>) -> Result<(), WireError> {
        let (mut count, mut sum, mut flags) = (0u64, 0.0, 0);
        let mut quantiles = Vec::new();
        while let Some(f) = r.field("SummaryDataPoint")? {
            match f.number {
                2 => self.series.start_ns = f.fixed64()?,
                3 => self.series.time_ns = f.fixed64()?,
                4 => count = f.fixed64()?,
                5 => sum = f.double()?,
                6 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut r = f.message()?;
                    while let Some(f) = r.field("ValueAtQuantile")? {
                        match f.number {
                            1 => quantile = f.double()?,
                            2 => value = f.double()?,
                            _ => {}
                        }
                    }
                    quantiles.push((quantile, value));
                }
                7 => self.series.attribute(f.message()?, self.limits)?,
                8 => flags = f.u32()?,
                _ => {}
            }
        }
        if quantiles.len() > self.limits.max_buckets {
            self.summary.refused.add(MANY_BUCKETS);
            return Ok(());
        }
        self.sample(&format!("{}_sum", metric.name), None, recorded(sum, flags));
        self.sample(&format!("{}_count", metric.name), None, recorded(count as f64, flags));
        for (quantile, value) in quantiles {
            self.sample(metric.name, Some(("quantile", &quantile.to_string())), recorded(value, flags));
        }
        Ok(())
    }
}

/// An explicit histogram as a native one with custom buckets.
fn custom(
    count: u64,
    sum: Option<f64>,
    counts: &[u64],
    bounds: impl Iterator<Item = f64>,
    flags: u32,
) -> Result<Histogram, native::Flaw> {
    if flags & NO_RECORDED_VALUE != 0 {
        return Ok(Histogram { schema: CUSTOM_BUCKETS, sum: f64::from_bits(model::STALE_NAN_BITS), ..Histogram::default() });
    }
    // The infinite bound is that of the last bucket, which has none.
    let custom_bounds: Vec<f64> = bounds.filter(|b| *b != f64::INFINITY).collect();
    let length = (custom_bounds.len() + 1).min(counts.len());
    let mut positive: Vec<f64> = counts.iter().take(length).map(|n| *n as f64).collect();
    // Where an infinite bound was named, what stands behind it belongs to the last bucket.
    if let Some(last) = positive.last_mut() {
        *last += counts.iter().skip(length).map(|n| *n as f64).sum::<f64>();
    }
    let span = BucketSpan { offset: 0, length: positive.len() as u32 };
    let mut histogram = Histogram {
        schema: CUSTOM_BUCKETS,
        count: count as f64,
        sum: sum.unwrap_or(0.0),
        positive_spans: if positive.is_empty() { Vec::new() } else { vec![span] },
        positive,
        custom_bounds,
        ..Histogram::default()
    };
    native::admit(&mut histogram, true)?;
    Ok(histogram)
}

/// The value, or the staleness marker where the sender says that there is none.
fn recorded(value: f64, flags: u32) -> f64 {
    if flags & NO_RECORDED_VALUE != 0 { f64::from_bits(model::STALE_NAN_BITS) } else { value }
}
