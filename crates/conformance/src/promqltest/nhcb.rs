//! `load_with_nhcb`: classic histograms are loaded as native ones with custom buckets as well.

use std::collections::BTreeMap;

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram, Labels};
use promql::{SequenceValue, SeriesDescription};
use wire::SampleSink;
use wire::remote_write::Encoder;

use crate::samples::append;

/// A classic histogram at one time: cumulative counts by upper bound.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn convert(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // One bound may be written in several ways (`0.2`, `2e-1`).
        self.buckets.dedup_by(|again, kept| {
            let same = again.0 == kept.0;
            if same {
                kept.1 = again.1;
            }
            same
        });
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(upper, _)| upper != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let positive: Vec<f64> = self.buckets.iter().map(|(_, count)| count - std::mem::replace(&mut before, *count)).collect();
        let bounds = self.buckets.iter().map(|(upper, _)| *upper).filter(|upper| upper.is_finite()).collect();
        let length = u32::try_from(positive.len()).unwrap_or(0);
        Histogram {
            schema: CUSTOM_BUCKETS,
            count,
            sum: self.sum,
            positive_spans: vec![BucketSpan { offset: 0, length }],
            positive,
            custom_bounds: bounds,
            ..Histogram::default()
        }
        .compacted()
    }
}

/// Loads the native counterparts of the classic histograms among `series`.
pub(super) fn load(sink: &mut Encoder, gap_ms: i64, series: &[SeriesDescription]) {
    let mut histograms: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for s in series.iter().filter(|s| !s.is_starts) {
        let name = s.labels.get("__name__").unwrap_or("");
        let parts = ["_bucket", "_count", "_sum"].into_iter().find_map(|part| Some((name.strip_suffix(part)?, part)));
        let Some((base, part)) = parts else { continue };
        let upper = s.labels.get("le").map(|le| le.replace("+Inf", "inf"));
        let upper = upper.and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        if part == "_bucket" && upper.is_none() {
            continue;
        }
        let pairs = s.labels.iter().filter(|(n, _)| *n != "le").map(|(n, v)| (n, if n == "__name__" { base } else { v }));
        let by_time = histograms.entry(Labels::from_pairs(pairs)).or_default();
        for (step, value) in s.values.iter().enumerate() {
            let SequenceValue::Float(value) = value else { continue };
            let classic = by_time.entry(step as i64 * gap_ms).or_default();
            match (part, upper) {
                ("_bucket", Some(upper)) => classic.buckets.push((upper, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    for (labels, by_time) in histograms {
        append(sink, &labels);
        for (time, classic) in by_time {
            sink.histogram(time, &classic.convert());
        }
    }
}
