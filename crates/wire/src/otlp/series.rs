//! The series that a data point belongs to: its attributes, the resource's identity, a metric name.

use std::borrow::Cow;

use model::{Attr, Histogram};

use super::names::label_name;
use super::{Attributes, as_text};
use crate::protobuf::Reader;
use crate::{Limits, MetricKind, RawLabels, SampleSink, WireError};

/// `target_info` gets a sample at least this often between the first and the last data point, nanoseconds: half of
/// PromQL's default look-back.
const INFO_STEP_NS: u64 = 150_000_000_000;
/// Data points further apart than so many steps are not one stretch of time; then only the last counts.
const INFO_STEPS: u64 = 1_000;

/// What a point has at its time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sample<'s> {
    Float(f64),
    Histogram(&'s Histogram),
}

/// Labels under construction, and the stretch of time that the resource's data points cover.
#[derive(Debug)]
pub(super) struct Series<'a> {
    /// `job` and `instance`.
    identity: Vec<(&'static str, String)>,
    /// The resource's other attributes, as labels.
    info: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    attributes: Attributes<'a>,
    /// The current point's attributes as labels, with the identity; `None` until the first sample asks.
    labels: Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    key: Vec<u8>,
    /// The current point's time.
    pub(super) time_ns: u64,
    /// When what the current point counts began; 0 for not said.
    pub(super) start_ns: u64,
    /// The current metric's points are deltas.
    pub(super) delta: bool,
    covered: Option<(u64, u64)>,
}

impl<'a> Series<'a> {
    pub(super) fn new(resource: &[Attr<'a>]) -> Self {
        let text = |key| resource.iter().find(|a| a.key == key).map(|a| as_text(&a.value)).filter(|t| !t.is_empty());
        let job = text("service.name").map(|name| match text("service.namespace") {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.into_owned(),
        });
        let instance = text("service.instance.id").map(Cow::into_owned);
        let named = |name, value: Option<String>| value.map(|value| (name, value));
        let mut info = Vec::new();
        for a in resource {
            if !matches!(a.key, "service.name" | "service.namespace" | "service.instance.id") {
                info.push((Cow::Borrowed(a.key), as_text(&a.value)));
            }
        }
        Self {
            identity: [named("instance", instance), named("job", job)].into_iter().flatten().collect(),
            info: as_labels(info),
            attributes: Attributes::default(),
            labels: None,
            key: Vec::new(),
            time_ns: 0,
            start_ns: 0,
            delta: false,
            covered: None,
        }
    }

    /// Forgets the last point's attributes and time.
    pub(super) fn next_point(&mut self) {
        self.attributes.clear();
        self.labels = None;
        self.time_ns = 0;
        self.start_ns = 0;
    }

    /// Reads an attribute of the current point.
    pub(super) fn attribute(&mut self, key_value: Reader<'a>, limits: &Limits) -> Result<(), WireError> {
        if self.attributes.list.len() >= limits.max_labels {
            return Err(WireError::TooLarge { what: "the number of a data point's attributes", limit: limits.max_labels });
        }
        self.attributes.push(key_value, limits)
    }

    /// Passes on one sample of the current point.
    pub(super) fn sample<S: SampleSink + ?Sized>(
        &mut self,
        name: &str,
        extra: Option<(&str, &str)>,
        value: Sample<'_>,
        sink: &mut S,
    ) {
        let labels = self.labels.take().unwrap_or_else(|| {
            let pairs = self.attributes.list.iter().map(|a| (Cow::Borrowed(a.key), as_text(&a.value)));
            as_labels(pairs.collect())
        });
        self.series(&labels, name, extra, sink);
        self.labels = Some(labels);
        if self.delta {
            sink.delta();
        }
        if self.start_ns > 0 {
            sink.start((self.start_ns / 1_000_000) as i64);
        }
        let time_ms = (self.time_ns / 1_000_000) as i64;
        match value {
            Sample::Float(value) => sink.sample(time_ms, value),
            Sample::Histogram(histogram) => sink.histogram(time_ms, histogram),
        }
        let (first, last) = self.covered.unwrap_or((self.time_ns, self.time_ns));
        self.covered = Some((first.min(self.time_ns), last.max(self.time_ns)));
    }

    fn series<S: SampleSink + ?Sized>(
        &mut self,
        labels: &[(Cow<'_, str>, Cow<'_, str>)],
        name: &str,
        extra: Option<(&str, &str)>,
        sink: &mut S,
    ) {
        let fixed = self.identity.iter().map(|(n, v)| (*n, v.as_str())).chain(extra).chain([("__name__", name)]);
        let mut pairs: Vec<(&str, &str)> = fixed.collect();
        let own = pairs.len();
        for (name, value) in labels {
            // The resource's identity and what the metric's kind asks for come before attributes of the same name.
            if !pairs[..own].iter().any(|(n, _)| n == name) {
                pairs.push((name, value));
            }
        }
        pairs.sort_unstable();
        self.key.clear();
        for (name, value) in &pairs {
            self.key.extend_from_slice(name.as_bytes());
            self.key.push(0xff);
            self.key.extend_from_slice(value.as_bytes());
            self.key.push(0xff);
        }
        sink.series(RawLabels::from_pairs(&self.key, &pairs));
    }

    /// Passes on `target_info` for the time that the points covered, if the resource has an identity and anything to
    /// tell; returns how many samples that were.
    pub(super) fn target_info<S: SampleSink + ?Sized>(&mut self, sink: &mut S) -> u64 {
        let Some((first, last)) = self.covered else { return 0 };
        if self.identity.is_empty() || self.info.is_empty() {
            return 0;
        }
        sink.metadata("target_info", MetricKind::Gauge, "Target metadata", "");
        let info = std::mem::take(&mut self.info);
        let steps = (last - first) / INFO_STEP_NS;
        let steps = if steps > INFO_STEPS { 0 } else { (last - first).div_ceil(INFO_STEP_NS) };
        for step in 0..steps {
            self.series(&info, "target_info", None, sink);
            sink.sample(((first + step * INFO_STEP_NS) / 1_000_000) as i64, 1.0);
        }
        self.series(&info, "target_info", None, sink);
        sink.sample((last / 1_000_000) as i64, 1.0);
        self.info = info;
        steps + 1
    }
}

/// Attributes as labels: sorted, names made valid; values whose names become equal are joined with `;`, empty ones dropped.
fn as_labels<'a>(mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, _) in &mut pairs {
        let made = match name {
            Cow::Borrowed(key) => label_name(key),
            Cow::Owned(key) => Cow::Owned(label_name(key).into_owned()),
        };
        *name = made;
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = Cow::Owned(format!("{};{}", kept.1, later.1));
        }
        same
    });
    pairs.retain(|(_, value)| !value.is_empty());
    pairs
}
