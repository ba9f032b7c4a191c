//! Prometheus' samples to `ExportMetricsServiceRequest`: what an OTLP exporter sends of scrapes and of remote write.
//!
//! `job` and `instance` become `service.name` (with `service.namespace` before a `/`) and `service.instance.id`, as the
//! OpenTelemetry specification maps them ("Prometheus and OpenMetrics Compatibility"). A series whose name ends in `_total` is a
//! monotonic sum, every other one a gauge under its whole name, the parts of classic histograms too: so a receiver that
//! translates back finds the same names, labels and values.

use std::collections::HashMap;

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram, ResetHint};

use crate::protobuf::write;
use crate::{Exemplar, MetricKind, RawLabels, SampleSink};

/// Families whose kind is remembered.
const FAMILIES: usize = 20_000;
/// Buckets of one side from the first to the last.
const WIDEST: i64 = 10_000;
const CUMULATIVE: u64 = 2;
const DELTA: u64 = 1;
const NO_RECORDED_VALUE: u64 = 1;

/// Builds requests. It is a [`SampleSink`]: whatever walks into it comes out as OTLP. What was said of families is remembered
/// from request to request.
#[derive(Debug, Default)]
pub struct MetricEncoder {
    out: Vec<u8>,
    /// The current resource: the attributes' fields.
    resource: Vec<u8>,
    /// `Metric` messages of the current resource.
    metrics: Vec<u8>,
    /// The metric that points are added to, and its data points.
    metric: Option<Metric>,
    points: Vec<u8>,
    /// The current series: name, attributes as `KeyValue` messages, whether its points are deltas.
    name: String,
    attributes: Vec<Vec<u8>>,
    delta: bool,
    start_ms: i64,
    /// The last point, which exemplars may still be added to.
    point: Option<(Shape, Vec<u8>)>,
    kinds: HashMap<String, MetricKind>,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Metric {
    name: String,
    shape: Shape,
    delta: bool,
}

/// Which message a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Gauge,
    Sum,
    Histogram,
    Exponential,
}

impl Shape {
    /// Fields: the data in `Metric`, a point's attributes, its exemplars, its flags.
    const fn fields(self) -> [u32; 4] {
        match self {
            Self::Gauge => [5, 7, 5, 8],
            Self::Sum => [7, 7, 5, 8],
            Self::Histogram => [9, 9, 8, 10],
            Self::Exponential => [10, 1, 11, 10],
        }
    }
}

impl MetricEncoder {
    /// Bytes of the request so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.out.len() + self.metrics.len() + self.points.len()
    }

    /// Data points since the last [`MetricEncoder::finish`].
    #[must_use]
    pub fn points(&self) -> u64 {
        self.count
    }

    /// The request; the encoder is empty then, but for what it knows of families.
    pub fn finish(&mut self) -> Vec<u8> {
        self.close_resource();
        self.resource.clear();
        self.count = 0;
        std::mem::take(&mut self.out)
    }

    fn shape(&self) -> Shape {
        let gauge = matches!(self.kinds.get(&self.name), Some(MetricKind::Gauge | MetricKind::GaugeHistogram));
        // The receiver puts `_total` behind a sum's name and takes every other one out of it.
        let counter = self.name.strip_suffix("_total").is_some_and(|rest| !rest.split('_').any(|word| word == "total"));
        if self.delta || (counter && !gauge) { Shape::Sum } else { Shape::Gauge }
    }

    fn close_point(&mut self) {
        let Some((shape, point)) = self.point.take() else { return };
        let metric = Metric { name: std::mem::take(&mut self.name), shape, delta: self.delta };
        if self.metric.as_ref() != Some(&metric) {
            self.close_metric();
        }
        self.name.clone_from(&metric.name);
        self.metric.get_or_insert(metric);
        write::set_bytes(&mut self.points, 1, &point);
    }

    fn close_metric(&mut self) {
        let Some(metric) = self.metric.take() else { return };
        let points = &mut self.points;
        write::message(&mut self.metrics, 2, |out| {
            write::put_bytes(out, 1, metric.name.as_bytes());
            write::message(out, metric.shape.fields()[0], |out| {
                out.append(points);
                if metric.shape != Shape::Gauge {
                    write::put_varint(out, 2, if metric.delta { DELTA } else { CUMULATIVE });
                }
                if metric.shape == Shape::Sum {
                    write::put_varint(out, 3, 1);
                }
            });
        });
    }

    fn close_resource(&mut self) {
        self.close_point();
        self.close_metric();
        if self.metrics.is_empty() {
            return;
        }
        let (resource, metrics) = (&self.resource, &self.metrics);
        write::message(&mut self.out, 1, |out| {
            write::put_bytes(out, 1, resource);
            write::set_bytes(out, 2, metrics);
        });
        self.metrics.clear();
    }

    /// The fields that every point begins with.
    fn begin(&mut self, shape: Shape, time_ms: i64) -> Vec<u8> {
        self.close_point();
        self.count += 1;
        let mut point = Vec::with_capacity(64);
        let [_, attributes, ..] = shape.fields();
        for attribute in &self.attributes {
            write::set_bytes(&mut point, attributes, attribute);
        }
        write::put_fixed64(&mut point, 2, nanos(self.start_ms));
        write::put_fixed64(&mut point, 3, nanos(time_ms));
        point
    }
}

fn nanos(ms: i64) -> u64 {
    ms.max(0).unsigned_abs().saturating_mul(1_000_000)
}

fn key_value(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.len() + 8);
    write::put_bytes(&mut out, 1, key.as_bytes());
    write::message(&mut out, 2, |out| write::set_bytes(out, 1, value.as_bytes()));
    out
}

