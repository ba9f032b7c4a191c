//! `compare()`: counts of every value of every attribute, for the selected spans and for the others.

use std::collections::{BTreeMap, HashMap};

use store::{Column, Field as Stored};

use super::{Series, Window};
use crate::ast::{Attribute, Compare, Intrinsic};
use crate::eval::{Code, compile, evaluate};
use crate::fetch::{Fetch, Place};
use crate::trace::Trace;
use crate::value::{Kind, Static};

const META: &str = "__meta_type";

/// Intrinsics that are compared besides all attributes.
const COMPARED: [Intrinsic; 9] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::ChildCount,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

/// The counts of one attribute's values by interval.
#[derive(Debug, Default, Clone)]
struct Counts {
    values: HashMap<String, (Static<'static>, Vec<f64>)>,
    total: Vec<f64>,
}

/// Counts attributes of spans.
#[derive(Clone)]
pub(super) struct Comparison {
    filter: Code,
    top: usize,
    range: Option<(i64, i64)>,
    intervals: usize,
    /// Baseline and selection, by attribute.
    counts: [BTreeMap<String, Counts>; 2],
    /// What the selection is decided by: values as they are, not as the query's own filter sees them.
    fetch: Fetch,
    /// Fields that the query reads anyway: they are counted once more, as in Tempo.
    twice: Vec<usize>,
    intrinsics: Vec<usize>,
}

impl Comparison {
    pub(super) fn new(compare: &Compare, window: Window, fetch: &mut Fetch) -> Self {
        let twice = (0..fetch.fields.len()).filter(|f| fetch.fields[*f].condition).collect();
        let mut intrinsics = Vec::new();
        for intrinsic in COMPARED {
            let attribute = Attribute::intrinsic(intrinsic);
            let slot = fetch.slot(&attribute);
            intrinsics.extend(fetch.slot_fields(slot));
        }
        let mut attributes = Vec::new();
        let filter = compile(&compare.filter, &mut |a| {
            attributes.push(a.clone());
            fetch.slot(a)
        });
        let mut own = fetch.clone();
        attributes.iter().for_each(|a| own.also(a));
        Self {
            filter,
            top: usize::try_from(compare.top).unwrap_or(0),
            range: (compare.start > 0 && compare.end > 0).then_some((compare.start, compare.end)),
            intervals: window.intervals(),
            counts: [BTreeMap::new(), BTreeMap::new()],
            fetch: own,
            twice,
            intrinsics,
        }
    }

    /// What must be read of each span.
    pub(super) fn columns() -> Vec<Column> {
        vec![Column::Attributes(None), Column::Field(Stored::Events), Column::Field(Stored::Links)]
    }

    pub(super) fn observe(&mut self, trace: &Trace<'_>, fetch: &Fetch, span: u32, interval: usize) {
        let time = trace.start(span);
        let inside = self.range.is_none_or(|(start, end)| start <= time && time < end);
        let own = &self.fetch;
        let selected = inside && evaluate(&self.filter, &|slot| trace.slot(own, slot, span)).is_ok_and(|v| v.is_true());
        let counts = &mut self.counts[usize::from(selected)];
        let intervals = self.intervals;
        let mut count = |name: String, value: Static<'_>| {
            // Nobody groups by durations.
            if value.kind() == Kind::Duration {
                return;
            }
            let counts = counts.entry(name).or_insert_with(|| Counts { values: HashMap::new(), total: vec![0.0; intervals] });
            counts.total[interval] += 1.0;
            let key = value.key();
            counts.values.entry(key).or_insert_with(|| (value.into_owned(), vec![0.0; intervals])).1[interval] += 1.0;
        };
        let (rows, row) = trace.row(span);
        rows.attributes(row, &mut |scope, key, value| count(Attribute::new(scope, &key).to_string(), value));
        for &field in &self.intrinsics {
            let name = field_name(fetch, field);
            trace.each(fetch, field, span, &mut |value| {
                if let Some(value) = value {
                    count(name.clone(), value);
                }
            });
        }
        for &field in &self.twice {
            let compared = !matches!(fetch.fields[field].place, Place::Intrinsic(Intrinsic::TraceId));
            let name = field_name(fetch, field);
            trace.each(fetch, field, span, &mut |value| {
                if let Some(value) = fetch.fields[field].seen(value).filter(|_| compared) {
                    count(name.clone(), value);
                }
            });
        }
    }

    pub(super) fn finish(self) -> Vec<Series> {
        let mut out = Vec::new();
        for (meta, counts) in ["baseline", "selection"].into_iter().zip(self.counts) {
            for (name, counts) in counts {
                let label = |meta: String, value| vec![(META.to_owned(), Static::text(meta)), (name.clone(), value)];
                let mut values: Vec<(Static<'static>, Vec<f64>)> = counts.values.into_values().collect();
                let sum = |values: &[f64]| values.iter().sum::<f64>();
                values.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)).then_with(|| a.0.key().cmp(&b.0.key())));
                values.truncate(self.top);
                for (value, values) in values {
                    out.push(Series { labels: label(meta.to_owned(), value), values, exemplars: Vec::new() });
                }
                let labels = label(format!("{meta}_total"), Static::Nil);
                out.push(Series { labels, values: counts.total, exemplars: Vec::new() });
            }
        }
        out
    }
}

fn field_name(fetch: &Fetch, field: usize) -> String {
    match &fetch.fields[field].place {
        Place::Intrinsic(i) => i.as_str().to_owned(),
        Place::Attribute(scope, name) => Attribute::new(*scope, name).to_string(),
    }
}
