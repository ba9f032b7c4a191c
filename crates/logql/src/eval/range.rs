//! Lines of a range to numbers.

use std::collections::HashMap;
use std::sync::Arc;

use store::{MatchOp, Order, Predicate};

use super::window::{Window, numbers};
use super::{Grid, Series, check_room, count, looks_at};
use crate::EvalError;
use crate::ast::{Conversion, Grouping, RangeAggregation, RangeOp, Unwrap};
use crate::lines::{Question, each_row, pipeline};
use crate::pipeline::{Condition, ERROR, Hints, LabelSet, Labels, PRESERVE_ERROR};
use crate::rows::{NeededLabels, Needs};
use crate::units::{go_duration, parse_bytes, parse_float};

/// What the error label says where a value is no number.
const EXTRACTION_ERROR: &str = "SampleExtractionErr";

/// The label whose value is the sample.
struct Value {
    label: Arc<str>,
    conversion: Conversion,
    filters: Vec<Condition>,
}

impl Value {
    fn new(unwrap: &Unwrap) -> Result<Self, EvalError> {
        let mut filters = Vec::with_capacity(unwrap.filters.len());
        for filter in &unwrap.filters {
            filters.push(Condition::new(filter).map_err(|e| crate::ParseError::stage(filter, &e))?);
        }
        Ok(Self { label: unwrap.label.as_str().into(), conversion: unwrap.conversion, filters })
    }

    /// The value of a line; `None` where the line has none, or is not wanted.
    fn of(&self, labels: &mut Labels) -> Option<f64> {
        let text = labels.get(&self.label).map(|(_, v)| v.clone()).filter(|v| !v.is_empty())?;
        let number = match self.conversion {
            Conversion::None => parse_float(&text),
            Conversion::Bytes => parse_bytes(&text).map(|b| b as f64),
            Conversion::Duration | Conversion::DurationSeconds => go_duration(&text).map(|ns| ns as f64 / 1e9),
        };
        let value = number.unwrap_or_else(|why| {
            labels.set_error(EXTRACTION_ERROR, why);
            0.0
        });
        self.filters.iter().all(|f| f.accepts(labels)).then_some(value)
    }
}

/// Which labels name a series.
enum Naming {
    /// All of them.
    All,
    None,
    Some {
        names: Vec<Arc<str>>,
        without: bool,
    },
}

impl Naming {
    fn new(grouping: Option<&Grouping>, unwrap: Option<&Unwrap>) -> Self {
        let names = |g: &Grouping| g.labels.iter().map(|l| Arc::from(l.as_str())).collect::<Vec<Arc<str>>>();
        let unwrapped = unwrap.map(|u| Arc::from(u.label.as_str()));
        match grouping {
            Some(g) if !g.without && g.labels.is_empty() => Self::None,
            Some(g) if !g.without => Self::Some { names: names(g), without: false },
            // What became the value is no longer a name.
            Some(g) => Self::Some { names: names(g).into_iter().chain(unwrapped).collect(), without: true },
            None => match unwrapped {
                Some(label) => Self::Some { names: vec![label], without: true },
                None => Self::All,
            },
        }
    }
}

/// The samples of each series: times and values.
#[derive(Default)]
struct Samples {
    ids: HashMap<LabelSet, usize>,
    names: Vec<LabelSet>,
    /// Of the texts in them.
    bytes: usize,
    samples: Vec<Vec<(i64, f64)>>,
    /// Series of streams that are named by their own labels.
    streams: HashMap<usize, usize>,
    /// Keeps those streams, so that no other one gets their address.
    kept: Vec<Arc<LabelSet>>,
}

impl Samples {
    fn id(&mut self, name: LabelSet) -> usize {
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        let id = self.names.len();
        self.bytes += name.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        self.ids.insert(name.clone(), id);
        self.names.push(name);
        self.samples.push(Vec::new());
        id
    }

    /// The series of a stream whose labels are `name(stream)`.
    fn id_of_stream(&mut self, stream: &Arc<LabelSet>, name: impl Fn(&LabelSet) -> LabelSet) -> usize {
        let address = Arc::as_ptr(stream) as usize;
        if let Some(id) = self.streams.get(&address) {
            return *id;
        }
        let id = self.id(name(stream));
        self.streams.insert(address, id);
        self.kept.push(stream.clone());
        id
    }
}

/// Numbers of the lines in `(step - range, step]`, for each set of labels. `outer` is the grouping of a sum around it.
pub(super) fn evaluate(
    question: &Question<'_>,
    range: &RangeAggregation,
    outer: Option<&Grouping>,
    grid: Grid,
) -> Result<Series, EvalError> {
    let absent = Grouping::default();
    let grouping = match range.op {
        RangeOp::Absent => Some(&absent),
        _ => range.grouping.as_ref().or(outer),
    };
    let Some(count) = count::plan(question, range, grouping, grid)? else {
        return by_line(question, range, grouping, grid, &Predicate::True);
    };
    let window = Window { grid, range_ns: range.range_ns, offset_ns: range.offset_ns };
    let mut series = count.series(question, range, window)?;
    if let Some(rest) = &count.rest {
        for (labels, values) in by_line(question, range, grouping, grid, rest)? {
            let Some((_, known)) = series.iter_mut().find(|(known, _)| *known == labels) else {
                series.push((labels, values));
                continue;
            };
            for (sum, value) in known.iter_mut().zip(values) {
                *sum = sum.map_or(value, |sum| Some(sum + value.unwrap_or(0.0)));
            }
        }
    }
    Ok(series)
}