const fn zigzag(n: i32) -> u64 {
    ((n << 1) ^ (n >> 31)) as u32 as u64
}

/// Whole observations: OTLP has no fractions of them.
fn whole(n: f64) -> u64 {
    n.round() as u64
}

/// `Buckets`: OTLP's bucket `i` ends where Prometheus' `i + 1` does.
fn put_buckets(out: &mut Vec<u8>, field: u32, spans: &[BucketSpan], counts: &[f64]) {
    let mut dense: Vec<u64> = Vec::new();
    let (mut index, mut first) = (0i32, None);
    let mut counts = counts.iter();
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(n) = counts.next() else { break };
            let from = *first.get_or_insert(index);
            // A sender may leave wide gaps; what would take too much room is not worth it.
            if i64::from(index) - i64::from(from) < WIDEST {
                dense.resize((index - from) as usize, 0);
                dense.push(whole(*n));
            }
            index = index.saturating_add(1);
        }
    }
    let Some(first) = first else { return };
    write::message(out, field, |out| {
        write::put_varint(out, 1, zigzag(first.saturating_sub(1)));
        write::message(out, 2, |out| dense.iter().for_each(|n| write::varint(out, *n)));
    });
}

impl SampleSink for MetricEncoder {
    fn series(&mut self, labels: RawLabels<'_>) {
        self.close_point();
        (self.delta, self.start_ms) = (false, 0);
        self.attributes.clear();
        let mut name = "";
        let mut pairs = Vec::new();
        // Walkers pass on only labels that they have checked.
        let _ = labels.read(&mut pairs);
        let mut resource = Vec::new();
        for (label, value) in pairs {
            match label {
                "__name__" => name = value,
                "job" => match value.split_once('/') {
                    Some((namespace, service)) if !namespace.is_empty() && !service.is_empty() => {
                        write::set_bytes(&mut resource, 1, &key_value("service.namespace", namespace));
                        write::set_bytes(&mut resource, 1, &key_value("service.name", service));
                    }
                    _ => write::set_bytes(&mut resource, 1, &key_value("service.name", value)),
                },
                "instance" => write::set_bytes(&mut resource, 1, &key_value("service.instance.id", value)),
                _ => self.attributes.push(key_value(label, value)),
            }
        }
        if resource != self.resource {
            self.close_resource();
            self.resource = resource;
        }
        name.clone_into(&mut self.name);
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        let shape = self.shape();
        let mut point = self.begin(shape, time_ms);
        if model::is_stale(value) {
            write::put_varint(&mut point, shape.fields()[3], NO_RECORDED_VALUE);
        } else {
            write::set_fixed64(&mut point, 4, value.to_bits());
        }
        self.point = Some((shape, point));
    }

    fn start(&mut self, start_ms: i64) {
        self.start_ms = start_ms;
    }

    fn delta(&mut self) {
        self.close_point();
        self.delta = true;
    }

    fn histogram(&mut self, time_ms: i64, h: &Histogram) {
        let custom = h.schema == CUSTOM_BUCKETS;
        let shape = if custom { Shape::Histogram } else { Shape::Exponential };
        let mut point = self.begin(shape, time_ms);
        if model::is_stale(h.sum) {
            write::put_varint(&mut point, shape.fields()[3], NO_RECORDED_VALUE);
            self.point = Some((shape, point));
            return;
        }
        write::set_fixed64(&mut point, 4, whole(h.count));
        if h.reset_hint != ResetHint::Gauge || !h.sum.is_nan() {
            write::set_fixed64(&mut point, 5, h.sum.to_bits());
        }
        if custom {
            let mut counts = vec![0u64; h.custom_bounds.len() + 1];
            let mut index = 0i64;
            let mut given = h.positive.iter();
            for span in &h.positive_spans {
                index += i64::from(span.offset);
                for n in given.by_ref().take(span.length as usize) {
                    if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                        *count = whole(*n);
                    }
                    index += 1;
                }
            }
            let bytes: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
            write::set_bytes(&mut point, 6, &bytes);
            let bytes: Vec<u8> = h.custom_bounds.iter().flat_map(|b| b.to_bits().to_le_bytes()).collect();
            write::put_bytes(&mut point, 7, &bytes);
        } else {
            write::put_varint(&mut point, 6, zigzag(h.schema));
            write::put_fixed64(&mut point, 7, whole(h.zero_count));
            put_buckets(&mut point, 8, &h.positive_spans, &h.positive);
            put_buckets(&mut point, 9, &h.negative_spans, &h.negative);
            write::put_fixed64(&mut point, 14, h.zero_threshold.to_bits());
        }
        self.point = Some((shape, point));
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        let Some((shape, point)) = &mut self.point else { return };
        let field = shape.fields()[2];
        write::message(point, field, |out| {
            write::put_fixed64(out, 2, nanos(exemplar.time_ms));
            write::set_fixed64(out, 3, exemplar.value.to_bits());
            for (name, value) in exemplar.labels {
                let id = |bytes: usize| (value.len() == 2 * bytes).then(|| unhex(value)).flatten();
                match (*name, id(16), id(8)) {
                    ("trace_id", Some(id), _) => write::set_bytes(out, 5, &id),
                    ("span_id", _, Some(id)) => write::set_bytes(out, 4, &id),
                    _ => write::set_bytes(out, 7, &key_value(name, value)),
                }
            }
        });
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, _: &str, _: &str) {
        if self.kinds.len() < FAMILIES || self.kinds.contains_key(family) {
            self.kinds.insert(family.to_owned(), kind);
        }
    }
}

/// Lower-case hexadecimal, which comes back the same.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(|p| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?)).collect();
    bytes.filter(|b| b.iter().any(|b| *b != 0))
}
