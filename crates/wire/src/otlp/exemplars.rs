//! `Exemplar` of a data point to Prometheus' exemplars.

use super::names::label_name;
use super::{Attributes, as_text};
use crate::exemplar::{MAX_LABELS, pass};
use crate::protobuf::Reader;
use crate::{Limits, SampleSink, Summary, WireError};

/// An exemplar: its trace and span, then the attributes that its metric left out.
#[derive(Debug)]
pub(super) struct PointExemplar {
    labels: Vec<(String, String)>,
    time_ms: i64,
    pub(super) value: f64,
}

impl PointExemplar {
    pub(super) fn read(mut r: Reader<'_>, limits: &Limits) -> Result<Self, WireError> {
        let (mut value, mut time_ns) = (0.0, 0u64);
        let (mut trace, mut span): (&[u8], &[u8]) = (&[], &[]);
        let mut attributes = Attributes::default();
        while let Some(f) = r.field("Exemplar")? {
            match f.number {
                2 => time_ns = f.fixed64()?,
                3 => value = f.double()?,
                4 => span = f.bytes()?,
                5 => trace = f.bytes()?,
                6 => value = f.fixed64()? as i64 as f64,
                7 => attributes.push(f.message()?, limits)?,
                _ => {}
            }
        }
        let mut labels: Vec<(String, String)> = Vec::new();
        for (name, id) in [("trace_id", trace), ("span_id", span)] {
            if id.iter().any(|b| *b != 0) {
                labels.push((name.to_owned(), id.iter().map(|b| format!("{b:02x}")).collect()));
            }
        }
        let ids = labels.len();
        labels.extend(attributes.list.iter().map(|a| (label_name(a.key).into_owned(), as_text(&a.value).into_owned())));
        let characters: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if characters > MAX_LABELS {
            // The trace is worth more than the attributes.
            labels.truncate(ids);
        }
        let time_ms = (time_ns / 1_000_000) as i64;
        Ok(Self { labels, time_ms, value })
    }

    /// Passes it on as one of the current series.
    pub(super) fn pass<S: SampleSink + ?Sized>(&self, summary: &mut Summary, sink: &mut S) {
        let mut labels: Vec<(&str, &str)> = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        pass(&mut labels, self.time_ms, self.value, summary, sink);
    }
}