/// The same of the lines of which `also` holds, one by one.
fn by_line(
    question: &Question<'_>,
    range: &RangeAggregation,
    grouping: Option<&Grouping>,
    grid: Grid,
    also: &Predicate,
) -> Result<Series, EvalError> {
    let unwrap = range.unwrap.as_ref();
    let hints = Hints::metric(&range.log.stages, unwrap, grouping);
    let pipeline = pipeline(&range.log, hints)?;
    let value = unwrap.map(Value::new).transpose()?;
    let naming = Naming::new(grouping, unwrap);
    let counts_bytes = matches!(range.op, RangeOp::Bytes | RangeOp::BytesRate);
    let needs = Needs {
        line: counts_bytes || !pipeline.is_empty(),
        labels: match (pipeline.hints().required(), &naming) {
            _ if pipeline.hints().nothing => NeededLabels::Only(Vec::new()),
            (Some(names), _) => NeededLabels::Only(names.to_vec()),
            (None, _) => NeededLabels::All,
        },
    };
    let plain = pipeline.is_empty() && value.is_none();
    let ordered = matches!(range.op, RangeOp::First | RangeOp::Last | RangeOp::RateCounter);
    let order = if ordered { Order::OldestFirst } else { Order::Any };
    let mut samples = Samples::default();
    let mut read = 0usize;
    let span = looks_at(grid, range.range_ns, range.offset_ns);
    each_row(question, &range.log, also, span, order, None, &needs, &mut |rows, row, labels| {
        read += 1;
        if read > question.max_lines {
            return Err(EvalError::TooManyLines(question.max_lines));
        }
        let time = rows.time(row);
        if plain && matches!(naming, Naming::None) {
            let id = samples.id(LabelSet::default());
            samples.samples[id].push((time, if counts_bytes { rows.line(row).len() as f64 } else { 1.0 }));
            return Ok(true);
        }
        rows.labels(row, labels);
        let Some(line) = pipeline.run(rows.line(row), time, labels) else { return Ok(true) };
        let number = match &value {
            Some(value) => match value.of(labels) {
                Some(number) => number,
                None => return Ok(true),
            },
            None if counts_bytes => line.len() as f64,
            None => 1.0,
        };
        let id = match &naming {
            Naming::None if !labels.has_error() => samples.id(LabelSet::default()),
            Naming::All if labels.is_stream() => samples.id_of_stream(labels.stream(), LabelSet::clone),
            Naming::Some { names, without } if labels.is_stream() => {
                let keep = |set: &LabelSet| set.retain(|n| names.iter().any(|g| **g == *n) != *without);
                samples.id_of_stream(labels.stream(), keep)
            }
            Naming::All | Naming::None => samples.id(labels.all()),
            Naming::Some { names, without } => samples.id(labels.grouped(names, *without)),
        };
        samples.samples[id].push((time, number));
        if samples.bytes > question.max_label_bytes {
            return Err(EvalError::TooMuchMemory(format!(
                "the labels of the series take more than {} MiB: sum by fewer of them",
                question.max_label_bytes >> 20
            )));
        }
        Ok(true)
    })?;
    let window = Window { grid, range_ns: range.range_ns, offset_ns: range.offset_ns };
    if range.op == RangeOp::Absent {
        return Ok(absent_series(range, samples, window));
    }
    check_room(question, samples.names.len(), grid)?;
    let mut out = Series::with_capacity(samples.names.len());
    for (labels, mut points) in samples.names.into_iter().zip(samples.samples) {
        if !points.is_sorted_by_key(|(t, _)| *t) {
            points.sort_by_key(|(t, _)| *t);
        }
        let values = numbers(range, &points, window);
        // An error is an answer only where it was asked for.
        if labels.get(ERROR).is_some() && labels.get(PRESERVE_ERROR) != Some("true") && values.iter().any(Option::is_some) {
            return Err(pipeline_error(&labels));
        }
        out.push((labels, values));
    }
    Ok(out)
}

fn pipeline_error(labels: &LabelSet) -> EvalError {
    let error = labels.get(ERROR).unwrap_or("");
    EvalError::Execution(format!(
        "pipeline error: '{error}' for series: '{labels}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    ))
}

/// 1 where there are no lines, named by the selector's labels.
fn absent_series(range: &RangeAggregation, samples: Samples, window: Window) -> Series {
    let mut names: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    let mut unclear: Vec<&str> = Vec::new();
    for m in &range.log.matchers {
        if m.op == MatchOp::Eq && !names.iter().any(|(n, _)| **n == *m.name) {
            names.push((m.name.as_str().into(), m.value.as_str().into()));
        } else {
            unclear.push(&m.name);
        }
    }
    names.retain(|(n, v)| !unclear.contains(&&**n) && !v.is_empty());
    let mut times: Vec<i64> = samples.samples.into_iter().flatten().map(|(t, _)| t).collect();
    times.sort_unstable();
    let present = |t: i64| {
        let (from, to) = window.bounds(t);
        let first = times.partition_point(|x| *x <= from);
        times.get(first).is_some_and(|x| *x <= to)
    };
    let values = window.grid.times().map(|t| (!present(t)).then_some(1.0)).collect();
    vec![(LabelSet::from_pairs(names), values)]
}
