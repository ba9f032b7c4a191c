//! Expected and actual results.

use std::sync::Arc;

use model::{Histogram, Labels};
use promql::{Answer, Points, Sample, SequenceValue, SeriesDescription};

use super::read::Eval;

/// Relative difference that counts as equal.
const EPSILON: f64 = 0.000_001;

fn almost(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return model::is_stale(a) == model::is_stale(b);
    }
    if a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

fn same_histogram(expected: &Histogram, actual: &Histogram, hinted: bool) -> bool {
    let (a, b) = (expected.clone().compacted(), actual.clone().compacted());
    let counts = |h: &Histogram| {
        let mut counts = vec![h.count, h.sum, h.zero_count];
        counts.extend(h.positive.iter().chain(&h.negative));
        counts
    };
    let (x, y) = (counts(&a), counts(&b));
    a.schema == b.schema
        && a.custom_bounds == b.custom_bounds
        && a.zero_threshold == b.zero_threshold
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && x.len() == y.len()
        && x.iter().zip(&y).all(|(x, y)| almost(*x, *y))
        && (!hinted || a.reset_hint == b.reset_hint)
}

fn same(expected: &SequenceValue, actual: &Sample) -> bool {
    match (expected, actual) {
        (SequenceValue::Float(a), Sample::Float(b)) => almost(*a, *b),
        (SequenceValue::Histogram { histogram, hinted }, Sample::Histogram(b)) => same_histogram(histogram, b, *hinted),
        _ => false,
    }
}

fn show(value: &Sample) -> String {
    match value {
        Sample::Float(v) => promql::number(*v),
        Sample::Histogram(h) => format!("{h} schema {} hint {:?}", h.schema, h.reset_hint),
    }
}

fn show_expected(value: &SequenceValue) -> String {
    match value {
        SequenceValue::Omitted => "_".to_owned(),
        SequenceValue::Float(v) => promql::number(*v),
        SequenceValue::Histogram { histogram, hinted } => {
            let hint = if *hinted { format!(" hint {:?}", histogram.reset_hint) } else { String::new() };
            format!("{histogram} schema {}{hint}", histogram.schema)
        }
    }
}

/// The answer of an instant query.
pub(super) fn instant(answer: &Answer, eval: &Eval, _: i64) -> Result<(), String> {
    match answer {
        Answer::Scalar(v) => match eval.scalar {
            Some(expected) if almost(expected, *v) => Ok(()),
            Some(expected) => Err(format!("expected {expected}, got {v}")),
            None => Err(format!("unexpected scalar {v}")),
        },
        Answer::Text(text) => match &eval.string {
            Some(expected) if expected == text => Ok(()),
            expected => Err(format!("expected the string {expected:?}, got {text:?}")),
        },
        Answer::Vector(vector) => instant_vector(vector, eval),
        Answer::Matrix(_) => match eval.range {
            Some((start, step)) => matrix(answer, eval, start, step),
            None => Err("unexpected range vector".to_owned()),
        },
    }
}

fn instant_vector(vector: &[(Arc<Labels>, Sample)], eval: &Eval) -> Result<(), String> {
    if eval.scalar.is_some() || eval.string.is_some() {
        return Err(format!("expected no vector, got {} series", vector.len()));
    }
    for (i, (labels, value)) in vector.iter().enumerate() {
        let Some(at) = eval.series.iter().position(|s| s.labels == **labels) else {
            return Err(format!("unexpected {labels} {}", show(value)));
        };
        if eval.ordered && at != i {
            return Err(format!("expected {labels} at place {at}, it is at {i}"));
        }
        match eval.series[at].values.as_slice() {
            [expected] if same(expected, value) => {}
            [expected] => return Err(format!("expected {labels} {}, got {}", show_expected(expected), show(value))),
            _ => return Err(format!("expected one value of {labels}")),
        }
    }
    let missing = |s: &&SeriesDescription| !vector.iter().any(|(labels, _)| **labels == s.labels);
    match eval.series.iter().find(missing) {
        Some(s) => Err(format!("{} is missing", s.labels)),
        None => Ok(()),
    }
}

/// Series over time: value `i` stands at `start + i * step`.
pub(super) fn matrix(answer: &Answer, eval: &Eval, start: i64, step: i64) -> Result<(), String> {
    let Answer::Matrix(matrix) = answer else { return Err("expected a matrix".to_owned()) };
    let scalar = eval.scalar.map(|v| SeriesDescription {
        labels: Labels::default(),
        is_starts: false,
        values: vec![SequenceValue::Float(v)],
    });
    let expected: Vec<&SeriesDescription> = eval.series.iter().chain(&scalar).collect();
    for (labels, points) in matrix {
        let Some(described) = expected.iter().find(|s| s.labels == **labels) else {
            return Err(format!("unexpected series {labels}"));
        };
        series(described, points, start, step).map_err(|why| format!("{labels}: {why}"))?;
    }
    let has_values = |s: &&&SeriesDescription| s.values.iter().any(|v| *v != SequenceValue::Omitted);
    let missing = |s: &&&SeriesDescription| !matrix.iter().any(|(labels, _)| **labels == s.labels);
    match expected.iter().filter(has_values).find(missing) {
        Some(s) => Err(format!("{} is missing", s.labels)),
        None => Ok(()),
    }
}

fn series(described: &SeriesDescription, points: &Points, start: i64, step: i64) -> Result<(), String> {
    let mut actual: Vec<(i64, Sample)> = points.floats.iter().map(|(t, v)| (*t, Sample::Float(*v))).collect();
    actual.extend(points.histograms.iter().map(|(t, h)| (*t, Sample::Histogram(h.clone()))));
    actual.sort_by_key(|(t, _)| *t);
    let mut actual = actual.into_iter().peekable();
    for (i, expected) in described.values.iter().enumerate() {
        let time = start + i as i64 * step;
        let here = actual.next_if(|(t, _)| *t == time);
        match (expected, here) {
            (SequenceValue::Omitted, None) => {}
            (SequenceValue::Omitted, Some((_, value))) => {
                return Err(format!("at {time} expected nothing, got {}", show(&value)));
            }
            (expected, None) => return Err(format!("at {time} expected {}, got nothing", show_expected(expected))),
            (expected, Some((_, value))) if same(expected, &value) => {}
            (expected, Some((_, value))) => {
                return Err(format!("at {time} expected {}, got {}", show_expected(expected), show(&value)));
            }
        }
    }
    match actual.next() {
        Some((t, value)) => Err(format!("at {t} unexpected {}", show(&value))),
        None => Ok(()),
    }
}
