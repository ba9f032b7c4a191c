//! Classic histograms as native ones with custom buckets, whatever format they are exposed in: a sink before the sink.

use std::borrow::Cow;

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram};

use super::{Exemplar, Exposed, ExpositionSink, Point, number};
use crate::{MetricKind, native};

/// Gathers the series of a classic histogram and hands them on as one sample. A histogram that is exposed as a native one as well
/// stays what it is, and so does what makes no histogram (buckets that fall, a count that does not fit them): it is left out.
pub(super) struct Custom<'s, S: ?Sized> {
    sink: &'s mut S,
    classic_too: bool,
    /// The histogram whose series are being read; empty for none.
    family: String,
    /// It has native samples of its own.
    native: bool,
    gathered: Option<Gathered>,
}

/// The series of one label set.
#[derive(Default)]
struct Gathered {
    /// Sorted, without name and `le`.
    labels: Vec<(String, String)>,
    /// Bounds and how many observations are not above them.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    time_ms: Option<i64>,
    start_ms: i64,
    exemplars: Vec<Exemplar<'static>>,
}

impl<'s, S: ExpositionSink + ?Sized> Custom<'s, S> {
    pub(super) fn new(sink: &'s mut S, classic_too: bool) -> Self {
        Self { sink, classic_too, family: String::new(), native: false, gathered: None }
    }

    /// Which part of the family a series is: `_bucket`, `_count` or `_sum`.
    fn part(&self, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<&'static str> {
        let name = labels.iter().find(|(n, _)| n == "__name__").map(|(_, v)| &**v)?;
        let suffix = name.strip_prefix(&*self.family).filter(|_| !self.family.is_empty() && !self.native)?;
        ["_bucket", "_count", "_sum"].into_iter().find(|part| *part == suffix)
    }

    fn gather(&mut self, part: &str, sample: &Exposed<'_>, value: f64) {
        let is_own = |(n, _): &&(Cow<'_, str>, Cow<'_, str>)| n != "__name__" && !(n == "le" && part == "_bucket");
        let own = sample.labels.iter().filter(is_own);
        let same = self.gathered.as_ref().is_some_and(|g| own.clone().map(|(n, v)| (&**n, &**v)).eq(g.pairs()));
        if !same {
            self.flush();
            let labels = own.map(|(n, v)| (n.to_string(), v.to_string())).collect();
            self.gathered = Some(Gathered { labels, time_ms: sample.time_ms, ..Gathered::default() });
        }
        let Some(gathered) = &mut self.gathered else { return };
        gathered.start_ms = gathered.start_ms.max(sample.start_ms);
        gathered.exemplars.extend(sample.exemplars.iter().map(owned));
        match part {
            "_count" => gathered.count = Some(value),
            "_sum" => gathered.sum = value,
            _ => {
                let bound = sample.labels.iter().find(|(n, _)| n == "le").and_then(|(_, le)| number::float(le).ok());
                gathered.buckets.extend(bound.map(|bound| (bound, value)));
            }
        }
    }

    /// Hands on what was gathered.
    pub(super) fn flush(&mut self) {
        let Some(gathered) = self.gathered.take() else { return };
        let Some(histogram) = gathered.histogram() else { return };
        let mut labels = vec![(Cow::Borrowed("__name__"), Cow::Borrowed(&*self.family))];
        labels.extend(gathered.pairs().map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v))));
        labels.sort_unstable();
        // No series of a text begins with this byte, and no text has the other.
        let mut text = b"\xfe".to_vec();
        for (name, value) in &labels {
            text.extend_from_slice(&[name.as_bytes(), b"\xff", value.as_bytes(), b"\xff"].concat());
        }
        let Gathered { time_ms, start_ms, exemplars, .. } = &gathered;
        let point = Point::Histogram(&histogram);
        self.sink.sample(&Exposed { text: &text, labels: &labels, point, time_ms: *time_ms, start_ms: *start_ms, exemplars });
    }
}

impl Gathered {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    fn histogram(&self) -> Option<Histogram> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = self.count.or(buckets.last().map(|b| b.1))?;
        if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let own = |(_, upto): &(f64, f64)| {
            let own = upto - before;
            before = *upto;
            own
        };
        let positive: Vec<f64> = buckets.iter().map(own).collect();
        let whole = count.fract() == 0.0 && positive.iter().all(|n| n.fract() == 0.0);
        buckets.pop();
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS,
            count,
            sum: self.sum,
            positive_spans: vec![BucketSpan { offset: 0, length: u32::try_from(positive.len()).ok()? }],
            positive,
            custom_bounds: buckets.into_iter().map(|b| b.0).collect(),
            ..Histogram::default()
        };
        let fits = before == count && native::admit(&mut histogram, whole).is_ok();
        fits.then_some(histogram)
    }
}

fn owned(exemplar: &Exemplar<'_>) -> Exemplar<'static> {
    let text = |t: &str| Cow::Owned(t.to_owned());
    let labels = exemplar.labels.iter().map(|(n, v)| (text(n), text(v))).collect();
    Exemplar { labels, value: exemplar.value, time_ms: exemplar.time_ms }
}

impl<S: ExpositionSink + ?Sized> ExpositionSink for Custom<'_, S> {
    fn knows(&mut self, text: &[u8]) -> bool {
        // The labels say what belongs together.
        self.family.is_empty() && self.sink.knows(text)
    }

    fn sample(&mut self, sample: &Exposed<'_>) {
        match (self.part(sample.labels), sample.point) {
            (Some(part), Point::Float(value)) => {
                self.gather(part, sample, value);
                if self.classic_too {
                    self.sink.sample(sample);
                }
            }
            (_, point) => {
                self.native |= matches!(point, Point::Histogram(_));
                self.flush();
                self.sink.sample(sample);
            }
        }
    }

    fn kind(&mut self, family: &str, kind: MetricKind) {
        self.flush();
        self.native = false;
        self.family = if kind == MetricKind::Histogram { family.to_owned() } else { String::new() };
        self.sink.kind(family, kind);
    }

    fn help(&mut self, family: &str, help: &str) {
        self.sink.help(family, help);
    }

    fn unit(&mut self, family: &str, unit: &str) {
        self.sink.unit(family, unit);
    }

    fn comment(&mut self, text: &[u8]) {
        self.sink.comment(text);
    }
}
